//! The shard mirror: make one replica of a shard equal to the fresh ones, while clients write, update and delete.
//!
//! A machine without I/O or clock: [`Mirror::next`] says what to do, whoever runs it does that and says what came of it
//! with [`Mirror::advance`]. The target takes all writes of clients from before the mirror begins; a replica that was empty
//! is copied page by page first, then source and target are compared in rounds, and what differs is repaired.
//!
//! **Why it is right.** All replicas of a shard are handed the same writes in the same order, and what a node is handed
//! it does in order. So a replica is determined by how many of those writes it has done, and by what it was before.
//!
//! 1. A document that is *seen equal* on both sides stays equal. One side may have done more writes than the other when
//!    it was looked at. As long as those are writes by id (replace, merge, delete), doing them on the other side leads to
//!    what this side shows: after the last replacement or deletion both are the same whatever they were, and merging what
//!    a document has got merged already changes nothing. Being equal after equally many writes, they stay so. Stamps are
//!    not needed for this, and do not suffice: an update is merged, with its stamp, into whatever a replica holds.
//! 2. Writes that depend on what a replica holds (deletion by filter, edits) break the argument for documents that are
//!    looked at meanwhile. Both sides do all of them that they were handed before they are looked at, and a round proves
//!    nothing if another one was handed to them before it is recorded ([`Done::conditional`]). Where there are always some,
//!    only a round in a write pause does.
//! 3. What the mirror itself writes may undo a client's newer write that the target has done already. The source shows
//!    that when it has done it, too. Therefore a document counts as equal only when it was seen so after the last of the
//!    mirror's tasks that touches it was done, and after the writes that were under way by then were handed to all
//!    replicas ([`MirrorStep::Barrier`]) and done by the source. What a predecessor that died has written counts as written.
//! 4. A request whose answer was lost may still arrive. Until that is impossible no round is the last.
//! 5. A write that the target missed makes a round worthless. Whoever runs the mirror takes the target off the list of
//!    stale replicas only if the list says of it what it said when the last round began ([`Done::misses`]).
//! 6. Writes that the target missed before may still wait on the source: it shows what the target shows, and will not for
//!    long. A round therefore looks at the source only when that has done all that it had accepted when the list last
//!    changed; and so for the target and writes as in 2.
//! 7. Stamps do prove the content of documents that the target was given, or seen to hold, as the source does, if they
//!    are older than the mirror by more than clocks are apart and writes are under way: no write will give such a stamp
//!    any more, and edits, which leave it, are known of. Those versions are cached as verified, and only the rest is read whole again.
//!
//! Invariant: [`MirrorStep::Done`] is reached only by a round in which every document of either side was seen equal
//! under 1 to 7, or was not there from its beginning to its end. The latter are equal as well: they were deleted or
//! created by writes that both sides were handed during the round.

mod advance;
mod compare;
mod machine;
mod paging;
mod record;
mod repair;
mod round;
mod settling;
mod step;
#[cfg(test)]
mod tests;
mod throttle;
mod verified;

pub use machine::Mirror;
pub use paging::{Paging, Taken, Window};
pub use record::{Failure, MirrorRecord, Policy, Progress, Scope, Stage, Subject};
pub use round::Done;
pub use step::{MirrorEvent, MirrorFacts, MirrorStep};
pub use throttle::Throttle;
