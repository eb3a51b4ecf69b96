//! What a change amounts to: which replicas move.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::change::{MembershipChange, Refused};
use super::record::{Phase, TransitionRecord};
use crate::base::id::{GroupId, NodeId, ShardId};
use crate::membership::placement::{Placement, place};
use crate::membership::topology::{Member, Shape, Topology};
use crate::replica::recovery;

/// One replica of a shard, of all indexes with so many shards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Replica {
    /// Of indexes with so many shards.
    pub shards: NonZeroU32,
    /// The shard.
    pub shard: ShardId,
    /// Where it is.
    pub node: NodeId,
}

/// A replica that moves, comes (`from` is none) or goes (`to` is none).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Of indexes with so many shards.
    pub shards: NonZeroU32,
    /// The shard.
    pub shard: ShardId,
    /// The group in which it moves.
    pub group: GroupId,
    /// Who gives it up.
    pub from: Option<NodeId>,
    /// Who gets it.
    pub to: Option<NodeId>,
    /// How far it has come.
    pub state: MoveState,
}

/// How far a move has come. What is said of instances holds once the record's epoch is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveState {
    /// All know that the node of the new replica may hold more than it is read for.
    Planned,
    /// The new replica takes writes, and is stale.
    Waiting,
    /// It is being mirrored.
    Copying,
    /// All read from the new replica; the old one takes writes.
    Switched,
    /// Nobody writes to the old one.
    Left,
    /// It was given up before the switch: nobody writes to the new one.
    Abandoned,
    /// Nothing is left where nothing should be.
    Cleaned,
}

impl MoveState {
    /// Whether the old replica is read.
    pub fn reads_old(self) -> bool {
        match self {
            Self::Planned | Self::Waiting | Self::Copying | Self::Abandoned => true,
            Self::Switched | Self::Left | Self::Cleaned => false,
        }
    }
}

impl Move {
    /// The replica that comes into being.
    pub fn target(&self) -> Option<Replica> {
        Some(Replica { shards: self.shards, shard: self.shard, node: self.to.clone()? })
    }

    /// The replica that goes.
    pub fn source(&self) -> Option<Replica> {
        Some(Replica { shards: self.shards, shard: self.shard, node: self.from.clone()? })
    }
}

/// What is known of the nodes that a change is about.
pub trait CandidateFacts {
    /// Whether a node answers, and if it is to join: what it was found to be.
    ///
    /// # Errors
    /// Why it will not do.
    fn fit(&self, member: &Member) -> Result<(), Refused>;
    /// A shard that no other node that answers holds completely, if this one does not answer.
    fn only_copy(&self, node: &NodeId) -> Option<ShardId>;
}

/// What was found of a node that is to join, as a refusal if it is one.
///
/// # Errors
/// [`Refused::Unfit`]
pub fn fit(member: &Member, verdict: &recovery::ProbeVerdict) -> Result<(), Refused> {
    match verdict {
        recovery::ProbeVerdict::Take(_) => Ok(()),
        recovery::ProbeVerdict::Refuse(why) => Err(Refused::Unfit { node: member.id.clone(), why: why.clone() }),
    }
}

/// Begin a change.
///
/// # Errors
/// [`Refused`]; nothing is changed then.
pub fn begin(
    topology: &Topology,
    change: MembershipChange,
    under_way: bool,
    known: &impl CandidateFacts,
) -> Result<TransitionRecord, Refused> {
    if under_way {
        return Err(Refused::UnderWay);
    }
    refuse(topology, &change, known)?;
    let moves = moves(topology, &change);
    Ok(TransitionRecord { change, phase: Phase::Preparing, moves, canceled: false })
}

/// The replicas that move, as the topology is now.
pub(super) fn moves(topology: &Topology, change: &MembershipChange) -> Vec<Move> {
    let (shape, draining) = membership(topology, change);
    let groups = match change {
        MembershipChange::AddNode { member } => vec![member.group],
        MembershipChange::Drain { node }
        | MembershipChange::RemoveNode { node }
        | MembershipChange::Undrain { node } => group_of(topology, node).into_iter().collect(),
        MembershipChange::AddGroup { group, .. } | MembershipChange::RemoveGroup { group } => vec![*group],
        MembershipChange::Rebalance => shape.groups(),
    };
    let mut moves = Vec::new();
    for group in groups {
        let active: Vec<NodeId> = shape.members_of(group).into_iter().filter(|node| !draining.contains(node)).collect();
        for (shards, placements) in topology.all_placements() {
            let nothing = Placement::empty(shards);
            let before = placements.get(&group);
            let after = match active.as_slice() {
                [] => nothing.clone(),
                active => place(shape.placement, before, active, shards, shape.replication_factor),
            };
            moves.extend(moves_between(shards, group, before.unwrap_or(&nothing), &after));
        }
    }
    moves
}

