//! What passes between a mirror and whoever runs it.

use std::time::Duration;

use super::paging::Window;
use super::record::Failure;
use super::round::Done;
use crate::base::id::NodeId;
use crate::replica::digest::{Copied, Depth};

/// What decisions are made of besides events. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct MirrorFacts {
    /// The clock.
    pub now: u64,
    /// The live replicas of the shard, of any group, that hold every write; the best first.
    pub sources: Vec<NodeId>,
    /// Whether the target answers.
    pub target_live: bool,
    /// What is known of writes that the target missed: differs after each one, whether it was known as stale or not.
    pub misses: u64,
    /// No request to the target whose answer was lost can arrive after this instant.
    pub quiet_at: u64,
    /// How many changes that depend on what a replica holds were handed to the index: deletions by filter, edits.
    pub conditional: u64,
    /// How many of them were edits, which leave stamps as they are.
    pub edits: u64,
    /// Some of these may not be done on the source or on the target.
    pub edits_unfinished: bool,
    /// Clients ask for something.
    pub clients: bool,
}

/// What to do next. What came of it goes into [`Mirror::advance`](super::Mirror::advance).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorStep {
    /// Nothing for so long. Nothing is told.
    Wait(Duration),
    /// Wait until every client's write of the index that is under way now was handed to all replicas:
    /// [`MirrorEvent::Passed`].
    Barrier,
    /// Wait until a node has done everything that it has accepted by now: [`MirrorEvent::Drained`].
    Drain(NodeId),
    /// Count the documents of the shard on a node: [`MirrorEvent::Counted`].
    Count(NodeId),
    /// List the shard's documents: [`MirrorEvent::Page`].
    Read {
        /// Whom to ask.
        node: NodeId,
        /// Which of them.
        window: Window,
        /// What of them; with vectors at the depth of content.
        depth: Depth,
    },
    /// Get these documents, as far as they exist, at the depth of content: [`MirrorEvent::Fetched`].
    Fetch {
        /// Whom to ask.
        node: NodeId,
        /// The documents.
        ids: Vec<String>,
    },
    /// Put these documents of those that were read or fetched last, as they are, to the target: [`MirrorEvent::Accepted`].
    Put(Vec<String>),
    /// Delete these documents from the target: [`MirrorEvent::Accepted`].
    Delete(Vec<String>),
    /// Wait for these tasks of the target: [`MirrorEvent::Finished`] or [`MirrorEvent::Rejected`].
    Await(Vec<u64>),
    /// Pause all writes to the shard until [`Mirror::is_paused`](super::Mirror::is_paused) no longer says so, and wait
    /// until source and target have done those that they had accepted: [`MirrorEvent::WritesPaused`] or
    /// [`MirrorEvent::PauseEnded`].
    PauseWrites,
    /// Both are equal. If writes are paused, they are until that is written down.
    Done(Done),
    /// The target stays as stale as it is.
    GiveUp(Failure),
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorEvent {
    /// The writes that were under way are not any more.
    Passed,
    /// The node has done what it had accepted.
    Drained,
    /// So many documents.
    Counted(u64),
    /// These documents, in the node's order, of so many bytes.
    Page(Vec<Copied>, u64),
    /// These documents, of so many bytes.
    Fetched(Vec<Copied>, u64),
    /// The target has accepted it as this task.
    Accepted(u64),
    /// The tasks are done.
    Finished,
    /// A task failed, or the target refused what it was sent.
    Rejected(String),
    /// The answer was too large to take.
    TooLarge,
    /// Writes are paused, and both sides have done all of theirs.
    WritesPaused,
    /// Writes cannot be paused, or not any longer. May come at any time.
    PauseEnded,
    /// The node did not answer; it may have done what it was told.
    Failed(NodeId),
}
