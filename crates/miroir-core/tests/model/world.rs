//! The cluster: nodes, what is known of them, and clients that write all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use miroir_core::base::hash::shard_of;
use miroir_core::base::id::{GroupId, NodeId, ShardId};
use miroir_core::membership::placement::PlacementKind;
use miroir_core::membership::topology::{Member, Shape, Topology};
use miroir_core::read::cover::{Freshness, Preference, Replicas, Wanted, plan};
use miroir_core::write::quorum::{QuorumVerdict, ReplicaAnswer, conclude, in_doubt, left_behind};

use crate::node::{Doc, Node, Op};
use crate::rng::Rng;

/// How long a request may be under way, in milliseconds.
pub const LINGER: u64 = 500;

/// How far clocks may be apart.
const APART: u64 = 100;
/// From the stamp of a write until all replicas were handed it, at most, and how far clocks are apart.
pub const IN_FLIGHT: u64 = 1000 + APART;

pub type Replica = (ShardId, NodeId);

/// A client's write on its way: it holds the index write lock until it is recorded.
#[derive(Clone, Debug)]
pub struct Writing {
    pub op: Op,
    shard: ShardId,
    pending: Vec<NodeId>,
    answers: BTreeMap<NodeId, ReplicaAnswer>,
    /// Requests whose answers were lost, and which have not arrived.
    under_way: Vec<NodeId>,
    /// Its place in the history of each of its documents.
    entries: Vec<(String, usize)>,
    /// What the instance acts on that makes it.
    pub view: Topology,
}

/// What may happen to a write besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Happened {
    /// Its client had gone before it was recorded.
    pub left: u64,
    /// A node said nothing, and got it after the answer.
    pub late: u64,
    /// It might arrive where nobody would notice, so the lock was kept.
    pub lingered: u64,
    /// The lock was lost under it.
    pub lost_turn: u64,
    /// Whoever made it died.
    pub killed: u64,
    /// It could not be said for a while which replica was to be kept.
    pub undecided: u64,
}

/// What whoever died in the midst of a write has left.
#[derive(Clone, Debug)]
struct Left {
    /// Nothing more arrives from then on.
    quiet_at: u64,
    /// Those that nobody has settled.
    shards: BTreeSet<ShardId>,
}

