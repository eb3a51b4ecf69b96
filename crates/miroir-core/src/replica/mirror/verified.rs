//! The verified-version cache: versions of documents whose stamps suffice to know that both sides hold the same content.

use std::collections::{BTreeSet, HashSet};

use super::step::MirrorFacts;
use crate::replica::digest::{Copied, Version, fingerprint};

/// Versions of documents that the target was given as the source holds them, or was seen to hold like it.
///
/// Invariant: copies of a document on both sides that bear a stamp that is remembered here have the same content, once
/// both sides have done what they had accepted when the mirror began. For nothing but a write gives a document a stamp,
/// and those that gave such stamps were done by then; edits, which change documents and leave their stamps, make all of
/// it forgotten, and so does a write that the target missed.
#[derive(Clone, Debug, Default)]
pub(super) struct VerifiedVersions {
    seen: HashSet<u64>,
    /// Writes with stamps before this instant were handed to both sides before they were drained.
    horizon: u64,
    /// The most versions to remember.
    limit: usize,
    misses: u64,
    edits: u64,
    /// Nothing may be concluded from what is seen now.
    closed: bool,
}

impl VerifiedVersions {
    /// Of a mirror that begins now. `in_flight`: for how long a write may be under way, and clocks be apart.
    pub fn new(now: u64, in_flight: u64, limit: usize) -> Self {
        Self { horizon: now.saturating_sub(in_flight), limit, ..Self::default() }
    }

    /// A round begins. `quiet`: nothing that the mirror, or one before it, has sent can still arrive.
    pub fn begin(&mut self, facts: &MirrorFacts, quiet: bool) {
        if (self.misses, self.edits) != (facts.misses, facts.edits) || facts.edits_unfinished {
            self.seen.clear();
        }
        (self.misses, self.edits) = (facts.misses, facts.edits);
        self.closed = facts.edits_unfinished || !quiet;
    }

    /// The mark to remember if both sides turn out to hold this version. `None`: its stamp proves nothing.
    pub fn mark(&self, id: &str, version: &Version) -> Option<u64> {
        let is_usable = !self.closed && version.stamp.is_some_and(|stamp| stamp < self.horizon);
        is_usable.then(|| fingerprint(id, &stamped(version)))
    }

    /// Both sides hold what these marks are of.
    pub fn remember(&mut self, marks: impl IntoIterator<Item = u64>) {
        let room = self.room();
        self.seen.extend(marks.into_iter().take(room));
    }

    /// How many more may be remembered.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.seen.len())
    }

    /// Both sides hold these documents.
    pub fn alike<'a>(&mut self, documents: impl IntoIterator<Item = (&'a String, &'a Version)>) {
        let marks: Vec<u64> = documents.into_iter().filter_map(|(id, version)| self.mark(id, version)).collect();
        self.remember(marks);
    }

    /// Whether two copies of this version need not be looked into.
    pub fn contains(&self, id: &str, version: &Version) -> bool {
        !self.seen.is_empty() && self.seen.contains(&fingerprint(id, &stamped(version)))
    }

    /// Whether all but a few of so many documents, and no more than `rest`, need not be looked into.
    pub fn covers(&self, documents: u64, rest: usize) -> bool {
        let unknown = documents.saturating_sub(self.seen.len() as u64);
        !self.seen.is_empty() && unknown <= (documents / 2).min(rest as u64)
    }
}

/// What a listing of ids and stamps shows of it.
fn stamped(version: &Version) -> Version {
    Version { content: None, ..*version }
}

/// Documents that are given to the target, of which some may have been there before: they may keep what a replacement
/// leaves, so their stamps prove nothing.
#[derive(Clone, Debug)]
pub(super) enum Before {
    /// Only these were there.
    Known(BTreeSet<String>),
    /// Any may have been there.
    Unknown,
}

impl Before {
    /// The documents were put to the target.
    pub fn given(&self, documents: &[Copied], verified: &mut VerifiedVersions) {
        let Self::Known(before) = self else { return };
        let new = documents.iter().filter(|document| !before.contains(&document.id));
        verified.alike(new.map(|document| (&document.id, &document.version)));
    }
}
