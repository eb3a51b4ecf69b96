//! Members come and go while clients write, nodes fail, leaders die and operators change their minds.

use std::collections::{BTreeMap, BTreeSet};

use miroir_core::base::id::{GroupId, NodeId, ShardId};
use miroir_core::membership::topology::Member;
use miroir_core::membership::transition::{
    CandidateFacts, Effects, MembershipChange, MoveState, Phase, Refused, Replica, TransitionFacts, TransitionIntent,
    TransitionRecord, TransitionStep, begin, decide,
};

use crate::healing;
use crate::mirrors::Running;
use crate::node::{Node, Op};
use crate::world::{self, LINGER, World, member};

#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub finished: u64,
    pub canceled: u64,
    pub moved: u64,
    pub leaders: u64,
    pub refused: u64,
    pub outrun: u64,
}

/// Whoever leads the change.
struct Leader {
    saved: Option<TransitionRecord>,
    /// Decided, but not done.
    pending: Option<TransitionStep>,
    intent: TransitionIntent,
    prepared: BTreeSet<NodeId>,
    /// Since when what was abandoned is left alone.
    quiet_at: u64,
}

struct OfWorld<'a>(&'a World);

impl CandidateFacts for OfWorld<'_> {
    fn fit(&self, _: &Member) -> Result<(), Refused> {
        Ok(())
    }

    fn only_copy(&self, node: &NodeId) -> Option<ShardId> {
        let up = self.0.is_up(node);
        let alone = |shard: &ShardId| self.0.fresh(*shard).iter().all(|other| other == node || !self.0.is_up(other));
        self.0.all_shards().into_iter().find(|shard| !up && self.0.replicas(*shard).contains(node) && alone(shard))
    }
}

pub fn run(seed: u64) -> Result<Seen, String> {
    let mut world = World::new(seed);
    let mut seen = Seen::default();
    let mut healed = healing::Seen::default();
    let mut mirrors: BTreeMap<world::Replica, Running> = BTreeMap::new();
    let mut leader =
        Leader { saved: None, pending: None, intent: TransitionIntent::Run, prepared: BTreeSet::new(), quiet_at: 0 };
    let busy = 200 + world.rng.below(1500);
    for turn in 0..200_000u64 {
        world.faults = turn < busy;
        world.clients = turn < busy;
        if turn > busy && leader.saved.is_none() && world.stale.is_empty() && world.is_calm() {
            while !world.acknowledged() {
                world.catch_up();
            }
            healing::conclude(&mut world)?;
            shares_are_even(&world)?;
            seen.outrun = healed.outrun;
            return Ok(seen);
        }
        match world.rng.below(6) {
            0 => lead(&mut world, &mut leader, &mut mirrors, &mut seen)?,
            _ => healing::step(&mut world, &mut mirrors, &mut healed)?,
        }
        mirrors.retain(|replica, _| {
            let wanted = world.stale.contains_key(replica) && world.is_healed(replica);
            if !wanted && world.pause.as_ref() == Some(replica) {
                world.pause = None;
            }
            wanted
        });
    }
    Err(format!("does not end: {:?} {:?} {:?}", leader.saved, leader.pending, world.stale))
}

fn lead(
    world: &mut World,
    leader: &mut Leader,
    mirrors: &mut BTreeMap<world::Replica, Running>,
    seen: &mut Seen,
) -> Result<(), String> {
    if world.fate(30) {
        // It dies; the next one knows what was saved.
        seen.leaders += 1;
        leader.pending = None;
        return Ok(());
    }
    let Some(record) = leader.saved.clone() else {
        if world.faults && world.rng.one_in(10) {
            start(world, leader, seen);
        }
        return Ok(());
    };
    match world.rng.below(60) {
        0 if world.faults => leader.intent = TransitionIntent::Cancel,
        1 if world.faults && leader.intent == TransitionIntent::Run => leader.intent = TransitionIntent::Pause,
        _ if leader.intent == TransitionIntent::Pause && (!world.faults || world.rng.one_in(20)) => {
            leader.intent = TransitionIntent::Run
        }
        _ => {}
    }
    match leader.pending.take() {
        None => leader.pending = Some(decide(&record, &facts(world, leader, &record))),
        Some(step) => act(world, leader, record, step, mirrors, seen)?,
    }
    Ok(())
}

fn start(world: &mut World, leader: &mut Leader, seen: &mut Seen) {
    let nodes: Vec<NodeId> = world.topology.shape.members.iter().map(|member| member.id.clone()).collect();
    let groups = world.topology.shape.groups();
    let (Some(node), Some(group)) = (world.rng.pick(&nodes).cloned(), world.rng.pick(&groups).copied()) else { return };
    let fresh = world.rng.below(1000);
    let change = match world.rng.below(6) {
        0 | 1 => MembershipChange::AddNode { member: member(&format!("x{fresh}"), group) },
        2 => MembershipChange::Drain { node },
        3 => MembershipChange::RemoveNode { node },
        4 if world.rng.one_in(2) => MembershipChange::Undrain { node },
        4 if world.rng.one_in(3) => MembershipChange::Rebalance,
        4 => MembershipChange::RemoveGroup { group },
        _ => {
            let group = GroupId(groups.iter().map(|group| group.0).max().unwrap_or_default() + 1);
            let members = (0..1 + world.rng.below(2)).map(|n| member(&format!("y{fresh}n{n}"), group)).collect();
            MembershipChange::AddGroup { group, members }
        }
    };
    match begin(&world.topology, change, false, &OfWorld(world)) {
        Ok(record) => {
            for joining in record.change.joining() {
                world.nodes.entry(joining.id.clone()).or_insert_with(|| Node::new(world.shards));
            }
            *leader = Leader {
                saved: Some(record),
                pending: None,
                intent: TransitionIntent::Run,
                prepared: BTreeSet::new(),
                quiet_at: 0,
            };
        }
        Err(_) => seen.refused += 1,
    }
}

