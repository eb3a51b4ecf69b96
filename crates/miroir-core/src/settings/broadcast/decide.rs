//! What comes next in a broadcast.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;

use super::record::{Answers, BroadcastRecord, NodeProgress, Phase, Reason, Stage, TaskReport};
use super::{back, forward};
use crate::base::error::ErrorBody;
use crate::base::id::NodeId;
use crate::config::SettingsBroadcastConfig;
use crate::settings::{Secrets, Settings};
use crate::write::task::TaskStatus;

/// Between two looks at tasks of nodes.
const LOOK: Duration = Duration::from_millis(50);
/// Before a node is told for the second time.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// What the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a live node may keep silent about what it was asked, and about its settings once it has applied them.
    pub verify_timeout: Duration,
    /// How often a node that does not comply is told again.
    pub max_repair_retries: u32,
    /// Whether the index takes no more documents when a node never complied.
    pub freeze_writes_on_unrepairable: bool,
}

impl From<&SettingsBroadcastConfig> for Policy {
    fn from(config: &SettingsBroadcastConfig) -> Self {
        Self {
            verify_timeout: config.verify_timeout,
            max_repair_retries: config.max_repair_retries,
            freeze_writes_on_unrepairable: config.freeze_writes_on_unrepairable,
        }
    }
}

impl Policy {
    /// The wait after so many attempts in vain: twice as long each time.
    pub(super) fn backoff(attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(16);
        FIRST_BACKOFF.saturating_mul(1 << doublings).min(LONGEST_BACKOFF)
    }
}

/// What decisions are made of, besides the record.
#[derive(Clone, Debug)]
pub struct BroadcastFacts {
    /// The leader's clock.
    pub now: OffsetDateTime,
    /// The nodes that answer.
    pub live: BTreeSet<NodeId>,
    /// What they answered to [`BroadcastRecord::questions`].
    pub answers: Answers,
    /// Whether somebody wants the change undone.
    pub cancel: bool,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum BroadcastStep {
    /// Save this and decide again.
    Save(Box<BroadcastRecord>),
    /// Send these patches, then save [`BroadcastRecord::after_sending`].
    Send(BTreeMap<NodeId, Value>),
    /// Look again after this time, or when something has changed.
    Wait(Duration),
    /// The change holds. To be written in one step with the end of the broadcast.
    Commit(Box<Committed>),
    /// The change does not hold. To be written in one step with the end of the broadcast.
    Fail(Box<Failed>),
}

/// A change that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The new version, one above the former.
    pub version: u64,
    /// The settings as clients see them.
    pub settings: Settings,
    /// Keys of embedding services that go with them.
    pub secrets: Secrets,
    /// The nodes to be recorded at this version. All others stay at theirs.
    pub nodes: BTreeSet<NodeId>,
}

/// A change that does not hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Failed {
    /// Why; none when it was canceled.
    pub error: Option<ErrorBody>,
    /// Nodes that hold what was committed before, by their own word.
    pub restored: BTreeSet<NodeId>,
    /// Nodes that may hold anything: they are no longer at any version, and not read before they were repaired.
    pub doubtful: BTreeSet<NodeId>,
    /// Nodes that were told as often as configured, there or back, and never complied.
    pub unrepairable: BTreeSet<NodeId>,
    /// The nodes because of which the index takes no documents until it is repaired; none: it goes on.
    pub frozen: BTreeSet<NodeId>,
}

/// What comes next of a change of settings, by its record and what is known now.
pub fn decide(record: &BroadcastRecord, facts: &BroadcastFacts, policy: &Policy) -> BroadcastStep {
    let mut next = record.clone();
    next.listen(facts, policy);
    let step = match next.phase {
        Phase::Propose | Phase::Verify | Phase::Commit if facts.cancel => {
            next.turn_back(Reason::Canceled, facts.now);
            None
        }
        Phase::Propose | Phase::Verify => forward::step(&mut next, facts, policy),
        Phase::Commit => Some(forward::commit(&next)),
        Phase::GoingBack => back::step(&mut next, facts, policy),
    };
    if let Some(BroadcastStep::Send(patches)) = &step {
        // Written down before it is done: whoever comes after us knows that these nodes may hold anything.
        next.parts.iter_mut().filter(|(node, _)| patches.contains_key(*node)).for_each(|(_, part)| part.touched = true);
    }
    // What was learnt is saved before it is acted upon.
    match step {
        Some(step) if next == *record => step,
        Some(_) | None if next != *record => BroadcastStep::Save(Box::new(next)),
        Some(_) | None => BroadcastStep::Wait(LOOK),
    }
}

