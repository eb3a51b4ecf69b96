//! What the answers of nodes to a change amount to, and what is recorded of it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use miroir_core::base::id::{NodeId, ShardId};
use miroir_core::membership::topology::{GroupPlacements, Topology};
use miroir_core::write::quorum::{self, QuorumVerdict, ReplicaAnswer};
use miroir_store::{Batch, Committed, StoreError};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::state::index_lock::IndexGuard;
use crate::state::stale::{Miss, OfIndex, Reason, StaleShards, fresh_by, named};
use crate::write::conditional;
use crate::write::parts::{NodePart, PartOutcome, Step};
use crate::{Error, Index, Writes};

/// What the answers amount to.
pub struct Weighed {
    /// Whether it holds.
    pub verdict: QuorumVerdict,
    /// The replicas that missed it.
    pub missed: Vec<Miss>,
    /// Until then nothing else may be sent to the index: a replica that is taken for fresh may get it yet.
    pub lingers_until: Option<Instant>,
}

impl Writes {
    /// What a write to these shards would amount to, should these nodes and no others accept it.
    pub(crate) fn weigh_if(
        &self,
        topology: &Topology,
        index: &Index,
        touched: &[ShardId],
        accepts: impl Fn(&NodeId) -> bool,
    ) -> Result<QuorumVerdict, Error> {
        Ok(quorum::weigh(placements(topology, index)?, touched.iter().copied(), |_, node| accepts(node)))
    }

    /// Weigh the answers of nodes to a change that touches these shards.
    pub(crate) fn weigh(
        &self,
        topology: &Topology,
        index: &Index,
        touched: &[ShardId],
        outcomes: &[PartOutcome],
    ) -> Result<Weighed, Error> {
        let placements = placements(topology, index)?;
        let outcomes: BTreeMap<&NodeId, &PartOutcome> =
            outcomes.iter().map(|outcome| (&outcome.node, outcome)).collect();
        let answer = |shard: ShardId, node: &NodeId| {
            outcomes.get(node).map_or(ReplicaAnswer::Missed, |outcome| outcome.answer_for(shard))
        };
        let also = |shard| topology.also_writes(index.shards, shard).cloned().collect();
        let known = self.state.stale.of(&index.physical);
        let weighed = quorum::conclude(placements, also, touched.iter().copied(), answer, fresh_by(&known));
        let arrives_until = OffsetDateTime::now_utc() + self.state.write_timeout();
        let lingers_until = weighed.lingers.then(|| Instant::now() + self.state.write_timeout());
        let missed = weighed.stale.into_iter().map(|(shard, node)| Miss {
            index: index.physical.clone(),
            shard,
            reason: Reason::MissedWrite,
            arrives_until: (answer(shard, &node) == ReplicaAnswer::Ambiguous).then_some(arrives_until),
            node,
        });
        Ok(Weighed { verdict: weighed.verdict, missed: missed.collect(), lingers_until })
    }

    /// Nobody can say what a change was mixed with: of each shard one fresh replica is kept, of those that there are now: who
    /// was filled from one of them since may be no better. `overtaken`: nodes that do it after what was asked for later.
    /// Returns how many are stale by this.
    pub(crate) async fn record_doubt(
        &self,
        index: &Index,
        touched: &[ShardId],
        outcomes: &[PartOutcome],
        overtaken: &BTreeSet<NodeId>,
        with: Batch,
    ) -> Result<usize, Error> {
        let topology = self.state.topology();
        let placements = placements(&topology, index)?;
        let outcomes: BTreeMap<&NodeId, &PartOutcome> =
            outcomes.iter().map(|outcome| (&outcome.node, outcome)).collect();
        let answer = |shard: ShardId, node: &NodeId| match outcomes.get(node) {
            None => ReplicaAnswer::Missed,
            Some(_) if overtaken.contains(node) => ReplicaAnswer::Ambiguous,
            Some(outcome) => outcome.answer_for(shard),
        };
        let also = |shard| topology.also_writes(index.shards, shard).cloned().collect();
        let arrives_until = Some(OffsetDateTime::now_utc() + self.state.write_timeout());
        let doubt = |replicas: &mut OfIndex| {
            let known = named(replicas);
            let stale = quorum::in_doubt(placements, also, touched.iter().copied(), answer, fresh_by(&known));
            add_different(replicas, index, stale, arrives_until)
        };
        Ok(self.state.stale.change(&index.physical, with, doubt).await?)
    }

