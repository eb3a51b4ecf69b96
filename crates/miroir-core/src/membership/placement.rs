//! Placement: which nodes of one group hold which shards.
//!
//! Invariants of a balanced placement of `S` shards with `RF` replicas on `n` nodes, where `S*RF = q*n + r`:
//! every shard has `RF` different nodes, every node holds `q` or `q+1` replicas, `r` nodes hold the extra one.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh64::xxh64;

use crate::base::id::{NodeId, ShardId};

/// How replicas are spread over the nodes of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacementKind {
    /// Every node holds its share, and a membership change moves the least that keeps it so.
    #[default]
    Balanced,
    /// The top `RF` nodes by score: a function of the member list alone, without any bound on a node's share.
    Rendezvous,
}

/// The replicas of every shard of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Placement {
    /// Indexed by shard; the nodes of a shard by falling score.
    replicas: Vec<Vec<NodeId>>,
}

impl Placement {
    /// The nodes that hold a shard; none when the shard is out of range.
    pub fn replicas(&self, shard: ShardId) -> &[NodeId] {
        self.replicas.get(shard.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// Every shard with its nodes, ascending.
    pub fn shards(&self) -> impl Iterator<Item = (ShardId, &[NodeId])> {
        self.replicas.iter().enumerate().map(|(shard, nodes)| (ShardId(shard as u32), nodes.as_slice()))
    }

    /// The shards that a node holds, ascending.
    pub fn shards_of<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = ShardId> + 'a {
        self.shards().filter(move |(_, nodes)| nodes.contains(node)).map(|(shard, _)| shard)
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.replicas.len()
    }

    /// No shard has a replica here.
    pub(crate) fn empty(shards: NonZeroU32) -> Self {
        Self { replicas: vec![Vec::new(); shards.get() as usize] }
    }

    /// One replica moves, comes or goes. What [`place`] makes of the same nodes is the same placement.
    pub(crate) fn exchange(&mut self, shard: ShardId, from: Option<&NodeId>, to: Option<&NodeId>) {
        let Some(nodes) = self.replicas.get_mut(shard.0 as usize) else { return };
        nodes.retain(|node| Some(node) != from);
        nodes.extend(to.filter(|to| !nodes.contains(to)).cloned().into_iter().collect::<Vec<_>>());
        nodes.sort_by_key(|node| (std::cmp::Reverse(score(shard, node)), node.clone()));
    }
}

/// Place `shards` shards with `replication_factor` replicas on `members`, moving as little as possible from `previous`.
///
/// A replication factor above the number of members gives every member every shard.
pub fn place(
    kind: PlacementKind,
    previous: Option<&Placement>,
    members: &[NodeId],
    shards: NonZeroU32,
    replication_factor: NonZeroU32,
) -> Placement {
    let copies = (replication_factor.get() as usize).min(members.len());
    match kind {
        PlacementKind::Rendezvous => rendezvous(members, shards, copies),
        PlacementKind::Balanced => Layout::new(members, shards, copies, previous).finish(),
    }
}

fn score(shard: ShardId, node: &NodeId) -> u64 {
    xxh64(node.as_str().as_bytes(), u64::from(shard.0))
}

fn rendezvous(members: &[NodeId], shards: NonZeroU32, copies: usize) -> Placement {
    let replicas = (0..shards.get())
        .map(|shard| {
            let mut ranked = members.to_vec();
            ranked.sort_by_key(|node| (std::cmp::Reverse(score(ShardId(shard), node)), node.clone()));
            ranked.truncate(copies);
            ranked
        })
        .collect();
    Placement { replicas }
}

/// A balanced placement in the making; nodes are positions in `members`.
struct Layout<'a> {
    members: &'a [NodeId],
    copies: usize,
    /// `scores[shard][node]`
    scores: Vec<Vec<u64>>,
    /// `holders[shard]`
    holders: Vec<Vec<usize>>,
    counts: Vec<usize>,
    caps: Vec<usize>,
}

impl<'a> Layout<'a> {
    fn new(members: &'a [NodeId], shards: NonZeroU32, copies: usize, previous: Option<&Placement>) -> Self {
        let scores: Vec<Vec<u64>> =
            (0..shards.get()).map(|shard| members.iter().map(|node| score(ShardId(shard), node)).collect()).collect();
        let position: BTreeMap<&NodeId, usize> = members.iter().enumerate().map(|(i, node)| (node, i)).collect();
        let mut layout = Self {
            members,
            copies,
            holders: vec![Vec::with_capacity(copies); scores.len()],
            scores,
            counts: vec![0; members.len()],
            caps: vec![0; members.len()],
        };
        if let Some(previous) = previous {
            layout.keep(previous, &position);
        }
        layout.set_caps();
        layout.release_excess();
        layout
    }

