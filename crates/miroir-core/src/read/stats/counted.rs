//! How many documents an index has, from how many each node says to hold.
//!
//! Invariant: a count that is called exact is that of documents acknowledged and indexed, each counted once, whatever
//! node is away.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::id::{NodeId, ShardId};
use crate::membership::topology::GroupPlacements;

/// What is known of the nodes of an index.
pub trait Holders {
    /// The node holds every document of the shards that it is placed for, and none besides.
    fn holds_its_part_alone(&self, node: &NodeId) -> bool;
    /// The node can say what is in the shard.
    fn can_answer(&self, shard: ShardId, node: &NodeId) -> bool;
}

/// A count that was exact once, and what nodes said then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// When the index had been written to last.
    pub updated_at_ms: u64,
    /// Documents that each node said to hold.
    pub by_node: BTreeMap<NodeId, u64>,
    /// Documents of the index.
    pub documents: u64,
}

/// What follows from what the nodes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// So many documents.
    Exactly(u64),
    /// The nodes have to be asked shard by shard.
    Ask,
    /// There is a shard of which nobody can say anything.
    Unknown,
}

/// Counts an index that was written to last at `updated_at_ms`. `by_node` has what the nodes that answered say to hold
/// of it, replicas and all.
pub fn counted(
    placements: &GroupPlacements,
    by_node: &BTreeMap<NodeId, u64>,
    updated_at_ms: u64,
    holders: &impl Holders,
    remembered: Option<&Remembered>,
) -> Counted {
    let whole_group = placements.values().find_map(|placement| {
        let (mut sum, mut copies) = (0u64, None);
        let mut seen: BTreeSet<&NodeId> = BTreeSet::new();
        for (_, nodes) in placement.shards() {
            if *copies.get_or_insert(nodes.len()) != nodes.len() || nodes.is_empty() {
                return None;
            }
            for node in nodes {
                if seen.insert(node) {
                    sum = sum.saturating_add(*by_node.get(node).filter(|_| holders.holds_its_part_alone(node))?);
                }
            }
        }
        let copies = copies? as u64;
        // A write that some replicas have indexed and others have not leaves a remainder.
        Some(sum.saturating_add(copies / 2) / copies)
    });
    if let Some(documents) = whole_group {
        return Counted::Exactly(documents);
    }
    let shards = placements.values().map(|placement| placement.shard_count()).max().unwrap_or(0);
    let is_covered = |shard| {
        let mut replicas = placements.values().flat_map(|placement| placement.replicas(shard));
        replicas.any(|node| by_node.contains_key(node) && holders.can_answer(shard, node))
    };
    if !(0..shards as u32).map(ShardId).all(is_covered) {
        return Counted::Unknown;
    }
    let is_the_same = |then: &&Remembered| {
        then.updated_at_ms == updated_at_ms && by_node.iter().all(|(node, count)| then.by_node.get(node) == Some(count))
    };
    remembered.filter(is_the_same).map_or(Counted::Ask, |then| Counted::Exactly(then.documents))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::base::id::GroupId;
    use crate::membership::placement::{Placement, PlacementKind, place};

    /// Of three nodes in one group, those that are away and those that have a stale replica.
    #[derive(Default)]
    struct Nodes {
        away: BTreeSet<NodeId>,
        stale: BTreeSet<(ShardId, NodeId)>,
        with_orphans: BTreeSet<NodeId>,
    }

    impl Holders for Nodes {
        fn holds_its_part_alone(&self, node: &NodeId) -> bool {
            let stale = self.stale.iter().any(|(_, stale)| stale == node);
            !self.away.contains(node) && !stale && !self.with_orphans.contains(node)
        }

        fn can_answer(&self, shard: ShardId, node: &NodeId) -> bool {
            !self.away.contains(node) && !self.stale.contains(&(shard, node.clone()))
        }
    }

    fn node(number: usize) -> NodeId {
        NodeId::new(format!("n{number}"))
    }

    fn of_group(placements: &GroupPlacements) -> &Placement {
        &placements[&GroupId(0)]
    }

    fn placements(copies: u32) -> GroupPlacements {
        let members: Vec<NodeId> = (0..3).map(node).collect();
        let (shards, copies) = (NonZeroU32::new(8).expect("8"), NonZeroU32::new(copies).expect("some"));
        [(GroupId(0), place(PlacementKind::Balanced, None, &members, shards, copies))].into()
    }

    /// What nodes that are there say, where shard `s` has `documents[s]` documents.
    fn by_node(placements: &GroupPlacements, documents: &[u64], nodes: &Nodes) -> BTreeMap<NodeId, u64> {
        let mut by_node = BTreeMap::new();
        for (shard, holders) in of_group(placements).shards() {
            for holder in holders.iter().filter(|holder| !nodes.away.contains(*holder)) {
                *by_node.entry(holder.clone()).or_default() += documents[shard.0 as usize];
            }
        }
        by_node
    }

    proptest! {
        #[test]
        fn an_exact_count_is_that_of_the_shards(
            documents in prop::collection::vec(0u64..50, 8),
            later in prop::collection::vec(0u64..50, 8),
            copies in 1u32..4,
            away in prop::collection::btree_set((0usize..3).prop_map(node), 0..3),
        ) {
            let placements = placements(copies);
            let all = Nodes::default();
            let first = by_node(&placements, &documents, &all);
            let sum: u64 = documents.iter().sum();
            prop_assert_eq!(counted(&placements, &first, 1, &all, None), Counted::Exactly(sum));
            let then = Remembered { by_node: first, updated_at_ms: 1, documents: sum };
            let nodes = Nodes { away, ..Nodes::default() };
            // Unchanged, then changed: never a count that is not there.
            for (now, at) in [(&documents, 1), (&later, 2)] {
                let counted = counted(&placements, &by_node(&placements, now, &nodes), at, &nodes, Some(&then));
                if let Counted::Exactly(found) = counted {
                    prop_assert_eq!(found, now.iter().sum::<u64>());
                }
                let covered = of_group(&placements).shards().all(|(_, holders)| holders.iter().any(|h| !nodes.away.contains(h)));
                prop_assert_eq!(counted == Counted::Unknown, !covered);
                if covered && at == 1 {
                    prop_assert_eq!(counted, Counted::Exactly(sum));
                }
            }
        }
    }

    #[test]
    fn a_replica_that_may_lack_or_have_documents_is_not_counted_on() {
        let placements = placements(2);
        let documents = [5; 8];
        let stale = of_group(&placements).replicas(ShardId(0))[0].clone();
        let nodes = Nodes { stale: [(ShardId(0), stale)].into(), ..Nodes::default() };
        let said = by_node(&placements, &documents, &nodes);
        assert_eq!(counted(&placements, &said, 1, &nodes, None), Counted::Ask);
        let nodes = Nodes { with_orphans: [node(1)].into(), ..Nodes::default() };
        assert_eq!(counted(&placements, &said, 1, &nodes, None), Counted::Ask);
    }
}
