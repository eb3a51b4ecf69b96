//! Load, decide, act, save: while the lease lasts.

use std::time::Duration;

use futures_util::FutureExt;
use miroir_store::{Batch, Change, StoreError, Table, Typed, Watch};
use thiserror::Error;
use time::OffsetDateTime;
use tokio::time::sleep;

use super::driver::{Driver, End, until};
use super::machine::{Facts, Intent, Leadership, Machine, Next, NotActed, Step};
use super::operation::{self, Operation};

/// Before what was overtaken is decided upon anew.
const SHORTLY: Duration = Duration::from_millis(10);

/// What came of one round.
enum Round {
    /// Something was saved.
    Saved,
    /// What was decided upon is no longer what is stored, or wanted.
    Overtaken,
    /// There is nothing to do for now.
    Waits(Duration),
    /// The operation is over.
    Over,
}

#[derive(Debug, Error)]
enum Failed {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Act(#[from] NotActed),
}

/// Failures in a row.
#[derive(Default)]
struct Failures {
    count: u32,
    last: Option<String>,
}

type Loaded<M> = Typed<Operation<<M as Machine>::Record>>;

impl<M: Machine> Driver<M> {
    /// Ends when the operation does; dropped when the lease is lost.
    pub(super) async fn drive(&self, lead: &Leadership, changes: &mut Watch) -> End {
        let mut failures = Failures::default();
        loop {
            // What was told so far is seen by what is read next.
            while changes.next().now_or_never().flatten().is_some() {}
            let wait = match self.round(lead, changes, &failures).await {
                Ok(Round::Saved) => {
                    failures = Failures::default();
                    continue;
                }
                Ok(Round::Overtaken) => continue,
                Ok(Round::Waits(wait)) => wait,
                Ok(Round::Over) => return End::Done,
                Err(Failed::Store(StoreError::Fenced { .. })) => return End::Lost,
                Err(Failed::Store(StoreError::Closed)) => return End::Stopped,
                Err(error) => {
                    failures = Failures { count: failures.count.saturating_add(1), last: Some(error.to_string()) };
                    let wait = self.options.backoff.after(failures.count);
                    tracing::warn!(scope = %self.scope, %error, again_in = ?wait, "an operation does not go on");
                    wait
                }
            };
            let news = until(changes, |change| self.is_news(change));
            tokio::select! {
                open = news => if !open { return End::Stopped },
                () = sleep(wait) => {}
            }
        }
    }

    async fn round(&self, lead: &Leadership, changes: &mut Watch, failures: &Failures) -> Result<Round, Failed> {
        let Some(loaded): Option<Loaded<M>> = operation::load(&*self.store, &self.scope).await? else {
            return Ok(Round::Over);
        };
        let operation = &loaded.value;
        let intent = operation::wanted(&*self.store, &self.scope, &operation.id).await?;
        if intent != Intent::Run {
            self.machine.stand_still(&self.scope);
        }
        let facts = Facts {
            intent,
            failures: failures.count,
            error: failures.last.clone(),
            started_at: operation.started_at,
            now: OffsetDateTime::now_utc(),
            seen: self.machine.observe(&self.scope, &operation.record).await?,
        };
        match self.machine.decide(&operation.record, &facts) {
            Step::Wait(wait) => Ok(Round::Waits(wait)),
            Step::Save(next) => self.save(lead, loaded, next).await,
            Step::Finish(effects) => self.finish(lead, &loaded, effects).await,
            Step::Act(action) => {
                let acted = tokio::select! {
                    biased;
                    open = self.other_intent(changes, &operation.id, intent) => {
                        return if open { Ok(Round::Overtaken) } else { Err(StoreError::Closed.into()) };
                    }
                    acted = self.machine.act(lead, &operation.record, action) => acted?,
                };
                self.save(lead, loaded, acted).await
            }
        }
    }

    /// Wait until the operator wants something else than this. False: the store is closed.
    async fn other_intent(&self, changes: &mut Watch, operation: &str, than: Intent) -> bool {
        let key = operation::request_key(&self.scope);
        let concerns = |change: &Change| match change {
            Change::Record { table, key: changed, .. } => *table == Table::Operations && *changed == key,
            Change::Everything => true,
            Change::Tasks | Change::Log(_) | Change::Marked(_) | Change::LeaseWanted(_) | Change::LeaseReleased(_) => {
                false
            }
        };
        while until(changes, concerns).await {
            let wanted = operation::wanted(&*self.store, &self.scope, operation).await;
            // An intent that cannot be read is read again before the next decision.
            if wanted.is_ok_and(|wanted| wanted != than) {
                return true;
            }
        }
        false
    }

    async fn save(&self, lead: &Leadership, mut loaded: Loaded<M>, mut next: Next<M::Record>) -> Result<Round, Failed> {
        loop {
            let Operation { id, started_at, record: before } = loaded.value;
            let operation = Operation { id, started_at, record: next.record };
            let mut batch = next.effects.clone();
            batch.writes.push(operation::table().put_if(&self.scope, &operation, Some(loaded.version))?);
            match self.commit(lead, batch, Round::Saved).await? {
                Round::Overtaken => {}
                round @ (Round::Saved | Round::Waits(_) | Round::Over) => return Ok(round),
            }
            let stored: Option<Loaded<M>> = operation::load(&*self.store, &self.scope).await?;
            let Some(stored) = stored.filter(|stored| stored.value.id == operation.id) else {
                return Ok(Round::Overtaken);
            };
            let made = Next { record: operation.record, effects: next.effects };
            let Some(rebased) = self.machine.rebase(&before, &stored.value.record, made) else {
                return Ok(Round::Overtaken);
            };
            (loaded, next) = (stored, rebased);
        }
    }

    async fn finish(&self, lead: &Leadership, loaded: &Loaded<M>, effects: Batch) -> Result<Round, Failed> {
        let mut batch = effects;
        batch.writes.extend(operation::end(&self.scope, loaded.version));
        self.commit(lead, batch, Round::Over).await
    }

    async fn commit(&self, lead: &Leadership, mut batch: Batch, then: Round) -> Result<Round, Failed> {
        batch.fences.push(lead.fence());
        match self.store.commit(batch).await {
            Ok(_) => Ok(then),
            // Others added to it, or an earlier save of ours was written although it seemed not to be.
            Err(StoreError::Conflict { table: Table::Operations, key }) if key == self.scope => Ok(Round::Overtaken),
            // A condition of the effects does not hold any more; what comes next is another thing then.
            Err(StoreError::Conflict { .. }) => Ok(Round::Waits(SHORTLY)),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a waiting operation is to be looked at again.
    fn is_news(&self, change: &Change) -> bool {
        let own = match change {
            Change::Record { table: Table::Operations, key, .. } => {
                *key == self.scope || *key == operation::request_key(&self.scope)
            }
            Change::Everything => true,
            Change::Record { .. }
            | Change::Tasks
            | Change::Log(_)
            | Change::Marked(_)
            | Change::LeaseWanted(_)
            | Change::LeaseReleased(_) => false,
        };
        own || self.machine.concerns(&self.scope, change)
    }
}
