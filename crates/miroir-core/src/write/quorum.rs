//! Quorum: whether enough replicas accepted a write.
//!
//! A write holds for a shard in a group when `floor(RF/2)+1` of that group's replicas accepted it.

use std::collections::BTreeSet;

use crate::base::id::{GroupId, NodeId, ShardId};
use crate::membership::topology::GroupPlacements;

/// What the answers of the replicas amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuorumVerdict {
    /// Every group holds for every shard.
    Held,
    /// Every shard was accepted somewhere, but these groups do not hold for these shards.
    Degraded {
        /// The groups that miss their quorum for some shard.
        groups: BTreeSet<GroupId>,
        /// The shards for which some group misses its quorum.
        shards: BTreeSet<ShardId>,
        /// At least one group holds for every shard.
        one_group_holds: bool,
    },
    /// These shards were accepted nowhere.
    Lost {
        /// The shards nobody holds.
        shards: BTreeSet<ShardId>,
    },
}

/// Replicas that must accept a write for a group to hold it.
pub fn needed(replicas: usize) -> usize {
    replicas / 2 + 1
}

/// Weigh the answers for the shards that a write touches.
pub fn weigh(
    placements: &GroupPlacements,
    touched: impl IntoIterator<Item = ShardId>,
    accepted: impl Fn(ShardId, &NodeId) -> bool,
) -> QuorumVerdict {
    let mut lost = BTreeSet::new();
    let mut short_groups = BTreeSet::new();
    let mut short_shards = BTreeSet::new();
    for shard in touched {
        let mut anywhere = false;
        for (group, placement) in placements {
            let replicas = placement.replicas(shard);
            let count = replicas.iter().filter(|node| accepted(shard, node)).count();
            anywhere |= count > 0;
            if count < needed(replicas.len()) {
                short_groups.insert(*group);
                short_shards.insert(shard);
            }
        }
        if !anywhere {
            lost.insert(shard);
        }
    }
    if !lost.is_empty() {
        QuorumVerdict::Lost { shards: lost }
    } else if short_shards.is_empty() {
        QuorumVerdict::Held
    } else {
        let one_group_holds = placements.keys().any(|group| !short_groups.contains(group));
        QuorumVerdict::Degraded { groups: short_groups, shards: short_shards, one_group_holds }
    }
}

/// How a replica's node answered a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaAnswer {
    /// It accepted: the write is in its queue.
    Accepted,
    /// It refused, or was not reached: the write is certainly not there.
    Missed,
    /// No whole answer came: the write may be there.
    Ambiguous,
}

/// What a write's answers amount to while some replicas are stale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumOutcome {
    /// Whether the client may be told that its write holds.
    pub verdict: QuorumVerdict,
    /// Those to be known as stale, or to have missed one write more, before the client is answered.
    pub stale: Vec<(ShardId, NodeId)>,
    /// A fresh replica of some shard may have the write or get it yet, because no other one is certain to be without it:
    /// nothing else may be written to the index before it has arrived, or cannot any more.
    pub lingers: bool,
}