fn facts(world: &World, leader: &Leader, record: &TransitionRecord) -> TransitionFacts {
    let shards = world.shards;
    let replica = |(shard, node): &world::Replica| Replica { shards, shard: *shard, node: node.clone() };
    let ends = record.moves.iter().flat_map(|moving| [moving.source(), moving.target()]).flatten();
    let is_clean = |replica: &Replica| {
        let quiet = world.quiet_at.get(&replica.node).copied().unwrap_or_default().max(leader.quiet_at);
        let node = &world.nodes[&replica.node];
        node.up && world.now >= quiet && !node.has_open(|_| true) && node.of(replica.shard).next().is_none()
    };
    TransitionFacts {
        topology: world.topology.clone(),
        acknowledged: world.acknowledged(),
        live: world.nodes.keys().filter(|node| world.is_up(node)).cloned().collect(),
        prepared: leader.prepared.clone(),
        stale: world.stale.keys().map(replica).collect(),
        cleaned: ends.filter(is_clean).collect(),
        intent: leader.intent,
        most_at_once: 2,
    }
}

fn act(
    world: &mut World,
    leader: &mut Leader,
    record: TransitionRecord,
    step: TransitionStep,
    mirrors: &mut BTreeMap<world::Replica, Running>,
    seen: &mut Seen,
) -> Result<(), String> {
    match step {
        TransitionStep::Prepare(nodes) => leader.prepared.extend(nodes.into_iter().filter(|node| world.is_up(node))),
        TransitionStep::Save(next, effects) => save(world, leader, &record, *next, *effects, seen)?,
        TransitionStep::Work { clean, .. } => {
            for Replica { shard, node, .. } in clean {
                mirrors.remove(&(shard, node.clone()));
                let lost = world.fate(10);
                if let Some(node) =
                    world.nodes.get_mut(&node).filter(|node| node.up && !lost && !node.has_open(|_| true))
                {
                    node.accept(Op::Clear(shard));
                }
            }
        }
        TransitionStep::Wait(_) => {}
        TransitionStep::Finish(finished) => {
            if let Some(topology) = finished.topology {
                if topology.epoch.0 != world.topology.epoch.0 + 1 {
                    return Ok(());
                }
                world.topology = topology;
            }
            for node in &finished.gone {
                world.stale.retain(|(_, stale), _| stale != node);
            }
            crate::trace(|| format!("{} finished, canceled: {}", world.now, finished.canceled));
            seen.finished += u64::from(!finished.canceled);
            seen.canceled += u64::from(finished.canceled);
            leader.saved = None;
        }
    }
    Ok(())
}

/// All or nothing, as the store does it.
fn save(
    world: &mut World,
    leader: &mut Leader,
    record: &TransitionRecord,
    next: TransitionRecord,
    effects: Effects,
    seen: &mut Seen,
) -> Result<(), String> {
    if next == *record {
        return Err(format!("a step that changes nothing would be decided for ever: {record:?}"));
    }
    let stale = |replica: &Replica| world.stale.contains_key(&(replica.shard, replica.node.clone()));
    let outdated = effects.topology.as_ref().is_some_and(|topology| topology.epoch.0 != world.topology.epoch.0 + 1);
    if outdated || effects.require_fresh.iter().any(stale) {
        return Ok(());
    }
    for Replica { shard, node, .. } in effects.stale {
        world.mark_stale(shard, node);
    }
    for Replica { shard, node, .. } in effects.forget {
        world.stale.remove(&(shard, node));
    }
    let moved = |record: &TransitionRecord| record.moves.iter().filter(|moving| !moving.state.reads_old()).count();
    seen.moved += moved(&next).saturating_sub(moved(record)) as u64;
    crate::trace(|| {
        let moves = next.moves.iter().map(|m| format!("{}:{:?}->{:?} {:?}", m.shard, m.from, m.to, m.state));
        format!("{} {:?} {:?}", world.now, next.change, moves.collect::<Vec<_>>())
    });
    if let Some(topology) = effects.topology {
        world.topology = topology;
        // Requests of a mirror that was given up arrive before anything is deleted for good.
        leader.quiet_at = world.now + LINGER;
    }
    let copying = next.in_state(MoveState::Copying).filter_map(|(_, moving)| moving.target());
    world.copying = copying.map(|replica| (replica.shard, replica.node)).collect();
    assert!(next.phase == Phase::Moving, "it is saved only when it moves");
    let text = serde_json::to_string(&next).map_err(|error| error.to_string())?;
    leader.saved = Some(serde_json::from_str(&text).map_err(|error| error.to_string())?);
    Ok(())
}

/// Every shard has its replicas, on different nodes.
fn shares_are_even(world: &World) -> Result<(), String> {
    for (group, placement) in world.topology.placements(world.shards).into_iter().flatten() {
        for (shard, replicas) in placement.shards() {
            let distinct: BTreeSet<&NodeId> = replicas.iter().collect();
            if replicas.is_empty() || distinct.len() != replicas.len() {
                return Err(format!("shard {shard} of group {group} is on {replicas:?}"));
            }
        }
    }
    Ok(())
}