#[derive(Clone, Debug)]
pub struct World {
    pub rng: Rng,
    pub now: u64,
    pub shards: NonZeroU32,
    pub nodes: BTreeMap<NodeId, Node>,
    /// As the store has it.
    pub topology: Topology,
    /// As each instance acts on it.
    pub views: Vec<Topology>,
    /// What is being copied for a change of members.
    pub copying: BTreeSet<Replica>,
    /// What each stale replica missed so far, as a number that never repeats.
    pub stale: BTreeMap<Replica, u64>,
    pub misses: u64,
    /// Requests that arrive later.
    pub flying: Vec<(u64, NodeId, Op)>,
    /// Until when requests to a node may still arrive.
    pub quiet_at: BTreeMap<NodeId, u64>,
    /// Every change of every document, and whether it was acknowledged.
    pub history: BTreeMap<String, Vec<(Op, bool)>>,
    pub writing: Option<Writing>,
    /// Until when the index write lock is kept for what may arrive yet.
    turn_kept_until: u64,
    /// Writes whose lock was lost, and when whoever made them finds out.
    doubts: Vec<(u64, Writing)>,
    /// How often each of the rarer things has happened to a write.
    pub happened: Happened,
    /// How many were begun.
    pub writes: u64,
    /// Who holds the writes.
    pub pause: Option<Replica>,
    pub conditional: u64,
    /// How many of them were edits.
    pub edits: u64,
    /// The edits that have tasks.
    registered: Vec<Op>,
    /// Whether anything still goes wrong, and whether clients still write.
    pub faults: bool,
    pub clients: bool,
    pub stamp: u64,
    left: Option<Left>,
    mortal: bool,
    /// Disks as they were.
    backups: BTreeMap<NodeId, Node>,
    ids: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let shards = NonZeroU32::new(1 + rng.below(3) as u32).expect("not zero");
        let groups = 1 + rng.below(2) as u32;
        let copies = NonZeroU32::new(1 + rng.below(3) as u32).expect("not zero");
        let mut members = Vec::new();
        for group in 0..groups {
            let count = 1 + rng.below(3);
            members.extend((0..count).map(|n| member(&format!("g{group}n{n}"), GroupId(group))));
        }
        let nodes = members.iter().map(|member| (member.id.clone(), Node::new(shards))).collect();
        let shape = Shape { members, replication_factor: copies, placement: PlacementKind::Balanced };
        let topology = Topology::new(shape).with_placement(shards).expect("the first one");
        let views = vec![topology.clone(); 2];
        let ids = 4 + rng.below(20);
        let (clients, mortal) = (true, rng.one_in(3));
        Self {
            rng,
            now: 1_000_000,
            shards,
            nodes,
            topology,
            views,
            copying: BTreeSet::new(),
            stale: BTreeMap::new(),
            misses: 0,
            flying: Vec::new(),
            quiet_at: BTreeMap::new(),
            history: BTreeMap::new(),
            writing: None,
            turn_kept_until: 0,
            doubts: Vec::new(),
            happened: Happened::default(),
            writes: 0,
            pause: None,
            conditional: 0,
            edits: 0,
            registered: Vec::new(),
            faults: true,
            clients,
            stamp: 0,
            left: None,
            mortal,
            backups: BTreeMap::new(),
            ids,
        }
    }

    /// One in so many, while anything goes wrong.
    pub fn fate(&mut self, one_in: u64) -> bool {
        self.faults && self.rng.one_in(one_in)
    }

    pub fn shard_of(&self, id: &str) -> ShardId {
        shard_of(id.as_bytes(), self.shards)
    }

    pub fn all_shards(&self) -> Vec<ShardId> {
        (0..self.shards.get()).map(ShardId).collect()
    }

    pub fn replicas(&self, shard: ShardId) -> Vec<NodeId> {
        self.replicas_in(&self.topology, shard)
    }

    pub fn replicas_in(&self, topology: &Topology, shard: ShardId) -> Vec<NodeId> {
        let placements = topology.placements(self.shards).into_iter().flatten();
        placements.flat_map(|(_, placement)| placement.replicas(shard)).cloned().collect()
    }

    pub fn is_fresh(&self, shard: ShardId, node: &NodeId) -> bool {
        !self.stale.contains_key(&(shard, node.clone()))
    }

    /// Those that hold every write, whether they answer or not.
    pub fn fresh(&self, shard: ShardId) -> Vec<NodeId> {
        self.writers(&self.topology, shard).into_iter().filter(|node| self.is_fresh(shard, node)).collect()
    }

    /// Those that any instance may read from.
    pub fn readable(&self, shard: ShardId) -> BTreeSet<NodeId> {
        let views = self.views.iter().chain([&self.topology]);
        let replicas = views.flat_map(|view| self.replicas_in(view, shard));
        replicas.filter(|node| self.is_fresh(shard, node)).collect()
    }

    /// Whether a stale replica is to be mirrored.
    pub fn is_healed(&self, replica: &Replica) -> bool {
        let (shard, node) = replica;
        let writes = self.topology.takes_writes(self.shards, *shard, node);
        writes && (self.replicas(*shard).contains(node) || self.copying.contains(replica))
    }

    pub fn is_up(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(|node| node.up)
    }

    pub fn mark_stale(&mut self, shard: ShardId, node: NodeId) {
        self.misses += 1;
        self.stale.insert((shard, node), self.misses);
    }

    /// Time passes, nodes work, requests arrive, things break.
    pub fn tick(&mut self) {
        self.now += 1 + self.rng.below(40);
        self.find_out();
        self.take_over();
        if self.turn_is_free() && self.rng.one_in(100) {
            // Nobody does anything for a while.
            self.now += 2 * IN_FLIGHT;
        }
        let due: Vec<usize> = (0..self.flying.len()).rev().filter(|at| self.flying[*at].0 <= self.now).collect();
        for at in due {
            let (_, node, op) = self.flying.remove(at);
            crate::trace(|| format!("{} {node}: late {op:?}", self.now));
            if let Some(node) = self.nodes.get_mut(&node).filter(|node| node.up) {
                node.accept(op);
            }
        }
        let ids: Vec<NodeId> = self.nodes.keys().cloned().collect();
        for id in &ids {
            let lazy = self.rng.one_in(2);
            if let Some(node) = self.nodes.get_mut(id).filter(|node| node.up && !lazy) {
                node.work();
            }
        }
        if self.fate(50)
            && let Some(id) = self.rng.pick(&ids).cloned()
            && let Some(node) = self.nodes.get(&id)
        {
            self.backups.insert(id, node.clone());
        }
        if self.fate(25)
            && let Some(id) = self.rng.pick(&ids).cloned()
        {
            self.toggle(&id);
        }
        if !self.faults {
            for id in ids.iter().filter(|id| !self.nodes[*id].up).cloned().collect::<Vec<_>>() {
                self.toggle(&id);
            }
        }
        if self.rng.one_in(3) {
            self.catch_up();
        }
    }

    /// A node goes, or comes back: as it was, empty, or as it was long ago.
    fn toggle(&mut self, id: &NodeId) {
        let up = self.is_up(id);
        let shards: Vec<ShardId> =
            self.all_shards().into_iter().filter(|shard| self.writers(&self.topology, *shard).contains(id)).collect();
        // Somewhere that is read and not about to be left.
        let kept = |shard: &ShardId| self.replicas(*shard).iter().any(|node| node != id && self.is_fresh(*shard, node));
        let elsewhere = shards.iter().all(kept);
        let holds = self.topology.clone();
        let loses_disk = !up && self.faults && elsewhere && self.rng.one_in(4);
        if loses_disk {
            // Found by what a returning node is checked for, before anything counts on it.
            for shard in shards {
                self.mark_stale(shard, id.clone());
            }
        }
        let empty = self.rng.one_in(2);
        crate::trace(|| format!("{} {id} was up: {up}; loses its disk: {loses_disk}, empty: {empty}", self.now));
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.up = !up;
        if loses_disk && empty {
            node.wipe();
        } else if loses_disk && let Some(before) = self.backups.get(id) {
            node.restore(before);
        }
        if !up {
            self.relieve(id, &holds);
        }
    }

    /// A node that comes back is relieved of what it should not hold before it counts.
    fn relieve(&mut self, id: &NodeId, holds: &Topology) {
        let besides = |shard: &ShardId| holds.also_writes(self.shards, *shard).any(|other| other == id);
        let belongs = |shard: &ShardId| self.replicas_in(holds, *shard).contains(id) || besides(shard);
        let not_placed: Vec<ShardId> = self.all_shards().into_iter().filter(|shard| !belongs(shard)).collect();
        if let Some(node) = self.nodes.get_mut(id) {
            // What it had accepted comes first.
            *node = node.drained();
            not_placed.into_iter().for_each(|shard| node.forget(shard));
        }
    }

    /// A client writes, a node at a time.
    pub fn write(&mut self) {
        match self.writing.take() {
            None if self.pause.is_none() && self.clients && self.turn_is_free() => {
                self.writing = self.begin_write();
            }
            None => {}
            Some(mut writing) => match writing.pending.pop() {
                Some(_) if self.mortal && self.fate(60) => self.die_under(writing),
                // The store stalls, or the instance sleeps: another one may hold the lock by now.
                Some(node) if self.fate(40) => {
                    writing.pending.push(node);
                    self.lose_turn(writing);
                }
                Some(node) => {
                    self.send(&mut writing, &node);
                    self.writing = Some(writing);
                }
                None => self.record(writing),
            },
        }
    }

    /// Whether a write may begin, or a mirror may end.
    pub fn turn_is_free(&self) -> bool {
        let is_taken_over = self.left.as_ref().is_none_or(|left| self.now >= left.quiet_at);
        self.writing.is_none() && self.now >= self.turn_kept_until && is_taken_over
    }

    /// Nothing of a write is under way, and nobody has anything to find out.
    pub fn is_calm(&self) -> bool {
        self.turn_is_free() && self.doubts.is_empty() && self.left.is_none()
    }

    /// The instance dies: nothing is recorded, and nobody is answered. What it has sent may arrive yet.
    fn die_under(&mut self, writing: Writing) {
        self.happened.killed += 1;
        crate::trace(|| format!("{} {:?}: dies, {:?}", self.now, writing.op, writing.answers));
        for node in writing.under_way {
            let due = self.now + self.rng.below(LINGER);
            self.flying.push((due, node, writing.op.clone()));
        }
        self.left = Some(Left { quiet_at: self.now + LINGER, shards: self.all_shards().into_iter().collect() });
    }

    /// Somebody takes over what a dead instance has left, when nothing of it can arrive any more.
    fn take_over(&mut self) {
        let Some(left) = self.left.take_if(|left| self.now >= left.quiet_at) else { return };
        let Some(placements) = self.topology.placements(self.shards) else { return };
        let also = |shard| self.topology.also_writes(self.shards, shard).cloned().collect();
        let fresh = |shard, node: &NodeId| self.is_fresh(shard, node);
        let shards = left.shards.iter().copied();
        let found = left_behind(placements, also, shards, fresh, |node| self.is_up(node));
        crate::trace(|| format!("{} what was left is taken over: {found:?}", self.now));
        // It may have been any change.
        self.conditional += 1;
        self.edits += 1;
        for (shard, node) in found.stale {
            self.mark_stale(shard, node);
        }
        if !found.undecided.is_empty() {
            self.happened.undecided += 1;
            self.left = Some(Left { shards: found.undecided, ..left });
        }
    }

    /// Nothing more of the write is sent, and whoever holds the lock next waits for what may arrive of it.
    fn lose_turn(&mut self, mut writing: Writing) {
        self.happened.lost_turn += 1;
        self.turn_kept_until = self.now + LINGER;
        for node in std::mem::take(&mut writing.under_way) {
            let due = self.now + self.rng.below(LINGER);
            self.flying.push((due, node, writing.op.clone()));
        }
        // Those that were not told are certainly without it.
        writing.pending.clear();
        let due = self.now + self.rng.below(4 * LINGER);
        self.doubts.push((due, writing));
    }

    /// Whoever lost a lock under a write finds out.
    fn find_out(&mut self) {
        let due: Vec<usize> = (0..self.doubts.len()).rev().filter(|at| self.doubts[*at].0 <= self.now).collect();
        for at in due {
            let (_, Writing { op, shard, answers, .. }) = self.doubts.remove(at);
            self.conditional += u64::from(op.is_conditional());
            self.edits += u64::from(op.is_edit());
            let answer = |_, node: &NodeId| answers.get(node).copied().unwrap_or(ReplicaAnswer::Missed);
            // Who was filled from one of them since may be no better.
            let Some(placements) = self.topology.placements(self.shards) else { continue };
            let also = |shard| self.topology.also_writes(self.shards, shard).cloned().collect();
            let stale = in_doubt(placements, also, [shard], answer, |shard, node| self.is_fresh(shard, node));
            crate::trace(|| format!("{} {op:?} is in doubt: {answers:?}, stale {stale:?}", self.now));
            for (shard, node) in stale {
                self.quiet_at.insert(node.clone(), self.now + LINGER);
                self.mark_stale(shard, node);
            }
        }
    }

    /// Whether nobody knows yet that replicas of a shard may differ, and a late write may come after a later one.
    pub fn is_in_doubt(&self, shard: ShardId) -> bool {
        self.doubts.iter().any(|(_, writing)| writing.shard == shard)
    }

    /// Whether it is not known which replicas of a shard differ by what a dead instance has left.
    fn is_left(&self, shard: ShardId) -> bool {
        self.left.as_ref().is_some_and(|left| left.shards.contains(&shard))
    }

    /// None: it is refused.
    fn begin_write(&mut self) -> Option<Writing> {
        let view = self.rng.pick(&self.views).cloned().unwrap_or_else(|| self.topology.clone());
        let id = format!("d{}", self.rng.below(self.ids));
        let shard = self.shard_of(&id);
        if self.is_left(shard) {
            return None;
        }
        self.writes += 1;
        self.stamp = self.now.max(self.stamp + 1);
        let op = match self.rng.below(20) {
            0..4 => Op::Delete { id: id.clone() },
            4 => self.conditional_op(shard),
            kind => {
                let count = 1 + self.rng.below(3);
                let fields = (0..count).map(|_| (self.rng.below(3) as u8, self.rng.below(3) as u8)).collect();
                // The clocks of instances are apart: stamps go back, and two are alike now and then.
                let behind = if self.rng.one_in(5) { self.rng.below(APART) } else { 0 };
                let stamp = self.stamp - behind;
                Op::Write { id: id.clone(), doc: Doc { fields, stamp }, replace: kind < 12 }
            }
        };
        let conditional = op.is_conditional();
        let ids = match conditional {
            true => (0..self.ids).map(|n| format!("d{n}")).filter(|id| self.shard_of(id) == shard).collect(),
            false => vec![id],
        };
        let entries = ids.into_iter().map(|id| {
            let history = self.history.entry(id.clone()).or_default();
            history.push((op.clone(), false));
            (id, history.len() - 1)
        });
        let entries = entries.collect();
        let mut pending = self.writers(&view, shard);
        for at in (1..pending.len()).rev() {
            pending.swap(at, self.rng.below(at as u64 + 1) as usize);
        }
        Some(Writing { op, shard, pending, answers: BTreeMap::new(), under_way: Vec::new(), entries, view })
    }

    /// A change of a shard that depends on what a replica holds.
    fn conditional_op(&mut self, shard: ShardId) -> Op {
        let [field, value, to] = [(); 3].map(|()| self.rng.below(3) as u8);
        match self.rng.one_in(3) {
            true => Op::EditWhere { shard, field, value, to },
            false => Op::DeleteWhere { shard, field, value },
        }
    }

    /// Who takes the writes of a shard.
    pub fn writers(&self, topology: &Topology, shard: ShardId) -> Vec<NodeId> {
        let mut nodes = self.replicas_in(topology, shard);
        let besides: Vec<NodeId> =
            topology.also_writes(self.shards, shard).filter(|node| !nodes.contains(node)).cloned().collect();
        nodes.extend(besides);
        nodes
    }

    /// An instance learns what the store says, unless a write of its own is under way.
    pub fn catch_up(&mut self) {
        let at = self.rng.below(self.views.len() as u64) as usize;
        if let Some(view) = self.views.get_mut(at) {
            *view = self.topology.clone();
        }
    }

    /// All instances act on the epoch, and nothing that was begun on an older one is under way.
    pub fn acknowledged(&self) -> bool {
        let epoch = self.topology.epoch;
        let old_write = self.writing.as_ref().is_some_and(|writing| writing.view.epoch != epoch);
        !old_write && self.views.iter().all(|view| view.epoch == epoch)
    }

    /// Promise 2: what an instance reads holds each document once, and nothing is missing that could be read.
    pub fn read(&mut self) -> Result<(), String> {
        let Some(view) = self.rng.pick(&self.views).cloned() else { return Ok(()) };
        let Some(placements) = view.placements(self.shards) else { return Ok(()) };
        let shards = self.all_shards();
        let (turn, groups) = (self.rng.number(), placements.keys().copied().collect::<Vec<_>>());
        let Some(group) = self.rng.pick(&groups).copied() else { return Err("nobody holds anything".into()) };
        let preference = Preference::new(&crate::selection(), turn, turn, turn);
        let wanted = Wanted { placements, group, shards: &shards, preference, allow_stale: false };
        let plan = plan(&wanted, &Health { world: self, view: &view });
        let mut seen = BTreeSet::new();
        for part in &plan.assignments {
            for (id, _) in self.nodes[&part.node].all() {
                let asked = !part.needs_filter || part.shards.contains(&self.shard_of(id));
                if asked && !seen.insert(id.clone()) {
                    return Err(format!("{id} is counted twice: {plan:?}"));
                }
            }
        }
        let readable = |shard: &ShardId| {
            self.replicas_in(&view, *shard).iter().any(|node| self.is_up(node) && self.is_fresh(*shard, node))
        };
        match plan.missing.iter().find(|shard| readable(shard)) {
            Some(shard) => Err(format!("shard {shard} is missing: {plan:?}")),
            None => Ok(()),
        }
    }

    fn send(&mut self, writing: &mut Writing, id: &NodeId) {
        let (lost, arrives) = (self.fate(12), self.rng.below(3));
        let refused = self.fate(30);
        let Some(node) = self.nodes.get_mut(id) else { return };
        let answer = if !node.up || refused {
            ReplicaAnswer::Missed
        } else if lost {
            match arrives {
                0 => _ = node.accept(writing.op.clone()),
                1 => writing.under_way.push(id.clone()),
                _ => {}
            }
            ReplicaAnswer::Ambiguous
        } else {
            node.accept(writing.op.clone());
            ReplicaAnswer::Accepted
        };
        writing.answers.insert(id.clone(), answer);
    }

    fn record(&mut self, writing: Writing) {
        let Writing { op, shard, answers, under_way, entries, view, .. } = writing;
        crate::trace(|| format!("{} {op:?}: {answers:?}, under way to {under_way:?}", self.now));
        let answer = |_, node: &NodeId| answers.get(node).copied().unwrap_or(ReplicaAnswer::Missed);
        self.conditional += u64::from(op.is_conditional());
        self.edits += u64::from(op.is_edit());
        let Some(placements) = view.placements(self.shards) else { return };
        let also = |shard| view.also_writes(self.shards, shard).cloned().collect();
        let outcome = conclude(placements, also, [shard], answer, |shard, node| self.is_fresh(shard, node));
        for (shard, node) in &outcome.stale {
            self.mark_stale(*shard, node.clone());
        }
        for (node, answer) in &answers {
            if *answer == ReplicaAnswer::Ambiguous {
                self.quiet_at.insert(node.clone(), self.now + LINGER);
            }
        }
        if outcome.lingers {
            self.happened.lingered += 1;
            self.turn_kept_until = self.now + LINGER;
        }
        for node in under_way {
            self.happened.late += 1;
            let due = self.now + self.rng.below(LINGER);
            self.flying.push((due, node, op.clone()));
        }
        if op.is_edit() && !matches!(outcome.verdict, QuorumVerdict::Lost { .. }) {
            self.registered.push(op.clone());
        }
        // The request may be gone; the write is the instance's.
        let left = self.fate(10);
        self.happened.left += u64::from(left);
        if !left && !matches!(outcome.verdict, QuorumVerdict::Lost { .. }) {
            for (id, at) in entries {
                if let Some((_, acknowledged)) = self.history.get_mut(&id).and_then(|history| history.get_mut(at)) {
                    *acknowledged = true;
                }
            }
        }
    }

    /// Whether a fresh replica of a shard has not done an edit yet that has a task.
    pub fn has_unfinished_edits(&self, shard: ShardId) -> bool {
        let fresh = self.fresh(shard);
        let nodes = self.nodes.iter().filter(|(id, _)| fresh.contains(id));
        nodes.map(|(_, node)| node).any(|node| node.has_open(|op| self.registered.contains(op)))
    }

    /// Somebody changes a document of one replica, past everybody.
    pub fn meddle(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().cloned().collect();
        let (removes, value) = (self.rng.one_in(2), self.rng.below(200) as u8);
        let Some(id) = self.rng.pick(&ids).cloned() else { return };
        let all: Vec<String> = self.nodes[&id].all().map(|(id, _)| id.clone()).collect();
        let Some(document) = self.rng.pick(&all).cloned() else { return };
        let doc = Doc { fields: BTreeMap::from([(9, value)]), stamp: self.stamp };
        if let Some(node) = self.nodes.get_mut(&id) {
            node.accept(if removes { Op::Remove(vec![document]) } else { Op::Insert(vec![(document, doc)]) });
        }
    }

    /// What a document may be, when every acknowledged change of it is there and any other may be.
    pub fn allowed(&self, id: &str) -> BTreeSet<Option<Doc>> {
        let mut states = BTreeSet::from([None]);
        for (op, acknowledged) in self.history.get(id).into_iter().flatten() {
            let after: BTreeSet<_> = states.iter().map(|doc| op.on(id, self.shards, doc.clone())).collect();
            states = if *acknowledged { after } else { states.union(&after).cloned().collect() };
        }
        states
    }
}

pub fn member(id: &str, group: GroupId) -> Member {
    Member { id: NodeId::new(id), address: format!("http://{id}:7700"), group }
}

/// What an instance knows of replicas.
struct Health<'a> {
    world: &'a World,
    view: &'a Topology,
}

impl Replicas for Health<'_> {
    fn freshness(&self, shard: ShardId, node: &NodeId) -> Option<Freshness> {
        let level = if self.world.is_fresh(shard, node) { Freshness::Fresh } else { Freshness::Stale };
        Some(level).filter(|_| self.world.is_up(node))
    }

    fn cost(&self, _: &NodeId) -> f64 {
        1.0
    }

    fn may_hold_more(&self, node: &NodeId) -> bool {
        self.view.may_hold_more(self.world.shards, node)
    }
}
