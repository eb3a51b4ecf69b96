//! What a kind of led work has to say for itself.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use miroir_store::{Batch, Change, Fence, Lease};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;
use tokio::sync::mpsc;

/// A kind of led work: a state machine over a record.
#[async_trait]
pub trait Machine: Send + Sync + 'static {
    /// In front of its scopes, as in `settings_broadcast`; a scope is `KIND` alone, or `KIND:subject`.
    const KIND: &'static str;
    /// Where an operation stands. Everything that the next leader has to know is in it.
    type Record: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What decisions need to know besides.
    type Seen: Send + Sync;
    /// Something to be done.
    type Action: Send;

    /// Look at what the next decision needs to know.
    ///
    /// # Errors
    /// Why it cannot be known now; it is tried again after a while.
    async fn observe(&self, scope: &str, record: &Self::Record) -> Result<Self::Seen, NotActed>;

    /// What to do next: pure.
    fn decide(&self, record: &Self::Record, facts: &Facts<Self::Seen>) -> Step<Self::Record, Self::Action>;

    /// Do it. May take long: it is dropped wherever it waits when the lease is lost, when the instance stops, and when
    /// the operator wants something else. It must bear being begun again, here or elsewhere, must not leave tasks of
    /// its own behind (what is to outlast it goes on [beside](Leadership::beside)), and must not compute for long without
    /// waiting, for the lease is renewed only while it waits. What is to be there exactly once belongs into the effects.
    ///
    /// # Errors
    /// Why it was not done; decided upon anew after a while.
    async fn act(
        &self,
        lead: &Leadership,
        record: &Self::Record,
        action: Self::Action,
    ) -> Result<Next<Self::Record>, NotActed>;

    /// What is to be saved when others have added to the record in the meantime: `next`, which was made of `before`, over
    /// what is `stored` now. Returns `None` if it is no longer to be saved: the driver then decides anew.
    fn rebase(
        &self,
        _before: &Self::Record,
        _stored: &Self::Record,
        _next: Next<Self::Record>,
    ) -> Option<Next<Self::Record>> {
        None
    }

    /// The operator wants something else than that it goes on: what goes on beside the rounds is to end. Said before each
    /// decision.
    fn stand_still(&self, _scope: &str) {}

    /// This instance leads the scope no more, however that came about: what it remembers of it besides the record is of no
    /// use any more.
    fn left(&self, _scope: &str) {}

    /// Whether a waiting operation is to be looked at again because of this. Changes of the operation itself always are.
    fn concerns(&self, _scope: &str, _change: &Change) -> bool {
        false
    }
}

/// What decisions are made of, besides the record.
#[derive(Clone, Debug)]
pub struct Facts<S> {
    /// What the operator wants.
    pub intent: Intent,
    /// Acts in a row that failed since this leader last saved something.
    pub failures: u32,
    /// How the last of them failed.
    pub error: Option<String>,
    /// When the operation was started, by the clock of who did.
    pub started_at: OffsetDateTime,
    /// The leader's clock.
    pub now: OffsetDateTime,
    /// What the machine looked at.
    pub seen: S,
}

/// What the operator wants of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Intent {
    /// Go on.
    #[default]
    Run,
    /// Stop for now, where that does no harm.
    Pause,
    /// Undo what was done, and end.
    Cancel,
}

/// What comes next.
#[derive(Debug)]
pub enum Step<R, A> {
    /// Do this, and save what comes of it.
    Act(A),
    /// Nothing has to be done to go on: save this.
    Save(Next<R>),
    /// Nothing for now. Look again after this time, or when something has changed.
    Wait(Duration),
    /// The operation is over: its record goes, together with these effects.
    Finish(Batch),
}

/// Where an operation stands from now on.
#[derive(Debug)]
pub struct Next<R> {
    /// As it is saved.
    pub record: R,
    /// What else is written in the same step.
    pub effects: Batch,
}

impl<R> Next<R> {
    /// Only this.
    pub fn to(record: R) -> Self {
        Self { record, effects: Batch::default() }
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NotActed(pub String);

/// The right to act for a scope, as long as it lasts.
#[derive(Clone, Debug)]
pub struct Leadership {
    lease: Lease,
    beside: mpsc::UnboundedSender<BoxFuture<'static, ()>>,
}

impl Leadership {
    /// As long as this lease lasts, with whoever polls what is to go on beside.
    pub(super) fn new(lease: Lease) -> (Self, Beside) {
        let (beside, works) = mpsc::unbounded_channel();
        (Self { lease, beside }, Beside { works, running: FuturesUnordered::new() })
    }

    /// Have this go on beside the rounds, also while nothing is done and between two acts: what waits for a turn, or has one,
    /// must not be left alone by whoever is to poll it. It is polled only while the lease is held, which is asked first each
    /// time, and dropped with the lease.
    pub fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Without anybody who polls it, the lease is lost.
        drop(self.beside.send(Box::pin(work)));
    }

    /// What is led.
    pub fn scope(&self) -> &str {
        &self.lease.scope
    }

    /// What every write of an act has to show. What is saved of the operation shows it already.
    pub fn fence(&self) -> Fence {
        self.lease.fence()
    }

    /// Higher than that of every leader before.
    pub fn token(&self) -> u64 {
        self.lease.token
    }
}

/// What goes on beside the rounds of a leader.
pub(super) struct Beside {
    works: mpsc::UnboundedReceiver<BoxFuture<'static, ()>>,
    running: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl Beside {
    /// Poll it, for ever.
    pub(super) async fn go_on(&mut self) {
        loop {
            tokio::select! {
                Some(work) = self.works.recv() => self.running.push(work),
                Some(()) = self.running.next(), if !self.running.is_empty() => {}
                else => std::future::pending().await,
            }
        }
    }
}
