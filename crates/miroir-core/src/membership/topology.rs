//! The topology: members, groups and placements, under one epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::base::id::{Epoch, GroupId, NodeId, ShardId};
use crate::membership::placement::{Placement, PlacementKind, place};

/// A node as a member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The operator's name for it.
    pub id: NodeId,
    /// `http://host:port`, without a trailing slash.
    pub address: String,
    /// The replica group it belongs to.
    pub group: GroupId,
}

/// What an operator can say of a cluster's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The nodes.
    pub members: Vec<Member>,
    /// Replicas of a shard within each group.
    pub replication_factor: NonZeroU32,
    /// How they are spread.
    pub placement: PlacementKind,
}

impl Shape {
    /// The groups that have members, ascending.
    pub fn groups(&self) -> Vec<GroupId> {
        let mut groups: Vec<GroupId> = self.members.iter().map(|member| member.group).collect();
        groups.sort();
        groups.dedup();
        groups
    }

    pub(crate) fn members_of(&self, group: GroupId) -> Vec<NodeId> {
        self.members.iter().filter(|member| member.group == group).map(|member| member.id.clone()).collect()
    }
}

/// The placements of one `S`: one per group.
pub type GroupPlacements = BTreeMap<GroupId, Placement>;

/// Members and placements, valid together under one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// Rises with every change.
    pub epoch: Epoch,
    /// Who takes part.
    pub shape: Shape,
    /// By `S`: indexes with the same number of shards share their placement.
    placements: BTreeMap<NonZeroU32, GroupPlacements>,
    /// Members that are not to hold anything.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub draining: BTreeSet<NodeId>,
    /// What nodes hold besides the replicas that they are placed for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    besides: Vec<Besides>,
}

/// Documents of a shard on a node that is not, or not yet, one of its replicas.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Besides {
    /// Of indexes with so many shards.
    pub shards: NonZeroU32,
    /// The shard.
    pub shard: ShardId,
    /// The node.
    pub node: NodeId,
    /// Whether it takes the writes of the shard: it is to become a replica, or instances may still read it as one.
    pub writes: bool,
}

impl Topology {
    /// The first topology of a cluster.
    pub fn new(shape: Shape) -> Self {
        Self { epoch: Epoch(1), shape, placements: BTreeMap::new(), draining: BTreeSet::new(), besides: Vec::new() }
    }

    /// This topology with a placement for indexes of `shards` shards; `None` when it has one already.
    pub fn with_placement(&self, shards: NonZeroU32) -> Option<Self> {
        if self.placements.contains_key(&shards) {
            return None;
        }
        let by_group = self
            .shape
            .groups()
            .into_iter()
            .map(|group| (group, self.active_members(group)))
            .filter(|(_, members)| !members.is_empty())
            .map(|(group, members)| {
                (group, place(self.shape.placement, None, &members, shards, self.shape.replication_factor))
            })
            .collect();
        let mut next = self.clone();
        next.placements.insert(shards, by_group);
        Some(next)
    }

    /// The placements for indexes of `shards` shards; none before [`Topology::with_placement`].
    pub fn placements(&self, shards: NonZeroU32) -> Option<&GroupPlacements> {
        self.placements.get(&shards)
    }

    /// Those members of a group that are to hold something.
    pub fn active_members(&self, group: GroupId) -> Vec<NodeId> {
        self.shape.members_of(group).into_iter().filter(|node| !self.draining.contains(node)).collect()
    }

    /// Who takes the writes of a shard besides its replicas.
    pub fn also_writes(&self, shards: NonZeroU32, shard: ShardId) -> impl Iterator<Item = &NodeId> {
        let wanted = move |other: &&Besides| other.writes && other.shards == shards && other.shard == shard;
        self.besides.iter().filter(wanted).map(|other| &other.node)
    }

    /// Everybody who takes the writes of a shard, each once.
    pub fn writers(&self, shards: NonZeroU32, shard: ShardId) -> BTreeSet<&NodeId> {
        let placed = self.placements.get(&shards).into_iter().flat_map(BTreeMap::values);
        placed.flat_map(|placement| placement.replicas(shard)).chain(self.also_writes(shards, shard)).collect()
    }

