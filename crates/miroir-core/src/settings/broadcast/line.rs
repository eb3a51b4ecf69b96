//! The line: the changes of one index's settings, one after the other, and what comes next in it.
//!
//! Whoever is asked for a change while there is none *reserves* the line, tells the nodes itself, and only then is the
//! change known to have a task. A change that is asked for while another is under way waits in the queue as it was
//! written by the client, for what it means depends on the settings that are committed by then.
//!
//! Invariants: nodes are told nothing before the line is in the store. A change leaves the line only after its task has
//! ended, and tasks end in the order of the line.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::decide::{BroadcastFacts, BroadcastStep, Committed, Failed, Policy, decide};
use super::record::{BroadcastRecord, NodeProgress, Phase, Stage};
use crate::base::id::NodeId;
use crate::settings::{Settings, reset};

/// Changes of one index that may wait.
const WAITING: usize = 256;
/// What they may take together, as they are stored: every step of the line writes all of them.
const WAITING_BYTES: usize = 32 * 1024 * 1024;

/// What a client requests of the settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingsRequest {
    /// What it would send to `PATCH /settings`.
    Patch(Value),
    /// Everything is to be as in a new index.
    Reset,
}

impl SettingsRequest {
    /// The client's patch over these settings.
    pub fn patch(&self, current: &Settings) -> Value {
        match self {
            Self::Patch(patch) => patch.clone(),
            Self::Reset => reset(current),
        }
    }
}

/// A change that waits for its turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// Its task bears the same.
    pub token: String,
    /// When the index was asked for: another index may have its name by now.
    #[serde(with = "time::serde::rfc3339")]
    pub born: OffsetDateTime,
    /// As the client wrote it.
    #[serde(rename = "wish")]
    pub request: SettingsRequest,
}

impl Pending {
    /// What it takes in the store, nearly.
    fn bytes(&self) -> usize {
        match &self.request {
            SettingsRequest::Patch(patch) => patch.to_string().len(),
            SettingsRequest::Reset => 0,
        }
    }
}

/// A change that is under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineChange {
    /// Its task bears the same. `None`: the change was never acknowledged, and has no task.
    pub token: Option<String>,
    /// As in [`Pending`].
    #[serde(with = "time::serde::rfc3339")]
    pub born: OffsetDateTime,
    /// The index comes into being with it.
    pub creates_index: bool,
    /// The line is reserved: whoever was asked for the change is telling the nodes, and has until then to say so.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub reserved_until: Option<OffsetDateTime>,
    /// How far it got.
    pub record: BroadcastRecord,
}

impl LineChange {
    /// The change, whose instance has reserved the line and then ended. Nobody was promised anything: what nodes may
    /// have applied is taken back, unless there is nothing to go back to; then the index is completed.
    #[must_use]
    pub fn taken_over(self, now: OffsetDateTime) -> Self {
        let record = if self.creates_index { self.record } else { self.record.abandoned(now) };
        Self { reserved_until: None, record, ..self }
    }
}

/// The changes of one index, the first of which is under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Under way.
    pub current: Option<LineChange>,
    /// Those that wait, in the order of their tasks.
    #[serde(default)]
    pub queue: VecDeque<Pending>,
}

/// The change whose turn it is.
#[derive(Clone, Copy, Debug)]
pub enum Head<'a> {
    /// It is under way.
    Current(&'a LineChange),
    /// It has to be begun.
    Pending(&'a Pending),
}

impl Head<'_> {
    /// What its task bears.
    pub fn token(&self) -> Option<&str> {
        match self {
            Self::Current(change) => change.token.as_deref(),
            Self::Pending(pending) => Some(&pending.token),
        }
    }

    /// When its index was asked for.
    pub fn born(&self) -> OffsetDateTime {
        match self {
            Self::Current(change) => change.born,
            Self::Pending(pending) => pending.born,
        }
    }
}

/// Whether the index of a change is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It was deleted after the change was asked for.
    Gone,
    /// It is not there yet; what settings it has is not known. An earlier task creates it. When there is none, that has
    /// come to nothing, and it comes into being with what is begun.
    Growing,
    /// It is there.
    Ready,
}

/// What decisions about a line are made of.
#[derive(Clone, Debug)]
pub struct LineFacts {
    /// About the nodes, and about a request to undo the change.
    pub broadcast: BroadcastFacts,
    /// About the index of the change whose turn it is.
    pub index: Presence,
    /// Its task has ended, or was forgotten, which it can only be afterwards.
    pub ended: bool,
    /// Tasks of the index that were asked for earlier have not ended.
    pub earlier_open: bool,
}

/// How a change ends.
#[derive(Clone, Debug, PartialEq)]
pub enum ChangeEnd {
    /// It holds.
    Commit(Box<Committed>),
    /// It does not.
    Fail(Box<Failed>),
    /// It was canceled before it began.
    Canceled,
    /// Its index was deleted. The task succeeds: with one server the deletion would have come after it, too.
    Superseded,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum LineStep {
    /// Look again after this time, or when something has changed.
    Wait(Duration),
    /// Nodes, or other tasks, are not done: look again soon.
    Look,
    /// Save this and decide again.
    Save(Box<Line>),
    /// Send these patches, then save [`BroadcastRecord::after_sending`].
    Send(BTreeMap<NodeId, Value>),
    /// The first of the queue is to be begun.
    Begin,
    /// The task ends like this; then the line goes on with [`Line::rest`].
    Conclude(ChangeEnd),
    /// Nothing is left to be done.
    Finish,
}

impl Line {
    /// A change of what may be filtered by was asked for that nodes have still to be told, or to be told again.
    pub fn filters_later(&self) -> bool {
        let concerns = |patch: &Value| patch.get("filterableAttributes").is_some();
        let waits = |pending: &Pending| match &pending.request {
            SettingsRequest::Patch(patch) => concerns(patch),
            SettingsRequest::Reset => true,
        };
        let is_untold = |change: &LineChange| {
            let goes_back = change.record.phase() == Phase::GoingBack;
            // Nodes that were told nothing are not told to go back.
            let untold = |part: &NodeProgress| matches!(part.stage, Stage::Due { .. }) && (part.touched || !goes_back);
            concerns(&change.record.proposal.patch) && change.record.parts().values().any(untold)
        };
        self.queue.iter().any(waits) || self.current.as_ref().is_some_and(is_untold)
    }