    /// Take over what the members already hold, at most `copies` a shard, best scores first.
    fn keep(&mut self, previous: &Placement, position: &BTreeMap<&NodeId, usize>) {
        for shard in 0..self.holders.len() {
            let mut kept: Vec<usize> = previous
                .replicas(ShardId(shard as u32))
                .iter()
                .filter_map(|node| position.get(node).copied())
                .collect();
            kept.sort_by_key(|&node| std::cmp::Reverse(self.scores[shard][node]));
            kept.truncate(self.copies);
            for node in kept {
                self.give(shard, node);
            }
        }
    }

    /// The extra replicas stay with the nodes that hold most, so that least has to move; ties by member order.
    fn set_caps(&mut self) {
        let Some(share) = (self.holders.len() * self.copies).checked_div(self.members.len()) else { return };
        let extras = self.holders.len() * self.copies - share * self.members.len();
        let mut by_load: Vec<usize> = (0..self.members.len()).collect();
        by_load.sort_by_key(|&node| std::cmp::Reverse(self.counts[node]));
        for (rank, node) in by_load.into_iter().enumerate() {
            self.caps[node] = share + usize::from(rank < extras);
        }
    }

    fn release_excess(&mut self) {
        for node in 0..self.members.len() {
            let mut held: Vec<usize> =
                (0..self.holders.len()).filter(|&shard| self.holders[shard].contains(&node)).collect();
            held.sort_by_key(|&shard| self.scores[shard][node]);
            let excess = self.counts[node].saturating_sub(self.caps[node]);
            for shard in held.into_iter().take(excess) {
                self.take(shard, node);
            }
        }
    }

    fn give(&mut self, shard: usize, node: usize) {
        self.holders[shard].push(node);
        self.counts[node] += 1;
    }

    fn take(&mut self, shard: usize, node: usize) {
        self.holders[shard].retain(|&holder| holder != node);
        self.counts[node] -= 1;
    }

    fn has_room(&self, node: usize) -> bool {
        self.counts[node] < self.caps[node]
    }

    fn finish(mut self) -> Placement {
        self.fill();
        for shard in 0..self.holders.len() {
            while self.holders[shard].len() < self.copies {
                self.give_by_exchange(shard);
            }
        }
        let replicas = self
            .holders
            .iter()
            .zip(&self.scores)
            .map(|(holders, scores)| {
                let mut holders = holders.clone();
                holders.sort_by_key(|&node| (std::cmp::Reverse(scores[node]), node));
                holders.into_iter().map(|node| self.members[node].clone()).collect()
            })
            .collect();
        Placement { replicas }
    }

    /// Walk all pairs by falling score and give while there is room.
    fn fill(&mut self) {
        let mut pairs: Vec<(u64, usize, usize)> = Vec::new();
        for shard in 0..self.holders.len() {
            if self.holders[shard].len() < self.copies {
                pairs.extend(self.scores[shard].iter().enumerate().map(|(node, &score)| (score, shard, node)));
            }
        }
        pairs.sort_unstable_by_key(|&(score, shard, node)| (std::cmp::Reverse(score), shard, node));
        for (_, shard, node) in pairs {
            let holders = &self.holders[shard];
            if holders.len() < self.copies && self.has_room(node) && !holders.contains(&node) {
                self.give(shard, node);
            }
        }
    }

