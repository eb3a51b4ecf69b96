//! Indexes that are in the catalog and not there yet: completed, or taken out again.
//!
//! An index is entered together with the task that creates it. When that task comes to nothing, because it was canceled or
//! because nodes failed it, what was asked for after it still counts: the next one completes the index. Without any, there
//! is no index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use miroir_core::base::id::{IndexUid, NodeId, TaskUid};
use miroir_core::settings::is_overlaid;
use miroir_node::Call;
use serde_json::Value;
use tokio::time::Instant;

use crate::state::index_lock::IndexGuard;
use crate::task::reconcile::TaskReconciler;
use crate::write::parts::NodePart;
use crate::{Error, Index, Tasks};

/// Before a node that does not come to hold an index is told again.
const AGAIN: Duration = Duration::from_secs(30);
/// The longest that the reconciler waits for an index write lock: other tasks wait for it meanwhile.
const PATIENCE: Duration = Duration::from_millis(200);

/// When nodes were told to make the indexes that are being completed.
#[derive(Default)]
pub struct Completing(Mutex<BTreeMap<IndexUid, Instant>>);

impl Completing {
    /// Whether they are to be told now.
    fn is_due(&self, physical: &IndexUid) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| at.elapsed() < AGAIN);
        !told.contains_key(physical) && told.insert(physical.clone(), Instant::now()).is_none()
    }
}

impl TaskReconciler {
    /// Indexes that no task creates, and that nothing waits for: a release before this one could leave such behind.
    /// What came into being while tasks were read is no orphan, so each is seen twice.
    pub(crate) async fn complete_orphans(&mut self) -> Result<(), Error> {
        let tasks = self.tasks.clone();
        let all = tasks.state.catalog.all();
        let is_orphan = |index: &&Arc<Index>| {
            let physical = &index.physical;
            !index.ready
                && !index.changing
                && !self.backlog.has_tasks_of(physical)
                && tasks.state.peers.owns(physical.as_str())
        };
        let found: BTreeSet<IndexUid> = all.iter().filter(is_orphan).map(|index| index.physical.clone()).collect();
        let before = std::mem::replace(&mut self.orphans, found);
        for physical in self.orphans.intersection(&before) {
            tasks.complete(physical).await?;
        }
        Ok(())
    }
}

impl Tasks {
    /// See to it that an index is there on every node that answers, as every new index is. Returns whether it is.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn complete(&self, physical: &IndexUid) -> Result<bool, Error> {
        let Some(index) = self.state.catalog.by_physical(physical).filter(|index| !index.ready) else {
            return Ok(true);
        };
        let live: Vec<NodeId> = self.state.nodes().keys().filter(|node| self.state.is_live(node)).cloned().collect();
        let looks = join_all(live.iter().map(|node| self.is_made_on(&index, node))).await;
        let made = |wanted: bool| {
            let of = live.iter().zip(&looks).filter(move |(_, look)| **look == Some(wanted));
            of.map(|(node, _)| node.clone()).collect::<Vec<NodeId>>()
        };
        if !live.is_empty() && made(true).len() == live.len() {
            if !self.adopt_settings(&index, &live).await? {
                return Ok(false);
            }
            self.state.catalog.update(physical, |index| index.ready = true).await?;
            tracing::info!(index = %index.uid, "an index was completed");
            return Ok(true);
        }
        let lacking = made(false);
        if !lacking.is_empty() && self.completing.is_due(physical) {
            // Under the lock, so that an index that is deleted meanwhile is not made anew.
            let Some((guard, index)) = self.lock_index_soon(physical).await? else { return Ok(false) };
            tracing::warn!(index = %index.uid, ?lacking, "an index is completed that was created only in part");
            let steps = self.writes.creation_steps(&index);
            let parts: Vec<NodePart> =
                lacking.into_iter().map(|node| NodePart { node, steps: steps.clone() }).collect();
            join_all(parts.iter().map(|part| self.writes.carry_out(std::slice::from_ref(&guard), part))).await;
        }
        Ok(false)
    }

    /// Whether a node has the index as every new index is; none: it does not say.
    async fn is_made_on(&self, index: &Index, node: &NodeId) -> Option<bool> {
        let path = format!("/indexes/{}/settings", index.physical);
        match self.state.node(node)?.read::<Value>(Call::get("settings", path, self.state.read_timeout())).await {
            Ok(settings) => Some(is_overlaid(&settings)),
            Err(error) if error.status() == Some(404) => Some(false),
            Err(error) => {
                tracing::debug!(%node, %error, index = %index.physical, "a node does not tell of an index");
                None
            }
        }
    }

    /// The write lock of an index, if it is to be had at once. `None` also when the index is gone.
    async fn lock_index_soon(&self, physical: &IndexUid) -> Result<Option<(IndexGuard, Arc<Index>)>, Error> {
        tokio::time::timeout(PATIENCE, self.writes.lock_physical(physical)).await.unwrap_or(Ok(None))
    }

    /// The task that was to create an index has come to nothing. `ended` are those tasks that the store does not know to
    /// have ended. Returns false when the index cannot be dealt with now.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn give_up_index(&self, index: &Index, ended: &BTreeSet<TaskUid>) -> Result<bool, Error> {
        let Some((guard, now)) = self.lock_index_soon(&index.physical).await? else {
            return Ok(self.state.catalog.by_physical(&index.physical).is_none());
        };
        if !now.ready && !self.state.is_awaited(&now, ended).await? {
            self.writes.forget_index(&now, guard.fence()).await?;
        }
        Ok(true)
    }

    /// A task has ended that might have given the index its primary key, and has not. When no other task may, and no
    /// document relies on the key, the index has none. Returns false when that cannot be told now.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn give_back_key(&self, index: &Index, ended: &BTreeSet<TaskUid>) -> Result<bool, Error> {
        let Some((_guard, now)) = self.lock_index_soon(&index.physical).await? else {
            return Ok(self.state.catalog.by_physical(&index.physical).is_none());
        };
        if now.pending_key.is_none() || self.state.is_awaited(&now, ended).await? {
            return Ok(true);
        }
        let has_documents = match self.reads.count_documents(&now).await {
            Ok((documents, degraded)) => documents > 0 || !degraded.shards.is_empty(),
            Err(error) => {
                tracing::warn!(%error, index = %now.uid, "documents cannot be counted: the index keeps the key of a failed task");
                true
            }
        };
        let conclude = |index: &mut Index| {
            let key = index.pending_key.take();
            if has_documents {
                index.primary_key = key.or_else(|| index.primary_key.take());
            }
        };
        self.state.catalog.update(&now.physical, conclude).await?;
        Ok(true)
    }
}
