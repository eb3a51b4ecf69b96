//! What a round has shown.

use std::collections::BTreeSet;

use super::machine::Facts;
use super::record::{Policy, Scope};
use crate::digest::Depth;

/// The target is equal to the fresh replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// What was known of the target's misses when the last round began. The target is fresh only if nothing was added
    /// since, to be found out in the same step that says so.
    pub misses: u64,
    /// The writes of the shard are being held.
    pub fenced: bool,
}

/// One round of comparing.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    pub began: u64,
    pub misses: u64,
    pub conditional: u64,
    /// A write that depends on what a replica holds may have been done on one side only.
    pub disturbed: bool,
    /// Writes are held, and both sides have done theirs.
    pub fenced: bool,
    /// Documents that were put to or deleted from the target.
    pub written: BTreeSet<String>,
    /// Documents that were not seen equal.
    pub stubborn: BTreeSet<String>,
}

/// What follows a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done(Done),
    /// Another round, of everything.
    Again(Depth),
    /// Not before this instant.
    After(u64),
    /// Hold the writes, and look at all documents again.
    FenceAll,
    /// Hold the writes, and look at these again: all others were seen equal.
    Fence(BTreeSet<String>),
    /// These stay different although nobody writes.
    Unequal(BTreeSet<String>),
}

impl Round {
    pub fn begin(facts: &Facts) -> Self {
        Self {
            began: facts.now,
            misses: facts.misses,
            conditional: facts.conditional,
            disturbed: facts.conditional_unfinished,
            ..Self::default()
        }
    }

    /// A round in the fence, which goes on from what this one has shown.
    pub fn within_fence(&self, facts: &Facts, whole: bool) -> Self {
        let misses = if whole { facts.misses } else { self.misses };
        Self { began: facts.now, misses, fenced: true, ..Self::default() }
    }

    /// `rounds` were finished with this one; no request can still arrive after `quiet_at`.
    pub fn verdict(
        &self,
        facts: &Facts,
        depth: Depth,
        scope: &Scope,
        rounds: u32,
        quiet_at: u64,
        policy: &Policy,
    ) -> Verdict {
        if self.misses != facts.misses {
            return Verdict::Again(depth);
        }
        if self.fenced {
            return match self.stubborn.is_empty() {
                true if self.began >= quiet_at => Verdict::Done(Done { misses: self.misses, fenced: true }),
                true => Verdict::After(quiet_at),
                false => Verdict::Unequal(self.stubborn.clone()),
            };
        }
        if depth == Depth::Stamps {
            let deeper = self.written.is_empty() || rounds > 1;
            return Verdict::Again(if deeper { Depth::Content } else { Depth::Stamps });
        }
        let disturbed = self.disturbed || facts.conditional != self.conditional || facts.conditional_unfinished;
        // Each was seen equal after it was written; that a further round finds nothing guards against what is taken for
        // granted of how nodes list documents.
        let clean = match scope {
            Scope::Whole => self.written.is_empty(),
            Scope::Ids(_) => true,
        };
        if clean && self.stubborn.is_empty() && !disturbed {
            return match self.began >= quiet_at {
                true => Verdict::Done(Done { misses: self.misses, fenced: false }),
                false => Verdict::After(quiet_at),
            };
        }
        if rounds < policy.rounds {
            return Verdict::Again(depth);
        }
        if self.began < quiet_at {
            return Verdict::After(quiet_at);
        }
        let left = self.stubborn.union(&self.written).cloned().collect();
        if disturbed { Verdict::FenceAll } else { Verdict::Fence(left) }
    }
}
