use std::collections::BTreeSet;
use std::num::NonZeroU32;

use super::*;
use crate::base::id::{Epoch, GroupId, NodeId, ShardId};
use crate::membership::placement::PlacementKind;
use crate::membership::topology::{Member, Shape, Topology};

struct All;

impl CandidateFacts for All {
    fn fit(&self, _: &Member) -> Result<(), Refused> {
        Ok(())
    }

    fn only_copy(&self, _: &NodeId) -> Option<ShardId> {
        None
    }
}

fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("not zero")
}

fn node(name: &str) -> NodeId {
    NodeId::new(name)
}

fn member(name: &str, group: u32) -> Member {
    Member { id: node(name), address: format!("http://{name}:7700"), group: GroupId(group) }
}

fn topology(members: &[(&str, u32)], copies: u32, shards: u32) -> Topology {
    let members = members.iter().map(|(name, group)| member(name, *group)).collect();
    let shape = Shape { members, replication_factor: count(copies), placement: PlacementKind::Balanced };
    Topology::new(shape).with_placement(count(shards)).expect("the first one")
}

/// A cluster in which everything goes well.
struct World {
    topology: Topology,
    stale: BTreeSet<Replica>,
    facts: TransitionFacts,
}

impl World {
    fn new(topology: Topology) -> Self {
        let facts = TransitionFacts {
            topology: topology.clone(),
            acknowledged: true,
            live: BTreeSet::new(),
            prepared: BTreeSet::new(),
            stale: BTreeSet::new(),
            cleaned: BTreeSet::new(),
            intent: TransitionIntent::Run,
            most_at_once: 4,
        };
        Self { topology, stale: BTreeSet::new(), facts }
    }

    fn facts(&self, record: &TransitionRecord) -> TransitionFacts {
        let members = self.topology.shape.members.iter().chain(record.change.joining());
        let live = members.map(|member| member.id.clone()).collect();
        TransitionFacts { topology: self.topology.clone(), live, stale: self.stale.clone(), ..self.facts.clone() }
    }

    fn save(&mut self, effects: Effects) {
        assert!(effects.require_fresh.iter().all(|replica| !self.stale.contains(replica)));
        self.stale.extend(effects.stale);
        effects.forget.iter().for_each(|replica| _ = self.stale.remove(replica));
        if let Some(topology) = effects.topology {
            assert_eq!(topology.epoch, Epoch(self.topology.epoch.0 + 1));
            self.topology = topology;
        }
    }

    /// Do as told until it is over. Returns how many replicas were mirrored.
    fn run(&mut self, mut record: TransitionRecord) -> (Finished, usize) {
        let mut mirrored = 0;
        for _ in 0..1000 {
            match decide(&record, &self.facts(&record)) {
                TransitionStep::Prepare(nodes) => self.facts.prepared.extend(nodes),
                TransitionStep::Save(next, effects) => {
                    assert_ne!(record, *next);
                    self.save(*effects);
                    record = *next;
                }
                TransitionStep::Work { mirror, clean } => {
                    assert!(mirror.len() <= self.facts.most_at_once);
                    mirrored += mirror.len();
                    mirror.iter().for_each(|replica| _ = self.stale.remove(replica));
                    self.facts.cleaned.extend(clean);
                }
                TransitionStep::Wait(why) => panic!("waits for {why:?}: {record:?}"),
                TransitionStep::Finish(finished) => {
                    if let Some(topology) = &finished.topology {
                        self.topology = topology.clone();
                    }
                    return (*finished, mirrored);
                }
            }
        }
        panic!("does not end: {record:?}");
    }

    fn change(&mut self, change: MembershipChange) -> (Finished, usize) {
        let record = begin(&self.topology, change, false, &All).expect("nothing against it");
        self.run(record)
    }

    fn loads(&self, shards: u32, group: u32) -> Vec<usize> {
        let placement = &self.topology.placements(count(shards)).expect("placed")[&GroupId(group)];
        self.topology.active_members(GroupId(group)).iter().map(|node| placement.shards_of(node).count()).collect()
    }
}

fn refused(topology: &Topology, change: MembershipChange) -> Refused {
    begin(topology, change, false, &All).expect_err("something is against it")
}

