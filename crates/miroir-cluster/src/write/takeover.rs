//! Takes the write lock of an index, and deals with what a former holder has left.
//!
//! An instance that is killed in the midst of a change leaves nodes that have it and nodes that have not, and nobody who
//! knows. What it leaves as well is the write lock of the index, whose lease lapses.
//!
//! Invariant: to a shard of an index whose lock lapsed, nobody writes before all its replicas but one are known as possibly
//! different, and before nothing more can arrive of what was sent. The one that is kept is on a node that holds all that it had
//! accepted; as long as there is none, nothing is written to the shard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use miroir_core::base::id::{IndexUid, ShardId};
use miroir_store::{Batch, Lease, Table, TypedTable, Write};
use tokio::time::Instant;

use crate::state::catalog::all_shards;
use crate::state::index_lock::IndexGuard;
use crate::{Error, Index, Writes};

/// Between two looks for locks that lapsed.
const LOOK: Duration = Duration::from_secs(1);
/// Locks that are taken over at one time.
const AT_ONCE: usize = 16;
/// Between two looks at what is in doubt, in looks.
const LOOKS: u32 = 5;
/// For so long a lapsed lock is left to the instance that held it, if that lives.
const LONG: Duration = Duration::from_secs(10);

/// The shards of an index of which it cannot be said which replica is to be kept, by its physical name.
const IN_DOUBT: TypedTable<BTreeSet<ShardId>> = TypedTable::new(Table::Meta);
const PREFIX: &str = "in_doubt/";

fn key(index: &Index) -> String {
    format!("{PREFIX}{}", index.physical)
}

impl Writes {
    /// Wait for the write lock of an index.
    ///
    /// # Errors
    /// As [`crate::state::index_lock::IndexLocks::lock`].
    pub(crate) async fn lock_index(&self, uid: &IndexUid) -> Result<IndexGuard, Error> {
        let guard = self.state.index_locks.lock(uid).await?;
        self.resolved(guard, uid).await
    }

    /// Deal with what others have left of an index before this instance got its lock.
    async fn resolved(&self, mut guard: IndexGuard, uid: &IndexUid) -> Result<IndexGuard, Error> {
        if guard.left().is_resolved() {
            return Ok(guard);
        }
        self.state.catalog.refresh(uid).await?;
        self.state.tombstones.refresh(uid).await?;
        let mut in_doubt = BTreeSet::new();
        if let Some(index) = self.state.catalog.get(uid) {
            self.state.stale.refresh(&index.physical).await?;
            in_doubt = self.resolve_takeover(&guard, &index).await?;
        }
        guard.resolve(in_doubt);
        Ok(guard)
    }

