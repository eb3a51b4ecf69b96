//! Repairs documents one by one: look at both sides, write what differs, look again until it is seen equal.

use std::collections::{BTreeMap, BTreeSet};

use super::verified::VerifiedVersions;
use crate::replica::digest::Version;

/// Documents that may differ.
#[derive(Clone, Debug, Default)]
pub(super) struct Repair {
    /// To be looked at in this pass.
    queue: BTreeSet<String>,
    /// Those that are looked at together.
    pub chunk: Vec<String>,
    /// To be looked at again: they were written, or were not alike.
    again: BTreeSet<String>,
    /// Passes that were finished.
    pub looks: u32,
    pub part: RepairStage,
    /// The target's tasks that were not seen to be done.
    pub tasks: Vec<u64>,
    /// Nothing before this instant.
    pub not_before: u64,
}

/// What is done with a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum RepairStage {
    /// Take the next one.
    #[default]
    Pick,
    /// Look at it on the target.
    Target,
    /// Look at it on the source; this is what the target has.
    Source(BTreeMap<String, Version>),
    /// Delete these from the target, then put those.
    Write { delete: Vec<String>, put: Vec<String> },
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// As the part says.
    Part,
    /// Wait for the tasks.
    Tasks,
    /// Wait until this instant.
    Until(u64),
    /// It is over: these were never seen equal.
    Over(BTreeSet<String>),
}

/// Between the first two looks at documents that are being written.
const PAUSE_MS: u64 = 50;

impl Repair {
    pub fn of(ids: BTreeSet<String>) -> Self {
        Self { queue: ids, ..Self::default() }
    }

    /// Take up a chunk of so many documents if none is at hand.
    pub fn next(&mut self, documents: usize, looks: u32, now: u64) -> Next {
        if now < self.not_before {
            return Next::Until(self.not_before);
        }
        if self.part != RepairStage::Pick {
            return Next::Part;
        }
        if self.queue.is_empty() {
            if !self.tasks.is_empty() {
                return Next::Tasks;
            }
            self.looks += 1;
            if self.again.is_empty() || self.looks > looks {
                return Next::Over(std::mem::take(&mut self.again));
            }
            self.queue = std::mem::take(&mut self.again);
            // What is on its way to one of them is given time to arrive.
            self.not_before = now + (PAUSE_MS << self.looks.min(6));
            return Next::Until(self.not_before);
        }
        self.chunk = (0..documents.max(1)).map_while(|_| self.queue.pop_first()).collect();
        self.part = RepairStage::Target;
        Next::Part
    }

    /// The chunk could not be looked at as a whole.
    pub fn put_back(&mut self) {
        self.queue.extend(std::mem::take(&mut self.chunk));
        self.part = RepairStage::Pick;
    }

    /// Both sides of the chunk are known. Returns the documents that are to be written.
    pub fn compare(
        &mut self,
        target: &BTreeMap<String, Version>,
        source: &BTreeMap<String, Version>,
        verified: &mut VerifiedVersions,
    ) -> Vec<String> {
        let (mut delete, mut put) = (Vec::new(), Vec::new());
        verified.alike(source.iter().filter(|(id, version)| target.get(*id) == Some(*version)));
        for id in std::mem::take(&mut self.chunk) {
            match (target.get(&id), source.get(&id)) {
                (None, None) => continue,
                (Some(theirs), Some(ours)) if theirs == ours => continue,
                // The source has yet to do what the target has done, most likely.
                (Some(theirs), Some(ours)) if self.looks == 0 && theirs.stamp > ours.stamp && ours.stamp.is_some() => {}
                (Some(_), None) => delete.push(id.clone()),
                (None, Some(_)) => put.push(id.clone()),
                (Some(_), Some(_)) => {
                    if self.looks > 1 {
                        // Vectors that a document has lost stay when it is replaced.
                        delete.push(id.clone());
                    }
                    put.push(id.clone());
                }
            }
            self.again.insert(id);
        }
        let written = delete.iter().chain(&put).cloned().collect();
        let nothing = delete.is_empty() && put.is_empty();
        self.part = if nothing { RepairStage::Pick } else { RepairStage::Write { delete, put } };
        written
    }
}