#[test]
fn a_fourth_node_takes_a_quarter_and_gives_it_back() {
    for (shards, copies) in [(64, 1), (64, 2), (16, 1), (256, 3)] {
        let mut world = World::new(topology(&[("a", 0), ("b", 0), ("c", 0)], copies, shards));
        let (finished, mirrored) = world.change(MembershipChange::AddNode { member: member("d", 0) });
        assert!(!finished.canceled && finished.gone.is_empty());
        let quarter = f64::from(shards * copies) / 4.0;
        assert!(mirrored as f64 <= 1.1 * quarter, "{mirrored} of {quarter}");
        let share = (shards * copies / 4) as usize;
        assert!(world.loads(shards, 0).iter().all(|load| (share..=share + 1).contains(load)));
        let (_, back) = world.change(MembershipChange::Drain { node: node("d") });
        // An exchange may be needed where all with room hold the shard already.
        assert!(back as f64 <= 1.1 * quarter, "{back} of {quarter}");
        assert_eq!(world.topology.shape.members.len(), 4);
        let (_, again) = world.change(MembershipChange::Undrain { node: node("d") });
        assert!(again as f64 <= 1.1 * quarter, "{again} of {quarter}");
        let (finished, _) = world.change(MembershipChange::RemoveNode { node: node("d") });
        assert_eq!(finished.gone, BTreeSet::from([node("d")]));
        assert_eq!(world.topology.shape.members.len(), 3);
        assert!(world.stale.is_empty() && world.topology.draining.is_empty());
    }
}

#[test]
fn a_group_is_filled_before_it_is_read_and_goes_without_a_copy() {
    let mut world = World::new(topology(&[("a", 0), ("b", 0)], 1, 8));
    let change = MembershipChange::AddGroup { group: GroupId(1), members: vec![member("x", 1), member("y", 1)] };
    let record = begin(&world.topology, change.clone(), false, &All).expect("nothing against it");
    assert!(record.moves.iter().all(|moving| moving.from.is_none() && moving.to.is_some()));
    let (_, mirrored) = world.run(record);
    assert_eq!(mirrored, 8);
    assert_eq!(world.loads(8, 1), [4, 4]);
    let (finished, mirrored) = world.change(MembershipChange::RemoveGroup { group: GroupId(0) });
    assert_eq!((mirrored, finished.gone.len()), (0, 2));
    assert_eq!(world.topology.shape.groups(), [GroupId(1)]);
    assert_eq!(world.topology.placements(count(8)).map(|groups| groups.len()), Some(1));
}

#[test]
fn what_came_since_a_change_was_begun_moves_as_well() {
    let mut world = World::new(topology(&[("a", 0), ("b", 0)], 1, 8));
    let record =
        begin(&world.topology, MembershipChange::RemoveNode { node: node("b") }, false, &All).expect("all is well");
    world.topology = world.topology.with_placement(count(16)).expect("another number of shards");
    let (finished, _) = world.run(record);
    assert_eq!(finished.gone, BTreeSet::from([node("b")]));
    assert_eq!((world.loads(8, 0), world.loads(16, 0)), (vec![8], vec![16]));
    assert_eq!(world.topology.shape.members.len(), 1);
}

#[test]
fn who_joins_takes_new_numbers_of_shards_at_once_and_who_leaves_does_not() {
    let mut world = World::new(topology(&[("a", 0), ("b", 0)], 1, 8));
    let mut record =
        begin(&world.topology, MembershipChange::AddNode { member: member("c", 0) }, false, &All).expect("well");
    world.facts.prepared.insert(node("c"));
    let TransitionStep::Save(next, effects) = decide(&record, &world.facts(&record)) else { panic!("an epoch") };
    world.save(*effects);
    record = *next;
    world.topology = world.topology.with_placement(count(6)).expect("another number of shards");
    assert_eq!(world.loads(6, 0), [2, 2, 2]);
    let (_, mirrored) = world.run(record);
    assert_eq!(mirrored, 2, "of eight shards, its share of two");
    let mut record = begin(&world.topology, MembershipChange::Drain { node: node("c") }, false, &All).expect("well");
    let TransitionStep::Save(next, effects) = decide(&record, &world.facts(&record)) else { panic!("an epoch") };
    world.save(*effects);
    record = *next;
    world.topology = world.topology.with_placement(count(4)).expect("another number of shards");
    let placed = world.topology.placements(count(4)).expect("placed");
    assert!(placed.values().all(|placement| placement.shards_of(&node("c")).next().is_none()));
    world.run(record);
}

#[test]
fn what_begins_to_be_copied_is_known_as_stale() {
    let mut world = World::new(topology(&[("a", 0), ("b", 0)], 1, 8));
    let mut record =
        begin(&world.topology, MembershipChange::AddNode { member: member("c", 0) }, false, &All).expect("well");
    world.facts.prepared.insert(node("c"));
    loop {
        let TransitionStep::Save(next, effects) = decide(&record, &world.facts(&record)) else {
            panic!("nothing is copied yet")
        };
        let copying: BTreeSet<Replica> =
            next.in_state(MoveState::Copying).filter_map(|(_, moving)| moving.target()).collect();
        let begun = effects.stale.iter().cloned().collect::<BTreeSet<Replica>>();
        world.save(*effects);
        record = *next;
        if !copying.is_empty() {
            assert_eq!(begun, copying);
            return;
        }
    }
}

