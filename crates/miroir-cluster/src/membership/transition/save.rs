//! A step is written down: the record, the topology and the list of stale replicas in one commit.

use std::collections::{BTreeMap, BTreeSet};

use miroir_core::base::id::{IndexUid, NodeId, ShardId};
use miroir_core::membership::topology::Member;
use miroir_core::membership::transition::{self, Effects, Finished, Move, MoveState, Phase, Replica};
use miroir_store::{Batch, Records, Write};
use miroir_work::led::{Leadership, Next};
use time::OffsetDateTime;

use super::LOOK;
use super::machine::Rebalancing;
use super::record::{FinishedChange, TransitionRecord};
use crate::state::fleet;
use crate::state::stale::{Miss, OfIndex, Reason, StaleReplica, StaleReplicas, record_of};
use crate::{Error, Index, Membership};

impl Rebalancing {
    /// What is written with a step. When it must not be written, the record stays as it is, and is decided upon anew.
    pub(super) async fn save(
        &self,
        lead: &Leadership,
        record: &TransitionRecord,
        next: transition::TransitionRecord,
        effects: &Effects,
        version: u64,
    ) -> Result<Next<TransitionRecord>, Error> {
        let membership = &self.membership;
        membership.catch_up_all().await?;
        let stale = StaleReplicas::in_store(&*membership.state.store).await?;
        let switched = switched(&record.transition, &next);
        let targets: Vec<Replica> = switched.iter().filter_map(|moving| moving.target()).collect();
        let (moved, documents) = (switched.len(), membership.documents_on(&targets).await);
        let quiet_at = self.quiet_at(&record.transition, &next, &stale);
        let mut step = TransitionRecord {
            cleaned: left_to_record(record, &next),
            moved: record.moved + moved,
            documents: record.documents.saturating_add(documents),
            quiet_at: record.quiet_at.max(quiet_at),
            transition: next,
            ..record.clone()
        };
        // Whoever reads the topology has read what is stale under it.
        let Some(mut writes) = membership.stale_writes(effects, &stale)? else { return Ok(Next::to(record.clone())) };
        let mut fences = Vec::new();
        if let Some(topology) = &effects.topology {
            let (before, _) = fleet::stored(&*membership.state.store).await?;
            let Some(grants) = membership.writes.grants(&lead.fence(), &before, topology).await? else {
                tokio::time::sleep(LOOK).await;
                return Ok(Next::to(record.clone()));
            };
            fences = grants;
            writes.push(fleet::replace(topology, version)?);
            if step.transition.phase == Phase::Moving && record.transition.phase == Phase::Preparing {
                // From now on indexes are made on them by whoever makes one; what was made on the epoch before is not.
                step.prepared.clear();
            }
            tracing::info!(epoch = %topology.epoch, progress = ?step.transition.progress(), "the topology changes");
        }
        Ok(Next { record: step, effects: Batch { fences, writes, ..Batch::default() } })
    }

    /// The last topology.
    pub(super) async fn finish(
        &self,
        lead: &Leadership,
        record: &TransitionRecord,
        finished: &Finished,
        version: u64,
    ) -> Result<Next<TransitionRecord>, Error> {
        let membership = &self.membership;
        let (before, _) = fleet::stored(&*membership.state.store).await?;
        let known = before.shape.members.iter().chain(record.transition.change.joining());
        let gone = known.filter(|member| finished.gone.contains(&member.id));
        let gone: BTreeMap<&NodeId, &Member> = gone.map(|member| (&member.id, member)).collect();
        let gone = gone.into_values().cloned().collect();
        let mut writes = Vec::new();
        let last = finished.topology.as_ref().unwrap_or(&before);
        for (key, stale) in StaleReplicas::in_store(&*membership.state.store).await?.iter() {
            // Only who takes writes can be healed.
            let shards = key
                .parse::<IndexUid>()
                .ok()
                .and_then(|physical| Some(membership.state.catalog.by_physical(&physical)?.shards));
            let stays = |stale: &&StaleReplica| {
                let takes = |shards| last.takes_writes(shards, stale.shard, &stale.node);
                !finished.gone.contains(&stale.node) && shards.is_none_or(takes)
            };
            let left: OfIndex = stale.value.iter().filter(stays).cloned().collect();
            if left.len() < stale.value.len() {
                writes.push(record_of(key, &left, Some(stale.version))?);
            }
        }
        let mut fences = Vec::new();
        if let Some(topology) = &finished.topology {
            let Some(grants) = membership.writes.grants(&lead.fence(), &before, topology).await? else {
                tokio::time::sleep(LOOK).await;
                return Ok(Next::to(record.clone()));
            };
            fences = grants;
            writes.push(fleet::replace(topology, version)?);
        }
        let ended = Some(FinishedChange { canceled: finished.canceled, gone, decommissioned: false });
        Ok(Next {
            record: TransitionRecord { ended, ..record.clone() },
            effects: Batch { fences, writes, ..Batch::default() },
        })
    }

