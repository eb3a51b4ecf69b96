//! Replicas that go stale and are mirrored back while clients write, nodes fail and leaders die.

use std::collections::BTreeMap;

use crate::mirrors::{Ended, Running};
use crate::world::{Happened, Replica, World};

/// What a run came across, so that the runs together can be held to have seen everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub healed: u64,
    pub paused: u64,
    /// Healed by mirrors that trusted stamps.
    pub trusted: u64,
    pub crashed: u64,
    pub outrun: u64,
    pub acknowledged: u64,
    pub repaired: u64,
    pub happened: Happened,
}

pub fn run(seed: u64) -> Result<Seen, String> {
    let mut world = World::new(seed);
    let mut seen = Seen::default();
    let mut mirrors: BTreeMap<Replica, Running> = BTreeMap::new();
    let busy = 100 + world.rng.below(500);
    let constant = world.rng.one_in(2);
    for turn in 0..60_000u64 {
        world.faults = turn < busy;
        // Half of the time clients never stop before everything is healed.
        world.clients = turn < busy || (constant && !world.stale.is_empty());
        if turn > busy && world.stale.is_empty() && world.is_calm() {
            seen.repaired = conclude(&mut world)?;
            seen.happened = world.happened;
            seen.acknowledged =
                world.history.values().flatten().filter(|(_, acknowledged)| *acknowledged).count() as u64;
            return Ok(seen);
        }
        step(&mut world, &mut mirrors, &mut seen)?;
    }
    Err(format!(
        "does not end: {:?}; {:?}",
        world.stale,
        mirrors.values().map(|m| m.mirror.record()).collect::<Vec<_>>()
    ))
}

pub fn step(world: &mut World, mirrors: &mut BTreeMap<Replica, Running>, seen: &mut Seen) -> Result<(), String> {
    match world.rng.below(8) {
        0 | 1 => world.tick(),
        2 | 3 => world.write(),
        _ => heal(world, mirrors, seen)?,
    }
    if world.rng.one_in(10) {
        world.read()?;
    }
    if world.rng.one_in(40) {
        fresh_replicas_hold_what_was_acknowledged(world)?;
    }
    Ok(())
}

pub fn heal(world: &mut World, mirrors: &mut BTreeMap<Replica, Running>, seen: &mut Seen) -> Result<(), String> {
    let healed = world.stale.keys().filter(|replica| world.is_healed(replica));
    let replicas: Vec<Replica> = healed.cloned().collect();
    let Some(replica) = world.rng.pick(&replicas).cloned() else { return Ok(()) };
    let crash = world.fate(60);
    let running = mirrors.entry(replica.clone()).or_insert_with(|| Running::start(world, &replica));
    if crash {
        seen.crashed += 1;
        running.crash(world, &replica);
        return Ok(());
    }
    match running.turn(world, &replica) {
        None => {}
        // The index write lock is waited for.
        Some(Ended::Equal(done)) if done.paused || world.turn_is_free() => {
            let trusted = running.trusted;
            mirrors.remove(&replica);
            if (world.stale.get(&replica), world.conditional) == (Some(&done.misses), done.conditional) {
                world.stale.remove(&replica);
                seen.healed += 1;
                seen.paused += u64::from(done.paused);
                seen.trusted += u64::from(trusted);
                fresh_replicas_hold_what_was_acknowledged(world)?;
            } else {
                seen.outrun += 1;
            }
            if world.pause.as_ref() == Some(&replica) {
                world.pause = None;
            }
        }
        Some(Ended::Equal(_)) => {}
        Some(Ended::Failed(failure)) => {
            mirrors.insert(replica.clone(), Running::again(world, &replica));
            if !matches!(failure, miroir_core::replica::mirror::Failure::NeverQuiet) {
                return Err(format!("{replica:?}: {failure}"));
            }
        }
    }
    Ok(())
}

/// Promise 3: whoever is not known as stale holds every acknowledged change, or has accepted it.
pub fn fresh_replicas_hold_what_was_acknowledged(world: &World) -> Result<(), String> {
    let drained: BTreeMap<_, _> = world.nodes.iter().map(|(id, node)| (id, node.drained())).collect();
    for id in world.history.keys() {
        let shard = world.shard_of(id);
        if world.is_in_doubt(shard) {
            continue;
        }
        let allowed = world.allowed(id);
        for node in world.readable(shard) {
            let doc = drained[&node].get(id).cloned();
            if !allowed.contains(&doc) {
                let history = &world.history[id];
                return Err(format!("{node} has {id} as {doc:?}, allowed: {allowed:?}; history {history:?}"));
            }
        }
    }
    Ok(())
}

/// Nobody writes, nothing is stale: all replicas are equal. What is changed on one of them afterwards, past everybody, a pass
/// of anti-entropy finds and repairs.
pub fn conclude(world: &mut World) -> Result<u64, String> {
    fresh_replicas_hold_what_was_acknowledged(world)?;
    let differed = crate::repair::pass(world)?;
    if differed > 0 {
        return Err(format!("{differed} documents were different, and nobody knew"));
    }
    equal(world)?;
    world.meddle();
    let repaired = crate::repair::pass(world)?;
    if crate::repair::pass(world)? > 0 {
        return Err("a second pass found something".into());
    }
    equal(world)?;
    Ok(repaired)
}

fn equal(world: &World) -> Result<(), String> {
    for shard in world.all_shards() {
        let of = |node| -> BTreeMap<_, _> { world.nodes[node].drained().of(shard).cloned().collect() };
        let replicas = world.replicas(shard);
        for pair in replicas.windows(2) {
            if let [a, b] = pair
                && of(a) != of(b)
            {
                return Err(format!("shard {shard}: {a} holds {:?}, {b} holds {:?}", of(a), of(b)));
            }
        }
    }
    Ok(())
}
