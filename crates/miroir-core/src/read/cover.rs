//! The covering set: for one read, which node answers for which shards.
//!
//! Invariant: every shard of the request is in exactly one assignment, or in `missing`.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh64::xxh64;

use crate::base::id::{GroupId, NodeId, ShardId};
use crate::config::{SelectionConfig, SelectionStrategy};
use crate::membership::topology::GroupPlacements;

/// How usable a replica is right now. The order is preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// Live, and it holds every acknowledged write.
    Fresh,
    /// Live, but it may have missed a write: the last resort.
    Stale,
}

/// The facts about replicas that planning needs.
pub trait Replicas {
    /// `None`: not to be asked at all.
    fn freshness(&self, shard: ShardId, node: &NodeId) -> Option<Freshness>;
    /// The expected cost of asking this node; lower is better. Nodes within [`SLACK`] of the best are equals.
    fn cost(&self, node: &NodeId) -> f64;
    /// Whether the node may hold documents of shards that it is not placed for: it is to become their replica, or has
    /// just been one. Without a shard filter they would be counted twice.
    fn may_hold_more(&self, _node: &NodeId) -> bool {
        false
    }
}

/// A replica is considered while its cost is within this factor of the best replica's.
pub const SLACK: f64 = 1.5;

/// How one read chooses among usable replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preference {
    /// Replicas that cost much more than the best are not considered.
    by_cost: bool,
    order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Rendezvous: equal seeds prefer equal nodes.
    Rendezvous(u64),
    /// The nodes of a group in turn.
    RoundRobin(u64),
}

impl Preference {
    /// The preference of one read. Equal requests (paging aside) have equal fingerprints and so ask the same replicas
    /// under `adaptive`, but for the share of reads that explores. `round` counts reads; `seed` is random.
    pub fn new(selection: &SelectionConfig, fingerprint: u64, round: u64, seed: u64) -> Self {
        let random = Self { by_cost: false, order: Order::Rendezvous(seed) };
        match selection.strategy {
            SelectionStrategy::Adaptive if share(seed) < selection.exploration_epsilon => random,
            SelectionStrategy::Adaptive => Self { by_cost: true, order: Order::Rendezvous(fingerprint) },
            SelectionStrategy::RoundRobin => Self { by_cost: false, order: Order::RoundRobin(round) },
            SelectionStrategy::Random => random,
        }
    }
}

impl Preference {
    /// The preference of reads whose hits nodes do not rank: only the same replicas return them in the same order.
    pub fn steady(fingerprint: u64) -> Self {
        Self { by_cost: false, order: Order::Rendezvous(fingerprint) }
    }
}

/// A random number as one of 0 (inclusive) to 1 (exclusive): its upper 53 bits, which are all that a float holds.
fn share(seed: u64) -> f64 {
    (seed >> 11) as f64 / (1u64 << 53) as f64
}

/// What a read wants.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Where the shards are.
    pub placements: &'a GroupPlacements,
    /// The group to ask first; others lend only what it cannot answer.
    pub group: GroupId,
    /// The shards to be answered for, ascending.
    pub shards: &'a [ShardId],
    /// Which of several usable replicas.
    pub preference: Preference,
    /// Whether a stale replica may answer when no fresh one is left.
    pub allow_stale: bool,
}

/// One node's part of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Who is asked.
    pub node: NodeId,
    /// For which shards, ascending.
    pub shards: Vec<ShardId>,
    /// The node is placed for other shards as well: without a shard filter it would answer for those too.
    pub needs_filter: bool,
}

/// Which node answers for which shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoverPlan {
    /// Ordered by node, so that ties between hits break the same way each time.
    pub assignments: Vec<Assignment>,
    /// Shards that no replica can answer.
    pub missing: Vec<ShardId>,
    /// Shards that a stale replica answers.
    pub stale: Vec<ShardId>,
}

