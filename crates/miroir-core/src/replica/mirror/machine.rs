//! The machine: what to do next, and what came of it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::compare::{Dig, Evidence, Fold, Reading, Side, everything};
use super::paging::{Paging, Window};
use super::record::{Failure, MirrorRecord, Policy, Scope, Stage};
use super::repair::{Next, Repair, RepairStage};
use super::round::{Done, Round, RoundVerdict};
use super::settling::{Settled, Settling, Then};
use super::step::{MirrorFacts, MirrorStep};
use super::throttle::Throttle;
use super::verified::{Before, VerifiedVersions};
use crate::base::id::NodeId;
use crate::replica::digest::{Copied, Depth};

/// After a failure.
pub(super) const BACKOFF_MS: u64 = 500;
/// A target with less than one document of so many is copied as if it had none.
const NEARLY_EMPTY: u64 = 4;

/// A mirror at work.
#[derive(Clone, Debug)]
pub struct Mirror {
    pub(super) record: MirrorRecord,
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
    /// What need not be read whole.
    pub(super) verified: VerifiedVersions,
    pub(super) settled: Option<Settled>,
    /// The target was written to since it was last waited until the source had done what the target was handed before.
    pub(super) touched: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Work {
    Begin,
    Settle(VecDeque<Settling>, Then),
    Count {
        target: Option<u64>,
    },
    /// What the target holds before everything is copied over it.
    Survey(Box<Reading<BTreeSet<String>>>),
    Copy {
        paging: Paging,
        put: Vec<Copied>,
        tasks: VecDeque<u64>,
        before: Before,
    },
    Fold(Box<Fold>),
    Dig(Box<Dig>),
    Repair(Box<Repair>, VecDeque<Vec<u8>>),
    Pausing {
        whole: bool,
        left: BTreeSet<String>,
        held: bool,
    },
    Over(Result<Done, Failure>),
}

impl Mirror {
    /// Begin a mirror whose record was written down, and which nobody ever ran. `linger`: how long a request may be under
    /// way that was given up.
    pub fn begin_with(record: MirrorRecord, policy: Policy, linger: Duration, now: u64) -> Self {
        Self { quiet_at: now, ..Self::resume(record, policy, linger, now) }
    }