    /// Somebody was writing the index who ended in the midst of it, and nothing of that can arrive any more: of each of these
    /// shards one fresh replica is kept. `may_keep`: the nodes that are known to hold all that they had accepted. Returns how
    /// many replicas are stale by this, and the shards of which there is none to keep now. `recorded`: those that were recorded
    /// as such. Whatever it is broken off between, a shard is recorded as in doubt until its replicas are known as stale.
    pub(crate) async fn record_left_behind(
        &self,
        guard: &IndexGuard,
        index: &Index,
        shards: &[ShardId],
        may_keep: &BTreeSet<NodeId>,
        recorded: &BTreeSet<ShardId>,
    ) -> Result<(usize, BTreeSet<ShardId>), Error> {
        let topology = self.state.topology();
        let placements = placements(&topology, index)?;
        let also = |shard| topology.also_writes(index.shards, shard).cloned().collect();
        let decide = |stale: &StaleShards| {
            let may_keep = |node: &NodeId| may_keep.contains(node);
            quorum::left_behind(placements, also, shards.iter().copied(), fresh_by(stale), may_keep)
        };
        let mut undecided = decide(&self.state.stale.of(&index.physical)).undecided;
        let until_stale = recorded | &undecided;
        self.know_in_doubt(guard, index, recorded, &until_stale).await?;
        let doubt = |replicas: &mut OfIndex| {
            let mut left = decide(&named(replicas));
            left.stale.retain(|(shard, _)| !undecided.contains(shard));
            (add_different(replicas, index, left.stale, None), left.undecided)
        };
        let (fences, counts) = (vec![guard.fence()], conditional::counts_of_unknown(index));
        let with = Batch { fences, counts, ..Batch::default() };
        let (found, later) = self.state.stale.change(&index.physical, with, doubt).await?;
        // One may have been healed in between: there are two to choose from now.
        undecided.extend(later);
        self.know_in_doubt(guard, index, &until_stale, &undecided).await?;
        Ok((found, undecided))
    }

    /// Persist what replicas missed in one step with the rest of the batch.
    pub(crate) async fn record_missed(&self, missed: &[Miss], with: Batch) -> Result<Committed, StoreError> {
        if missed.is_empty() {
            return if with.is_empty() { Ok(Committed::default()) } else { self.state.store.commit(with).await };
        }
        self.state.stale.miss(missed, with).await
    }

    /// The same steps for every node, touching every shard.
    pub(crate) fn on_every_node(&self, topology: &Topology, steps: &[Step]) -> Vec<NodePart> {
        let members = topology.shape.members.iter();
        members.map(|member| NodePart { node: member.id.clone(), steps: steps.to_vec() }).collect()
    }
}

/// These replicas may be different from the fresh ones. Returns how many they are.
fn add_different(
    replicas: &mut OfIndex,
    index: &Index,
    different: Vec<(ShardId, NodeId)>,
    arrives_until: Option<OffsetDateTime>,
) -> usize {
    let found = different.len();
    for (shard, node) in different {
        let (index, reason) = (index.physical.clone(), Reason::Differs);
        Miss { index, shard, node, reason, arrives_until }.add_to(replicas);
    }
    found
}

fn placements<'a>(topology: &'a Topology, index: &Index) -> Result<&'a GroupPlacements, Error> {
    let none = || Error::Internal(format!("no placement for {} shards", index.shards));
    topology.placements(index.shards).ok_or_else(none)
}

/// The shards whose writes a node takes.
pub fn shards_of(topology: &Topology, shards: NonZeroU32, node: &NodeId) -> Vec<ShardId> {
    (0..shards.get()).map(ShardId).filter(|shard| topology.takes_writes(shards, *shard, node)).collect()
}
