//! A node: documents in an order of its own, and a queue of tasks that it does one by one.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;

use miroir_core::base::hash::shard_of;
use miroir_core::base::id::ShardId;
use miroir_core::replica::digest::{Content, Copied, Depth, Version};
use miroir_core::replica::mirror::Window;

/// What clients wrote, and when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doc {
    pub fields: BTreeMap<u8, u8>,
    pub stamp: u64,
}

/// What a task does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A client's document, replacing the one there is or merged into it.
    Write {
        id: String,
        doc: Doc,
        replace: bool,
    },
    Delete {
        id: String,
    },
    /// Of a shard, where a field has a value.
    DeleteWhere {
        shard: ShardId,
        field: u8,
        value: u8,
    },
    /// Of a shard: a field gets another value where it has this one. Stamps stay.
    EditWhere {
        shard: ShardId,
        field: u8,
        value: u8,
        to: u8,
    },
    /// Documents as another node holds them.
    Insert(Vec<(String, Doc)>),
    Remove(Vec<String>),
    /// All of a shard.
    Clear(ShardId),
}

impl Op {
    /// What becomes of one document.
    pub fn on(&self, id: &str, shards: NonZeroU32, before: Option<Doc>) -> Option<Doc> {
        let shard_is = |shard: &ShardId| shard_of(id.as_bytes(), shards) == *shard;
        match self {
            Self::Write { id: of, doc, replace } if of == id => match before {
                Some(mut merged) if !replace => {
                    merged.fields.extend(&doc.fields);
                    merged.stamp = doc.stamp;
                    Some(merged)
                }
                Some(_) | None => Some(doc.clone()),
            },
            Self::Delete { id: of } if of == id => None,
            Self::DeleteWhere { shard, field, value } if shard_is(shard) => {
                before.filter(|doc| doc.fields.get(field) != Some(value))
            }
            Self::EditWhere { shard, field, value, to } if shard_is(shard) => before.map(|mut doc| {
                doc.fields.entry(*field).and_modify(|known| *known = if known == value { *to } else { *known });
                doc
            }),
            Self::Insert(documents) => match documents.iter().find(|(of, _)| of == id) {
                Some((_, doc)) => Some(doc.clone()),
                None => before,
            },
            Self::Remove(ids) if ids.iter().any(|of| of == id) => None,
            Self::Clear(shard) if shard_is(shard) => None,
            Self::Write { .. }
            | Self::Delete { .. }
            | Self::DeleteWhere { .. }
            | Self::EditWhere { .. }
            | Self::Remove(_)
            | Self::Clear(_) => before,
        }
    }

    /// What it does depends on what a replica holds.
    pub fn is_conditional(&self) -> bool {
        matches!(self, Self::DeleteWhere { .. }) || self.is_edit()
    }

    /// It changes documents and leaves their stamps.
    pub fn is_edit(&self) -> bool {
        matches!(self, Self::EditWhere { .. })
    }

    /// The documents that it may bring into being.
    fn created(&self) -> Vec<&str> {
        match self {
            Self::Write { id, .. } => vec![id],
            Self::Insert(documents) => documents.iter().map(|(id, _)| id.as_str()).collect(),
            Self::Delete { .. }
            | Self::DeleteWhere { .. }
            | Self::EditWhere { .. }
            | Self::Remove(_)
            | Self::Clear(_) => vec![],
        }
    }
}

#[derive(Clone, Debug)]
pub struct Node {
    pub up: bool,
    shards: NonZeroU32,
    /// A document keeps its place; a new one takes the first that is free.
    slots: Vec<Option<(String, Doc)>>,
    queue: VecDeque<(u64, Op)>,
    next_task: u64,
}

impl Node {
    pub fn new(shards: NonZeroU32) -> Self {
        Self { up: true, shards, slots: Vec::new(), queue: VecDeque::new(), next_task: 0 }
    }

    /// Take on a task.
    pub fn accept(&mut self, op: Op) -> u64 {
        self.queue.push_back((self.next_task, op));
        self.next_task += 1;
        self.next_task - 1
    }

    /// The first task that is not done.
    pub fn first_open(&self) -> u64 {
        self.queue.front().map_or(self.next_task, |(uid, _)| *uid)
    }

    /// The task that would be next.
    pub fn next_task(&self) -> u64 {
        self.next_task
    }

    pub fn has_open(&self, wanted: impl Fn(&Op) -> bool) -> bool {
        self.queue.iter().any(|(_, op)| wanted(op))
    }

    pub fn work(&mut self) {
        let Some((_, op)) = self.queue.pop_front() else { return };
        for slot in &mut self.slots {
            if let Some((id, doc)) = slot.take() {
                *slot = op.on(&id, self.shards, Some(doc)).map(|doc| (id, doc));
            }
        }
        for id in op.created() {
            if self.get(id).is_none()
                && let Some(doc) = op.on(id, self.shards, None)
            {
                let free = self.slots.iter().position(Option::is_none);
                match free.and_then(|at| self.slots.get_mut(at)) {
                    Some(slot) => *slot = Some((id.to_owned(), doc)),
                    None => self.slots.push(Some((id.to_owned(), doc))),
                }
            }
        }
    }

    /// As it is when it has done everything.
    pub fn drained(&self) -> Self {
        let mut node = self.clone();
        while !node.queue.is_empty() {
            node.work();
        }
        node
    }

    /// An empty disk.
    pub fn wipe(&mut self) {
        self.slots.clear();
        self.queue.clear();
    }

    /// Nothing of a shard is left.
    pub fn forget(&mut self, shard: ShardId) {
        let op = Op::Clear(shard);
        for slot in &mut self.slots {
            *slot = slot.take().and_then(|(id, doc)| Some((id.clone(), op.on(&id, self.shards, Some(doc))?)));
        }
    }

    /// A disk from before; the numbers of tasks go on.
    pub fn restore(&mut self, before: &Self) {
        self.slots = before.slots.clone();
        self.queue.clear();
    }

    pub fn get(&self, id: &str) -> Option<&Doc> {
        self.slots.iter().flatten().find(|(of, _)| of == id).map(|(_, doc)| doc)
    }

    /// All documents, in order.
    pub fn all(&self) -> impl Iterator<Item = &(String, Doc)> {
        self.slots.iter().flatten()
    }

    pub fn of(&self, shard: ShardId) -> impl Iterator<Item = &(String, Doc)> {
        self.all().filter(move |(id, _)| shard_of(id.as_bytes(), self.shards) == shard)
    }

    pub fn list(&self, shard: ShardId, window: Window) -> Vec<(String, Doc)> {
        self.of(shard).skip(window.offset as usize).take(window.limit as usize).cloned().collect()
    }
}

/// As the core sees a document.
pub fn copied((id, doc): &(String, Doc), depth: Depth) -> Copied {
    let fold = |hash: u64, (key, value): (&u8, &u8)| {
        (hash ^ (u64::from(*key) << 8 | u64::from(*value))).wrapping_mul(0x100_0000_01B3)
    };
    let content = match depth {
        Depth::Stamps => None,
        Depth::Content => Some(Content(doc.fields.iter().fold(0xCBF2_9CE4_8422_2325, fold))),
    };
    Copied { id: id.clone(), version: Version { stamp: Some(doc.stamp), expires_at: None, content } }
}
