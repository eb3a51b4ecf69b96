//! What the next decision has to know.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use miroir_core::base::id::{Epoch, IndexUid, NodeId, ShardId};
use miroir_core::membership::topology::Topology;
use miroir_core::membership::transition::Replica;

use super::machine::Rebalancing;
use crate::state::fleet;
use crate::state::stale::StaleReplicas;
use crate::{Error, Membership};

/// What was looked at.
pub struct TransitionObservation {
    /// As the store has it. Not one that this instance acts on, which would be in use for as long as this is looked at.
    pub(super) topology: Topology,
    /// Its version in the store.
    pub(super) version: u64,
    /// Every live instance acts on it, and on nothing older.
    pub(super) acknowledged: bool,
    /// The nodes that answer.
    pub(super) live: BTreeSet<NodeId>,
    /// Replicas that are not to be read.
    pub(super) stale: BTreeSet<Replica>,
}

impl Rebalancing {
    pub(super) async fn look(&self) -> Result<TransitionObservation, Error> {
        let membership = &self.membership;
        // In this order: who is seen to have acknowledged the epoch has told the store of all that came before it.
        let (topology, version) = fleet::stored(&*membership.state.store).await?;
        let acknowledged = membership.is_acknowledged(topology.epoch).await?;
        let stale = membership.untrusted().await?;
        let members = topology.shape.members.iter().map(|member| &member.id);
        let live = members.filter(|node| membership.state.is_live(node)).cloned().collect();
        Ok(TransitionObservation { topology, version, acknowledged, live, stale })
    }
}

impl Membership {
    /// Whether every live instance acts on an epoch, and has nothing under way that it began on an older one.
    pub(super) async fn is_acknowledged(&self, epoch: Epoch) -> Result<bool, Error> {
        if self.state.acknowledged_epoch() < epoch {
            return Ok(false);
        }
        if !self.state.store.is_shared() {
            return Ok(true);
        }
        let peers = self.state.peers.in_store().await?;
        Ok(peers.iter().all(|(id, peer)| id == self.state.peers.me() || peer.epoch >= epoch))
    }

    /// Replicas that are stale for any index with so many shards, or whose node has other settings than were committed: in
    /// neither case are they read.
    async fn untrusted(&self) -> Result<BTreeSet<Replica>, Error> {
        let records = StaleReplicas::in_store(&*self.state.store).await?;
        let unknown = records.keys().filter_map(|key| key.parse::<IndexUid>().ok());
        for physical in unknown.filter(|physical| self.state.catalog.by_physical(physical).is_none()) {
            self.state.catalog.refresh_physical(&physical).await?;
        }
        let indexes = self.state.catalog.all();
        let shards: BTreeMap<&IndexUid, NonZeroU32> =
            indexes.iter().map(|index| (&index.physical, index.shards)).collect();
        let stale = records.values().flat_map(|record| &record.value).filter_map(|stale| {
            let shards = *shards.get(&stale.index)?;
            Some(Replica { shards, shard: stale.shard, node: stale.node.clone() })
        });
        let lagging: BTreeSet<(NonZeroU32, &NodeId)> =
            indexes.iter().flat_map(|index| index.lagging.keys().map(|node| (index.shards, node))).collect();
        let lagging = lagging.into_iter().flat_map(|(shards, node)| {
            (0..shards.get()).map(move |shard| Replica { shards, shard: ShardId(shard), node: node.clone() })
        });
        Ok(stale.chain(lagging).collect())
    }
}