    /// Give `shard` one more replica although only nodes that already hold it have room: such a node takes over
    /// another shard of a full node, which takes this one.
    ///
    /// The exchange always exists: the full node holds at least as many shards as the one with room, and not this one.
    fn give_by_exchange(&mut self, shard: usize) {
        let nodes = 0..self.members.len();
        let free = nodes.clone().filter(|&node| self.has_room(node));
        let exchange = free
            .flat_map(|free| nodes.clone().map(move |full| (free, full)))
            .filter(|&(_, full)| !self.holders[shard].contains(&full))
            .flat_map(|(free, full)| (0..self.holders.len()).map(move |other| (free, full, other)))
            .filter(|&(free, full, other)| self.holders[other].contains(&full) && !self.holders[other].contains(&free))
            .max_by_key(|&(free, full, other)| self.scores[other][free].min(self.scores[shard][full]));
        match exchange {
            Some((free, full, other)) => {
                self.take(other, full);
                self.give(other, free);
                self.give(shard, full);
            }
            None => {
                // Unreachable by the argument above; a node over its share is better than a lost replica.
                let spare = nodes.clone().find(|node| !self.holders[shard].contains(node));
                if let Some(node) = spare {
                    self.give(shard, node);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn nodes(names: impl IntoIterator<Item = usize>) -> Vec<NodeId> {
        names.into_iter().map(|i| NodeId::new(format!("meili-{i}"))).collect()
    }

    fn count(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).expect("not zero")
    }

    fn loads(placement: &Placement, members: &[NodeId]) -> Vec<usize> {
        members.iter().map(|node| placement.shards_of(node).count()).collect()
    }

    fn assert_balanced(placement: &Placement, members: &[NodeId], shards: u32, copies: u32) {
        let copies = (copies as usize).min(members.len());
        let share = shards as usize * copies / members.len();
        for (shard, replicas) in placement.shards() {
            let distinct: BTreeSet<_> = replicas.iter().collect();
            assert_eq!(distinct.len(), copies, "shard {shard} has {replicas:?}");
        }
        for load in loads(placement, members) {
            assert!((share..=share + 1).contains(&load), "load {load}, share {share}");
        }
    }

    fn moved(before: &Placement, after: &Placement) -> usize {
        after
            .shards()
            .map(|(shard, replicas)| replicas.iter().filter(|n| !before.replicas(shard).contains(n)).count())
            .sum()
    }

    #[test]
    fn sixteen_shards_on_three_nodes_are_five_or_six_each() {
        let members = nodes(0..3);
        let placement = place(PlacementKind::Balanced, None, &members, count(16), count(1));
        assert_balanced(&placement, &members, 16, 1);
    }

    #[test]
    fn a_joining_node_costs_exactly_its_share() {
        let three = nodes(0..3);
        let four = nodes(0..4);
        let before = place(PlacementKind::Balanced, None, &three, count(64), count(2));
        let after = place(PlacementKind::Balanced, Some(&before), &four, count(64), count(2));
        assert_balanced(&after, &four, 64, 2);
        assert_eq!(moved(&before, &after), 32);
    }

    #[test]
    fn nothing_moves_when_nothing_changes() {
        let members = nodes(0..5);
        let before = place(PlacementKind::Balanced, None, &members, count(64), count(3));
        assert_eq!(place(PlacementKind::Balanced, Some(&before), &members, count(64), count(3)), before);
    }

    proptest! {
        #[test]
        fn balanced_placement_holds_its_invariants(n in 1usize..13, shards in 1u32..130, copies in 1u32..5) {
            let members = nodes(0..n);
            let placement = place(PlacementKind::Balanced, None, &members, count(shards), count(copies));
            assert_balanced(&placement, &members, shards, copies);
        }

        #[test]
        fn membership_changes_keep_the_invariants_and_move_little(
            n in 1usize..10, joins in 0usize..3, leaves in 0usize..3, shards in 1u32..130, copies in 1u32..4,
        ) {
            let old = nodes(0..n);
            let new = nodes(leaves.min(n - 1)..n + joins);
            let before = place(PlacementKind::Balanced, None, &old, count(shards), count(copies));
            let after = place(PlacementKind::Balanced, Some(&before), &new, count(shards), count(copies));
            assert_balanced(&after, &new, shards, copies);
            // What must move: the replicas that left, and what joining nodes take over; an exchange costs at most one more each.
            let had = before.shards().map(|(_, r)| r.iter().filter(|n| new.contains(n)).count()).sum::<usize>();
            let need = after.shards().map(|(_, r)| r.len()).sum::<usize>() - had;
            let joined: usize = new.iter().filter(|n| !old.contains(n)).map(|n| after.shards_of(n).count()).sum();
            let bound = need.max(joined) * 2 + new.len();
            prop_assert!(moved(&before, &after) <= bound, "{} moved, bound {bound}", moved(&before, &after));
        }

        #[test]
        fn rendezvous_depends_on_the_members_alone(n in 1usize..10, shards in 1u32..64) {
            let members = nodes(0..n);
            let reversed: Vec<NodeId> = members.iter().rev().cloned().collect();
            let a = place(PlacementKind::Rendezvous, None, &members, count(shards), count(2));
            let b = place(PlacementKind::Rendezvous, None, &reversed, count(shards), count(2));
            prop_assert_eq!(a, b);
        }
    }
}
