//! What there is to heal, and beginning to.

use std::collections::BTreeSet;

use miroir_core::base::id::NodeId;
use miroir_core::membership::transition::{self, MoveState, Replica};
use miroir_core::replica::mirror::Subject;
use miroir_store::{Batch, StoreError, Table};
use miroir_work::led;
use serde::Deserialize;

use super::machine::{HealRecord, Healing};
use crate::{Error, Replicas};

/// The scope of changes of the membership.
const REBALANCE: &str = "rebalance";

/// Of such a change, what says which replicas are being filled.
#[derive(Deserialize)]
struct Changing {
    record: Transition,
}

#[derive(Deserialize)]
struct Transition {
    transition: transition::TransitionRecord,
}

impl Replicas {
    /// The stale replicas on a node that are to be made equal to the fresh ones: those that are replicas, and those that a
    /// change of the membership has copied now. Another one that is to come into being does not get all writes yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn stale_on(&self, node: &NodeId) -> Result<Vec<Subject>, StoreError> {
        let topology = self.state.topology();
        let stale: Vec<_> = self.state.stale.all().into_iter().filter(|replica| replica.node == *node).collect();
        if stale.is_empty() {
            return Ok(Vec::new());
        }
        let filled = self.replicas_being_filled().await?;
        let mut subjects: Vec<Subject> = stale
            .into_iter()
            .filter(|replica| {
                let Some(index) = self.state.catalog.by_physical(&replica.index) else { return false };
                let groups = topology.placements(index.shards).into_iter().flatten();
                let placed = groups.flat_map(|(_, placement)| placement.replicas(replica.shard)).any(|id| id == node);
                let shards = index.shards;
                placed || filled.contains(&Replica { shards, shard: replica.shard, node: node.clone() })
            })
            .map(|replica| Subject { index: replica.index, shard: replica.shard, target: replica.node })
            .collect();
        subjects.sort_by(|a, b| (&a.index, a.shard).cmp(&(&b.index, b.shard)));
        Ok(subjects)
    }

    async fn replicas_being_filled(&self) -> Result<BTreeSet<Replica>, StoreError> {
        let Some(stored) = self.state.store.get(Table::Operations, REBALANCE).await? else {
            return Ok(BTreeSet::new());
        };
        // One that cannot be read is of a newer release, which leads it as well.
        let Ok(changing) = serde_json::from_slice::<Changing>(&stored.value) else { return Ok(BTreeSet::new()) };
        let moves = &changing.record.transition;
        Ok(moves.in_state(MoveState::Copying).filter_map(|(_, moving)| moving.target()).collect())
    }

    /// Begin to heal every live node that has something to heal and is not being healed.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub async fn begin_healing(&self) -> Result<(), Error> {
        if !self.state.config.rebalancer.auto_rebalance_on_recovery {
            return Ok(());
        }
        let stale: BTreeSet<NodeId> = self.state.stale.all().into_iter().map(|replica| replica.node).collect();
        for node in stale.iter().filter(|node| self.state.is_live(node)) {
            if led::find::<Healing>(&*self.state.store, Some(node.as_str())).await?.is_some() {
                continue;
            }
            if self.stale_on(node).await?.is_empty() {
                continue;
            }
            let start = led::start::<Healing>(Some(node.as_str()), HealRecord::default())?;
            match self.state.store.commit(Batch { writes: vec![start], ..Batch::default() }).await {
                Ok(_) => tracing::info!(%node, "a node is being healed"),
                // Somebody else was faster.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
