//! Transitions: how a cluster gets from one membership to another while it serves.
//!
//! ```text
//! preparing ──> moving ──> finished, each replica that moves by itself:
//!
//! planned ─> waiting ─> copying ─> switched ─> left ─> cleaned
//!    └──────────┴──────────┴─ cancel ─> abandoned ─> cleaned
//! ```
//!
//! Every state but copying and cleaned begins with an epoch. At *planned* all come to know that the new node may hold more
//! than it is read for, so that they filter what they ask of it. At *waiting* it takes the writes of its shard, and is
//! known as stale in the same step. Once every instance writes to it, and not before, it is *copying*, and what any stale
//! replica is: the mirror makes it equal and takes it off the
//! list, and a write that it misses puts it there again. Only one that is off the list is switched to, which the store
//! checks in the step that switches. Whoever it replaces takes writes until every instance reads from the new one, and
//! keeps its documents until every instance has ceased to write to it.
//!
//! An instance *acknowledges* an epoch when it acts on it and no write, nor read, that it began on an older one is under
//! way. Nothing is decided while an epoch is not acknowledged by every live instance; so at any time instances act on two
//! epochs at most, and what each of them reads from takes the writes of the other.
//!
//! Invariants: a shard is read only from replicas that hold every acknowledged write. A replica leaves only after another
//! has taken its place, or where more replicas are left than its group is to have. Everything that has to be known to go
//! on is in the record: whoever leads next decides as the one before would have.

mod change;
mod decide;
mod plan;
mod record;
#[cfg(test)]
mod tests;

pub use change::{MembershipChange, Refused};
pub use decide::{Effects, Finished, TransitionFacts, TransitionIntent, TransitionStep, Waiting, decide};
pub use plan::{CandidateFacts, Move, MoveState, Replica, begin, fit};
pub use record::{Phase, Progress, TransitionRecord};
