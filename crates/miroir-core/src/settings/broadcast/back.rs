//! Going back to what was committed before.

use std::collections::BTreeSet;

use super::decide::{BroadcastFacts, BroadcastStep, Failed, Policy};
use super::record::{BroadcastRecord, NodeProgress, Reason, Stage};
use crate::base::error::{Code, ErrorBody};
use crate::base::id::NodeId;
use crate::settings::{Fingerprint, holds, towards};

/// What comes next; none when the record says it.
///
/// A node that may have applied anything is told what was there before even when it seems to hold it: what it was told
/// without an answer may still be waiting in its queue, in front of what it is told now.
pub(super) fn step(record: &mut BroadcastRecord, facts: &BroadcastFacts, policy: &Policy) -> Option<BroadcastStep> {
    let Some(base) = record.proposal.base.clone() else {
        // The index came into being with this change: it goes with it.
        return Some(fail(record, policy));
    };
    let secrets = record.proposal.secrets.clone();
    for (node, part) in &mut record.parts {
        if !matches!(part.stage, Stage::Applied { .. }) || !facts.live.contains(node) {
            continue;
        }
        let Some(settings) = facts.answers.settings.get(node) else {
            part.keeps_silent(facts.now, policy);
            continue;
        };
        part.silent_since = None;
        part.fingerprint = Some(Fingerprint::of(settings));
        if holds(&base, settings) {
            part.stage = Stage::Verified;
        } else {
            part.repair = Some(towards(&base, settings, &secrets));
            part.in_vain(facts.now, policy);
        }
    }
    if record.parts.values().all(|part| !part.touched || part.stage.is_final()) {
        return Some(fail(record, policy));
    }
    let due = record.due(facts, |_, part| part.touched);
    (!due.is_empty()).then_some(BroadcastStep::Send(due))
}

impl BroadcastRecord {
    /// Why the change does not hold, and what is known of the nodes so far.
    pub fn failed(&self, policy: &Policy) -> Failed {
        outcome(self, policy)
    }
}

fn fail(record: &BroadcastRecord, policy: &Policy) -> BroadcastStep {
    BroadcastStep::Fail(Box::new(outcome(record, policy)))
}

fn outcome(record: &BroadcastRecord, policy: &Policy) -> Failed {
    let restored = record.nodes(|part| part.touched && part.stage == Stage::Verified);
    let doubtful = record.nodes(in_doubt);
    let stuck = record.nodes(|part| part.touched && refuses(&part.stage));
    let culprits = match &record.reason {
        Some(Reason::Unrepairable { nodes }) => nodes.clone(),
        Some(Reason::Rejected { .. } | Reason::Canceled) | None => BTreeSet::new(),
    };
    let unrepairable: BTreeSet<NodeId> = culprits.union(&stuck).cloned().collect();
    // An index that came into being with the change goes with it.
    let freezes = policy.freeze_writes_on_unrepairable && record.proposal.base.is_some();
    let frozen = if freezes { unrepairable.clone() } else { BTreeSet::new() };
    let error = match &record.reason {
        Some(Reason::Rejected { error, .. }) => Some(error.clone()),
        Some(Reason::Unrepairable { nodes }) => Some(never_complied(nodes)),
        Some(Reason::Canceled) | None => None,
    };
    Failed { error, restored, doubtful, unrepairable, frozen }
}

fn in_doubt(part: &NodeProgress) -> bool {
    part.touched && part.stage != Stage::Verified
}

fn refuses(stage: &Stage) -> bool {
    match stage {
        Stage::Rejected { .. } | Stage::Unrepairable => true,
        Stage::Due { .. } | Stage::Accepted { .. } | Stage::Applied { .. } | Stage::Verified | Stage::LeftBehind => {
            false
        }
    }
}

fn never_complied(nodes: &BTreeSet<NodeId>) -> ErrorBody {
    // Which ones is the operators' business.
    let message = format!("The settings could not be brought to hold on {} of the nodes.", nodes.len());
    ErrorBody::new(Code::Internal, message)
}
