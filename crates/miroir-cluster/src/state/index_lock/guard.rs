//! What whoever holds an index write lock has in hand.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use miroir_core::base::id::{IndexUid, ShardId};
use miroir_node::Lasts;
use miroir_store::{Fence, Lease};
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::IndexLock;

/// What is known of what other holders have done to an index before this instance got its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// The lease of the former holder lapsed, and nobody has dealt with what it may have left.
    Lapsed,
    /// The lock was released, and this instance has not looked yet whether anything is in doubt.
    Unseen,
    /// Replicas of these shards may differ, and it cannot be said which one is to be kept. No shards: nothing is
    /// in doubt.
    InDoubt(Arc<BTreeSet<ShardId>>),
}

impl Left {
    /// Nothing is left to be looked at.
    pub fn is_resolved(&self) -> bool {
        matches!(self, Self::InDoubt(shards) if shards.is_empty())
    }

    /// Whether this shard's replicas may differ.
    pub fn is_in_doubt(&self, shard: ShardId) -> bool {
        match self {
            Self::Lapsed | Self::Unseen => true,
            Self::InDoubt(shards) => shards.contains(&shard),
        }
    }
}

/// The right to change an index. The next one in the queue proceeds when the guard and its clones are dropped.
#[derive(Clone)]
pub struct IndexGuard {
    pub(super) _place: Arc<OwnedMutexGuard<()>>,
    pub(super) index: IndexUid,
    pub(super) lock: Arc<IndexLock>,
    pub(super) lease: Lease,
    pub(super) quiet_for: Option<Duration>,
    pub(super) left: Left,
}

impl IndexGuard {
    /// The fence under which changes are recorded: the store refuses them once another instance may hold the lock.
    pub fn fence(&self) -> Fence {
        self.lease.fence()
    }

    /// The index that is locked.
    pub fn index(&self) -> &IndexUid {
        &self.index
    }

    /// What others may have left of the index.
    pub fn left(&self) -> &Left {
        &self.left
    }

    /// For how long at least a former holder whose lease lapsed has sent nothing. `None`: the lock was released, or
    /// somebody has dealt with what was left.
    pub fn quiet_for(&self) -> Option<Duration> {
        self.quiet_for.filter(|_| self.left == Left::Lapsed)
    }

    /// What the former holder left has been dealt with: these shards are in doubt still.
    pub fn resolve(&mut self, in_doubt: BTreeSet<ShardId>) {
        self.set_left(Left::InDoubt(Arc::new(in_doubt)));
    }

    /// The name is another index's from now on, of which nothing is known.
    pub fn forget(&mut self) {
        self.set_left(Left::Unseen);
    }

    fn set_left(&mut self, left: Left) {
        self.left = left;
        if let Some(held) = self.lock.held().as_mut().filter(|held| held.lease == self.lease) {
            held.left = self.left.clone();
        }
    }

    /// Returns when another instance may hold the lock.
    pub async fn lost(&self) {
        self.lock.lost(&self.lease).await;
    }

    /// Whether no other instance can hold the lock by now.
    pub fn lasts(&self) -> bool {
        self.lock.lasts(&self.lease)
    }
}

/// Leases of index write locks that have to last. They keep no lock from being released.
struct Holds(Vec<(Arc<IndexLock>, Lease)>);

impl fmt::Debug for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(_, lease)| lease)).finish()
    }
}

impl Lasts for Holds {
    fn lasts(&self) -> bool {
        self.0.iter().all(|(lock, lease)| lock.lasts(lease))
    }
}

/// What has to last while anything is sent under these guards.
pub fn all_last(guards: &[IndexGuard]) -> Arc<dyn Lasts> {
    Arc::new(Holds(guards.iter().map(|guard| (guard.lock.clone(), guard.lease.clone())).collect()))
}

/// Keep these guards until then, as long as they last.
pub async fn linger(until: Instant, guards: &[IndexGuard]) {
    tokio::select! {
        () = tokio::time::sleep_until(until) => {}
        () = any_lost(guards) => {}
    }
}

/// Returns when another instance may hold one of these locks.
pub async fn any_lost(guards: &[IndexGuard]) {
    match guards {
        [] => std::future::pending().await,
        guards => drop(select_all(guards.iter().map(|guard| Box::pin(guard.lost()))).await),
    }
}
