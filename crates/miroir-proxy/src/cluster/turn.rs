//! The turns of an index, and what is taken over with them.
//!
//! An instance that is killed in the midst of a change leaves nodes that have it and nodes that have not, and nobody who
//! knows. What it leaves as well is the lane of the index, which it had and did not give back.
//!
//! Invariant: of an index whose lane was left so, nobody changes anything before of each shard but one replica is known as
//! possibly different, and before nothing more can arrive of what was sent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use miroir_core::id::IndexUid;

use super::lanes::Turn;
use super::parts::Outcome;
use super::search::all_shards;
use super::{Cluster, Error, Index};
use crate::node::NodeState;

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
        if turn.taken_over {
            self.catalog.refresh(uid).await?;
            self.leftovers.refresh(uid).await?;
            if let Some(index) = self.catalog.get(uid) {
                self.stale.refresh(&index.physical).await?;
                if let Some(quiet_for) = turn.quiet_for() {
                    self.doubt_what_was_under_way(&index, quiet_for).await?;
                }
            }
            turn.is_known();
        }
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

    /// Whoever had the lane of the index may have sent anything to any node, until that long ago at the latest.
    async fn doubt_what_was_under_way(&self, index: &Index, quiet_for: Duration) -> Result<(), Error> {
        tokio::time::sleep(self.write_timeout().saturating_sub(quiet_for)).await;
        self.ensure_placement(index.shards).await?;
        // All may have missed something. One on a node that lives is kept, if there is any; at last one on a node that is back
        // and may have lost what it had.
        let nodes = self.nodes();
        let known = nodes.iter().filter_map(|(id, node)| match node.health.state() {
            NodeState::Healthy | NodeState::Degraded | NodeState::Recovering => Some(Outcome::preferred(id.clone())),
            NodeState::Failed => None,
            NodeState::Returning => Some(Outcome::unknown(id.clone())),
        });
        let known: Vec<Outcome> = known.collect();
        let replicas = self.record_doubt(index, &all_shards(index), &known, &BTreeSet::new()).await?;
        tracing::warn!(
            index = %index.uid,
            replicas,
            "an instance ended without giving back the index: replicas may differ, and are compared"
        );
        Ok(())
    }

    /// Take over the lanes that were left, for ever: also those of indexes that nobody changes again.
    pub async fn take_over_lanes(self: Arc<Self>) {
        loop {
            match self.lanes.lapsed().await {
                Ok(left) => {
                    let mine = left.into_iter().filter(|uid| self.peers.owns(uid.as_str()));
                    stream::iter(mine).for_each_concurrent(AT_ONCE, |uid| self.take_over(uid)).await;
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