/// Choose the fewest nodes that together answer for every shard, once each.
pub fn plan(wanted: &Wanted<'_>, replicas: &impl Replicas) -> CoverPlan {
    let mut result = CoverPlan::default();
    let mut candidates: BTreeMap<ShardId, Vec<&NodeId>> = BTreeMap::new();
    for &shard in wanted.shards {
        match candidates_of(wanted, replicas, shard) {
            Some((nodes, freshness)) => {
                if freshness == Freshness::Stale {
                    result.stale.push(shard);
                }
                candidates.insert(shard, nodes);
            }
            None => result.missing.push(shard),
        }
    }
    let affinity = Affinity::of(wanted);
    let chosen = fewest_nodes(&candidates, &affinity);
    result.assignments = assign(&candidates, &chosen, &affinity)
        .into_iter()
        .map(|(node, shards)| Assignment {
            needs_filter: holds_more(wanted.placements, node, shards.len()) || replicas.may_hold_more(node),
            node: node.clone(),
            shards,
        })
        .collect();
    result
}

/// The replicas that may answer for a shard: fresh ones, wherever they are, before stale ones; among those of one kind the
/// preferred group's if it has any; and of these the ones that are not much slower than the best.
fn candidates_of<'a>(
    wanted: &Wanted<'a>,
    replicas: &impl Replicas,
    shard: ShardId,
) -> Option<(Vec<&'a NodeId>, Freshness)> {
    let others = wanted.placements.keys().copied().filter(|group| *group != wanted.group);
    let groups: Vec<GroupId> = std::iter::once(wanted.group).chain(others).collect();
    let levels: &[Freshness] =
        if wanted.allow_stale { &[Freshness::Fresh, Freshness::Stale] } else { &[Freshness::Fresh] };
    for &level in levels {
        for group in &groups {
            let Some(placement) = wanted.placements.get(group) else { continue };
            let usable: Vec<&NodeId> = placement
                .replicas(shard)
                .iter()
                .filter(|node| replicas.freshness(shard, node) == Some(level))
                .collect();
            if !usable.is_empty() {
                return Some((if wanted.preference.by_cost { cheap(usable, replicas) } else { usable }, level));
            }
        }
    }
    None
}

/// Those that are not much slower than the best; never none of them.
fn cheap<'a>(usable: Vec<&'a NodeId>, replicas: &impl Replicas) -> Vec<&'a NodeId> {
    let best = usable.iter().map(|node| replicas.cost(node)).fold(f64::INFINITY, f64::min);
    let near: Vec<&NodeId> = usable.iter().copied().filter(|node| replicas.cost(node) <= best * SLACK).collect();
    // Empty only when costs are not numbers.
    if near.is_empty() { usable } else { near }
}

/// Greedy set cover; ties go to the node of the highest affinity.
fn fewest_nodes<'a>(candidates: &BTreeMap<ShardId, Vec<&'a NodeId>>, affinity: &Affinity<'_>) -> BTreeSet<&'a NodeId> {
    let mut chosen = BTreeSet::new();
    let mut open: Vec<&Vec<&NodeId>> = candidates.values().collect();
    while !open.is_empty() {
        let mut answers: BTreeMap<&NodeId, usize> = BTreeMap::new();
        for node in open.iter().flat_map(|nodes| nodes.iter()) {
            *answers.entry(node).or_default() += 1;
        }
        let best = answers.into_iter().max_by_key(|&(node, count)| (count, affinity.to(node), node));
        let Some((node, _)) = best else { break };
        chosen.insert(node);
        open.retain(|nodes| !nodes.contains(&node));
    }
    chosen
}

