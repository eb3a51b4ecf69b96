//! The machine goes on with what came of a step.

use std::collections::{BTreeMap, VecDeque};

use super::compare::everything;
use super::machine::{BACKOFF_MS, Mirror, Work};
use super::paging::Taken;
use super::record::{Failure, Stage};
use super::repair::{Repair, RepairStage};
use super::round::Round;
use super::step::{MirrorEvent, MirrorFacts};
use crate::replica::digest::{Copied, Depth, Version};

/// Tasks of the target that may fail.
const REJECTIONS: u32 = 3;

impl Mirror {
    /// Go on with what came of the last step; `facts` as of now.
    pub fn advance(&mut self, event: MirrorEvent, facts: &MirrorFacts) {
        match event {
            MirrorEvent::Passed | MirrorEvent::Drained => self.waited(),
            MirrorEvent::Counted(count) => match &mut self.work {
                Work::Count { target: target @ None } => *target = Some(count),
                Work::Count { target: Some(target) } => {
                    let target = *target;
                    self.counted(target, count);
                }
                Work::Begin
                | Work::Settle(..)
                | Work::Survey(_)
                | Work::Copy { .. }
                | Work::Fold(_)
                | Work::Dig(_)
                | Work::Repair(..)
                | Work::Pausing { .. }
                | Work::Over(_) => {}
            },
            MirrorEvent::Page(documents, bytes) => self.take_page(&documents, bytes),
            MirrorEvent::Fetched(documents, bytes) => self.take_fetched(documents, bytes),
            MirrorEvent::Accepted(task) => self.accepted(task),
            MirrorEvent::Finished => self.finished(),
            MirrorEvent::Rejected(reason) => {
                self.rejections += 1;
                match self.rejections > REJECTIONS {
                    true => self.fail(Failure::Rejected(reason)),
                    false => self.restart_after(facts.now, BACKOFF_MS),
                }
            }
            MirrorEvent::TooLarge => self.too_large(),
            MirrorEvent::WritesPaused => self.paused(),
            MirrorEvent::PauseEnded => self.pause_ended(),
            MirrorEvent::Failed(node) => {
                if node == self.record.subject.target {
                    self.quiet_at = self.quiet_at.max(facts.now.saturating_add(self.linger));
                } else {
                    self.source = None;
                }
                self.restart_after(facts.now, BACKOFF_MS);
            }
        }
    }