impl BroadcastRecord {
    /// What nodes said, and who is gone.
    fn listen(&mut self, facts: &BroadcastFacts, policy: &Policy) {
        if self.phase == Phase::Commit {
            return;
        }
        let asked = self.questions(&facts.live);
        for question in asked {
            let (node, report) = match &question {
                super::Question::Task(node, task) => (node, facts.answers.tasks.get(&(node.clone(), *task))),
                super::Question::Settings(_) => continue,
            };
            if let Some(part) = self.parts.get_mut(node) {
                part.take_report(report, facts.now, policy);
                // What it is told on the way back may have been done in one batch with the change, which failed: neither has
                // changed anything then, and it says itself what it holds.
                if self.phase == Phase::GoingBack && matches!(part.stage, Stage::Rejected { .. }) {
                    part.stage = Stage::Applied { since: facts.now };
                }
            }
        }
        self.leave_behind(&facts.live);
    }

    /// Nodes that do not answer are not waited for, but for the last ones: without any, nothing can be decided.
    fn leave_behind(&mut self, live: &BTreeSet<NodeId>) {
        let taking_part = |part: &NodeProgress| part.stage != Stage::LeftBehind;
        let any_live = self.parts.iter().any(|(node, part)| taking_part(part) && live.contains(node));
        let begun = self.parts.values().any(|part| part.touched);
        if !any_live && begun && self.phase != Phase::GoingBack {
            return;
        }
        for (node, part) in &mut self.parts {
            let gone = !live.contains(node);
            let matters = match part.stage {
                Stage::Due { .. } | Stage::Accepted { .. } | Stage::Applied { .. } | Stage::Verified => true,
                Stage::LeftBehind | Stage::Rejected { .. } | Stage::Unrepairable => false,
            };
            if gone && matters {
                part.stage = Stage::LeftBehind;
            }
        }
    }

    /// From here on nodes are put back.
    pub(super) fn turn_back(&mut self, reason: Reason, now: OffsetDateTime) {
        self.reason = Some(reason);
        self.phase = Phase::GoingBack;
        self.agreed = None;
        for part in self.parts.values_mut().filter(|part| part.touched && part.stage != Stage::LeftBehind) {
            let failed_at_once = matches!(part.stage, Stage::Rejected { .. }) && part.attempts == 0;
            // A task that failed changed nothing: it is enough to see that, and a node in trouble is left alone.
            let stage = if failed_at_once { Stage::Applied { since: now } } else { Stage::Due { not_before: None } };
            *part = NodeProgress { stage, touched: true, ..NodeProgress::new() };
        }
    }

    /// The patches that may be sent by now to nodes that answer.
    pub(super) fn due(
        &self,
        facts: &BroadcastFacts,
        among: impl Fn(&NodeId, &NodeProgress) -> bool,
    ) -> BTreeMap<NodeId, Value> {
        let is_due = |part: &NodeProgress| match part.stage {
            Stage::Due { not_before } => not_before.is_none_or(|instant| instant <= facts.now),
            Stage::Accepted { .. }
            | Stage::Applied { .. }
            | Stage::Verified
            | Stage::LeftBehind
            | Stage::Rejected { .. }
            | Stage::Unrepairable => false,
        };
        let may_be_told =
            |node: &NodeId, part: &NodeProgress| facts.live.contains(node) && is_due(part) && among(node, part);
        let due = self.parts.iter().filter(|(node, part)| may_be_told(node, part));
        due.map(|(node, part)| (node.clone(), self.message(part))).collect()
    }
}

impl NodeProgress {
    /// What the node said of its task. A task that goes on is waited for as long as it takes.
    fn take_report(&mut self, report: Option<&TaskReport>, now: OffsetDateTime, policy: &Policy) {
        let Some(report) = report else { return self.keeps_silent(now, policy) };
        self.silent_since = None;
        match report {
            TaskReport::Known(TaskStatus::Enqueued | TaskStatus::Processing, _) => {}
            TaskReport::Known(TaskStatus::Succeeded, _) => self.stage = Stage::Applied { since: now },
            TaskReport::Known(TaskStatus::Failed, Some(error)) => {
                self.stage = Stage::Rejected { error: error.clone() };
            }
            TaskReport::Known(TaskStatus::Failed, None)
            | TaskReport::Known(TaskStatus::Canceled, _)
            | TaskReport::Unknown => self.in_vain(now, policy),
        }
    }

    /// It is live and does not tell.
    pub(super) fn keeps_silent(&mut self, now: OffsetDateTime, policy: &Policy) {
        let since = *self.silent_since.get_or_insert(now);
        if now - since >= policy.verify_timeout {
            self.in_vain(now, policy);
        }
    }

    /// What it was told has not come to anything: again after a while, unless it was told often enough.
    pub(super) fn in_vain(&mut self, now: OffsetDateTime, policy: &Policy) {
        self.attempts = self.attempts.saturating_add(1);
        self.silent_since = None;
        self.stage = if self.attempts > policy.max_repair_retries {
            Stage::Unrepairable
        } else {
            Stage::Due { not_before: Some(now + Policy::backoff(self.attempts)) }
        };
    }
}