/// Weigh the answers, and find who is stale after them. `also`: nodes that take the writes of a shard besides its
/// replicas, because they are to become one or have just been one.
///
/// Only what a fresh replica accepted counts. A stale one takes the write as well, but should it alone hold this write
/// while others alone hold earlier ones, then no replica would hold all that was acknowledged, and updates that were
/// merged into different documents could not be brought together.
///
/// A replica that is stale already, or is not yet one, is named again whenever it may now hold something else than the
/// fresh ones do, be it a write that was not acknowledged: whoever mirrors it has to know.
///
/// Invariant: a shard that had a fresh replica has one; every fresh replica holds every write that was acknowledged; and
/// who is not named, and was equal to the fresh replicas before, is so after.
pub fn conclude(
    placements: &GroupPlacements,
    also: impl Fn(ShardId) -> Vec<NodeId>,
    touched: impl IntoIterator<Item = ShardId> + Clone,
    answer: impl Fn(ShardId, &NodeId) -> ReplicaAnswer,
    fresh: impl Fn(ShardId, &NodeId) -> bool,
) -> QuorumOutcome {
    let counts = |shard: ShardId, node: &NodeId| answer(shard, node) == ReplicaAnswer::Accepted && fresh(shard, node);
    let verdict = weigh(placements, touched.clone(), counts);
    let mut stale = Vec::new();
    let mut lingers = false;
    for shard in touched {
        let Takers { everyone, trusted, .. } = Takers::of(placements, &also, shard, &fresh);
        let any = |wanted: ReplicaAnswer| trusted.iter().find(|node| answer(shard, node) == wanted);
        let held = any(ReplicaAnswer::Accepted).is_some();
        let keep = if held || any(ReplicaAnswer::Missed).is_some() { None } else { any(ReplicaAnswer::Ambiguous) };
        lingers |= keep.is_some();
        let fell_behind = |node: &&NodeId| match answer(shard, node) {
            ReplicaAnswer::Accepted => false,
            ReplicaAnswer::Missed => held,
            ReplicaAnswer::Ambiguous => Some(*node) != keep,
        };
        let differs = |node: &&NodeId| match answer(shard, node) {
            ReplicaAnswer::Accepted => !held,
            ReplicaAnswer::Missed => held || keep.is_some(),
            ReplicaAnswer::Ambiguous => true,
        };
        let others = everyone.iter().filter(|node| !trusted.contains(node));
        let named = trusted.iter().filter(fell_behind).chain(others.filter(differs));
        stale.extend(named.map(|node| (shard, node.clone())));
    }
    QuorumOutcome { verdict, stale, lingers }
}

/// Find who is to be known as stale when nobody can say what a write was mixed with: whoever sent it had lost the right to,
/// and somebody else may have sent others between its parts. `answer`: what nodes had said while it had that right.
///
/// One of the fresh replicas of each shard is kept, for what is true has to be somewhere: one that took the write in its
/// order, or else one that certainly has not got it, if there is any. All others that were told are to be compared with it.
///
/// Invariant: a shard that had a fresh replica has one.
pub fn in_doubt(
    placements: &GroupPlacements,
    also: impl Fn(ShardId) -> Vec<NodeId>,
    touched: impl IntoIterator<Item = ShardId>,
    answer: impl Fn(ShardId, &NodeId) -> ReplicaAnswer,
    fresh: impl Fn(ShardId, &NodeId) -> bool,
) -> Vec<(ShardId, NodeId)> {
    let mut stale = Vec::new();
    for shard in touched {
        let takers = Takers::of(placements, &also, shard, &fresh);
        let doubt = |node: &NodeId| match answer(shard, node) {
            ReplicaAnswer::Accepted => 0,
            ReplicaAnswer::Missed => 1,
            ReplicaAnswer::Ambiguous => 2,
        };
        let kept = takers.trusted.iter().min_by_key(|node| doubt(node));
        stale.extend(takers.all_but(kept));
    }
    stale
}

/// What is to be known of replicas that somebody was writing who ended in the midst of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftBehind {
    /// Those to be known as stale.
    pub stale: Vec<(ShardId, NodeId)>,
    /// Shards of which there is no replica to keep now, and more than one to choose from: nothing is to be written to them.
    pub undecided: BTreeSet<ShardId>,
}

/// Find who is to be known as stale when somebody was writing an index who ended in the midst of it: nobody knows of which
/// shards, and who has it. `may_keep`: a node that is known to hold all that it had accepted.
///
/// One of the fresh replicas of each shard is kept, and all others are to be compared with it. Whichever that is: what the
/// others may hold besides was never acknowledged. But it has to hold what was.
///
/// Invariant: a shard that had a fresh replica has one; one of several is kept only on a node that may.
pub fn left_behind(
    placements: &GroupPlacements,
    also: impl Fn(ShardId) -> Vec<NodeId>,
    shards: impl IntoIterator<Item = ShardId>,
    fresh: impl Fn(ShardId, &NodeId) -> bool,
    may_keep: impl Fn(&NodeId) -> bool,
) -> LeftBehind {
    let mut left = LeftBehind::default();
    for shard in shards {
        let takers = Takers::of(placements, &also, shard, &fresh);
        let kept = match &*takers.trusted {
            [] => None,
            [only] => Some(only),
            several => match several.iter().find(|node| may_keep(node)) {
                Some(kept) => Some(kept),
                None => {
                    left.undecided.insert(shard);
                    continue;
                }
            },
        };
        left.stale.extend(takers.all_but(kept));
    }
    left
}