    /// Whether a node takes the writes of a shard. Whoever else is on the list of stale replicas was put there by a write
    /// that was begun before it ceased to, and is not mirrored to. Nor is one that takes writes without being a replica,
    /// but when the transition has it copied: instances on an older epoch do not write to it yet, and do not say so.
    pub fn takes_writes(&self, shards: NonZeroU32, shard: ShardId, node: &NodeId) -> bool {
        let placed = || self.placements.get(&shards).into_iter().flat_map(BTreeMap::values);
        placed().any(|placement| placement.replicas(shard).contains(node))
            || self.also_writes(shards, shard).any(|other| other == node)
    }

    /// What nodes hold besides the replicas that they are placed for. Everything else that a node holds is orphaned.
    pub fn besides(&self) -> &[Besides] {
        &self.besides
    }

    /// Whether a node may hold documents of shards that it is not placed for, so that it must be told which to answer for.
    pub fn may_hold_more(&self, shards: NonZeroU32, node: &NodeId) -> bool {
        self.besides.iter().any(|other| other.shards == shards && other.node == *node)
    }

    /// The next topology.
    pub(crate) fn next(
        &self,
        shape: Shape,
        placements: BTreeMap<NonZeroU32, GroupPlacements>,
        draining: BTreeSet<NodeId>,
        besides: Vec<Besides>,
    ) -> Self {
        Self { epoch: Epoch(self.epoch.0.saturating_add(1)), shape, placements, draining, besides }
    }

    /// Every placement there is.
    pub fn all_placements(&self) -> impl Iterator<Item = (NonZeroU32, &GroupPlacements)> {
        self.placements.iter().map(|(shards, groups)| (*shards, groups))
    }

    /// Every (shard, node) pair of every group, for indexes of `shards` shards.
    pub fn replicas(&self, shards: NonZeroU32) -> impl Iterator<Item = (ShardId, &NodeId)> {
        self.placements
            .get(&shards)
            .into_iter()
            .flat_map(|groups| groups.values())
            .flat_map(|placement| placement.shards())
            .flat_map(|(shard, nodes)| nodes.iter().map(move |node| (shard, node)))
    }

    /// What the configuration says differently, in words; empty when both agree.
    pub fn differences(&self, configured: &Shape) -> Vec<String> {
        let mut found = Vec::new();
        let ours: BTreeMap<&NodeId, &Member> = self.shape.members.iter().map(|m| (&m.id, m)).collect();
        let theirs: BTreeMap<&NodeId, &Member> = configured.members.iter().map(|m| (&m.id, m)).collect();
        for (id, member) in &theirs {
            match ours.get(id) {
                None => found.push(format!("node {id} is configured but not a member")),
                Some(known) if known.group != member.group => found.push(format!(
                    "node {id} is configured for group {} but belongs to group {}",
                    member.group, known.group
                )),
                Some(_) => {}
            }
        }
        for id in ours.keys().filter(|id| !theirs.contains_key(*id)) {
            found.push(format!("node {id} is a member but not configured"));
        }
        if self.shape.replication_factor != configured.replication_factor {
            found.push(format!(
                "replication_factor is configured as {} but the cluster was made with {}",
                configured.replication_factor, self.shape.replication_factor
            ));
        }
        if self.shape.placement != configured.placement {
            found.push("placement is configured differently from how the cluster was made".into());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(nodes: &[(&str, u32)]) -> Shape {
        Shape {
            members: nodes
                .iter()
                .map(|(id, group)| Member {
                    id: NodeId::new(*id),
                    address: format!("http://{id}:7700"),
                    group: GroupId(*group),
                })
                .collect(),
            replication_factor: NonZeroU32::MIN,
            placement: PlacementKind::Balanced,
        }
    }

    #[test]
    fn every_group_holds_every_shard() {
        let shards = NonZeroU32::new(16).expect("not zero");
        let topology = Topology::new(shape(&[("a", 0), ("b", 0), ("c", 1)])).with_placement(shards).expect("new");
        assert_eq!(topology.replicas(shards).count(), 32);
        assert!(topology.with_placement(shards).is_none(), "a placement is made once");
        assert_eq!(topology.placements(shards).map(BTreeMap::len), Some(2));
    }

    #[test]
    fn differences_name_the_node() {
        let topology = Topology::new(shape(&[("a", 0), ("b", 0)]));
        assert!(topology.differences(&shape(&[("a", 0), ("b", 0)])).is_empty());
        let found = topology.differences(&shape(&[("a", 1), ("c", 0)]));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().any(|d| d.contains("node c is configured but not a member")), "{found:?}");
        assert!(found.iter().any(|d| d.contains("node b is a member but not configured")), "{found:?}");
    }
}
