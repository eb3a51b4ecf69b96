//! The machine that heals a node.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use miroir_core::base::id::NodeId;
use miroir_core::replica::mirror::{self, Scope, Subject};
use miroir_store::{Batch, Change, Table};
use miroir_work::Backoff;
use miroir_work::led::{Facts, Intent, Leadership, Machine, Next, NotActed, Step};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::mirror::MirrorEnd;
use super::pool::{MirrorPool, place};
use crate::clock::now_ms;
use crate::error::not_acted;
use crate::{Error, Replicas};

/// How often progress is saved.
const SLICE: Duration = Duration::from_secs(2);
/// Between two looks for room, while there is more to do.
const ROOM: Duration = Duration::from_millis(50);
/// Between two looks while there is nothing to do.
const LOOK: Duration = Duration::from_secs(1);
/// Before a mirror that was given up is begun again.
const AGAIN: Backoff = Backoff { from: Duration::from_secs(2), to: Duration::from_secs(300) };
/// A node that is away for longer is healed anew when it is back.
const AWAY: Duration = Duration::from_secs(120);

/// Heals nodes, each in an operation of its own. The subject is the node.
pub struct Healing {
    replicas: Arc<Replicas>,
    pools: Mutex<HashMap<String, MirrorPool>>,
}

/// How far the healing of a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealRecord {
    /// The mirrors at work, and those to be begun again.
    pub mirrors: Vec<Saved>,
    /// Replicas that were healed by this operation.
    #[serde(default)]
    pub healed: u64,
}

/// A mirror, as it is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saved {
    /// Where it stands.
    pub mirror: mirror::MirrorRecord,
    /// How often it was given up.
    #[serde(default)]
    pub failures: u32,
    /// Why, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Not before this instant, in milliseconds since 1970.
    #[serde(default)]
    pub not_before: u64,
}

/// What was looked at.
pub struct HealObservation {
    /// Whether the node answers.
    live: bool,
    /// For how long it has not.
    away: Duration,
    /// What there is to heal.
    work: Vec<Subject>,
}

impl HealRecord {
    fn of(&self, subject: &Subject) -> Option<&Saved> {
        self.mirrors.iter().find(|saved| saved.mirror.subject == *subject)
    }

    /// Those that may be begun, and how long the first of the others has to wait.
    fn due(&self, work: &[Subject], now: u64) -> (Vec<Subject>, Duration) {
        let not_before = |subject: &Subject| self.of(subject).map_or(0, |saved| saved.not_before);
        let (due, waiting): (Vec<_>, Vec<_>) = work.iter().cloned().partition(|it| not_before(it) <= now);
        let wait = waiting.iter().map(|it| Duration::from_millis(not_before(it) - now)).min();
        (due, wait.unwrap_or(LOOK))
    }

    /// A mirror has ended.
    fn record_end(&mut self, subject: &Subject, ended: &MirrorEnd, now: u64) {
        match ended {
            MirrorEnd::Equal | MirrorEnd::Superseded(_) => {
                self.healed += u64::from(*ended == MirrorEnd::Equal);
                self.mirrors.retain(|saved| saved.mirror.subject != *subject);
            }
            MirrorEnd::Failed(_) | MirrorEnd::Away => {
                let Some(saved) = self.mirrors.iter_mut().find(|saved| saved.mirror.subject == *subject) else {
                    return;
                };
                let mut pause = LOOK;
                if let MirrorEnd::Failed(why) = ended {
                    saved.failures = saved.failures.saturating_add(1);
                    saved.error = Some(why.clone());
                    pause = AGAIN.after(saved.failures);
                    // Everything is looked at anew, by somebody who has held the writes in vain never before.
                    saved.mirror = mirror::MirrorRecord::new(subject.clone(), Scope::Whole, now);
                }
                saved.not_before = now.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
            }
        }
    }

    fn update(&mut self, record: mirror::MirrorRecord) {
        match self.mirrors.iter_mut().find(|saved| saved.mirror.subject == record.subject) {
            Some(saved) => saved.mirror = record,
            None => self.mirrors.push(Saved { mirror: record, failures: 0, error: None, not_before: 0 }),
        }
    }
}