/// Share the shards among the chosen nodes: those with a single choice first, the others to the less loaded.
fn assign<'a>(
    candidates: &BTreeMap<ShardId, Vec<&'a NodeId>>,
    chosen: &BTreeSet<&'a NodeId>,
    affinity: &Affinity<'_>,
) -> BTreeMap<&'a NodeId, Vec<ShardId>> {
    let mut shards: Vec<(ShardId, Vec<&NodeId>)> = candidates
        .iter()
        .map(|(shard, nodes)| (*shard, nodes.iter().copied().filter(|node| chosen.contains(node)).collect()))
        .collect();
    shards.sort_by_key(|(shard, nodes): &(ShardId, Vec<&NodeId>)| (nodes.len(), *shard));
    let mut assigned: BTreeMap<&NodeId, Vec<ShardId>> = BTreeMap::new();
    for (shard, nodes) in shards {
        let load = |node: &&NodeId| assigned.get(*node).map_or(0, Vec::len);
        let least = nodes.iter().min_by_key(|node| (load(node), std::cmp::Reverse(affinity.to(node))));
        if let Some(&node) = least {
            assigned.entry(node).or_default().push(shard);
        }
    }
    for shards in assigned.values_mut() {
        shards.sort_unstable();
    }
    assigned
}

/// How much one read prefers a node to its equals.
struct Affinity<'a> {
    order: Order,
    /// The group's nodes, ascending.
    ring: BTreeSet<&'a NodeId>,
}

impl<'a> Affinity<'a> {
    fn of(wanted: &Wanted<'a>) -> Self {
        let order = wanted.preference.order;
        let ring = match order {
            Order::Rendezvous(_) => BTreeSet::new(),
            Order::RoundRobin(_) => {
                let placement = wanted.placements.get(&wanted.group);
                placement.into_iter().flat_map(|placement| placement.shards()).flat_map(|(_, nodes)| nodes).collect()
            }
        };
        Self { order, ring }
    }

    fn to(&self, node: &NodeId) -> u64 {
        match self.order {
            Order::Rendezvous(seed) => xxh64(node.as_str().as_bytes(), seed),
            Order::RoundRobin(round) => {
                // The node whose turn it is, then the one after it, and so on around.
                let count = self.ring.len().max(1) as u64;
                let position = self.ring.iter().position(|member| *member == node).unwrap_or_default() as u64;
                count - (position + count - round % count) % count
            }
        }
    }
}

