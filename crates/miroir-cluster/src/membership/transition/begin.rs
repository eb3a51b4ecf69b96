//! Beginning a change: what is against it is found before anything is changed.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use miroir_core::base::id::{NodeId, ShardId};
use miroir_core::membership::topology::{Member, Topology};
use miroir_core::membership::transition::{self, CandidateFacts, MembershipChange, Refused};
use miroir_store::{Batch, StoreError, Table};
use miroir_work::led;

use super::machine::Rebalancing;
use super::record::TransitionRecord;
use crate::{Error, Membership};

/// A change that has begun.
#[derive(Debug)]
pub struct Begun {
    /// Tells it from others.
    pub id: String,
    /// What is wanted.
    pub change: MembershipChange,
    /// Replicas that are to move, as far as can be told by now.
    pub moves: usize,
}

/// What was found of the nodes that a change is about.
#[derive(Default)]
struct Looked {
    unfit: BTreeMap<NodeId, Refused>,
    only: BTreeMap<NodeId, ShardId>,
}

impl CandidateFacts for Looked {
    fn fit(&self, member: &Member) -> Result<(), Refused> {
        self.unfit.get(&member.id).map_or(Ok(()), |why| Err(why.clone()))
    }

    fn only_copy(&self, node: &NodeId) -> Option<ShardId> {
        self.only.get(node).copied()
    }
}

impl Membership {
    /// Begin a change of the membership. Whoever leads goes on with it; nothing is waited for here.
    ///
    /// # Errors
    /// [`Error::Membership`]: nothing was changed; [`Error::Isolated`]; [`Error::Store`].
    pub async fn change_membership(&self, change: MembershipChange) -> Result<Begun, Error> {
        self.state.peers.require_contact()?;
        self.catch_up_all().await?;
        let topology = Topology::clone(&self.state.topology());
        let under_way = self.is_rebalancing().await?;
        // What speaks against it already needs no look at any node.
        transition::begin(&topology, change.clone(), under_way, &Looked::default())?;
        let looked = self.look_before(&topology, &change).await;
        let record = TransitionRecord::new(transition::begin(&topology, change, under_way, &looked)?);
        let begun = Begun {
            id: record.id.clone(),
            change: record.transition.change.clone(),
            moves: record.transition.moves.len(),
        };
        let writes = vec![led::start::<Rebalancing>(None, record)?];
        match self.state.store.commit(Batch { writes, ..Batch::default() }).await {
            Ok(_) => {}
            Err(StoreError::Conflict { table: Table::Operations, .. }) => return Err(Refused::UnderWay.into()),
            Err(error) => return Err(error.into()),
        }
        tracing::info!(change = ?begun.change, moves = begun.moves, id = begun.id, "a change of the cluster has begun");
        Ok(begun)
    }

    /// Read again from the store what other instances wrote of topology, catalog and stale replicas.
    pub(super) async fn catch_up_all(&self) -> Result<(), StoreError> {
        if self.state.store.is_shared() {
            for table in [Table::Topology, Table::Catalog, Table::StaleReplicas] {
                if let Some(view) = self.state.view_of(table) {
                    view.everything().await?;
                }
            }
        }
        Ok(())
    }

    async fn look_before(&self, topology: &Topology, change: &MembershipChange) -> Looked {
        let looks = change
            .joining()
            .iter()
            .map(|member| async move { Some((member.id.clone(), self.preflight(member).await.err()?)) });
        let leaving: Vec<NodeId> = match change {
            MembershipChange::Drain { node } | MembershipChange::RemoveNode { node } => vec![node.clone()],
            MembershipChange::RemoveGroup { group } => {
                let members = topology.shape.members.iter().filter(|member| member.group == *group);
                members.map(|member| member.id.clone()).collect()
            }
            MembershipChange::AddNode { .. }
            | MembershipChange::AddGroup { .. }
            | MembershipChange::Undrain { .. }
            | MembershipChange::Rebalance => Vec::new(),
        };
        let only = leaving.into_iter().filter_map(|node| {
            let shard = self.only_copy(topology, &node)?;
            Some((node, shard))
        });
        let only = only.collect();
        Looked { unfit: join_all(looks).await.into_iter().flatten().collect(), only }
    }

    /// A shard that no other node that answers holds completely, if this one does not answer.
    fn only_copy(&self, topology: &Topology, node: &NodeId) -> Option<ShardId> {
        if self.state.is_live(node) {
            return None;
        }
        self.state.catalog.all().iter().find_map(|index| {
            let stale = self.state.stale.of(&index.physical);
            let holds = |shard: ShardId, other: &NodeId| {
                other != node && self.state.is_live(other) && !stale.contains(&(shard, other.clone()))
            };
            let held = topology.replicas(index.shards).filter(|(_, holder)| *holder == node).map(|(shard, _)| shard);
            held.into_iter()
                .find(|shard| !topology.writers(index.shards, *shard).into_iter().any(|other| holds(*shard, other)))
        })
    }
}
