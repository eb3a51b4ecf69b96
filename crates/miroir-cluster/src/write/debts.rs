//! What was sent of changes and could not be written down when they ended: the store was away.
//!
//! Invariant: nobody is told that a change of an index is accepted while there are debts of that index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use miroir_core::base::id::{IndexUid, NodeId, ShardId};
use miroir_core::membership::topology::Topology;
use miroir_core::write::task::TaskQuery;
use miroir_store::{Batch, StoreError};
use miroir_work::Backoff;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::state::index_lock::{IndexGuard, KeepsLocks};
use crate::write::parts::PartOutcome;
use crate::write::weigh::Weighed;
use crate::{Error, Index, Writes};

/// Tasks of an index looked at together, and how often: more than others can have given after a lock was lost.
const PAGE: usize = 1000;
const PAGES: usize = 20;

/// Between two attempts.
const AGAIN: Backoff = Backoff { from: Duration::from_millis(50), to: Duration::from_secs(1) };

/// What nodes were sent, and nobody has written down yet.
pub(crate) struct Unrecorded {
    pub index: Index,
    /// The indexes under whose locks it was sent: the index may have another name since.
    pub names: Vec<IndexUid>,
    pub topology: Arc<Topology>,
    pub touched: Vec<ShardId>,
    /// Before any node had seen it.
    pub at: OffsetDateTime,
    /// What is known of each node's part.
    pub parts: Vec<PartOutcome>,
    /// The fences of the guards under which it was sent, and what is counted with it.
    pub recorded_with: Batch,
}

/// By the index. While an index has debts nothing new is sent to it, so that they are no more than what was under way.
pub struct Debts {
    owed: Mutex<BTreeMap<IndexUid, Vec<Arc<Unrecorded>>>>,
    /// How many there are.
    count: watch::Sender<usize>,
}

impl Default for Debts {
    fn default() -> Self {
        Self { owed: Mutex::default(), count: watch::Sender::new(0) }
    }
}

impl Debts {
    fn owed(&self) -> MutexGuard<'_, BTreeMap<IndexUid, Vec<Arc<Unrecorded>>>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut BTreeMap<IndexUid, Vec<Arc<Unrecorded>>>)) {
        let mut owed = self.owed();
        change(&mut owed);
        owed.retain(|_, of_index| !of_index.is_empty());
        self.count.send_replace(owed.values().map(Vec::len).sum());
    }

    /// This is still to be written down.
    pub fn add(&self, unrecorded: Unrecorded) {
        let index = unrecorded.index.physical.clone();
        self.update(|owed| owed.entry(index).or_default().push(Arc::new(unrecorded)));
    }

    fn of(&self, index: &IndexUid) -> Vec<Arc<Unrecorded>> {
        self.owed().get(index).cloned().unwrap_or_default()
    }

    fn all(&self) -> Vec<Arc<Unrecorded>> {
        self.owed().values().flatten().cloned().collect()
    }

    fn paid(&self, debt: &Arc<Unrecorded>) {
        let is_other = |other: &Arc<Unrecorded>| !Arc::ptr_eq(other, debt);
        self.update(|owed| {
            owed.entry(debt.index.physical.clone()).or_default().retain(is_other);
        });
    }

    /// Returns when there are none.
    pub async fn none(&self) {
        // The sender lives as long as this.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl KeepsLocks for Debts {
    fn keeps(&self, index: &IndexUid) -> bool {
        self.owed().values().flatten().any(|owed| owed.names.contains(index))
    }
}

impl Writes {
    /// Write down what a change has left behind. Returns until when its guards are to be kept, as in [`Weighed`].
    ///
    /// # Errors
    /// [`Error::IndexLockLost`] when another instance may have held the lock since: then the caller has to get it again and
    /// call this once more.
    /// [`Error::Store`] when that cannot be.
    pub(crate) async fn record_unrecorded(&self, sent: &Unrecorded) -> Result<Option<Instant>, Error> {
        let Unrecorded { index, topology, touched, parts, recorded_with, .. } = sent;
        if self.state.catalog.by_physical(&index.physical).is_none() {
            // It came to nothing, or is gone since.
            return Ok(None);
        }
        let Weighed { missed, lingers_until, .. } = self.weigh(topology, index, touched, parts)?;
        let with = recorded_with.clone();
        let recorded = match missed.is_empty() {
            // Whether the guard lasts has to be known all the same.
            true => self.state.store.commit(with).await,
            false => self.record_missed(&missed, with).await,
        };
        match recorded {
            Err(StoreError::Fenced { .. }) => Err(Error::IndexLockLost),
            recorded => Ok(recorded.map(|_| lingers_until)?),
        }
    }