    /// Wait for the write locks of several indexes together.
    ///
    /// # Errors
    /// As [`Writes::lock_index`].
    pub(crate) async fn lock_indexes<'a>(
        &self,
        uids: impl IntoIterator<Item = &'a IndexUid>,
    ) -> Result<Vec<IndexGuard>, Error> {
        let uids: BTreeSet<&IndexUid> = uids.into_iter().collect();
        let mut guards = Vec::with_capacity(uids.len());
        // Everybody takes them in one order, so that nobody waits for ever.
        for uid in uids {
            guards.push(self.lock_index(uid).await?);
        }
        Ok(guards)
    }

    /// Wait for the write lock of the index with this physical name, whatever clients call it by now. Returns the index
    /// as the store has it, too. `None`: the index is gone.
    pub(crate) async fn lock_physical(&self, physical: &IndexUid) -> Result<Option<(IndexGuard, Arc<Index>)>, Error> {
        loop {
            let Some(known) = self.state.catalog.by_physical(physical) else { return Ok(None) };
            let guard = self.lock_index(&known.uid).await?;
            if self.state.store.is_shared() {
                self.state.catalog.refresh(&known.uid).await?;
            }
            match self.state.catalog.by_physical(physical) {
                Some(index) if index.uid == known.uid => return Ok(Some((guard, index))),
                Some(_) | None => {}
            }
        }
    }

    /// Returns the shards of which it cannot be said now which replica is to be kept.
    async fn resolve_takeover(&self, guard: &IndexGuard, index: &Index) -> Result<BTreeSet<ShardId>, Error> {
        let known = self.in_doubt(index).await?;
        let shards = match guard.quiet_for() {
            None if known.is_empty() => return Ok(known),
            None => known.iter().copied().collect(),
            // The former holder may have sent anything to any node, until that long ago at the latest.
            Some(quiet_for) => {
                tokio::select! {
                    () = tokio::time::sleep(self.state.write_timeout().saturating_sub(quiet_for)) => {}
                    () = guard.lost() => return Err(Error::IndexLockLost),
                }
                all_shards(index)
            }
        };
        let topology = self.state.ensure_placement(index.shards).await?;
        let takers = shards.iter().flat_map(|shard| topology.writers(index.shards, *shard)).cloned().collect();
        let whole = self.reads.nodes_that_are_whole(&takers).await;
        let (replicas, undecided) = self.record_left_behind(guard, index, &shards, &whole, &known).await?;
        if replicas > 0 {
            tracing::warn!(
                index = %index.uid,
                replicas,
                "an instance ended without giving back the index: replicas may differ, and are compared"
            );
        }
        Ok(undecided)
    }

    async fn in_doubt(&self, index: &Index) -> Result<BTreeSet<ShardId>, Error> {
        let known = IN_DOUBT.get(&*self.state.store, &key(index)).await?;
        Ok(known.map(|known| known.value).unwrap_or_default())
    }

    /// It cannot be said which replicas of these shards are to be kept, whoever holds the lock next. `recorded`: what was
    /// recorded of that before.
    pub(crate) async fn know_in_doubt(
        &self,
        guard: &IndexGuard,
        index: &Index,
        recorded: &BTreeSet<ShardId>,
        shards: &BTreeSet<ShardId>,
    ) -> Result<(), Error> {
        let writes = match shards.is_empty() {
            _ if shards == recorded => return Ok(()),
            true => vec![Self::forgetting_doubts(index)],
            false => vec![IN_DOUBT.put(&key(index), shards)?],
        };
        self.state.store.commit(Batch { fences: vec![guard.fence()], writes, ..Batch::default() }).await?;
        Ok(())
    }

    /// The write by which nothing of the index is in doubt any more.
    pub(crate) fn forgetting_doubts(index: &Index) -> Write {
        IN_DOUBT.delete(&key(index))
    }

    /// Take over the locks that lapsed, for ever: also those of indexes that nobody changes again; and look again at what
    /// could not be resolved then.
    pub async fn take_over_index_locks(self: Arc<Self>) {
        let (mut looks, mut since) = (0_u32, BTreeMap::new());
        loop {
            let mut left = match self.state.index_locks.lapsed().await {
                Ok(lapsed) => self.mine_of(lapsed, &mut since),
                Err(error) => {
                    tracing::debug!(%error, "it cannot be seen which indexes were left");
                    BTreeSet::new()
                }
            };
            left.extend(self.state.index_locks.unseen());
            if looks.is_multiple_of(LOOKS) {
                left.extend(self.mine_in_doubt().await);
            }
            looks = looks.wrapping_add(1);
            stream::iter(left).for_each_concurrent(AT_ONCE, |uid| self.take_over(uid)).await;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// An instance that lives sees to its own when the store is back; what it does not see to for long is anybody's. `since`:
    /// when each was seen first.
    fn mine_of(
        &self,
        lapsed: Vec<(IndexUid, Lease)>,
        since: &mut BTreeMap<(IndexUid, u64), Instant>,
    ) -> BTreeSet<IndexUid> {
        let (now, others) = (Instant::now(), self.state.peers.others());
        let seen_at = |(uid, lease): &(IndexUid, Lease)| {
            let lost = (uid.clone(), lease.token);
            let at = since.get(&lost).copied().unwrap_or(now);
            (lost, at)
        };
        *since = lapsed.iter().map(seen_at).collect();
        let is_mine = |(uid, lease): &(IndexUid, Lease)| {
            let for_long = since.get(&(uid.clone(), lease.token)).is_some_and(|at| now - *at > LONG);
            lease.holder == self.state.peers.me()
                || (self.state.peers.owns(uid.as_str()) && (for_long || !others.contains_key(&lease.holder)))
        };
        lapsed.into_iter().filter(is_mine).map(|(uid, _)| uid).collect()
    }

    async fn mine_in_doubt(&self) -> BTreeSet<IndexUid> {
        let records = match self.state.store.list(Table::Meta).await {
            Ok(records) => records,
            Err(error) => {
                tracing::debug!(%error, "it cannot be seen what is in doubt");
                return BTreeSet::new();
            }
        };
        let physical = records.iter().filter_map(|(key, _)| key.strip_prefix(PREFIX)?.parse::<IndexUid>().ok());
        let indexes = physical.filter_map(|physical| self.state.catalog.by_physical(&physical));
        indexes.map(|index| index.uid.clone()).filter(|uid| self.state.peers.owns(uid.as_str())).collect()
    }

    async fn take_over(&self, uid: IndexUid) {
        let taken = async {
            let guard = self.state.index_locks.try_lock(&uid).await?;
            self.resolved(guard, &uid).await
        };
        match taken.await {
            // Whoever has it sees to it.
            Ok(_) | Err(Error::Overloaded(_)) => {}
            Err(error) => tracing::warn!(%error, index = %uid, "an index that was left cannot be taken over yet"),
        }
    }
}