impl Healing {
    /// For this cluster.
    pub fn new(replicas: Arc<Replicas>) -> Self {
        Self { replicas, pools: Mutex::default() }
    }

    fn pools(&self) -> MutexGuard<'_, HashMap<String, MirrorPool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mirror pool of this lease. One of an earlier lease is dropped, in the midst of what its mirrors did.
    fn pool(&self, lead: &Leadership) -> MirrorPool {
        let found = self.pools().remove(lead.scope()).filter(|pool| pool.is_under(lead.token()));
        found.unwrap_or_else(|| MirrorPool::under(lead.token()))
    }

    fn node(scope: &str) -> NodeId {
        NodeId::new(scope.split_once(':').map_or("", |(_, node)| node))
    }

    async fn ended(&self, record: &mut HealRecord, subject: &Subject, ended: &MirrorEnd) -> Result<(), Error> {
        let Subject { index, shard, target } = subject;
        match ended {
            MirrorEnd::Equal => {
                self.replicas.state.metrics.replica_healed();
                let progress = record.of(subject).map(|saved| saved.mirror.progress).unwrap_or_default();
                let mirror::Progress { started_at, copied, deleted, rounds, pauses, .. } = progress;
                let seconds = now_ms().saturating_sub(started_at) / 1000;
                tracing::info!(
                    node = %target, %index, %shard, copied, deleted, rounds, pauses, seconds,
                    "a replica is equal to the fresh ones again"
                );
            }
            MirrorEnd::Superseded(why) => {
                tracing::debug!(node = %target, %index, %shard, why, "nothing to heal");
                if self.replicas.state.catalog.by_physical(index).is_none() {
                    // What it was sent last may have made the index anew.
                    self.replicas.state.tombstones.add(index, target).await?;
                }
            }
            MirrorEnd::Failed(error) => {
                self.replicas.state.metrics.mirror_failed();
                tracing::warn!(node = %target, %index, %shard, error, "a replica could not be healed; trying again later");
            }
            MirrorEnd::Away => tracing::debug!(node = %target, %index, %shard, "healing waits for the node"),
        }
        record.record_end(subject, ended, now_ms());
        Ok(())
    }
}

#[async_trait]
impl Machine for Healing {
    const KIND: &'static str = "heal";
    type Record = HealRecord;
    type Seen = HealObservation;
    type Action = Vec<Subject>;

    async fn observe(&self, scope: &str, _record: &HealRecord) -> Result<HealObservation, NotActed> {
        let node = Self::node(scope);
        let known = self.replicas.state.node(&node);
        let away = known.map_or(Duration::MAX, |node| {
            let since = time::OffsetDateTime::now_utc() - node.health.report().since;
            since.try_into().unwrap_or_default()
        });
        let work = self.replicas.stale_on(&node).await.map_err(not_acted)?;
        Ok(HealObservation { live: self.replicas.state.is_live(&node), away, work })
    }

    fn decide(&self, record: &HealRecord, facts: &Facts<HealObservation>) -> Step<HealRecord, Vec<Subject>> {
        let HealObservation { live, away, work } = &facts.seen;
        match facts.intent {
            Intent::Pause => return Step::Wait(LOOK),
            Intent::Cancel => return Step::Finish(Batch::default()),
            Intent::Run => {}
        }
        let away_for_long = !live && *away > AWAY;
        if work.is_empty() && record.mirrors.is_empty() || away_for_long {
            return Step::Finish(Batch::default());
        }
        if !live {
            return Step::Wait(LOOK);
        }
        let (due, wait) = record.due(work, now_ms());
        // Those that are saved and have nothing to do any more are looked at once more, to be taken off.
        let superseded = record.mirrors.iter().any(|saved| !work.contains(&saved.mirror.subject));
        if due.is_empty() && !superseded { Step::Wait(wait.min(LOOK)) } else { Step::Act(due) }
    }

