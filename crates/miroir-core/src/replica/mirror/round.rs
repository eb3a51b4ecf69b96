//! What a round has shown.

use std::collections::BTreeSet;

use super::compare::Evidence;
use super::record::Policy;
use super::step::MirrorFacts;
use crate::replica::digest::Depth;

/// The target is equal to the fresh replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// What was known of the target's misses when the last round began. The target is fresh only if nothing was added
    /// since, to be found out in the same step that says so.
    pub misses: u64,
    /// And of changes that depend on what a replica holds: the same goes for these.
    pub conditional: u64,
    /// The writes of the shard are paused.
    pub paused: bool,
}

/// One round of comparing.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    pub began: u64,
    pub misses: u64,
    pub conditional: u64,
    /// Writes are paused, and both sides have done theirs.
    pub paused: bool,
    /// Nothing that was sent before it began can arrive after that.
    pub quiet: bool,
    /// What its listings show.
    pub evidence: Evidence,
    /// How often documents were looked at again.
    pub looks: u32,
    /// Documents that were put to or deleted from the target since they were last looked at again.
    pub written: BTreeSet<String>,
    /// Documents that were not seen equal.
    pub stubborn: BTreeSet<String>,
}

/// What follows a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RoundVerdict {
    Done(Done),
    /// Another round, of everything.
    Again(Depth),
    /// Not before this instant.
    After(u64),
    /// Pause the writes, and look at all documents again.
    PauseForAll,
    /// Pause the writes, and look at these again: all others were seen equal.
    PauseFor(BTreeSet<String>),
    /// These stay different although nobody writes.
    Unequal(BTreeSet<String>),
}

impl Round {
    /// `quiet_at`: no request that was sent so far can arrive after this instant.
    pub fn begin(facts: &MirrorFacts, quiet_at: u64) -> Self {
        Self {
            quiet: facts.now >= quiet_at,
            began: facts.now,
            misses: facts.misses,
            conditional: facts.conditional,
            ..Self::default()
        }
    }

    /// A round in a write pause.
    pub fn within_pause(facts: &MirrorFacts) -> Self {
        let MirrorFacts { now, misses, conditional, .. } = *facts;
        Self { began: now, misses, conditional, paused: true, ..Self::default() }
    }

    /// Whether a write that depends on what a replica holds may have been done on one side only: one was handed to the
    /// index since both had done all of them.
    fn is_disturbed(&self, facts: &MirrorFacts) -> bool {
        facts.conditional != self.conditional
    }

    /// The documents that have to be looked at again before anything is concluded from the round; none: there are none,
    /// they were often enough, or nothing will be concluded from it. While writes are held, what was seen equal is.
    pub fn take_doubtful(&mut self, facts: &MirrorFacts, depth: Depth, looks: u32) -> Option<BTreeSet<String>> {
        let conclusive = depth == Depth::Content && !self.is_disturbed(facts) && self.misses == facts.misses;
        let none = self.written.is_empty() && self.stubborn.is_empty();
        if self.paused || !conclusive || self.looks >= looks || none {
            return None;
        }
        self.looks += 1;
        let mut left = std::mem::take(&mut self.written);
        left.append(&mut self.stubborn);
        Some(left)
    }

    fn done(&self) -> Done {
        Done { misses: self.misses, conditional: self.conditional, paused: self.paused }
    }

    /// `rounds` were finished with this one; no request can still arrive after `quiet_at`.
    pub fn verdict(
        &self,
        facts: &MirrorFacts,
        depth: Depth,
        rounds: u32,
        quiet_at: u64,
        policy: &Policy,
    ) -> RoundVerdict {
        if self.misses != facts.misses {
            return RoundVerdict::Again(depth);
        }
        if self.paused {
            return match self.stubborn.is_empty() {
                true if self.began >= quiet_at => RoundVerdict::Done(self.done()),
                true => RoundVerdict::After(quiet_at),
                false => RoundVerdict::Unequal(self.stubborn.clone()),
            };
        }
        if depth == Depth::Stamps {
            return RoundVerdict::Again(Depth::Content);
        }
        let disturbed = self.is_disturbed(facts);
        if self.written.is_empty() && self.stubborn.is_empty() && !disturbed {
            return match self.began >= quiet_at {
                true => RoundVerdict::Done(self.done()),
                false => RoundVerdict::After(quiet_at),
            };
        }
        if disturbed && rounds < policy.rounds {
            return RoundVerdict::Again(depth);
        }
        if self.began < quiet_at {
            return RoundVerdict::After(quiet_at);
        }
        let left = self.stubborn.union(&self.written).cloned().collect();
        if disturbed { RoundVerdict::PauseForAll } else { RoundVerdict::PauseFor(left) }
    }
}
