//! Propose, verify, commit.

use super::agree::{agree, better};
use super::decide::{BroadcastFacts, BroadcastStep, Committed, Failed, Policy};
use super::record::{BroadcastRecord, NodeProgress, Phase, Reason, Stage, Strategy};
use crate::base::error::{Code, ErrorBody};
use crate::base::id::NodeId;
use crate::settings::{Fingerprint, holds, strip, towards};

/// What comes next; none when the record says it.
pub(super) fn step(record: &mut BroadcastRecord, facts: &BroadcastFacts, policy: &Policy) -> Option<BroadcastStep> {
    let unrepairable = record.nodes(|part| part.stage == Stage::Unrepairable);
    let never_complied = (!unrepairable.is_empty()).then_some(Reason::Unrepairable { nodes: unrepairable });
    if let Some(reason) = rejection(record).or(never_complied) {
        record.turn_back(reason, facts.now);
        return None;
    }
    if record.parts.values().all(|part| part.stage == Stage::LeftBehind) {
        return Some(nobody(record));
    }
    read_back(record, facts, policy);
    if record.parts.values().all(|part| matches!(part.stage, Stage::Verified | Stage::LeftBehind)) {
        record.phase = Phase::Commit;
        return None;
    }
    record.phase = phase(record);
    let turn = whose_turn(record);
    let due = record.due(facts, |node, _| turn.as_ref().is_none_or(|turn| turn == node));
    (!due.is_empty()).then_some(BroadcastStep::Send(due))
}

fn rejection(record: &BroadcastRecord) -> Option<Reason> {
    record.parts.iter().find_map(|(node, part)| match &part.stage {
        Stage::Rejected { error } => Some(Reason::Rejected { node: node.clone(), error: error.clone() }),
        Stage::Due { .. }
        | Stage::Accepted { .. }
        | Stage::Applied { .. }
        | Stage::Verified
        | Stage::LeftBehind
        | Stage::Unrepairable => None,
    })
}

/// Nobody can be told.
fn nobody(record: &BroadcastRecord) -> BroadcastStep {
    let message = "No node answers: the settings were not changed.";
    BroadcastStep::Fail(Box::new(Failed {
        error: Some(ErrorBody::new(Code::MiroirNoQuorum, message)),
        doubtful: record.nodes(|part| part.touched),
        ..Failed::default()
    }))
}

/// Whether it is being verified: of all at once, when all have applied the change, and from then on.
fn phase(record: &BroadcastRecord) -> Phase {
    let applied =
        |part: &NodeProgress| matches!(part.stage, Stage::Applied { .. } | Stage::Verified | Stage::LeftBehind);
    let ready = match record.strategy {
        Strategy::TwoPhase => record.parts.values().all(applied),
        Strategy::Sequential => record.parts.values().any(|part| matches!(part.stage, Stage::Applied { .. })),
    };
    if ready || record.agreed.is_some() { Phase::Verify } else { Phase::Propose }
}

/// The one node that may be told; none: all may.
fn whose_turn(record: &BroadcastRecord) -> Option<NodeId> {
    match record.strategy {
        Strategy::TwoPhase => None,
        Strategy::Sequential => {
            record.parts.iter().find(|(_, part)| !part.stage.is_final()).map(|(node, _)| node.clone())
        }
    }
}

/// Compare what nodes read back. What they are held to may only be replaced by what looks more like the change.
fn read_back(record: &mut BroadcastRecord, facts: &BroadcastFacts, policy: &Policy) {
    if !record.reads_back() {
        return;
    }
    let applied = record.nodes(|part| matches!(part.stage, Stage::Applied { .. }));
    let read = |node: &NodeId| facts.answers.settings.get(node);
    let readings = || applied.iter().filter_map(&read);
    let secrets = record.proposal.secrets.after(&record.proposal.patch);
    match &record.agreed {
        None if !applied.is_empty() && readings().count() == applied.len() => {
            record.agreed = agree(&record.proposal, readings()).cloned();
        }
        None => {}
        Some(agreed) => {
            if let Some(better) = better(&record.proposal, agreed, readings()).cloned() {
                let repair = towards(&better, agreed, &secrets);
                record.agreed = Some(better);
                for part in record.parts.values_mut().filter(|part| part.stage == Stage::Verified) {
                    part.repair = Some(repair.clone());
                    part.in_vain(facts.now, policy);
                }
            }
        }
    }
    let agreed = record.agreed.clone();
    for (node, part) in record.parts.iter_mut().filter(|(node, _)| applied.contains(*node)) {
        let Some(settings) = read(node) else {
            if facts.live.contains(node) {
                part.keeps_silent(facts.now, policy);
            }
            continue;
        };
        part.silent_since = None;
        part.fingerprint = Some(Fingerprint::of(settings));
        let Some(agreed) = &agreed else { continue };
        if holds(agreed, settings) {
            part.stage = Stage::Verified;
        } else {
            part.repair = Some(towards(agreed, settings, &secrets));
            part.in_vain(facts.now, policy);
        }
    }
}

/// The change holds on all verified nodes.
pub(super) fn commit(record: &BroadcastRecord) -> BroadcastStep {
    let proposal = &record.proposal;
    BroadcastStep::Commit(Box::new(Committed {
        version: record.version(),
        settings: strip(record.agreed.clone().unwrap_or_default(), &proposal.kept),
        secrets: proposal.secrets.after(&proposal.patch),
        nodes: record.nodes(|part| part.stage == Stage::Verified),
    }))
}