    /// Go on after whoever ran it before, which may be anybody.
    pub fn resume(record: MirrorRecord, policy: Policy, linger: Duration, now: u64) -> Self {
        let linger = u64::try_from(linger.as_millis()).unwrap_or(u64::MAX);
        Self {
            throttle: Throttle::new(policy.documents_per_second, now),
            verified: VerifiedVersions::new(now, policy.in_flight, policy.verified_versions),
            settled: None,
            touched: false,
            source: None,
            round: Round::default(),
            work: Work::Begin,
            linger,
            quiet_at: now.saturating_add(linger),
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
    pub fn record(&self) -> &MirrorRecord {
        &self.record
    }

    /// Which replica it is made equal to; none: that is not decided.
    pub fn source(&self) -> Option<&NodeId> {
        self.source.as_ref()
    }

    /// Whether writes are to be held.
    pub fn is_paused(&self) -> bool {
        self.round.paused || matches!(self.work, Work::Pausing { .. })
    }

    /// What it had found when it was done no longer holds: another round.
    pub fn go_on(&mut self) {
        if let Work::Over(Ok(_)) = self.work {
            self.next_round();
        }
    }

    /// What to do next.
    pub fn next(&mut self, facts: &MirrorFacts) -> MirrorStep {
        // Each turn moves on to another kind of work; a few of them lead to something to do.
        for _ in 0..64 {
            if let Some(step) = self.turn(facts) {
                return step;
            }
        }
        MirrorStep::Wait(Duration::from_millis(BACKOFF_MS))
    }

    fn turn(&mut self, facts: &MirrorFacts) -> Option<MirrorStep> {
        if let Work::Over(outcome) = &self.work {
            return Some(match outcome {
                Ok(done) => MirrorStep::Done(*done),
                Err(failure) => MirrorStep::GiveUp(failure.clone()),
            });
        }
        let Some(source) = self.fit_source(facts) else { return Some(wait(BACKOFF_MS)) };
        if facts.now < self.not_before {
            return Some(wait(self.not_before - facts.now));
        }
        if !self.is_paused()
            && let Some(pause) = self.throttle.wait(facts.now)
        {
            return Some(MirrorStep::Wait(pause));
        }
        match &mut self.work {
            Work::Begin => {
                self.begin(facts);
                None
            }
            Work::Settle(..) => self.settling(source, facts),
            Work::Count { target: None } => Some(MirrorStep::Count(self.record.subject.target.clone())),
            Work::Count { target: Some(_) } => Some(MirrorStep::Count(source)),
            Work::Survey(reading) => {
                if reading.paging.has_ended() {
                    let before = Before::Known(std::mem::take(&mut reading.found));
                    self.copy_over(source, before);
                    return None;
                }
                let paging = reading.paging.clone();
                Some(self.read(Side::Target, source, &paging, facts))
            }
            Work::Copy { .. } => self.copy(source, facts),
            Work::Fold(fold) => {
                if fold.reading.paging.has_ended() {
                    if let Some(folded) = fold.finished(self.policy.listed_ids) {
                        self.verified.remember(folded.alike);
                        self.work = self.dig(folded.groups);
                    }
                    return None;
                }
                let (side, paging) = (fold.reading.side, fold.reading.paging.clone());
                Some(self.read(side, source, &paging, facts))
            }
            Work::Dig(dig) => {
                if dig.groups.is_empty() {
                    self.end_round(facts);
                    return None;
                }
                if let Some(ids) = dig.finished(&mut self.verified) {
                    let rest = std::mem::take(&mut dig.groups);
                    self.work = Work::Repair(Box::new(Repair::of(ids)), rest);
                    return None;
                }
                if dig.reading.paging.has_ended() {
                    return None;
                }
                let (side, paging) = (dig.reading.side, dig.reading.paging.clone());
                Some(self.read(side, source, &paging, facts))
            }
            Work::Repair(..) => self.repair(source, facts),
            Work::Pausing { held: false, .. } => Some(MirrorStep::PauseWrites),
            Work::Pausing { held: true, .. } => {
                self.begin_paused(facts);
                None
            }
            Work::Over(_) => None,
        }
    }

    /// The source; none: there is none, or the target is gone. What was begun with another one is begun anew.
    fn fit_source(&mut self, facts: &MirrorFacts) -> Option<NodeId> {
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

    /// The round is begun anew. What was sent may not be done, or not even have arrived.
    pub(super) fn restart(&mut self) {
        self.settled = None;
        self.next_round();
    }

    fn next_round(&mut self) {
        self.work = Work::Begin;
        self.round.paused = false;
    }

    fn begin(&mut self, facts: &MirrorFacts) {
        self.round = Round::begin(facts, self.nothing_arrives_after(facts));
        self.verified.begin(facts, self.round.quiet);
        self.record.progress.compared = 0;
        self.work = match (&self.record.stage, &self.source) {
            (Stage::Copy(from, paging), Some(source)) if from == source => {
                let (paging, before) = (paging.clone(), Before::Unknown);
                Work::Copy { paging, put: Vec::new(), tasks: VecDeque::new(), before }
            }
            (Stage::Copy(..), _) => {
                self.record.stage = Stage::Compare(Depth::Stamps);
                Work::Begin
            }
            (Stage::Begin | Stage::Compare(_), _) => self.settle(facts),
        };
    }

    /// No request that was sent so far, by this mirror or by clients, can arrive after this instant.
    pub(super) fn nothing_arrives_after(&self, facts: &MirrorFacts) -> u64 {
        self.quiet_at.max(facts.quiet_at)
    }

    /// Both sides were counted.
    pub(super) fn counted(&mut self, target: u64, source: u64) {
        self.record.progress.total = source;
        if let Scope::Ids(ids) = &self.record.scope {
            self.record.stage = Stage::Compare(Depth::Content);
            self.work = Work::Repair(Box::new(Repair::of(ids.clone())), VecDeque::new());
            return;
        }
        if self.record.stage == Stage::Begin {
            // A target that has little has what clients wrote since it takes their writes: all is copied over it.
            match self.source.clone() {
                Some(from) if target <= source / NEARLY_EMPTY => self.begin_copy(from, target),
                Some(_) | None => {
                    self.record.stage = Stage::Compare(Depth::Stamps);
                    self.work = Work::Begin;
                }
            }
            return;
        }
        let documents = target.max(source);
        self.round.evidence = self.evidence(documents);
        if self.round.evidence == Evidence::Verified {
            self.record.stage = Stage::Compare(Depth::Content);
        }
        self.work = match documents <= self.policy.listed_ids as u64 {
            true => self.dig(everything()),
            false => Work::Fold(Box::new(Fold::new(self.round.evidence))),
        };
    }

    /// How so many documents are best compared.
    pub(super) fn evidence(&self, documents: u64) -> Evidence {
        if self.verified.covers(documents, self.policy.listed_ids) {
            return Evidence::Verified;
        }
        match self.record.stage {
            Stage::Compare(Depth::Stamps) => Evidence::Stamps,
            Stage::Begin | Stage::Copy(..) | Stage::Compare(Depth::Content) => Evidence::Content,
        }
    }

    pub(super) fn dig(&self, groups: VecDeque<Vec<u8>>) -> Work {
        Work::Dig(Box::new(Dig::into(groups, self.policy.listed_ids, self.round.evidence)))
    }

    /// Everything is to be copied to a target that holds so many documents.
    fn begin_copy(&mut self, source: NodeId, target: u64) {
        if target > self.policy.listed_ids as u64 {
            return self.copy_over(source, Before::Unknown);
        }
        self.work = Work::Survey(Box::new(Reading::of(Side::Target, BTreeSet::new())));
    }

    fn copy_over(&mut self, source: NodeId, before: Before) {
        let paging = Paging::default();
        self.record.stage = Stage::Copy(source, paging.clone());
        self.work = Work::Copy { paging, put: Vec::new(), tasks: VecDeque::new(), before };
    }

    fn copy(&mut self, source: NodeId, facts: &MirrorFacts) -> Option<MirrorStep> {
        let page = self.beside_clients(self.page, facts);
        let Work::Copy { paging, put, tasks, .. } = &mut self.work else { return None };
        let ended = paging.has_ended();
        if !put.is_empty() {
            return Some(MirrorStep::Put(put.iter().map(|document| document.id.clone()).collect()));
        }
        if tasks.len() >= self.policy.tasks_in_flight.max(1) || (ended && !tasks.is_empty()) {
            let due = if ended { tasks.len() } else { 1 };
            return Some(MirrorStep::Await(tasks.iter().take(due).copied().collect()));
        }
        if ended {
            self.record.stage = Stage::Compare(Depth::Stamps);
            self.next_round();
            return None;
        }
        self.window = paging.window(page);
        Some(MirrorStep::Read { node: source, window: self.window, depth: Depth::Content })
    }

    /// How large a page may be.
    fn beside_clients(&self, page: u64, facts: &MirrorFacts) -> u64 {
        // Who holds writes is in more of a hurry than they are.
        if facts.clients && !self.is_paused() { page.min(self.policy.page_beside_clients) } else { page }
    }

    fn read(&mut self, side: Side, source: NodeId, paging: &Paging, facts: &MirrorFacts) -> MirrorStep {
        let depth = self.depth();
        let page = match depth {
            Depth::Stamps => self.listed,
            Depth::Content => self.page,
        };
        self.window = paging.window(self.beside_clients(page, facts));
        let node = match side {
            Side::Source => source,
            Side::Target => self.record.subject.target.clone(),
        };
        MirrorStep::Read { node, window: self.window, depth }
    }

    pub(super) fn depth(&self) -> Depth {
        match (&self.work, self.round.evidence) {
            (Work::Survey(_), _) | (Work::Fold(_) | Work::Dig(_), Evidence::Stamps | Evidence::Verified) => {
                Depth::Stamps
            }
            (
                Work::Begin
                | Work::Settle(..)
                | Work::Count { .. }
                | Work::Copy { .. }
                | Work::Fold(_)
                | Work::Dig(_)
                | Work::Repair(..)
                | Work::Pausing { .. }
                | Work::Over(_),
                _,
            ) => Depth::Content,
        }
    }

    fn repair(&mut self, source: NodeId, facts: &MirrorFacts) -> Option<MirrorStep> {
        let page = self.beside_clients(self.page, facts);
        let Work::Repair(repair, rest) = &mut self.work else { return None };
        match repair.next(page as usize, self.policy.looks, facts.now) {
            Next::Until(instant) => Some(wait(instant.saturating_sub(facts.now))),
            Next::Tasks => Some(MirrorStep::Await(repair.tasks.clone())),
            Next::Over(stubborn) => {
                self.round.stubborn.extend(stubborn);
                let rest = std::mem::take(rest);
                self.work = self.dig(rest);
                None
            }
            Next::Part => match &repair.part {
                RepairStage::Pick => None,
                RepairStage::Target => {
                    Some(MirrorStep::Fetch { node: self.record.subject.target.clone(), ids: repair.chunk.clone() })
                }
                RepairStage::Source(_) => Some(MirrorStep::Fetch { node: source, ids: repair.chunk.clone() }),
                RepairStage::Write { delete, .. } if !delete.is_empty() => Some(MirrorStep::Delete(delete.clone())),
                RepairStage::Write { put, .. } => Some(MirrorStep::Put(put.clone())),
            },
        }
    }

    fn end_round(&mut self, facts: &MirrorFacts) {
        let depth = match self.record.stage {
            Stage::Compare(depth) => depth,
            Stage::Begin | Stage::Copy(..) => Depth::Content,
        };
        if let Some(left) = self.round.take_doubtful(facts, depth, self.policy.looks) {
            return self.look_again(left);
        }
        let quiet_at = self.nothing_arrives_after(facts);
        let progress = &mut self.record.progress;
        progress.rounds = progress.rounds.saturating_add(1);
        // Rounds since the writes were last held in vain.
        let rounds = progress.rounds.saturating_sub(progress.pauses.saturating_mul(self.policy.rounds));
        let verdict = self.round.verdict(facts, depth, rounds, quiet_at, &self.policy);
        if self.round.misses != facts.misses {
            // What the target missed since is not known.
            self.record.scope = Scope::Whole;
        }
        match verdict {
            RoundVerdict::Done(done) => self.work = Work::Over(Ok(done)),
            RoundVerdict::Again(depth) => {
                self.record.stage = Stage::Compare(depth);
                self.next_round();
            }
            RoundVerdict::After(instant) => {
                self.not_before = instant;
                self.restart();
            }
            RoundVerdict::PauseForAll => self.work = Work::Pausing { whole: true, left: BTreeSet::new(), held: false },
            RoundVerdict::PauseFor(left) => self.work = Work::Pausing { whole: false, left, held: false },
            RoundVerdict::Unequal(ids) => {
                let example = ids.first().cloned().unwrap_or_default();
                self.work = Work::Over(Err(Failure::Unequal { count: ids.len(), example }));
                self.round.paused = false;
            }
        }
    }
}

pub(super) fn wait(millis: u64) -> MirrorStep {
    MirrorStep::Wait(Duration::from_millis(millis.max(1)))
}