    async fn act(
        &self,
        lead: &Leadership,
        record: &HealRecord,
        due: Vec<Subject>,
    ) -> Result<Next<HealRecord>, NotActed> {
        let replicas = &self.replicas;
        let (mut record, mut pool) = (record.clone(), self.pool(lead));
        let most = replicas.state.config.rebalancer.max_concurrent_migrations.get();
        let still: BTreeSet<_> = due.iter().map(place).collect();
        // The index of one that has gone is looked after in the same way as if it had run.
        let idle = record.mirrors.iter().map(|saved| saved.mirror.subject.clone());
        let idle: Vec<Subject> = idle.filter(|it| !pool.has(it) && !still.contains(&place(it))).collect();
        let open = replicas.stale_on(&Self::node(lead.scope())).await.map_err(not_acted)?;
        for subject in idle.iter().filter(|it| !open.contains(it)) {
            self.ended(&mut record, subject, &MirrorEnd::Superseded("it is stale no more")).await.map_err(not_acted)?;
        }
        // What a mirror sends may arrive after its end: whoever comes next has to know that it was begun.
        let new: Vec<Subject> = due.iter().filter(|subject| record.of(subject).is_none()).cloned().collect();
        if !new.is_empty() {
            for subject in new {
                pool.announce(&subject);
                record.update(mirror::MirrorRecord::new(subject, Scope::Whole, now_ms()));
            }
            self.pools().insert(lead.scope().to_owned(), pool);
            return Ok(Next::to(record));
        }
        let end = Instant::now() + SLICE;
        let mut waiting = due.into_iter().filter(|subject| !pool.has(subject)).collect::<Vec<_>>().into_iter();
        loop {
            while pool.has_room(most)
                && let Some(subject) = waiting.next()
            {
                let Some(saved) = record.of(&subject) else { continue };
                pool.begin(replicas, saved.mirror.clone(), lead);
            }
            tokio::select! {
                () = tokio::time::sleep_until(end) => break,
                // One of them may have made room.
                () = tokio::time::sleep(ROOM), if waiting.len() > 0 => {}
                ended = pool.ended() => match ended {
                    Some((mirror, ended)) => {
                        let subject = mirror.subject.clone();
                        record.update(mirror);
                        self.ended(&mut record, &subject, &ended).await.map_err(not_acted)?;
                    }
                    None => break,
                },
            }
        }
        pool.records().for_each(|mirror| record.update(mirror));
        if pool.len() > 0 {
            self.pools().insert(lead.scope().to_owned(), pool);
        }
        Ok(Next::to(record))
    }

    fn stand_still(&self, scope: &str) {
        self.pools().remove(scope);
    }

    fn left(&self, scope: &str) {
        self.pools().remove(scope);
    }

    fn concerns(&self, _scope: &str, change: &Change) -> bool {
        matches!(change, Change::Record { table: Table::StaleReplicas, .. })
    }
}

#[cfg(test)]
mod tests {
    use miroir_core::base::id::ShardId;

    use super::*;

    fn subject(shard: u32) -> Subject {
        Subject { index: "movies".parse().expect("a uid"), shard: ShardId(shard), target: NodeId::new("a") }
    }

    #[test]
    fn what_failed_waits_longer_each_time_and_what_is_equal_is_forgotten() {
        let mut record = HealRecord::default();
        record.update(mirror::MirrorRecord::new(subject(1), Scope::Whole, 0));
        let work = [subject(1), subject(2)];
        let mut last = 0;
        for failures in 1..4 {
            record.record_end(&subject(1), &MirrorEnd::Failed("no".into()), 1000);
            let saved = record.of(&subject(1)).expect("saved");
            assert_eq!((saved.failures, saved.error.as_deref()), (failures, Some("no")));
            assert!(saved.not_before > last);
            last = saved.not_before;
            let (due, wait) = record.due(&work, 1000);
            assert_eq!(due, [subject(2)]);
            assert_eq!(wait, Duration::from_millis(last - 1000));
        }
        assert_eq!(record.due(&work, last).0, work);
        record.record_end(&subject(1), &MirrorEnd::Equal, last);
        assert_eq!((record.mirrors.len(), record.healed), (0, 1));
    }
}