#[test]
fn shares_are_made_even_again_after_a_change_was_called_off() {
    let mut world = World::new(topology(&[("a", 0), ("b", 0)], 1, 8));
    let mut record =
        begin(&world.topology, MembershipChange::AddNode { member: member("c", 0) }, false, &All).expect("well");
    world.facts.prepared.insert(node("c"));
    world.facts.most_at_once = 1;
    while record.progress().switched == 0 {
        match decide(&record, &world.facts(&record)) {
            TransitionStep::Save(next, effects) => {
                world.save(*effects);
                record = *next;
            }
            TransitionStep::Work { mirror, .. } => mirror.iter().for_each(|replica| _ = world.stale.remove(replica)),
            step @ (TransitionStep::Prepare(_) | TransitionStep::Wait(_) | TransitionStep::Finish(_)) => {
                panic!("{step:?}")
            }
        }
    }
    world.facts.intent = TransitionIntent::Cancel;
    let (finished, _) = world.run(record);
    assert!(finished.canceled && finished.gone.is_empty(), "it holds something");
    assert_eq!(world.loads(8, 0).iter().min(), Some(&1));
    world.facts.intent = TransitionIntent::Run;
    let (_, mirrored) = world.change(MembershipChange::Rebalance);
    assert_eq!((mirrored, world.loads(8, 0).into_iter().max()), (1, Some(3)));
    assert_eq!(world.change(MembershipChange::Rebalance).1, 0, "there is nothing to be done");
}

#[test]
fn nothing_is_read_from_a_group_that_is_being_filled() {
    let mut world = World::new(topology(&[("a", 0)], 1, 4));
    let change = MembershipChange::AddGroup { group: GroupId(1), members: vec![member("x", 1)] };
    let mut record = begin(&world.topology, change, false, &All).expect("nothing against it");
    world.facts.prepared.insert(node("x"));
    for _ in 0..6 {
        if let TransitionStep::Save(next, effects) = decide(&record, &world.facts(&record)) {
            world.save(*effects);
            record = *next;
        }
    }
    let groups: Vec<GroupId> = world.topology.placements(count(4)).expect("placed").keys().copied().collect();
    assert_eq!(groups, [GroupId(0)]);
    assert_eq!(world.topology.also_writes(count(4), ShardId(0)).collect::<Vec<_>>(), [&node("x")]);
    assert!(world.topology.may_hold_more(count(4), &node("x")));
    // All but one replica have been copied: still nothing is switched.
    let kept = world.stale.iter().next().cloned();
    world.stale.retain(|replica| Some(replica) == kept.as_ref());
    assert!(
        !matches!(decide(&record, &world.facts(&record)), TransitionStep::Save(_, effects) if effects.topology.is_some())
    );
}

#[test]
fn what_is_called_off_is_as_it_was() {
    let before = topology(&[("a", 0), ("b", 0), ("c", 0)], 1, 8);
    let mut world = World::new(before.clone());
    let mut record =
        begin(&before, MembershipChange::AddNode { member: member("d", 0) }, false, &All).expect("all is well");
    world.facts.prepared.insert(node("d"));
    for _ in 0..3 {
        let TransitionStep::Save(next, effects) = decide(&record, &world.facts(&record)) else {
            panic!("something to do")
        };
        world.save(*effects);
        record = *next;
    }
    assert_eq!(record.progress().copying, 2);
    world.facts.intent = TransitionIntent::Cancel;
    let (finished, mirrored) = world.run(record);
    assert!(finished.canceled && mirrored == 0);
    assert_eq!(finished.gone, BTreeSet::from([node("d")]));
    assert_eq!(world.topology.shape, before.shape);
    assert_eq!(world.topology.placements(count(8)), before.placements(count(8)));
    assert!(world.stale.is_empty());
}

#[test]
fn nothing_goes_on_while_an_instance_acts_on_an_older_epoch_or_the_operator_pauses() {
    let mut world = World::new(topology(&[("a", 0), ("b", 0)], 1, 8));
    let change = MembershipChange::AddNode { member: member("c", 0) };
    let mut record = begin(&world.topology, change, false, &All).expect("all is well");
    world.facts.prepared.insert(node("c"));
    let TransitionStep::Save(next, effects) = decide(&record, &world.facts(&record)) else { panic!("an epoch") };
    world.save(*effects);
    record = *next;
    world.facts.acknowledged = false;
    assert_eq!(decide(&record, &world.facts(&record)), TransitionStep::Wait(Waiting::Epoch));
    world.facts.acknowledged = true;
    world.facts.intent = TransitionIntent::Pause;
    assert_eq!(decide(&record, &world.facts(&record)), TransitionStep::Wait(Waiting::Paused));
    world.facts.intent = TransitionIntent::Run;
    assert!(matches!(decide(&record, &world.facts(&record)), TransitionStep::Save(..)));
}

