//! The cluster: nodes, what is known of them, and clients that write all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use miroir_core::hash::shard_of;
use miroir_core::id::{GroupId, NodeId, ShardId};
use miroir_core::placement::{PlacementKind, place};
use miroir_core::quorum::{Answer, Verdict, conclude};
use miroir_core::topology::GroupPlacements;

use crate::node::{Doc, Node, Op};
use crate::rng::Rng;

/// How long a request may be under way, in milliseconds.
pub const LINGER: u64 = 500;

pub type Replica = (ShardId, NodeId);

/// A client's write on its way: it has the turn of the index until it is recorded.
#[derive(Clone, Debug)]
pub struct Writing {
    pub op: Op,
    shard: ShardId,
    pending: Vec<NodeId>,
    answers: BTreeMap<NodeId, Answer>,
    /// Requests whose answers were lost, and which have not arrived.
    under_way: Vec<NodeId>,
    /// Its place in the history of each of its documents.
    entries: Vec<(String, usize)>,
}

#[derive(Clone, Debug)]
pub struct World {
    pub rng: Rng,
    pub now: u64,
    pub shards: NonZeroU32,
    pub nodes: BTreeMap<NodeId, Node>,
    pub placements: GroupPlacements,
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
    /// Who holds the writes.
    pub fence: Option<Replica>,
    pub conditional: u64,
    /// Whether anything still goes wrong, and whether clients still write.
    pub faults: bool,
    pub clients: bool,
    pub stamp: u64,
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
        let mut placements = GroupPlacements::new();
        let mut nodes = BTreeMap::new();
        for group in 0..groups {
            let count = 1 + rng.below(3);
            let members: Vec<NodeId> = (0..count).map(|n| NodeId::new(format!("g{group}n{n}"))).collect();
            nodes.extend(members.iter().map(|id| (id.clone(), Node::new(shards))));
            placements.insert(GroupId(group), place(PlacementKind::Balanced, None, &members, shards, copies));
        }
        let ids = 4 + rng.below(20);
        let clients = true;
        Self {
            rng,
            now: 1_000_000,
            shards,
            nodes,
            placements,
            stale: BTreeMap::new(),
            misses: 0,
            flying: Vec::new(),
            quiet_at: BTreeMap::new(),
            history: BTreeMap::new(),
            writing: None,
            fence: None,
            conditional: 0,
            faults: true,
            clients,
            stamp: 0,
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
        self.placements.values().flat_map(|placement| placement.replicas(shard)).cloned().collect()
    }

    pub fn is_fresh(&self, shard: ShardId, node: &NodeId) -> bool {
        !self.stale.contains_key(&(shard, node.clone()))
    }

    /// Fresh replicas, whether they answer or not.
    pub fn fresh(&self, shard: ShardId) -> Vec<NodeId> {
        self.replicas(shard).into_iter().filter(|node| self.is_fresh(shard, node)).collect()
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
        let due: Vec<usize> = (0..self.flying.len()).rev().filter(|at| self.flying[*at].0 <= self.now).collect();
        for at in due {
            let (_, node, op) = self.flying.remove(at);
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
            self.nodes.values_mut().for_each(|node| node.up = true);
        }
    }

    /// A node goes, or comes back: as it was, empty, or as it was long ago.
    fn toggle(&mut self, id: &NodeId) {
        let up = self.is_up(id);
        let shards: Vec<ShardId> =
            self.all_shards().into_iter().filter(|shard| self.replicas(*shard).contains(id)).collect();
        let elsewhere = shards.iter().all(|shard| self.fresh(*shard).iter().any(|node| node != id));
        let loses_disk = !up && elsewhere && self.rng.one_in(4);
        if loses_disk {
            // Found by what a returning node is checked for, before anything counts on it.
            for shard in shards {
                self.mark_stale(shard, id.clone());
            }
        }
        let empty = self.rng.one_in(2);
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.up = !up;
        if loses_disk && empty {
            node.wipe();
        } else if loses_disk {
            if let Some(before) = self.backups.get(id) {
                node.restore(before);
            }
        }
    }

    /// A client writes, a node at a time.
    pub fn write(&mut self) {
        match self.writing.take() {
            None if self.fence.is_none() && self.clients => self.writing = Some(self.begin_write()),
            None => {}
            Some(mut writing) => match writing.pending.pop() {
                Some(node) => {
                    self.send(&mut writing, &node);
                    self.writing = Some(writing);
                }
                None => self.record(writing),
            },
        }
    }

    fn begin_write(&mut self) -> Writing {
        let id = format!("d{}", self.rng.below(self.ids));
        let shard = self.shard_of(&id);
        self.stamp = self.now.max(self.stamp + 1);
        let op = match self.rng.below(20) {
            0..4 => Op::Delete { id: id.clone() },
            4 => Op::DeleteWhere { shard, field: self.rng.below(3) as u8, value: self.rng.below(3) as u8 },
            kind => {
                let count = 1 + self.rng.below(3);
                let fields = (0..count).map(|_| (self.rng.below(3) as u8, self.rng.below(3) as u8)).collect();
                // Now and then two instances stamp alike.
                let stamp = if self.rng.one_in(10) { self.stamp / 2 * 2 } else { self.stamp };
                Op::Write { id: id.clone(), doc: Doc { fields, stamp }, replace: kind < 12 }
            }
        };
        let conditional = matches!(op, Op::DeleteWhere { .. });
        self.conditional += u64::from(conditional);
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
        let mut pending = self.writers(shard);
        for at in (1..pending.len()).rev() {
            pending.swap(at, self.rng.below(at as u64 + 1) as usize);
        }
        Writing { op, shard, pending, answers: BTreeMap::new(), under_way: Vec::new(), entries }
    }

    /// Who takes the writes of a shard.
    pub fn writers(&self, shard: ShardId) -> Vec<NodeId> {
        self.replicas(shard)
    }

    fn send(&mut self, writing: &mut Writing, id: &NodeId) {
        let (lost, arrives) = (self.fate(12), self.rng.below(3));
        let refused = self.fate(30);
        let Some(node) = self.nodes.get_mut(id) else { return };
        let answer = if !node.up || refused {
            Answer::Missed
        } else if lost {
            match arrives {
                0 => _ = node.accept(writing.op.clone()),
                1 => writing.under_way.push(id.clone()),
                _ => {}
            }
            Answer::Ambiguous
        } else {
            node.accept(writing.op.clone());
            Answer::Accepted
        };
        writing.answers.insert(id.clone(), answer);
    }

    fn record(&mut self, writing: Writing) {
        let Writing { op, shard, answers, under_way, entries, .. } = writing;
        let answer = |_, node: &NodeId| answers.get(node).copied().unwrap_or(Answer::Missed);
        let outcome = conclude(&self.placements, [shard], answer, |shard, node| self.is_fresh(shard, node));
        for (shard, node) in &outcome.stale {
            self.mark_stale(*shard, node.clone());
        }
        for (node, answer) in &answers {
            if *answer == Answer::Ambiguous {
                self.quiet_at.insert(node.clone(), self.now + LINGER);
            }
        }
        for node in under_way {
            if self.is_fresh(shard, &node) {
                // The last one that may have it: whether it has is decided before anything else is written.
                continue;
            }
            let due = self.now + self.rng.below(LINGER);
            self.flying.push((due, node, op.clone()));
        }
        if !matches!(outcome.verdict, Verdict::Lost { .. }) {
            for (id, at) in entries {
                if let Some((_, acknowledged)) = self.history.get_mut(&id).and_then(|history| history.get_mut(at)) {
                    *acknowledged = true;
                }
            }
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