/// Who is a member, and who of them is to hold nothing, while a change goes on.
pub(super) fn membership(topology: &Topology, change: &MembershipChange) -> (Shape, BTreeSet<NodeId>) {
    let (mut shape, mut draining) = (topology.shape.clone(), topology.draining.clone());
    let known: BTreeSet<NodeId> = shape.members.iter().map(|member| member.id.clone()).collect();
    shape.members.extend(change.joining().iter().filter(|member| !known.contains(&member.id)).cloned());
    match change {
        MembershipChange::AddNode { .. } | MembershipChange::AddGroup { .. } | MembershipChange::Rebalance => {}
        MembershipChange::Drain { node } | MembershipChange::RemoveNode { node } => _ = draining.insert(node.clone()),
        MembershipChange::Undrain { node } => _ = draining.remove(node),
        MembershipChange::RemoveGroup { group } => draining.extend(shape.members_of(*group)),
    }
    (shape, draining)
}

fn group_of(topology: &Topology, node: &NodeId) -> Result<GroupId, Refused> {
    let member = topology.shape.members.iter().find(|member| member.id == *node);
    member.map(|member| member.group).ok_or_else(|| Refused::UnknownNode(node.clone()))
}

fn moves_between(shards: NonZeroU32, group: GroupId, before: &Placement, after: &Placement) -> Vec<Move> {
    let mut moves = Vec::new();
    for (shard, new) in after.shards() {
        let old = before.replicas(shard);
        let mut from = old.iter().filter(|node| !new.contains(node));
        let mut to = new.iter().filter(|node| !old.contains(node));
        loop {
            let (from, to) = (from.next().cloned(), to.next().cloned());
            if from.is_none() && to.is_none() {
                break;
            }
            moves.push(Move { shards, shard, group, from, to, state: MoveState::Planned });
        }
    }
    moves
}

fn refuse(topology: &Topology, change: &MembershipChange, known: &impl CandidateFacts) -> Result<(), Refused> {
    let members = &topology.shape.members;
    match change {
        MembershipChange::Rebalance => {}
        MembershipChange::AddNode { member } => {
            if !members.iter().any(|other| other.group == member.group) {
                return Err(Refused::UnknownGroup(member.group));
            }
        }
        MembershipChange::AddGroup { group, members: new } => {
            if members.iter().any(|other| other.group == *group) {
                return Err(Refused::DuplicateGroup(*group));
            }
            if new.is_empty() || new.iter().any(|member| member.group != *group) {
                return Err(Refused::BadGroup);
            }
        }
        MembershipChange::Undrain { node } => {
            group_of(topology, node)?;
            if !topology.draining.contains(node) {
                return Err(Refused::NotDraining(node.clone()));
            }
        }
        MembershipChange::Drain { node } | MembershipChange::RemoveNode { node } => {
            refuse_to_lose(topology, change, node, known)?
        }
        MembershipChange::RemoveGroup { group } => {
            let groups = topology.shape.groups();
            if !groups.contains(group) {
                return Err(Refused::UnknownGroup(*group));
            }
            let others = groups.iter().filter(|other| *other != group);
            if others.clone().all(|other| topology.active_members(*other).is_empty()) {
                return Err(Refused::LastGroup(*group));
            }
            for member in members.iter().filter(|member| member.group == *group) {
                refuse_only_copy(&member.id, known)?;
            }
        }
    }
    refuse_joining(members, change.joining(), known)
}

fn refuse_to_lose(
    topology: &Topology,
    change: &MembershipChange,
    node: &NodeId,
    known: &impl CandidateFacts,
) -> Result<(), Refused> {
    let group = group_of(topology, node)?;
    let drained = topology.draining.contains(node);
    if drained && matches!(change, MembershipChange::Drain { .. }) {
        return Err(Refused::AlreadyDraining(node.clone()));
    }
    if !drained && topology.active_members(group).iter().all(|other| other == node) {
        return Err(Refused::LastReplica(node.clone()));
    }
    refuse_only_copy(node, known)
}

fn refuse_only_copy(node: &NodeId, known: &impl CandidateFacts) -> Result<(), Refused> {
    known.only_copy(node).map_or(Ok(()), |shard| Err(Refused::OnlyCopy { node: node.clone(), shard }))
}

fn refuse_joining(members: &[Member], joining: &[Member], known: &impl CandidateFacts) -> Result<(), Refused> {
    let mut ids: BTreeSet<&NodeId> = members.iter().map(|member| &member.id).collect();
    let mut addresses: BTreeMap<&str, &NodeId> = members.iter().map(|m| (m.address.as_str(), &m.id)).collect();
    for member in joining {
        if !ids.insert(&member.id) {
            return Err(Refused::DuplicateNode(member.id.clone()));
        }
        if let Some(other) = addresses.insert(&member.address, &member.id) {
            return Err(Refused::DuplicateAddress { node: other.clone(), address: member.address.clone() });
        }
        known.fit(member)?;
    }
    Ok(())
}
