//! Which shards nobody can answer for right now.
//!
//! Most indexes have neither stale replicas nor lagging nodes: they are covered alike, and looked at once for
//! each number of shards. So the cost goes with what is amiss, not with the number of indexes.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use crate::base::id::{NodeId, ShardId};
use crate::membership::topology::Topology;

/// What is amiss with an index.
#[derive(Clone, Copy, Debug)]
pub struct Amiss<'a> {
    /// How many shards it has.
    pub shards: NonZeroU32,
    /// Its stale replicas.
    pub stale: Option<&'a BTreeSet<(ShardId, NodeId)>>,
    /// The nodes whose settings are lagging, ascending: no read of it asks them.
    pub lagging: &'a [&'a NodeId],
}

/// The shards, of any of these indexes, that no replica can answer for: one that is fresh, on a node that is `live` and not
/// lagging.
pub fn uncovered<'a>(
    topology: &Topology,
    live: impl Fn(&NodeId) -> bool,
    indexes: impl IntoIterator<Item = Amiss<'a>>,
) -> BTreeSet<ShardId> {
    let live: BTreeSet<&NodeId> =
        topology.shape.members.iter().map(|member| &member.id).filter(|node| live(node)).collect();
    let mut alike: BTreeMap<NonZeroU32, BTreeSet<ShardId>> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for index in indexes {
        let has_replica = |shard: ShardId, usable: &dyn Fn(&NodeId) -> bool| {
            let groups = topology.placements(index.shards).into_iter().flatten();
            groups.flat_map(|(_, placement)| placement.replicas(shard)).any(usable)
        };
        alike.entry(index.shards).or_insert_with(|| {
            let without: BTreeSet<ShardId> =
                all(index.shards).filter(|shard| !has_replica(*shard, &|node| live.contains(node))).collect();
            found.extend(&without);
            without
        });
        let is_stale = |shard: ShardId, node: &NodeId| {
            index.stale.is_some_and(|stale| !stale.is_empty() && stale.contains(&(shard, node.clone())))
        };
        let usable = |shard: ShardId, node: &NodeId| {
            live.contains(node) && !index.lagging.contains(&node) && !is_stale(shard, node)
        };
        let suspects: BTreeSet<ShardId> = match index.lagging {
            [] => index.stale.into_iter().flatten().map(|(shard, _)| *shard).collect(),
            [_, ..] => all(index.shards).collect(),
        };
        let lost = suspects.into_iter().filter(|shard| shard.0 < index.shards.get());
        found.extend(lost.filter(|shard| !has_replica(*shard, &|node| usable(*shard, node))));
    }
    found
}

fn all(shards: NonZeroU32) -> impl Iterator<Item = ShardId> {
    (0..shards.get()).map(ShardId)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::id::GroupId;
    use crate::membership::placement::PlacementKind;
    use crate::membership::topology::{Member, Shape};

    const NODES: usize = 4;

    fn node(n: usize) -> NodeId {
        NodeId::new(format!("n{n}"))
    }

    fn topology(copies: u32) -> Topology {
        let member = |n: usize| Member { id: node(n), address: format!("http://n{n}"), group: GroupId(n as u32 % 2) };
        let members = (0..NODES).map(member).collect();
        let replication_factor = NonZeroU32::new(copies).expect("not zero");
        let shape = Shape { members, replication_factor, placement: PlacementKind::Balanced };
        let topology = Topology::new(shape);
        let topology = topology.with_placement(shards(4)).unwrap_or(topology);
        topology.with_placement(shards(6)).unwrap_or(topology)
    }

    fn shards(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).expect("not zero")
    }

    #[test]
    fn each_index_is_looked_at_by_itself() {
        let topology = topology(1);
        let placements = topology.placements(shards(4)).expect("made");
        let replicas: Vec<NodeId> =
            placements.values().flat_map(|placement| placement.replicas(ShardId(3))).cloned().collect();
        assert_eq!(replicas.len(), 2);
        // One replica is stale in one index, the other one in another.
        let stale: Vec<BTreeSet<_>> =
            replicas.iter().map(|node| BTreeSet::from([(ShardId(3), node.clone())])).collect();
        let amiss = |stale| Amiss { shards: shards(4), stale: Some(stale), lagging: &[] };
        assert_eq!(uncovered(&topology, |_| true, stale.iter().map(amiss)), BTreeSet::new());
        let both: BTreeSet<_> = stale.iter().flatten().cloned().collect();
        assert_eq!(uncovered(&topology, |_| true, [amiss(&both)]), BTreeSet::from([ShardId(3)]));
    }

    type Index = (bool, Vec<(u32, usize)>, BTreeSet<usize>);

    proptest! {
        #[test]
        fn a_shard_is_uncovered_when_some_index_has_no_usable_replica_of_it(
            copies in 1u32..3,
            down in prop::collection::btree_set(0..NODES, 0..NODES),
            indexes in prop::collection::vec(
                (any::<bool>(), prop::collection::vec((0u32..8, 0..NODES), 0..12), prop::collection::btree_set(0..NODES, 0..3)),
                0..5,
            ),
        ) {
            let topology = topology(copies);
            let live = |id: &NodeId| !down.iter().any(|n| node(*n) == *id);
            let count = |index: &Index| if index.0 { shards(4) } else { shards(6) };
            let stale: Vec<BTreeSet<(ShardId, NodeId)>> = indexes
                .iter()
                .map(|index| index.1.iter().map(|(shard, n)| (ShardId(*shard), node(*n))).collect())
                .collect();
            let lagging: Vec<Vec<NodeId>> = indexes.iter().map(|index| index.2.iter().copied().map(node).collect()).collect();
            let lagging: Vec<Vec<&NodeId>> = lagging.iter().map(|nodes| nodes.iter().collect()).collect();
            let amiss = indexes.iter().zip(&stale).zip(&lagging);
            let amiss = amiss.map(|((index, stale), lagging)| Amiss { shards: count(index), stale: Some(stale), lagging });
            let found = uncovered(&topology, live, amiss);
            let mut expected = BTreeSet::new();
            for ((index, stale), lagging) in indexes.iter().zip(&stale).zip(&lagging) {
                for shard in all(count(index)) {
                    let groups = topology.placements(count(index)).expect("made");
                    let mut replicas = groups.values().flat_map(|placement| placement.replicas(shard));
                    if !replicas.any(|n| live(n) && !lagging.contains(&n) && !stale.contains(&(shard, n.clone()))) {
                        expected.insert(shard);
                    }
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
