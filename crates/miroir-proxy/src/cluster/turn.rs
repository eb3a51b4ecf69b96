//! The turns of an index, and what is taken over with them.
//!
//! An instance that is killed in the midst of a change leaves nodes that have it and nodes that have not, and nobody who
//! knows. What it leaves as well is the lane of the index, which it had and did not give back.
//!
//! Invariant: to a shard of an index whose lane was left so, nobody writes before all its replicas but one are known as possibly
//! different, and before nothing more can arrive of what was sent. The one that is kept is on a node that holds all that it had
//! accepted; as long as there is none, nothing is written to the shard.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use miroir_core::id::{IndexUid, ShardId};

use super::lanes::{Left, Turn};
use super::search::all_shards;
use super::{Cluster, Error, Index};

/// Between two looks for lanes that were left.
const LOOK: Duration = Duration::from_secs(1);
/// Lanes that are taken over at one time.
const AT_ONCE: usize = 16;

impl Cluster {
    /// Wait for the right to change an index.
    ///
    /// # Errors
    /// As [`super::lanes::Lanes::turn`].
    pub(super) async fn turn(&self, uid: &IndexUid) -> Result<Turn, Error> {
        let mut turn = self.lanes.turn(uid).await?;
        if turn.left().is_settled() {
            return Ok(turn);
        }
        if *turn.left() == Left::Unseen {
            self.catalog.refresh(uid).await?;
            self.leftovers.refresh(uid).await?;
        }
        let mut undecided = BTreeSet::new();
        if let Some(index) = self.catalog.get(uid) {
            self.stale.refresh(&index.physical).await?;
            if let Some(quiet_for) = turn.quiet_for {
                let shards = match turn.left() {
                    Left::Unseen => all_shards(&index),
                    Left::InDoubt(shards) => shards.iter().copied().collect(),
                };
                undecided = self.settle_what_was_left(&index, &shards, quiet_for).await?;
            }
        }
        turn.settle(undecided);
        Ok(turn)
    }

    /// Wait for the right to change several indexes together.
    ///
    /// # Errors
    /// As [`Cluster::turn`].
    pub(super) async fn turns<'a>(&self, uids: impl IntoIterator<Item = &'a IndexUid>) -> Result<Vec<Turn>, Error> {
        let uids: BTreeSet<&IndexUid> = uids.into_iter().collect();
        let mut turns = Vec::with_capacity(uids.len());
        // Everybody takes them in one order, so that nobody waits for ever.
        for uid in uids {
            turns.push(self.turn(uid).await?);
        }
        Ok(turns)
    }

    /// Whoever had the lane of the index may have sent anything to any node, until that long ago at the latest. Returns the
    /// shards of which it cannot be said now which replica is to be kept.
    async fn settle_what_was_left(
        &self,
        index: &Index,
        shards: &[ShardId],
        quiet_for: Duration,
    ) -> Result<BTreeSet<ShardId>, Error> {
        tokio::time::sleep(self.write_timeout().saturating_sub(quiet_for)).await;
        self.ensure_placement(index.shards).await?;
        let whole = self.nodes_that_are_whole().await;
        let (replicas, undecided) = self.record_left_behind(index, shards, &whole).await?;
        if replicas > 0 {
            tracing::warn!(
                index = %index.uid,
                replicas,
                "an instance ended without giving back the index: replicas may differ, and are compared"
            );
        }
        Ok(undecided)
    }

    /// Take over the lanes that were left, for ever: also those of indexes that nobody changes again.
    pub async fn take_over_lanes(self: Arc<Self>) {
        loop {
            match self.lanes.lapsed().await {
                Ok(left) => {
                    let mine = left.into_iter().filter(|uid| self.peers.owns(uid.as_str()));
                    let all: BTreeSet<IndexUid> = mine.chain(self.lanes.in_doubt()).collect();
                    stream::iter(all).for_each_concurrent(AT_ONCE, |uid| self.take_over(uid)).await;
                }
                Err(error) => tracing::debug!(%error, "it cannot be seen which indexes were left"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn take_over(&self, uid: IndexUid) {
        if let Err(error) = self.turn(&uid).await {
            tracing::warn!(%error, index = %uid, "an index that was left cannot be taken over yet");
        }
    }
}
