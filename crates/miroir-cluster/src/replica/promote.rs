//! Stale replicas promoted by operators: `core::promotion` says which can be.

use std::collections::{BTreeMap, BTreeSet};

use miroir_api::{NotPromoted, Promoted, Promotion};
use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::id::{IndexUid, NodeId, ShardId};
use miroir_core::replica::promotion::{PromotionFacts, Unfit, promote};
use miroir_node::NodeState;
use miroir_store::Batch;
use time::OffsetDateTime;

use crate::state::index_lock::IndexGuard;
use crate::state::stale::{Miss, OfIndex, Reason};
use crate::{Error, Index, Replicas};

/// What of a node is to be promoted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The node.
    pub node: NodeId,
    /// None: every index.
    pub index: Option<IndexUid>,
    /// None: every shard with a stale replica there.
    pub shards: Option<BTreeSet<ShardId>>,
}

impl Replicas {
    /// Take stale replicas of a node for fresh, where no fresh one can be reached. What they lack is lost.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such node, or nothing of it could be promoted: nothing has changed then.
    pub async fn promote(&self, wanted: &Wanted) -> Result<Promotion, Error> {
        let refuse = |code, message: String| Error::Invalid(ErrorBody::new(code, message));
        let node = &wanted.node;
        if self.state.node(node).is_none() {
            return Err(refuse(Code::MiroirNodeNotFound, format!("Node `{node}` not found.")));
        }
        self.state.peers.require_contact()?;
        let indexes = match &wanted.index {
            Some(uid) => vec![self.state.fresh_index(uid).await?],
            None => self.state.catalog.all(),
        };
        let mut all = Promotion::default();
        for index in indexes {
            // Under its write lock: no write of the index is being weighed meanwhile.
            let Some((guard, index)) = self.writes.lock_physical(&index.physical).await? else { continue };
            self.promote_of(&guard, &index, wanted, &mut all).await?;
        }
        if let Some(first) = all.refused.first().filter(|_| all.promoted.is_empty()) {
            let NotPromoted { index, shard, why } = first;
            let message = format!("Shard {shard} of index `{index}` on node `{node}` cannot be promoted: {why}.");
            return Err(refuse(Code::MiroirConflict, message));
        }
        if all.promoted.is_empty() {
            return Err(refuse(
                Code::MiroirConflict,
                format!("Node `{node}` has no stale replica that was asked for."),
            ));
        }
        self.state.healable.notify_one();
        Ok(all)
    }

    async fn promote_of(
        &self,
        guard: &IndexGuard,
        index: &Index,
        wanted: &Wanted,
        all: &mut Promotion,
    ) -> Result<(), Error> {
        let node = &wanted.node;
        let with = Batch { fences: vec![guard.fence()], ..Batch::default() };
        let change = |replicas: &mut OfIndex| self.decide(index, wanted, replicas);
        let decided = self.state.stale.change(&index.physical, with, change).await?;
        for (shard, decision) in decided {
            let (index, shard) = (index.uid.to_string(), shard.0);
            match decision {
                Ok(stale) => {
                    let stale: Vec<String> = stale.iter().map(NodeId::to_string).collect();
                    let overruled = stale.join(", ");
                    tracing::warn!(
                        %node, index, shard, overruled, "a stale replica was promoted: what it lacks is lost"
                    );
                    all.promoted.push(Promoted { index, shard, stale });
                }
                Err(unfit) => all.refused.push(NotPromoted { index, shard, why: unfit.to_string() }),
            }
        }
        Ok(())
    }

    /// What becomes of the stale replicas of an index.
    fn decide(
        &self,
        index: &Index,
        wanted: &Wanted,
        replicas: &mut OfIndex,
    ) -> BTreeMap<ShardId, Result<BTreeSet<NodeId>, Unfit>> {
        let node = &wanted.node;
        let on_node = replicas.iter().filter(|replica| replica.node == *node).map(|replica| replica.shard);
        let shards: BTreeSet<ShardId> = match &wanted.shards {
            Some(shards) => shards.clone(),
            None => on_node.collect(),
        };
        let mut decided = BTreeMap::new();
        for shard in shards {
            let decision = promote(&self.standing(index, shard, replicas), node);
            if let Ok(distrusted) = &decision {
                replicas.retain(|replica| !(replica.shard == shard && replica.node == *node));
                for other in distrusted {
                    let (index, node) = (index.physical.clone(), other.clone());
                    // What was sent to it may still arrive.
                    let arrives_until = Some(OffsetDateTime::now_utc() + self.state.write_timeout());
                    Miss { index, shard, node, reason: Reason::Overruled, arrives_until }.add_to(replicas);
                }
            }
            decided.insert(shard, decision);
        }
        decided
    }

    fn standing(&self, index: &Index, shard: ShardId, replicas: &OfIndex) -> PromotionFacts {
        let topology = self.state.topology();
        let placed = topology.replicas(index.shards).filter(|(placed, _)| *placed == shard);
        let writers: BTreeSet<NodeId> = topology.writers(index.shards, shard).into_iter().cloned().collect();
        // A node that is looked at before it serves will be there soon.
        let is_away = |id: &&NodeId| self.state.node(id).is_none_or(|node| node.health.state() == NodeState::Failed);
        PromotionFacts {
            replicas: placed.map(|(_, node)| node.clone()).collect(),
            away: writers.iter().filter(is_away).cloned().collect(),
            stale: replicas
                .iter()
                .filter(|replica| replica.shard == shard)
                .map(|replica| replica.node.clone())
                .collect(),
            writers,
        }
    }
}
