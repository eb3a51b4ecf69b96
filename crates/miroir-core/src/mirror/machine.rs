//! The machine: what to do next, and what came of it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::compare::{Dig, Fold, Side, everything};
use super::mend::{Mend, Next, Part};
use super::paging::{Paging, Window};
use super::record::{Failure, Policy, Record, Scope, Stage};
use super::round::{Done, Round, Verdict};
use super::throttle::Throttle;
use crate::digest::{Copied, Depth};
use crate::id::NodeId;

/// What decisions are made of besides what was heard. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The clock.
    pub now: u64,
    /// The live replicas of the shard, of any group, that hold every write; the best first.
    pub sources: Vec<NodeId>,
    /// Whether the target answers.
    pub target_live: bool,
    /// What is known of writes that the target missed: differs after each one, whether it was known as stale or not.
    pub misses: u64,
    /// No request to the target whose answer was lost can arrive after this instant.
    pub quiet_at: u64,
    /// How many changes that depend on what a replica holds were handed to the index: deletions by filter, edits.
    pub conditional: u64,
    /// Some of them may not be done on the source or on the target.
    pub conditional_unfinished: bool,
}

/// What to do next. What came of it is told with [`Mirror::heard`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing for so long. Nothing is told.
    Wait(Duration),
    /// Wait until a node has done everything that it has accepted by now: [`Event::Drained`].
    Drain(NodeId),
    /// Count the documents of the shard on a node: [`Event::Counted`].
    Count(NodeId),
    /// List the shard's documents: [`Event::Page`].
    Read {
        /// Whom to ask.
        node: NodeId,
        /// Which of them.
        window: Window,
        /// What of them; with vectors at the depth of content.
        depth: Depth,
    },
    /// Get these documents, as far as they exist, at the depth of content: [`Event::Fetched`].
    Fetch {
        /// Whom to ask.
        node: NodeId,
        /// The documents.
        ids: Vec<String>,
    },
    /// Put these documents of those that were read or fetched last, as they are, to the target: [`Event::Accepted`].
    Put(Vec<String>),
    /// Delete these documents from the target: [`Event::Accepted`].
    Delete(Vec<String>),
    /// Wait for these tasks of the target: [`Event::Finished`] or [`Event::Rejected`].
    Await(Vec<u64>),
    /// Hold all writes to the shard until [`Mirror::is_fenced`] no longer says so, and wait until source and target have
    /// done those that they had accepted: [`Event::Fenced`] or [`Event::FenceLost`].
    Fence,
    /// Both are equal. If writes are held, they are until that is written down.
    Done(Done),
    /// The target stays as stale as it is.
    GiveUp(Failure),
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node has done what it had accepted.
    Drained,
    /// So many documents.
    Counted(u64),
    /// These documents, in the node's order, of so many bytes.
    Page(Vec<Copied>, u64),
    /// These documents, of so many bytes.
    Fetched(Vec<Copied>, u64),
    /// The target has accepted it as this task.
    Accepted(u64),
    /// The tasks are done.
    Finished,
    /// A task failed, or the target refused what it was sent.
    Rejected(String),
    /// The answer was too large to take.
    TooLarge,
    /// Writes are held, and both sides have done all of theirs.
    Fenced,
    /// Writes cannot be held, or not any longer. May come at any time.
    FenceLost,
    /// The node did not answer; it may have done what it was told.
    Failed(NodeId),
}

/// After a failure.
pub(super) const BACKOFF_MS: u64 = 500;
/// A target with less than one document of so many is copied as if it had none.
const NEARLY_EMPTY: u64 = 4;

/// A mirror at work.
#[derive(Clone, Debug)]
pub struct Mirror {
    pub(super) record: Record,
    pub(super) policy: Policy,
    pub(super) throttle: Throttle,
    pub(super) source: Option<NodeId>,
    pub(super) round: Round,
    pub(super) work: Work,
    /// How long a request may be under way after it was given up.
    pub(super) linger: u64,
    /// Requests of this mirror, or of one before it, may arrive until then.
    pub(super) quiet_at: u64,
    pub(super) not_before: u64,
    /// Documents of a page, whole.
    pub(super) page: u64,
    /// Documents of a page, ids and stamps.
    pub(super) listed: u64,
    pub(super) rejections: u32,
    /// The window that was asked for last.
    pub(super) window: Window,
}

#[derive(Clone, Debug)]
pub(super) enum Work {
    Begin,
    Count { drained: u8, target: Option<u64> },
    Copy { paging: Paging, put: Vec<String>, tasks: VecDeque<u64> },
    Fold(Box<Fold>),
    Dig(Box<Dig>),
    Mend(Box<Mend>, VecDeque<Vec<u8>>),
    Fencing { whole: bool, left: BTreeSet<String> },
    Over(Result<Done, Failure>),
}

