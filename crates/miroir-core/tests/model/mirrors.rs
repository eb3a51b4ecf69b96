//! Whoever runs the mirrors: does what they say, loses answers, dies, and is replaced.

use std::collections::BTreeMap;
use std::time::Duration;

use miroir_core::base::id::{IndexUid, NodeId};
use miroir_core::replica::digest::Depth;
use miroir_core::replica::mirror::{
    Done, Failure, Mirror, MirrorEvent, MirrorFacts, MirrorRecord, MirrorStep, Policy, Scope, Stage, Subject,
};

use crate::node::{Doc, Op, copied};
use crate::world::{IN_FLIGHT, LINGER, Replica, World};

/// How long writes may be held.
const PAUSE_MAX: u64 = 2000;

pub struct Running {
    pub mirror: Mirror,
    saved: MirrorRecord,
    /// What is being waited for, and what was known when it began.
    pending: Option<(MirrorStep, u64, MirrorFacts)>,
    /// Documents that were read or fetched last.
    held: BTreeMap<String, Doc>,
    wake: u64,
    paused_since: u64,
    /// It trusted stamps.
    pub trusted: bool,
}

pub enum Ended {
    Equal(Done),
    Failed(Failure),
}

pub fn policy() -> Policy {
    Policy {
        page_documents: 5,
        page_beside_clients: 3,
        page_bytes: 60,
        listed_ids: 7,
        tasks_in_flight: 2,
        looks: 3,
        rounds: 3,
        in_flight: IN_FLIGHT,
        ..Policy::default()
    }
}

impl Running {
    pub fn start(world: &World, replica: &Replica) -> Self {
        let index: IndexUid = "movies".parse().expect("a uid");
        let subject = Subject { index, shard: replica.0, target: replica.1.clone() };
        let record = MirrorRecord::new(subject, Scope::Whole, world.now);
        let mirror = Mirror::begin_with(record.clone(), policy(), Duration::from_millis(LINGER), world.now);
        Self { mirror, ..Self::of(record, world.now) }
    }

    /// Begin anew what was given up.
    pub fn again(world: &World, replica: &Replica) -> Self {
        Self::of(Self::start(world, replica).saved, world.now)
    }

    fn of(record: MirrorRecord, now: u64) -> Self {
        let mirror = Mirror::resume(record.clone(), policy(), Duration::from_millis(LINGER), now);
        Self { mirror, saved: record, pending: None, held: BTreeMap::new(), wake: 0, paused_since: 0, trusted: false }
    }

    fn facts(&self, world: &World) -> MirrorFacts {
        let Subject { shard, target, .. } = &self.saved.subject;
        let sources = world.fresh(*shard).into_iter().filter(|node| node != target && world.is_up(node)).collect();
        MirrorFacts {
            now: world.now,
            sources,
            target_live: world.is_up(target),
            misses: world.stale.get(&(*shard, target.clone())).copied().unwrap_or_default(),
            quiet_at: world.quiet_at.get(target).copied().unwrap_or_default(),
            conditional: world.conditional,
            edits: world.edits,
            edits_unfinished: world.has_unfinished_edits(*shard),
            clients: world.writes.is_multiple_of(3),
        }
    }

    /// Die, and be replaced by somebody who knows what was saved.
    pub fn crash(&mut self, world: &mut World, replica: &Replica) {
        if let Some((MirrorStep::Put(_) | MirrorStep::Delete(_), ..)) = &self.pending
            && let Some(op) = self.op(self.pending.as_ref().map(|(step, ..)| step.clone()))
        {
            let due = world.now + world.rng.below(LINGER);
            world.flying.push((due, replica.1.clone(), op));
        }
        if world.pause.as_ref() == Some(replica) {
            world.pause = None;
        }
        *self = Self::of(self.saved.clone(), world.now);
    }

    fn op(&self, step: Option<MirrorStep>) -> Option<Op> {
        match step? {
            MirrorStep::Put(ids) => Some(Op::Insert(
                ids.into_iter().filter_map(|id| Some((id.clone(), self.held.get(&id)?.clone()))).collect(),
            )),
            MirrorStep::Delete(ids) => Some(Op::Remove(ids)),
            MirrorStep::Wait(_)
            | MirrorStep::Barrier
            | MirrorStep::Drain(_)
            | MirrorStep::Count(_)
            | MirrorStep::Read { .. }
            | MirrorStep::Fetch { .. }
            | MirrorStep::Await(_)
            | MirrorStep::PauseWrites
            | MirrorStep::Done(_)
            | MirrorStep::GiveUp(_) => None,
        }
    }