fn holds_more(placements: &GroupPlacements, node: &NodeId, asked: usize) -> bool {
    let held: usize = placements.values().map(|placement| placement.shards_of(node).count()).sum();
    held != asked
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::membership::placement::{PlacementKind, place};

    struct World {
        placements: GroupPlacements,
        down: BTreeSet<NodeId>,
        stale: BTreeSet<(ShardId, NodeId)>,
        costs: BTreeMap<NodeId, f64>,
    }

    impl Replicas for World {
        fn freshness(&self, shard: ShardId, node: &NodeId) -> Option<Freshness> {
            if self.down.contains(node) {
                None
            } else if self.stale.contains(&(shard, node.clone())) {
                Some(Freshness::Stale)
            } else {
                Some(Freshness::Fresh)
            }
        }

        fn cost(&self, node: &NodeId) -> f64 {
            self.costs.get(node).copied().unwrap_or(1.0)
        }
    }

    const SHARDS: u32 = 16;

    fn world(nodes_per_group: &[usize], copies: u32) -> World {
        let placements = nodes_per_group
            .iter()
            .enumerate()
            .map(|(group, n)| {
                let members: Vec<NodeId> = (0..*n).map(|i| NodeId::new(format!("g{group}n{i}"))).collect();
                let shards = NonZeroU32::new(SHARDS).expect("not zero");
                let copies = NonZeroU32::new(copies).expect("not zero");
                (GroupId(group as u32), place(PlacementKind::Balanced, None, &members, shards, copies))
            })
            .collect();
        World { placements, down: BTreeSet::new(), stale: BTreeSet::new(), costs: BTreeMap::new() }
    }

    fn ask(world: &World, group: u32, fingerprint: u64, allow_stale: bool) -> CoverPlan {
        ask_as(world, group, Preference { by_cost: true, order: Order::Rendezvous(fingerprint) }, allow_stale)
    }

    fn ask_as(world: &World, group: u32, preference: Preference, allow_stale: bool) -> CoverPlan {
        let shards: Vec<ShardId> = (0..SHARDS).map(ShardId).collect();
        let wanted =
            Wanted { placements: &world.placements, group: GroupId(group), shards: &shards, preference, allow_stale };
        plan(&wanted, world)
    }

    fn selection(strategy: SelectionStrategy) -> SelectionConfig {
        SelectionConfig {
            strategy,
            latency_weight: 1.0,
            inflight_weight: 2.0,
            error_weight: 10.0,
            ewma_half_life: std::time::Duration::from_secs(5),
            exploration_epsilon: 0.25,
        }
    }

    /// How often each of three nodes that hold everything answers one of 300 equal reads; the first is slow.
    fn answered(strategy: SelectionStrategy) -> Vec<usize> {
        let mut world = world(&[3], 3);
        world.costs.insert(NodeId::new("g0n0"), 10.0);
        let mut answered = vec![0; 3];
        for round in 0..300 {
            let preference = Preference::new(&selection(strategy), 7, round, xxh64(&round.to_le_bytes(), 1));
            let plan = ask_as(&world, 0, preference, false);
            assert_eq!(plan.assignments.len(), 1);
            let node = &plan.assignments[0].node;
            answered[(0..3).position(|n| *node == NodeId::new(format!("g0n{n}"))).expect("a member")] += 1;
        }
        answered
    }

    #[test]
    fn round_robin_asks_every_node_equally_often() {
        assert_eq!(answered(SelectionStrategy::RoundRobin), [100, 100, 100]);
    }

    #[test]
    fn random_asks_every_node() {
        let answered = answered(SelectionStrategy::Random);
        assert!(answered.iter().all(|count| (60..140).contains(count)), "{answered:?}");
    }

    #[test]
    fn adaptive_asks_equal_nodes_equally_but_for_the_share_that_explores() {
        let answered = answered(SelectionStrategy::Adaptive);
        assert!((5..60).contains(&answered[0]), "the slow node is explored: {answered:?}");
        assert!(answered.iter().any(|count| *count > 200), "one node has nearly all: {answered:?}");
    }

    fn covered(plan: &CoverPlan) -> Vec<ShardId> {
        let mut shards: Vec<ShardId> = plan.assignments.iter().flat_map(|a| a.shards.clone()).collect();
        shards.extend(&plan.missing);
        shards.sort();
        shards
    }

    fn everything() -> Vec<ShardId> {
        (0..SHARDS).map(ShardId).collect()
    }

    #[test]
    fn one_copy_asks_every_node_without_a_filter() {
        let plan = ask(&world(&[3], 1), 0, 7, false);
        assert_eq!(plan.assignments.len(), 3);
        assert!(plan.assignments.iter().all(|a| !a.needs_filter));
        assert_eq!(covered(&plan), everything());
    }

    #[test]
    fn two_copies_on_three_nodes_need_two_nodes_that_share_the_work() {
        let plan = ask(&world(&[3], 2), 0, 7, false);
        assert_eq!(plan.assignments.len(), 2);
        assert!(plan.assignments.iter().all(|a| a.needs_filter && a.shards.len() == 8), "{plan:?}");
    }

    #[test]
    fn a_node_holding_exactly_what_it_is_asked_needs_no_filter() {
        let plan = ask(&world(&[1], 1), 0, 7, false);
        assert!(!plan.assignments[0].needs_filter);
        assert_eq!(plan.assignments[0].shards, everything());
    }

    #[test]
    fn a_dead_node_is_replaced_within_the_group() {
        let mut world = world(&[3], 2);
        world.down.insert(NodeId::new("g0n0"));
        let plan = ask(&world, 0, 7, false);
        assert!(plan.missing.is_empty());
        assert!(plan.assignments.iter().all(|a| a.node != NodeId::new("g0n0")));
    }

    #[test]
    fn only_what_the_group_cannot_answer_is_borrowed() {
        let mut world = world(&[2, 2], 1);
        let dead = NodeId::new("g0n0");
        world.down.insert(dead.clone());
        let plan = ask(&world, 0, 7, false);
        let borrowed: Vec<ShardId> = plan
            .assignments
            .iter()
            .filter(|a| a.node.as_str().starts_with("g1"))
            .flat_map(|a| a.shards.clone())
            .collect();
        let lost: BTreeSet<ShardId> = world.placements[&GroupId(0)].shards_of(&dead).collect();
        assert_eq!(borrowed.iter().copied().collect::<BTreeSet<_>>(), lost);
        assert_eq!(covered(&plan), everything());
    }

    #[test]
    fn a_stale_replica_answers_only_when_allowed_and_last() {
        let mut world = world(&[2], 1);
        world.stale = world.placements[&GroupId(0)]
            .shards_of(&NodeId::new("g0n0"))
            .map(|shard| (shard, NodeId::new("g0n0")))
            .collect();
        let refused = ask(&world, 0, 7, false);
        assert_eq!(refused.missing.len(), 8);
        let allowed = ask(&world, 0, 7, true);
        assert!(allowed.missing.is_empty());
        assert_eq!(allowed.stale.len(), 8);
    }

    #[test]
    fn a_slow_node_loses_its_traffic_where_another_can_answer() {
        let mut world = world(&[2], 2);
        world.costs.insert(NodeId::new("g0n0"), 10.0);
        for fingerprint in 0..50 {
            let plan = ask(&world, 0, fingerprint, false);
            assert_eq!(plan.assignments.len(), 1);
            assert_eq!(plan.assignments[0].node, NodeId::new("g0n1"));
        }
    }

    #[test]
    fn equal_nodes_share_the_queries() {
        let world = world(&[2], 2);
        let first = (0..200).filter(|f| ask(&world, 0, *f, false).assignments[0].node == NodeId::new("g0n0")).count();
        assert!((60..140).contains(&first), "{first} of 200");
    }

    proptest! {
        #[test]
        fn every_shard_is_answered_once_or_missing(
            groups in proptest::collection::vec(1usize..5, 1..3), copies in 1u32..3, fingerprint: u64,
            down in proptest::collection::vec((0usize..3, 0usize..5), 0..6),
            stale in proptest::collection::vec((0u32..SHARDS, 0usize..3, 0usize..5), 0..30), allow_stale: bool,
        ) {
            let mut world = world(&groups, copies);
            world.down = down.iter().map(|(g, n)| NodeId::new(format!("g{g}n{n}"))).collect();
            world.stale = stale.iter().map(|(s, g, n)| (ShardId(*s), NodeId::new(format!("g{g}n{n}")))).collect();
            let plan = ask(&world, 0, fingerprint, allow_stale);
            prop_assert_eq!(covered(&plan), everything());
            prop_assert_eq!(&plan, &ask(&world, 0, fingerprint, allow_stale));
            for assignment in &plan.assignments {
                prop_assert!(!world.down.contains(&assignment.node));
                for shard in &assignment.shards {
                    let fresh = world.freshness(*shard, &assignment.node) == Some(Freshness::Fresh);
                    prop_assert!(fresh || plan.stale.contains(shard));
                }
            }
            for shard in &plan.missing {
                let answerable = world.placements.values().flat_map(|p| p.replicas(*shard)).any(|node| {
                    match world.freshness(*shard, node) {
                        Some(Freshness::Fresh) => true,
                        Some(Freshness::Stale) => allow_stale,
                        None => false,
                    }
                });
                prop_assert!(!answerable, "shard {} could be answered", shard);
            }
        }
    }
}