impl Mirror {
    /// Begin, or go on after whoever ran it before. `linger`: how long a request may be under way that was given up.
    pub fn resume(record: Record, policy: Policy, linger: Duration, now: u64) -> Self {
        let linger = u64::try_from(linger.as_millis()).unwrap_or(u64::MAX);
        Self {
            throttle: Throttle::new(policy.documents_per_second, now),
            source: None,
            round: Round::default(),
            work: Work::Begin,
            linger,
            quiet_at: if record.stage == Stage::Begin { now } else { now.saturating_add(linger) },
            not_before: now,
            page: policy.page_documents.clamp(1, 100),
            listed: policy.page_documents.max(1),
            rejections: 0,
            window: Window { offset: 0, limit: 0 },
            record,
            policy,
        }
    }

    /// To be saved now and then: whoever goes on from it loses time at most.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Which replica it is made equal to; none: that is not decided.
    pub fn source(&self) -> Option<&NodeId> {
        self.source.as_ref()
    }

    /// Whether writes are to be held.
    pub fn is_fenced(&self) -> bool {
        self.round.fenced || matches!(self.work, Work::Fencing { .. })
    }

    /// What it had found when it was done no longer holds: another round.
    pub fn go_on(&mut self) {
        if let Work::Over(Ok(_)) = self.work {
            self.restart();
        }
    }

    /// What to do next.
    pub fn next(&mut self, facts: &Facts) -> Step {
        // Each turn moves on to another kind of work; a few of them lead to something to do.
        for _ in 0..64 {
            if let Some(step) = self.turn(facts) {
                return step;
            }
        }
        Step::Wait(Duration::from_millis(BACKOFF_MS))
    }

    fn turn(&mut self, facts: &Facts) -> Option<Step> {
        if let Work::Over(outcome) = &self.work {
            return Some(match outcome {
                Ok(done) => Step::Done(*done),
                Err(failure) => Step::GiveUp(failure.clone()),
            });
        }
        let Some(source) = self.fit_source(facts) else { return Some(wait(BACKOFF_MS)) };
        if facts.now < self.not_before {
            return Some(wait(self.not_before - facts.now));
        }
        if !self.is_fenced()
            && let Some(pause) = self.throttle.wait(facts.now)
        {
            return Some(Step::Wait(pause));
        }
        match &mut self.work {
            Work::Begin => {
                self.begin(facts);
                None
            }
            Work::Count { drained: 0, .. } => Some(Step::Drain(self.record.subject.target.clone())),
            Work::Count { drained: 1, .. } => Some(Step::Drain(source)),
            Work::Count { target: None, .. } => Some(Step::Count(self.record.subject.target.clone())),
            Work::Count { target: Some(_), .. } => Some(Step::Count(source)),
            Work::Copy { .. } => self.copy(source),
            Work::Fold(fold) => {
                if fold.reading.paging.has_ended() {
                    if let Some(groups) = fold.finished(self.policy.listed_ids) {
                        self.work = Work::Dig(Box::new(Dig::into(groups, self.policy.listed_ids)));
                    }
                    return None;
                }
                let (side, paging) = (fold.reading.side, fold.reading.paging.clone());
                Some(self.read(side, source, &paging))
            }
            Work::Dig(dig) => {
                if dig.groups.is_empty() {
                    self.end_round(facts);
                    return None;
                }
                if let Some(ids) = dig.finished() {
                    let rest = std::mem::take(&mut dig.groups);
                    self.work = Work::Mend(Box::new(Mend::of(ids)), rest);
                    return None;
                }
                if dig.reading.paging.has_ended() {
                    return None;
                }
                let (side, paging) = (dig.reading.side, dig.reading.paging.clone());
                Some(self.read(side, source, &paging))
            }
            Work::Mend(..) => self.mend(source, facts),
            Work::Fencing { .. } => Some(Step::Fence),
            Work::Over(_) => None,
        }
    }

    /// The source; none: there is none, or the target is gone. What was begun with another one is begun anew.
    fn fit_source(&mut self, facts: &Facts) -> Option<NodeId> {
        if !facts.target_live {
            self.restart();
            return None;
        }
        let fit = self.source.as_ref().filter(|source| facts.sources.contains(source));
        if fit.is_none() {
            self.restart();
            let target = &self.record.subject.target;
            self.source = facts.sources.iter().find(|node| *node != target).cloned();
        }
        self.source.clone()
    }

    /// The round is begun anew.
    pub(super) fn restart(&mut self) {
        self.work = Work::Begin;
        self.round.fenced = false;
    }

    fn begin(&mut self, facts: &Facts) {
        self.round = Round::begin(facts);
        self.record.progress.compared = 0;
        self.work = match (&self.record.stage, &self.source) {
            (Stage::Copy(from, paging), Some(source)) if from == source => {
                Work::Copy { paging: paging.clone(), put: Vec::new(), tasks: VecDeque::new() }
            }
            (Stage::Copy(..), _) => {
                self.record.stage = Stage::Compare(Depth::Stamps);
                Work::Begin
            }
            (Stage::Begin | Stage::Compare(_), _) => Work::Count { drained: 0, target: None },
        };
    }