#[test]
fn a_replica_does_not_go_while_those_that_stay_are_stale() {
    let mut world = World::new(topology(&[("a", 0), ("b", 0)], 2, 2));
    let mut record =
        begin(&world.topology, MembershipChange::Drain { node: node("b") }, false, &All).expect("all is well");
    for _ in 0..2 {
        let TransitionStep::Save(next, effects) = decide(&record, &world.facts(&record)) else { panic!("an epoch") };
        world.save(*effects);
        record = *next;
    }
    for shard in [ShardId(0), ShardId(1)] {
        world.stale.insert(Replica { shards: count(2), shard, node: node("a") });
    }
    assert!(matches!(decide(&record, &world.facts(&record)), TransitionStep::Wait(_)));
    world.stale.clear();
    let (_, mirrored) = world.run(record);
    assert_eq!((mirrored, world.loads(2, 0)), (0, vec![2]));
}

#[test]
fn what_cannot_be_is_refused() {
    let two = topology(&[("a", 0), ("b", 0), ("c", 1)], 1, 4);
    let drain = |name: &str| MembershipChange::Drain { node: node(name) };
    assert_eq!(refused(&two, drain("z")), Refused::UnknownNode(node("z")));
    assert_eq!(refused(&two, drain("c")), Refused::LastReplica(node("c")));
    assert_eq!(refused(&two, MembershipChange::RemoveNode { node: node("c") }), Refused::LastReplica(node("c")));
    assert_eq!(refused(&two, MembershipChange::Undrain { node: node("a") }), Refused::NotDraining(node("a")));
    assert_eq!(refused(&two, MembershipChange::AddNode { member: member("a", 0) }), Refused::DuplicateNode(node("a")));
    assert_eq!(refused(&two, MembershipChange::AddNode { member: member("d", 7) }), Refused::UnknownGroup(GroupId(7)));
    let address = Member { address: "http://a:7700".into(), ..member("d", 0) };
    let taken = Refused::DuplicateAddress { node: node("a"), address: "http://a:7700".into() };
    assert_eq!(refused(&two, MembershipChange::AddNode { member: address }), taken);
    assert_eq!(refused(&two, MembershipChange::RemoveGroup { group: GroupId(9) }), Refused::UnknownGroup(GroupId(9)));
    let again = MembershipChange::AddGroup { group: GroupId(1), members: vec![member("d", 1)] };
    assert_eq!(refused(&two, again), Refused::DuplicateGroup(GroupId(1)));
    let empty = MembershipChange::AddGroup { group: GroupId(2), members: vec![] };
    assert_eq!(refused(&two, empty), Refused::BadGroup);
    let twice = MembershipChange::AddGroup { group: GroupId(2), members: vec![member("d", 2), member("d", 2)] };
    assert_eq!(refused(&two, twice), Refused::DuplicateNode(node("d")));
    assert_eq!(begin(&two, drain("a"), true, &All).expect_err("one at a time"), Refused::UnderWay);
    let one = topology(&[("a", 0)], 1, 4);
    assert_eq!(refused(&one, MembershipChange::RemoveGroup { group: GroupId(0) }), Refused::LastGroup(GroupId(0)));
    let mut drained = World::new(two);
    drained.change(drain("a"));
    assert_eq!(refused(&drained.topology, drain("a")), Refused::AlreadyDraining(node("a")));
    assert_eq!(refused(&drained.topology, drain("b")), Refused::LastReplica(node("b")));
}

#[test]
fn nodes_that_will_not_do_or_must_not_go_are_refused() {
    struct Bad;
    impl CandidateFacts for Bad {
        fn fit(&self, member: &Member) -> Result<(), Refused> {
            let foreign = crate::replica::recovery::Refused::ForeignIndex("movies".parse().expect("a uid"));
            fit(member, &crate::replica::recovery::ProbeVerdict::Refuse(foreign))
        }

        fn only_copy(&self, node: &NodeId) -> Option<ShardId> {
            (node.as_str() == "a").then_some(ShardId(3))
        }
    }
    let two = topology(&[("a", 0), ("b", 0)], 1, 4);
    let refused = |change| begin(&two, change, false, &Bad).expect_err("something is against it");
    let unfit = refused(MembershipChange::AddNode { member: member("d", 0) });
    assert!(unfit.to_string().contains("`movies`"), "{unfit}");
    let gone = refused(MembershipChange::RemoveNode { node: node("a") });
    assert_eq!(gone, Refused::OnlyCopy { node: node("a"), shard: ShardId(3) });
}
