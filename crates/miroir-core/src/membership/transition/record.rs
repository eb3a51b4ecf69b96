//! What of a transition outlives the process that leads it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::change::MembershipChange;
use super::plan::{Move, MoveState, Replica, membership};
use crate::base::id::{GroupId, NodeId};
use crate::membership::placement::Placement;
use crate::membership::topology::{Besides, GroupPlacements, Topology};

/// Where a transition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nodes that are to join get the indexes and their settings. Nobody else knows of them.
    Preparing,
    /// Replicas move, each as its state says.
    Moving,
}

/// A transition, as it is saved after every step, together with the topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionRecord {
    /// What was wanted.
    pub change: MembershipChange,
    /// Where it stands.
    pub phase: Phase,
    /// Every replica that moves.
    pub moves: Vec<Move>,
    /// Somebody wanted it undone: what was not switched is not.
    pub canceled: bool,
}

/// How far a transition has come, in replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// All that move.
    pub total: usize,
    /// Not begun, and not all instances know of it.
    pub planned: usize,
    /// Not begun.
    pub waiting: usize,
    /// Being copied.
    pub copying: usize,
    /// Read at their new place.
    pub switched: usize,
    /// Given up.
    pub abandoned: usize,
}

impl TransitionRecord {
    /// How far it has come.
    pub fn progress(&self) -> Progress {
        let mut progress = Progress { total: self.moves.len(), ..Progress::default() };
        for moving in &self.moves {
            match moving.state {
                MoveState::Planned => progress.planned += 1,
                MoveState::Waiting => progress.waiting += 1,
                MoveState::Copying => progress.copying += 1,
                MoveState::Switched | MoveState::Left | MoveState::Cleaned => progress.switched += 1,
                MoveState::Abandoned => progress.abandoned += 1,
            }
        }
        progress
    }

    /// The moves in a state.
    pub fn in_state(&self, wanted: MoveState) -> impl Iterator<Item = (usize, &Move)> {
        self.moves.iter().enumerate().filter(move |(_, moving)| moving.state == wanted)
    }

    /// The topology after the states have become what they are, from the one before: it may have got placements for
    /// other numbers of shards meanwhile. `before`: the moves as they were.
    pub(super) fn topology(&self, now: &Topology, before: &[Move]) -> Topology {
        let (shape, mut draining) = membership(now, &self.change);
        let mut placements: BTreeMap<NonZeroU32, GroupPlacements> =
            now.all_placements().map(|(shards, groups)| (shards, groups.clone())).collect();
        let switched =
            self.moves.iter().zip(before).filter(|(new, old)| old.state.reads_old() && !new.state.reads_old());
        for (moving, _) in switched {
            let groups = placements.entry(moving.shards).or_default();
            let placement = groups.entry(moving.group).or_insert_with(|| Placement::empty(moving.shards));
            placement.exchange(moving.shard, moving.from.as_ref(), moving.to.as_ref());
        }
        // A group that holds nothing any more, or not yet, is not one to read from or to wait for.
        for groups in placements.values_mut() {
            groups.retain(|_, placement| placement.shards().any(|(_, nodes)| !nodes.is_empty()));
        }
        if self.canceled {
            self.call_off(&mut draining, &placements);
        }
        now.next(shape, placements, draining, self.besides())
    }

    /// What nodes hold besides their replicas.
    fn besides(&self) -> Vec<Besides> {
        let of = |moving: &Move| {
            let (replica, writes) = match moving.state {
                MoveState::Planned => (moving.target()?, false),
                MoveState::Waiting | MoveState::Copying => (moving.target()?, true),
                MoveState::Switched => (moving.source()?, true),
                MoveState::Left => (moving.source()?, false),
                MoveState::Abandoned => (moving.target()?, false),
                MoveState::Cleaned => return None,
            };
            let Replica { shards, shard, node } = replica;
            Some(Besides { shards, shard, node, writes })
        };
        self.moves.iter().filter_map(of).collect()
    }

    /// Who was to hold nothing goes on to hold what it has; who was to hold something and has nothing of it, does not.
    fn call_off(&self, draining: &mut BTreeSet<NodeId>, placements: &BTreeMap<NonZeroU32, GroupPlacements>) {
        let placed = |node: &NodeId| is_placed(placements.values(), node);
        match &self.change {
            MembershipChange::Drain { node } | MembershipChange::RemoveNode { node } => _ = draining.remove(node),
            MembershipChange::Undrain { node } if !placed(node) => _ = draining.insert(node.clone()),
            MembershipChange::RemoveGroup { .. } => draining.retain(|node| !placed(node)),
            MembershipChange::Undrain { .. }
            | MembershipChange::AddNode { .. }
            | MembershipChange::AddGroup { .. }
            | MembershipChange::Rebalance => {}
        }
    }

    /// The topology in the end: those who leave are no members.
    pub(super) fn last_topology(&self, now: &Topology) -> Topology {
        let (mut shape, mut draining) = (now.shape.clone(), now.draining.clone());
        let placed = |node: &NodeId| is_placed(now.all_placements().map(|(_, groups)| groups), node);
        let leaving: BTreeSet<NodeId> = match (&self.change, self.canceled) {
            (MembershipChange::RemoveNode { node }, false) => BTreeSet::from([node.clone()]),
            (MembershipChange::RemoveGroup { group }, false) => now.shape.members_of(*group).into_iter().collect(),
            (MembershipChange::AddNode { .. } | MembershipChange::AddGroup { .. }, true) => {
                self.change.joining().iter().map(|member| member.id.clone()).collect()
            }
            (MembershipChange::RemoveNode { .. } | MembershipChange::RemoveGroup { .. }, true)
            | (MembershipChange::AddNode { .. } | MembershipChange::AddGroup { .. }, false)
            | (MembershipChange::Drain { .. } | MembershipChange::Undrain { .. } | MembershipChange::Rebalance, _) => {
                BTreeSet::new()
            }
        };
        shape.members.retain(|member| !leaving.contains(&member.id) || placed(&member.id));
        draining.retain(|node| shape.members.iter().any(|member| member.id == *node));
        let placements = now.all_placements().map(|(shards, groups)| (shards, groups.clone())).collect();
        now.next(shape, placements, draining, Vec::new())
    }

    /// The group whose moves are switched all at once, since it is read only when it holds everything.
    pub(super) fn at_once(&self) -> Option<GroupId> {
        match &self.change {
            MembershipChange::AddGroup { group, .. } | MembershipChange::RemoveGroup { group } => Some(*group),
            MembershipChange::AddNode { .. }
            | MembershipChange::Drain { .. }
            | MembershipChange::Undrain { .. }
            | MembershipChange::RemoveNode { .. }
            | MembershipChange::Rebalance => None,
        }
    }
}

fn is_placed<'a>(mut placements: impl Iterator<Item = &'a GroupPlacements>, node: &NodeId) -> bool {
    placements.any(|groups| groups.values().any(|placement| placement.shards_of(node).next().is_some()))
}