    /// The change whose turn it is.
    pub fn head(&self) -> Option<Head<'_>> {
        match &self.current {
            Some(change) => Some(Head::Current(change)),
            None => self.queue.front().map(Head::Pending),
        }
    }

    /// The line without the change whose turn it was.
    #[must_use]
    pub fn rest(&self) -> Self {
        let mut queue = self.queue.clone();
        if self.current.is_none() {
            queue.pop_front();
        }
        Self { current: None, queue }
    }

    /// The line with one more change at its end, as seen by who holds the index write lock; none: too many wait.
    ///
    /// Whoever reserved the line held the lock, and has lost it or is gone: it is not waited for any more.
    #[must_use]
    pub fn joined(self, pending: Pending, now: OffsetDateTime) -> Option<Self> {
        let Self { current, mut queue } = self;
        let bytes: usize = queue.iter().chain([&pending]).map(Pending::bytes).sum();
        // A change that is large by itself is taken when nothing else waits: a request is bounded by itself.
        if queue.len() >= WAITING || (!queue.is_empty() && bytes > WAITING_BYTES) {
            return None;
        }
        queue.push_back(pending);
        let current = current.map(|change| match change.reserved_until {
            Some(_) => change.taken_over(now),
            None => change,
        });
        Some(Self { current, queue })
    }

    /// What was made of `before` over what is stored by now; none: what was done is no longer about what is stored.
    pub fn rebased(before: &Self, stored: &Self, next: Self) -> Option<Self> {
        let known = before.queue.len();
        let only_grew = stored.queue.len() >= known && stored.queue.iter().zip(&before.queue).all(|(a, b)| a == b);
        (stored.current == before.current && only_grew).then(|| {
            let mut queue = next.queue;
            queue.extend(stored.queue.iter().skip(known).cloned());
            Self { current: next.current, queue }
        })
    }

    /// What comes next.
    pub fn next(&self, facts: &LineFacts, policy: &Policy) -> LineStep {
        match self.head() {
            None => LineStep::Finish,
            Some(Head::Current(change)) => self.go_on(change, facts, policy),
            Some(Head::Pending(_)) => self.take_up(facts),
        }
    }

    fn go_on(&self, change: &LineChange, facts: &LineFacts, policy: &Policy) -> LineStep {
        let now = facts.broadcast.now;
        let with = |change: LineChange| Box::new(Self { current: Some(change), queue: self.queue.clone() });
        if let Some(until) = change.reserved_until {
            return match Duration::try_from(until - now) {
                Ok(left) if !left.is_zero() => LineStep::Wait(left),
                Ok(_) | Err(_) => LineStep::Save(with(change.clone().taken_over(now))),
            };
        }
        if facts.ended {
            return LineStep::Save(Box::new(self.rest()));
        }
        let step = match (facts.index, change.record.phase()) {
            (Presence::Gone, Phase::GoingBack) => {
                LineStep::Conclude(ChangeEnd::Fail(Box::new(change.record.failed(policy))))
            }
            (Presence::Gone, Phase::Propose | Phase::Verify | Phase::Commit) => {
                LineStep::Conclude(ChangeEnd::Superseded)
            }
            (Presence::Growing | Presence::Ready, _) => match decide(&change.record, &facts.broadcast, policy) {
                BroadcastStep::Save(record) => LineStep::Save(with(LineChange { record: *record, ..change.clone() })),
                BroadcastStep::Send(patches) => LineStep::Send(patches),
                BroadcastStep::Wait(_) => LineStep::Look,
                BroadcastStep::Commit(committed) => LineStep::Conclude(ChangeEnd::Commit(committed)),
                BroadcastStep::Fail(failed) => LineStep::Conclude(ChangeEnd::Fail(failed)),
            },
        };
        in_order(step, facts)
    }

    fn take_up(&self, facts: &LineFacts) -> LineStep {
        if facts.ended {
            return LineStep::Save(Box::new(self.rest()));
        }
        let step = match facts.index {
            _ if facts.broadcast.cancel => LineStep::Conclude(ChangeEnd::Canceled),
            Presence::Gone => LineStep::Conclude(ChangeEnd::Superseded),
            Presence::Growing if facts.earlier_open => LineStep::Look,
            Presence::Growing | Presence::Ready => LineStep::Begin,
        };
        in_order(step, facts)
    }
}

/// Tasks of one index end in the order in which they were asked for.
fn in_order(step: LineStep, facts: &LineFacts) -> LineStep {
    let ends = matches!(step, LineStep::Conclude(_));
    if ends && facts.earlier_open { LineStep::Look } else { step }
}

/// The patch that brings an index into being: what every index has on nodes, and the change over it.
pub fn creating(initial: Value, patch: &Value) -> Value {
    let (Value::Object(mut all), Value::Object(patch)) = (initial, patch) else { return json!(patch) };
    for (key, value) in patch {
        match (all.get_mut(key), value) {
            (Some(Value::Object(members)), Value::Object(more)) => {
                members.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            _ => {
                all.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(all)
}