/// The nodes that take the writes of a shard.
struct Takers {
    shard: ShardId,
    everyone: Vec<NodeId>,
    /// Those that others may be compared with.
    trusted: Vec<NodeId>,
}

impl Takers {
    fn of(
        placements: &GroupPlacements,
        also: impl Fn(ShardId) -> Vec<NodeId>,
        shard: ShardId,
        fresh: impl Fn(ShardId, &NodeId) -> bool,
    ) -> Self {
        let mut everyone: Vec<NodeId> = placements.values().flat_map(|p| p.replicas(shard)).cloned().collect();
        let besides: Vec<NodeId> = also(shard).into_iter().filter(|node| !everyone.contains(node)).collect();
        let fresh_among =
            |nodes: &[NodeId]| -> Vec<NodeId> { nodes.iter().filter(|node| fresh(shard, node)).cloned().collect() };
        // Without a fresh replica those that take its writes besides are all that is left to compare with.
        let placed = fresh_among(&everyone);
        let trusted = if placed.is_empty() { fresh_among(&besides) } else { placed };
        everyone.extend(besides);
        Self { shard, everyone, trusted }
    }

    fn all_but(&self, kept: Option<&NodeId>) -> impl Iterator<Item = (ShardId, NodeId)> {
        self.everyone.iter().filter(move |node| Some(*node) != kept).map(|node| (self.shard, node.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::membership::placement::{PlacementKind, place};

    fn groups(nodes: &[usize], copies: u32) -> GroupPlacements {
        let shards = NonZeroU32::new(8).expect("not zero");
        let copies = NonZeroU32::new(copies).expect("not zero");
        nodes
            .iter()
            .enumerate()
            .map(|(group, n)| {
                let members: Vec<NodeId> = (0..*n).map(|i| NodeId::new(format!("g{group}n{i}"))).collect();
                (GroupId(group as u32), place(PlacementKind::Balanced, None, &members, shards, copies))
            })
            .collect()
    }

    fn all() -> impl Iterator<Item = ShardId> {
        (0..8).map(ShardId)
    }

    #[test]
    fn everything_accepted_holds() {
        assert_eq!(weigh(&groups(&[3, 3], 2), all(), |_, _| true), QuorumVerdict::Held);
    }

    #[test]
    fn one_of_two_replicas_is_a_degraded_mirror() {
        let placements = groups(&[3], 2);
        let dead = NodeId::new("g0n1");
        let QuorumVerdict::Degraded { groups, shards, one_group_holds } = weigh(&placements, all(), |_, n| *n != dead)
        else {
            panic!("expected a degraded write");
        };
        assert_eq!(groups, BTreeSet::from([GroupId(0)]));
        assert!(!one_group_holds);
        let held: BTreeSet<ShardId> = placements[&GroupId(0)].shards_of(&dead).collect();
        assert_eq!(shards, held);
    }

    #[test]
    fn a_whole_group_down_leaves_the_other_holding() {
        let verdict = weigh(&groups(&[2, 2], 1), all(), |_, n| n.as_str().starts_with("g0"));
        assert!(matches!(verdict, QuorumVerdict::Degraded { one_group_holds: true, .. }), "{verdict:?}");
    }

    #[test]
    fn a_shard_accepted_nowhere_is_lost() {
        let verdict = weigh(&groups(&[3], 1), all(), |shard, _| shard != ShardId(3));
        assert_eq!(verdict, QuorumVerdict::Lost { shards: BTreeSet::from([ShardId(3)]) });
    }

    #[test]
    fn whoever_missed_what_another_accepted_is_stale() {
        let placements = groups(&[2], 2);
        let dead = NodeId::new("g0n1");
        let answer = |_, n: &NodeId| if *n == dead { ReplicaAnswer::Missed } else { ReplicaAnswer::Accepted };
        let outcome = conclude(&placements, |_| vec![], [ShardId(2)], answer, |_, _| true);
        assert_eq!(outcome.stale, vec![(ShardId(2), dead.clone())]);
    }

    #[test]
    fn a_write_nobody_accepted_never_makes_the_last_fresh_replica_stale() {
        let placements = groups(&[2], 2);
        let all = |answer| conclude(&placements, |_| vec![], [ShardId(2)], |_, _| answer, |_, _| true);
        let (unknown, missed) = (all(ReplicaAnswer::Ambiguous), all(ReplicaAnswer::Missed));
        assert_eq!((unknown.stale.len(), unknown.lingers), (1, true));
        assert_eq!((missed.stale.len(), missed.lingers), (0, false));
    }

    proptest! {
        /// One more acceptance never makes the verdict worse.
        #[test]
        fn acceptance_is_monotone(bits in proptest::collection::vec(any::<bool>(), 48), extra in 0usize..48) {
            let placements = groups(&[3, 2], 2);
            let slot = |shard: ShardId, node: &NodeId| {
                let node = node.as_str().as_bytes();
                shard.0 as usize * 6 + usize::from(node[1] - b'0') * 3 + usize::from(node[3] - b'0')
            };
            let rank = |verdict: &QuorumVerdict| match verdict {
                QuorumVerdict::Lost { .. } => 0,
                QuorumVerdict::Degraded { one_group_holds: false, .. } => 1,
                QuorumVerdict::Degraded { one_group_holds: true, .. } => 2,
                QuorumVerdict::Held => 3,
            };
            let before = weigh(&placements, all(), |s, n| bits[slot(s, n)]);
            let mut more = bits.clone();
            more[extra] = true;
            let after = weigh(&placements, all(), |s, n| more[slot(s, n)]);
            prop_assert!(rank(&after) >= rank(&before), "{before:?} -> {after:?}");
        }
    }

    #[test]
    fn what_only_a_stale_replica_accepted_is_not_acknowledged() {
        let placements = groups(&[2], 2);
        let (stale, down) = (NodeId::new("g0n0"), NodeId::new("g0n1"));
        let answer = |_, n: &NodeId| if *n == down { ReplicaAnswer::Missed } else { ReplicaAnswer::Accepted };
        let outcome = conclude(&placements, |_| vec![], [ShardId(2)], answer, |_, n| *n != stale);
        assert_eq!(outcome.verdict, QuorumVerdict::Lost { shards: BTreeSet::from([ShardId(2)]) });
        // The one that is away holds everything that was acknowledged; the other one now holds more than that.
        assert_eq!(outcome.stale, vec![(ShardId(2), stale)]);
    }

    #[test]
    fn in_doubt_the_one_that_took_the_write_in_its_order_is_kept() {
        let placements = groups(&[3], 3);
        let nodes: Vec<NodeId> = placements.values().flat_map(|p| p.replicas(ShardId(2))).cloned().collect();
        let said = |which: [ReplicaAnswer; 3]| {
            let answer = move |_: ShardId, node: &NodeId| which[nodes_at(node)];
            let stale = in_doubt(&placements, |_| vec![], [ShardId(2)], answer, |_, _| true);
            nodes.iter().find(|node| !stale.contains(&(ShardId(2), (*node).clone()))).map(nodes_at)
        };
        assert_eq!(said([ReplicaAnswer::Ambiguous, ReplicaAnswer::Missed, ReplicaAnswer::Accepted]), Some(2));
        assert_eq!(said([ReplicaAnswer::Ambiguous, ReplicaAnswer::Missed, ReplicaAnswer::Ambiguous]), Some(1));
    }

    /// `g0n2` is the third.
    fn nodes_at(node: &NodeId) -> usize {
        usize::from(node.as_str().as_bytes()[3] - b'0')
    }

    fn any_answer() -> impl Strategy<Value = ReplicaAnswer> {
        prop_oneof![Just(ReplicaAnswer::Accepted), Just(ReplicaAnswer::Missed), Just(ReplicaAnswer::Ambiguous)]
    }

    proptest! {
        #[test]
        fn in_doubt_one_fresh_replica_stays_and_no_more(
            answers in proptest::collection::vec((any_answer(), any::<bool>()), 5),
        ) {
            let placements = groups(&[3, 2], 3);
            let nodes: Vec<NodeId> = placements.values().flat_map(|p| p.replicas(ShardId(0))).cloned().collect();
            let of = |node: &NodeId| answers[nodes.iter().position(|n| n == node).expect("placed")];
            let stale = in_doubt(&placements, |_| vec![], [ShardId(0)], |_, n| of(n).0, |_, n| of(n).1);
            let still = |node: &&NodeId| of(node).1 && !stale.contains(&(ShardId(0), (*node).clone()));
            prop_assert_eq!(nodes.iter().filter(still).count(), usize::from(nodes.iter().any(|node| of(node).1)));
        }

        #[test]
        fn of_what_was_left_behind_one_fresh_replica_stays_that_may_be_kept_or_nothing_is_decided(
            nodes_are in proptest::collection::vec((any::<bool>(), any::<bool>()), 5),
        ) {
            let placements = groups(&[3, 2], 3);
            let nodes: Vec<NodeId> = placements.values().flat_map(|p| p.replicas(ShardId(0))).cloned().collect();
            let of = |node: &NodeId| nodes_are[nodes.iter().position(|n| n == node).expect("placed")];
            let left = left_behind(&placements, |_| vec![], [ShardId(0)], |_, n| of(n).0, |n| of(n).1);
            let fresh: Vec<&NodeId> = nodes.iter().filter(|node| of(node).0).collect();
            let kept: Vec<&NodeId> =
                nodes.iter().filter(|node| !left.stale.contains(&(ShardId(0), (*node).clone()))).collect();
            if fresh.len() > 1 && !fresh.iter().any(|node| of(node).1) {
                prop_assert_eq!((left.undecided.len(), left.stale.len()), (1, 0));
            } else {
                prop_assert!(left.undecided.is_empty());
                prop_assert_eq!(kept.len(), usize::from(!fresh.is_empty()));
                prop_assert!(kept.iter().all(|node| of(node).0 && (of(node).1 || fresh.len() == 1)));
            }
        }

        #[test]
        fn a_fresh_replica_stays_and_whoever_is_fresh_holds_what_was_acknowledged(
            answers in proptest::collection::vec((any_answer(), any::<bool>()), 5),
        ) {
            let placements = groups(&[3, 2], 3);
            let nodes: Vec<NodeId> = placements.values().flat_map(|p| p.replicas(ShardId(0))).cloned().collect();
            let of = |node: &NodeId| answers[nodes.iter().position(|n| n == node).expect("placed")];
            let outcome = conclude(&placements, |_| vec![], [ShardId(0)], |_, n| of(n).0, |_, n| of(n).1);
            let still = |node: &&NodeId| of(node).1 && !outcome.stale.contains(&(ShardId(0), (*node).clone()));
            let had = nodes.iter().any(|node| of(node).1);
            prop_assert_eq!(nodes.iter().filter(still).count() > 0, had);
            let lost = matches!(outcome.verdict, QuorumVerdict::Lost { .. });
            for node in nodes.iter().filter(|node| !of(node).1 && of(node).0 == ReplicaAnswer::Accepted) {
                prop_assert_eq!(outcome.stale.contains(&(ShardId(0), node.clone())), lost, "it holds what others do not");
            }
            if !lost {
                prop_assert!(nodes.iter().filter(still).all(|node| of(node).0 == ReplicaAnswer::Accepted));
            }
        }
    }
}