    /// Write down what was sent; if that cannot be done now, later. Returns until when its guards are to be kept, as in
    /// [`Weighed`].
    pub(crate) async fn record_or_owe(&self, sent: Unrecorded) -> Option<Instant> {
        match self.record_unrecorded(&sent).await {
            Ok(until) => until,
            Err(error) => {
                tracing::warn!(%error, index = %sent.index.uid, "what replicas may have missed is written down later");
                self.debts.add(sent);
                None
            }
        }
    }

    /// Write down what a change has left behind, also when its lock was lost. The caller holds the lock: whatever
    /// others have sent of the index is recorded, or will never be.
    async fn pay_debt(&self, guard: &IndexGuard, sent: &Unrecorded) -> Result<(), Error> {
        match self.record_unrecorded(sent).await {
            Err(Error::IndexLockLost) => {
                let Unrecorded { index, touched, parts, recorded_with, .. } = sent;
                let overtaken = self.overtaken(sent).await?;
                let (fences, counts) = (vec![guard.fence()], recorded_with.counts.clone());
                let with = Batch { fences, counts, ..Batch::default() };
                let replicas = self.record_doubt(index, touched, parts, &overtaken, with).await?;
                tracing::warn!(index = %index.uid, replicas, "the index write lock was lost during a change: replicas may differ");
                Ok(())
            }
            recorded => recorded.map(drop),
        }
    }

    /// The nodes that have numbered a part of it after what was asked for later, through another instance: they do it last.
    async fn overtaken(&self, sent: &Unrecorded) -> Result<BTreeSet<NodeId>, Error> {
        let mut overtaken = BTreeSet::new();
        let Some(index) = self.state.catalog.by_physical(&sent.index.physical) else { return Ok(overtaken) };
        let mut query = TaskQuery { index_uids: Some([index.uid.clone()].into()), limit: PAGE, ..TaskQuery::default() };
        for _ in 0..PAGES {
            let page = self.state.store.tasks(&query).await?;
            let later = || page.tasks.iter().filter(|task| task.enqueued_at > sent.at);
            for theirs in later().flat_map(|task| &task.node_tasks) {
                let ours = sent.parts.iter().filter(|part| part.node == theirs.node);
                if ours.flat_map(|part| &part.tasks).any(|ours| ours.uid > theirs.uid) {
                    overtaken.insert(theirs.node.clone());
                }
            }
            if later().count() < page.tasks.len() || page.next.is_none() {
                break;
            }
            query.from = page.next;
        }
        Ok(overtaken)
    }

    /// Write down what is owed of an index, before anything new is sent to it. The caller holds its lock.
    ///
    /// # Errors
    /// [`Error::Store`] when that cannot be.
    pub(crate) async fn pay_debts(&self, guard: &IndexGuard, index: &IndexUid) -> Result<(), Error> {
        for debt in self.debts.of(index) {
            self.pay_debt(guard, &debt).await?;
            self.debts.paid(&debt);
        }
        Ok(())
    }

    async fn pay_locked(&self, debt: &Unrecorded) -> Result<(), Error> {
        match self.lock_physical(&debt.index.physical).await? {
            Some((guard, _)) => self.pay_debt(&guard, debt).await,
            // The index is gone.
            None => Ok(()),
        }
    }

    /// Write down what is owed, as soon as the store takes it, for ever.
    pub async fn pay_all_debts(self: Arc<Self>) {
        let mut owed = self.debts.count.subscribe();
        let mut failures = 0_u32;
        while owed.wait_for(|count| *count > 0).await.is_ok() {
            let mut failed = false;
            for debt in self.debts.all() {
                match self.pay_locked(&debt).await {
                    Ok(()) => self.debts.paid(&debt),
                    Err(error) => {
                        tracing::warn!(%error, index = %debt.index.uid, "what replicas may have missed cannot be written down yet");
                        failed = true;
                    }
                }
            }
            failures = if failed { failures.saturating_add(1) } else { 0 };
            tokio::time::sleep(AGAIN.after(failures)).await;
        }
    }
}