    /// Ask for less; the window is not taken, and is asked for again.
    fn too_large(&mut self) {
        let page = if self.depth() == Depth::Stamps { &mut self.listed } else { &mut self.page };
        if *page <= 1 {
            return self.fail(Failure::TooLarge);
        }
        *page /= 2;
        if let Work::Repair(repair, _) = &mut self.work {
            repair.put_back();
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.work = Work::Over(Err(failure));
        self.round.paused = false;
    }

    fn restart_after(&mut self, now: u64, millis: u64) {
        self.restart();
        self.not_before = now.saturating_add(millis);
    }

    /// What was read is counted, and the next page made as large as it may be.
    fn measure(&mut self, documents: usize, bytes: u64) {
        self.throttle.take(documents as u64);
        self.record.progress.compared = self.record.progress.compared.saturating_add(documents as u64);
        if let (Some(each), Depth::Content) = (bytes.checked_div(documents as u64), self.depth()) {
            let fitting = self.policy.page_bytes.checked_div(each).unwrap_or(u64::MAX);
            // Not at once: the next documents may be larger than these.
            self.page = fitting.clamp(1, self.policy.page_documents.max(1)).min(self.page.saturating_mul(2));
        }
    }

    fn take_page(&mut self, documents: &[Copied], bytes: u64) {
        let window = self.window;
        self.measure(documents.len(), bytes);
        match &mut self.work {
            Work::Survey(reading) => match reading.take(window, documents) {
                Some(new) => reading.found.extend(new.into_iter().map(|document| document.id.clone())),
                None => reading.found.clear(),
            },
            Work::Copy { paging, put, .. } => {
                let ids: Vec<&str> = documents.iter().map(|document| document.id.as_str()).collect();
                match paging.take(window, &ids) {
                    Taken::New(new) => {
                        *put = new.into_iter().filter_map(|at| documents.get(at)).cloned().collect();
                        self.record.progress.bytes = self.record.progress.bytes.saturating_add(bytes);
                    }
                    Taken::Again => {}
                    // The rest is found by comparing.
                    Taken::Lost => {
                        self.record.stage = Stage::Compare(Depth::Stamps);
                        self.restart();
                    }
                }
            }
            Work::Fold(fold) => fold.page(window, documents, &self.verified),
            Work::Dig(dig) => {
                if dig.page(window, documents).is_err() {
                    self.fail(Failure::TooLarge);
                }
            }
            Work::Begin
            | Work::Settle(..)
            | Work::Count { .. }
            | Work::Repair(..)
            | Work::Pausing { .. }
            | Work::Over(_) => {}
        }
    }

    fn take_fetched(&mut self, documents: Vec<Copied>, bytes: u64) {
        self.measure(documents.len(), bytes);
        let found: BTreeMap<String, Version> = documents.into_iter().map(|it| (it.id, it.version)).collect();
        let Work::Repair(repair, _) = &mut self.work else { return };
        match std::mem::take(&mut repair.part) {
            RepairStage::Target => repair.part = RepairStage::Source(found),
            RepairStage::Source(target) => {
                let written = repair.compare(&target, &found, &mut self.verified);
                self.round.written.extend(written);
            }
            part @ (RepairStage::Pick | RepairStage::Write { .. }) => repair.part = part,
        }
    }

    fn accepted(&mut self, task: u64) {
        self.touched = true;
        let progress = &mut self.record.progress;
        match &mut self.work {
            Work::Copy { paging, put, tasks, before } => {
                progress.copied = progress.copied.saturating_add(put.len() as u64);
                before.given(put, &mut self.verified);
                put.clear();
                tasks.push_back(task);
                if let Some(source) = &self.source {
                    self.record.stage = Stage::Copy(source.clone(), paging.clone());
                }
            }
            Work::Repair(repair, _) => {
                repair.tasks.push(task);
                let RepairStage::Write { delete, put } = &mut repair.part else { return };
                if delete.is_empty() {
                    progress.copied = progress.copied.saturating_add(put.len() as u64);
                    put.clear();
                } else {
                    progress.deleted = progress.deleted.saturating_add(delete.len() as u64);
                    delete.clear();
                }
                if put.is_empty() {
                    repair.part = RepairStage::Pick;
                }
            }
            Work::Begin
            | Work::Settle(..)
            | Work::Count { .. }
            | Work::Survey(_)
            | Work::Fold(_)
            | Work::Dig(_)
            | Work::Pausing { .. }
            | Work::Over(_) => {}
        }
    }

    fn finished(&mut self) {
        if let Work::Repair(repair, _) = &mut self.work {
            repair.tasks.clear();
        } else if let Work::Copy { paging, tasks, .. } = &mut self.work {
            match paging.has_ended() {
                true => tasks.clear(),
                false => _ = tasks.pop_front(),
            }
        }
    }

    fn paused(&mut self) {
        if let Work::Pausing { held, .. } = &mut self.work {
            *held = true;
        }
    }

    /// Writes are paused; `facts` as of now.
    pub(super) fn begin_paused(&mut self, facts: &MirrorFacts) {
        let Work::Pausing { whole, left, .. } = &mut self.work else { return };
        // What came since the round is done by both sides, but may have been done by one of them while it was looked at.
        let spoilt = (self.round.misses, self.round.conditional) != (facts.misses, facts.conditional);
        let (whole, left) = (*whole || spoilt, std::mem::take(left));
        self.round = Round::within_pause(facts);
        self.verified.begin(facts, facts.now >= self.nothing_arrives_after(facts));
        if whole {
            // Writes are paused: whatever is compared is compared for good.
            self.record.stage = Stage::Compare(Depth::Content);
            self.round.evidence = self.evidence(self.record.progress.total);
            self.work = self.dig(everything());
        } else {
            self.work = Work::Repair(Box::new(Repair::of(left)), VecDeque::new());
        }
    }

    fn pause_ended(&mut self) {
        if !self.is_paused() {
            return;
        }
        self.restart();
        self.record.progress.pauses = self.record.progress.pauses.saturating_add(1);
        if self.record.progress.pauses > self.policy.pauses {
            self.fail(Failure::NeverQuiet);
        }
    }
}
