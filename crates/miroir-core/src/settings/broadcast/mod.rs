//! The broadcast: one change of an index's settings, on every node or on none.
//!
//! Propose to every node, wait until all have applied it, read back from each and compare, commit. What nodes are told
//! is idempotent, and what was done is known from the record alone: whoever decides again from the record as it was last
//! saved does the right thing, whatever had been done since.
//!
//! ```text
//! propose ──> verify ──> commit ──> Step::Commit
//!    │           │
//!    └─────┬─────┘  a node rejects, never complies, or somebody cancels
//!          v
//!      going back ──────────────────> Step::Fail
//! ```
//!
//! Invariants: a node is verified only by what it reads back after its own task succeeded. What is committed was read
//! back from a node. Of a broadcast that fails, every node holds what it held before, or is named as one in doubt.

mod agree;
mod back;
mod decide;
mod forward;
mod line;
mod patch_response;
mod record;
#[cfg(test)]
mod tests;

pub use decide::{BroadcastFacts, BroadcastStep, Committed, Failed, Policy, decide};
pub use line::{ChangeEnd, Head, Line, LineChange, LineFacts, LineStep, Pending, Presence, SettingsRequest, creating};
pub use patch_response::PatchResponse;
pub use record::{Answers, BroadcastRecord, NodeProgress, Phase, Proposal, Question, Stage, Strategy, TaskReport};