    /// Both sides were counted.
    pub(super) fn counted(&mut self, target: u64, source: u64) {
        self.record.progress.total = source;
        if let Scope::Ids(ids) = &self.record.scope {
            self.record.stage = Stage::Compare(Depth::Content);
            self.work = Work::Mend(Box::new(Mend::of(ids.clone())), VecDeque::new());
            return;
        }
        if self.record.stage == Stage::Begin {
            // A target that has little has what clients wrote since it takes their writes: all is copied over it.
            let copied = self.source.clone().filter(|_| target <= source / NEARLY_EMPTY);
            let compared = Stage::Compare(Depth::Stamps);
            self.record.stage = copied.map_or(compared, |source| Stage::Copy(source, Paging::default()));
            self.work = Work::Begin;
            return;
        }
        let few = target.max(source) <= self.policy.listed_ids as u64;
        self.work = match few {
            true => Work::Dig(Box::new(Dig::into(everything(), self.policy.listed_ids))),
            false => Work::Fold(Box::new(Fold::new())),
        };
    }

    fn copy(&mut self, source: NodeId) -> Option<Step> {
        let Work::Copy { paging, put, tasks } = &mut self.work else { return None };
        let ended = paging.has_ended();
        if !put.is_empty() {
            return Some(Step::Put(put.clone()));
        }
        if tasks.len() >= self.policy.tasks_in_flight.max(1) || (ended && !tasks.is_empty()) {
            let due = if ended { tasks.len() } else { 1 };
            return Some(Step::Await(tasks.iter().take(due).copied().collect()));
        }
        if ended {
            self.record.stage = Stage::Compare(Depth::Stamps);
            self.work = Work::Begin;
            return None;
        }
        self.window = paging.window(self.page);
        Some(Step::Read { node: source, window: self.window, depth: Depth::Content })
    }

    fn read(&mut self, side: Side, source: NodeId, paging: &Paging) -> Step {
        let depth = self.depth();
        self.window = paging.window(match depth {
            Depth::Stamps => self.listed,
            Depth::Content => self.page,
        });
        let node = match side {
            Side::Source => source,
            Side::Target => self.record.subject.target.clone(),
        };
        Step::Read { node, window: self.window, depth }
    }

    pub(super) fn depth(&self) -> Depth {
        match self.record.stage {
            Stage::Compare(depth) if !self.round.fenced => depth,
            Stage::Begin | Stage::Copy(..) | Stage::Compare(_) => Depth::Content,
        }
    }

    fn mend(&mut self, source: NodeId, facts: &Facts) -> Option<Step> {
        let Work::Mend(mend, rest) = &mut self.work else { return None };
        match mend.next(self.page as usize, self.policy.looks, facts.now) {
            Next::Until(instant) => Some(wait(instant.saturating_sub(facts.now))),
            Next::Tasks => Some(Step::Await(mend.tasks.clone())),
            Next::Over(stubborn) => {
                self.round.stubborn.extend(stubborn);
                let rest = std::mem::take(rest);
                self.work = Work::Dig(Box::new(Dig::into(rest, self.policy.listed_ids)));
                None
            }
            Next::Part => match &mend.part {
                Part::Pick => None,
                Part::Target => Some(Step::Fetch { node: self.record.subject.target.clone(), ids: mend.chunk.clone() }),
                Part::Source(_) => Some(Step::Fetch { node: source, ids: mend.chunk.clone() }),
                Part::Write { delete, .. } if !delete.is_empty() => Some(Step::Delete(delete.clone())),
                Part::Write { put, .. } => Some(Step::Put(put.clone())),
            },
        }
    }

    fn end_round(&mut self, facts: &Facts) {
        let progress = &mut self.record.progress;
        progress.rounds = progress.rounds.saturating_add(1);
        let quiet_at = self.quiet_at.max(facts.quiet_at);
        // Rounds since the writes were last held in vain.
        let rounds = progress.rounds.saturating_sub(progress.fences.saturating_mul(self.policy.rounds));
        let depth = match self.record.stage {
            Stage::Compare(depth) => depth,
            Stage::Begin | Stage::Copy(..) => Depth::Content,
        };
        let verdict = self.round.verdict(facts, depth, &self.record.scope, rounds, quiet_at, &self.policy);
        if self.round.misses != facts.misses {
            // What the target missed since is not known.
            self.record.scope = Scope::Whole;
        }
        match verdict {
            Verdict::Done(done) => self.work = Work::Over(Ok(done)),
            Verdict::Again(depth) => {
                self.record.stage = Stage::Compare(depth);
                self.restart();
            }
            Verdict::After(instant) => {
                self.not_before = instant;
                self.restart();
            }
            Verdict::FenceAll => self.work = Work::Fencing { whole: true, left: BTreeSet::new() },
            Verdict::Fence(left) => self.work = Work::Fencing { whole: false, left },
            Verdict::Unequal(ids) => {
                let example = ids.first().cloned().unwrap_or_default();
                self.work = Work::Over(Err(Failure::Unequal { count: ids.len(), example }));
                self.round.fenced = false;
            }
        }
    }
}

pub(super) fn wait(millis: u64) -> Step {
    Step::Wait(Duration::from_millis(millis.max(1)))
}
