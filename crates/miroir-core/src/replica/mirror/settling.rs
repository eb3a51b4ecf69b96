//! Before both sides are compared, they do what they were handed.

use std::collections::{BTreeSet, VecDeque};

use super::machine::{Mirror, Work};
use super::repair::Repair;
use super::step::{MirrorFacts, MirrorStep};
use crate::base::id::NodeId;

/// Source and target have done all that they were handed before these were counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    source: NodeId,
    misses: u64,
    conditional: u64,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settling {
    /// That the client's write under way was handed to all replicas: the target may have been handed it before what the
    /// mirror wrote, and the source will do it after it is looked at.
    Barrier,
    /// That the target has done what it had accepted.
    Target,
    /// That the source has.
    Source,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// A round begins: both sides are counted.
    Count,
    /// These, which were written or not seen equal, are looked at again.
    Again(BTreeSet<String>),
}

impl Mirror {
    /// What has to be waited for before a round.
    pub(super) fn settle(&self, facts: &MirrorFacts) -> Work {
        let settled = self.settled.as_ref().is_some_and(|settled| {
            Some(&settled.source) == self.source.as_ref()
                && (settled.misses, settled.conditional) == (facts.misses, facts.conditional)
        });
        let waits: &[Settling] = match (settled, self.touched) {
            (false, _) => &[Settling::Barrier, Settling::Target, Settling::Source],
            (true, true) => &[Settling::Barrier, Settling::Source],
            (true, false) => &[],
        };
        Work::Settle(waits.iter().copied().collect(), Then::Count)
    }

    /// Documents are looked at again, once the source has done what the target was handed before they were written.
    pub(super) fn look_again(&mut self, ids: BTreeSet<String>) {
        self.work = Work::Settle(VecDeque::from([Settling::Barrier, Settling::Source]), Then::Again(ids));
    }

    pub(super) fn settling(&mut self, source: NodeId, facts: &MirrorFacts) -> Option<MirrorStep> {
        let Work::Settle(waits, then) = &mut self.work else { return None };
        match waits.front() {
            Some(Settling::Barrier) => return Some(MirrorStep::Barrier),
            Some(Settling::Target) => {
                // What was counted by now was handed to both sides, which are going to have done it.
                self.round.conditional = facts.conditional;
                self.verified.begin(facts, self.round.quiet);
                return Some(MirrorStep::Drain(self.record.subject.target.clone()));
            }
            Some(Settling::Source) => return Some(MirrorStep::Drain(source)),
            None => {}
        }
        self.touched = false;
        self.work = match std::mem::replace(then, Then::Count) {
            Then::Count => Work::Count { target: None },
            Then::Again(ids) => Work::Repair(Box::new(Repair::of(ids)), VecDeque::new()),
        };
        None
    }

    /// What was waited for has come.
    pub(super) fn waited(&mut self) {
        let Work::Settle(waits, _) = &mut self.work else { return };
        let drained_target = waits.pop_front() == Some(Settling::Target);
        if let (true, true, Some(source)) = (drained_target, self.round.quiet, &self.source) {
            // The source follows, or the round is begun anew.
            let (misses, conditional) = (self.round.misses, self.round.conditional);
            self.settled = Some(Settled { source: source.clone(), misses, conditional });
        }
    }
}