    /// One thing happens.
    pub fn turn(&mut self, world: &mut World, replica: &Replica) -> Option<Ended> {
        let facts = self.facts(world);
        if world.pause.as_ref() == Some(replica) && world.now > self.paused_since + PAUSE_MAX {
            world.pause = None;
            self.pending = None;
            self.mirror.advance(MirrorEvent::PauseEnded, &facts);
        }
        if self.pending.is_none() {
            if world.now < self.wake {
                return None;
            }
            let step = self.mirror.next(&facts);
            if let MirrorStep::Wait(pause) = step {
                assert!(pause > Duration::ZERO, "it would be asked for ever");
                self.wake = world.now + u64::try_from(pause.as_millis()).expect("short");
            } else if let MirrorStep::Done(done) = step {
                // Other things happen before it is written down.
                return Some(Ended::Equal(done)).filter(|_| world.rng.one_in(6));
            } else if let MirrorStep::GiveUp(failure) = step {
                return Some(Ended::Failed(failure));
            } else {
                let compared = self.mirror.record().stage == Stage::Compare(Depth::Content);
                self.trusted |= compared && matches!(step, MirrorStep::Read { depth: Depth::Stamps, .. });
                let drained = if let MirrorStep::Drain(node) = &step { node } else { &replica.1 };
                let task = world.nodes.get(drained).map_or(0, crate::node::Node::next_task);
                let mark = if step == MirrorStep::Barrier { world.writes } else { task };
                self.pending = Some((step, mark, facts));
            }
            self.release(world, replica);
            return None;
        }
        let (step, mark, before) = self.pending.take()?;
        match self.answer(world, replica, &step, mark) {
            Some(event) => {
                crate::trace(|| format!("{} {replica:?}: {step:?} -> {event:?}", world.now));
                // What was known before the step does for what it says.
                self.mirror.advance(event, &MirrorFacts { now: world.now, ..before });
                if world.rng.one_in(2) {
                    let text = serde_json::to_string(self.mirror.record()).expect("it can be written");
                    self.saved = serde_json::from_str(&text).expect("it can be read");
                }
            }
            None => self.pending = Some((step, mark, before)),
        }
        self.release(world, replica);
        None
    }

    fn release(&mut self, world: &mut World, replica: &Replica) {
        if world.pause.as_ref() == Some(replica) && !self.mirror.is_paused() {
            world.pause = None;
        }
    }

    /// What comes of a step; none: it is still waited for.
    fn answer(&mut self, world: &mut World, replica: &Replica, step: &MirrorStep, mark: u64) -> Option<MirrorEvent> {
        let (shard, target) = replica;
        let failed = |node: &NodeId| Some(MirrorEvent::Failed(node.clone()));
        match step {
            MirrorStep::Wait(_) | MirrorStep::Done(_) | MirrorStep::GiveUp(_) => None,
            // Another one has begun since.
            MirrorStep::Barrier => (world.turn_is_free() || world.writes > mark).then_some(MirrorEvent::Passed),
            MirrorStep::Drain(node) => self.when_done(world, node, mark, MirrorEvent::Drained),
            MirrorStep::Await(tasks) => {
                let last = tasks.iter().max().map_or(0, |task| task + 1);
                self.when_done(world, target, last, MirrorEvent::Finished)
            }
            MirrorStep::Count(node) => {
                if !world.is_up(node) || world.fate(20) {
                    return failed(node);
                }
                Some(MirrorEvent::Counted(world.nodes[node].of(*shard).count() as u64))
            }
            MirrorStep::Read { node, window, depth } => {
                if !world.is_up(node) || world.fate(20) {
                    return failed(node);
                }
                let page = world.nodes[node].list(*shard, *window);
                self.take(page.clone());
                let bytes = page.len() as u64 * 10;
                Some(MirrorEvent::Page(page.iter().map(|doc| copied(doc, *depth)).collect(), bytes))
            }
            MirrorStep::Fetch { node, ids } => {
                if !world.is_up(node) || world.fate(20) {
                    return failed(node);
                }
                let of = &world.nodes[node];
                let found: Vec<(String, Doc)> =
                    ids.iter().filter_map(|id| Some((id.clone(), of.get(id)?.clone()))).collect();
                self.take(found.clone());
                let bytes = found.len() as u64 * 10;
                Some(MirrorEvent::Fetched(found.iter().map(|doc| copied(doc, Depth::Content)).collect(), bytes))
            }
            MirrorStep::Put(_) | MirrorStep::Delete(_) => self.write(world, target, step),
            MirrorStep::PauseWrites => self.pause(world, replica),
        }
    }

    fn take(&mut self, documents: Vec<(String, Doc)>) {
        self.held = documents.into_iter().collect();
    }

    fn when_done(&self, world: &mut World, target: &NodeId, task: u64, event: MirrorEvent) -> Option<MirrorEvent> {
        match world.nodes.get(target) {
            Some(node) if node.up => (node.first_open() >= task).then_some(event),
            Some(_) | None => Some(MirrorEvent::Failed(target.clone())),
        }
    }

    fn write(&mut self, world: &mut World, target: &NodeId, step: &MirrorStep) -> Option<MirrorEvent> {
        let op = self.op(Some(step.clone()))?;
        let (lost, arrives, due) = (world.fate(15), world.rng.below(3), world.now + world.rng.below(LINGER));
        let failed = Some(MirrorEvent::Failed(target.clone()));
        let Some(node) = world.nodes.get_mut(target).filter(|node| node.up) else { return failed };
        if !lost {
            return Some(MirrorEvent::Accepted(node.accept(op)));
        }
        match arrives {
            0 => _ = node.accept(op),
            1 => world.flying.push((due, target.clone(), op)),
            _ => {}
        }
        failed
    }

    fn pause(&mut self, world: &mut World, replica: &Replica) -> Option<MirrorEvent> {
        if world.pause.as_ref() != Some(replica) {
            if world.pause.is_none() && world.turn_is_free() {
                world.pause = Some(replica.clone());
                self.paused_since = world.now;
            }
            return None;
        }
        let busy = world.nodes.values().any(|node| node.up && node.has_open(|_| true));
        (!busy).then_some(MirrorEvent::WritesPaused)
    }
}