    /// Requests of a mirror that a replica was given up by may arrive for so long.
    fn quiet_at(
        &self,
        before: &transition::TransitionRecord,
        next: &transition::TransitionRecord,
        stale: &Records<OfIndex>,
    ) -> Option<OffsetDateTime> {
        let stale =
            |replica: Option<Replica>| replica.is_some_and(|replica| is_stale(stale, &replica.node, replica.shard));
        let given_up = before.moves.iter().zip(&next.moves).filter(|(old, new)| old.state != new.state);
        let mut given_up = given_up.filter(|(old, new)| match new.state {
            MoveState::Abandoned => old.state == MoveState::Copying,
            MoveState::Left => stale(new.source()),
            MoveState::Planned | MoveState::Waiting | MoveState::Copying | MoveState::Switched | MoveState::Cleaned => {
                false
            }
        });
        given_up.next().map(|_| OffsetDateTime::now_utc() + self.membership.state.write_timeout())
    }
}

impl Membership {
    /// The writes by which the list of stale replicas follows a step. Returns `None` if the caller must not write the step.
    fn stale_writes(&self, effects: &Effects, stale: &Records<OfIndex>) -> Result<Option<Vec<Write>>, Error> {
        let mut writes = Vec::new();
        for index in self.state.catalog.all() {
            let record = stale.get(index.physical.as_str());
            let before = record.map(|record| record.value.clone()).unwrap_or_default();
            let of_index = |replicas: &[Replica]| -> BTreeSet<(ShardId, NodeId)> {
                let ours = replicas.iter().filter(|replica| replica.shards == index.shards);
                ours.map(|replica| (replica.shard, replica.node.clone())).collect()
            };
            let fresh = of_index(&effects.require_fresh);
            if before.iter().any(|stale| fresh.contains(&(stale.shard, stale.node.clone()))) {
                return Ok(None);
            }
            let next = follow(&index, &before, of_index(&effects.stale), &of_index(&effects.forget));
            if next != before || !fresh.is_empty() {
                // Written as it is, the record is a condition: nobody has become stale in between.
                writes.push(record_of(index.physical.as_str(), &next, record.map(|record| record.version))?);
            }
        }
        Ok(Some(writes))
    }
}

/// The stale replicas of an index after a step.
fn follow(
    index: &Index,
    before: &OfIndex,
    stale: BTreeSet<(ShardId, NodeId)>,
    forget: &BTreeSet<(ShardId, NodeId)>,
) -> OfIndex {
    let kept = before.iter().filter(|stale| !forget.contains(&(stale.shard, stale.node.clone())));
    let mut next: OfIndex = kept.cloned().collect();
    for (shard, node) in stale {
        let physical = index.physical.clone();
        Miss { index: physical, shard, node, reason: Reason::Joining, arrives_until: None }.add_to(&mut next);
    }
    next
}

fn is_stale(records: &Records<OfIndex>, node: &NodeId, shard: ShardId) -> bool {
    records.values().flat_map(|record| &record.value).any(|stale| stale.shard == shard && stale.node == *node)
}

/// The moves that are switched with this step.
fn switched<'a>(before: &transition::TransitionRecord, next: &'a transition::TransitionRecord) -> Vec<&'a Move> {
    let moves = before.moves.iter().zip(&next.moves);
    let moves = moves.filter(|(old, new)| old.state != new.state && new.state == MoveState::Switched);
    moves.map(|(_, new)| new).collect()
}

/// What was deleted and core has not recorded yet.
fn left_to_record(record: &TransitionRecord, next: &transition::TransitionRecord) -> BTreeSet<Replica> {
    let mut left = record.cleaned.clone();
    for moving in next.moves.iter().filter(|moving| moving.state == MoveState::Cleaned) {
        [moving.source(), moving.target()].into_iter().flatten().for_each(|replica| _ = left.remove(&replica));
    }
    left
}
