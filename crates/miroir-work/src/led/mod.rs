//! Led work: persisted state machines, each driven by exactly one instance at a time.
//!
//! A scope, as `settings_broadcast:movies`, has a record and a lease. Any instance may put the record; whoever gets the
//! lease drives it: load, decide, act, save under the lease's token. When the leader vanishes, another goes on from what
//! was saved last.
//!
//! Invariant: nothing of a scope is written without the fence of its lease. A leader that slept writes nothing.

mod candidate;
mod drive;
mod driver;
mod leaders;
mod machine;
mod operation;

pub use leaders::{LeadOptions, Leaders};
pub use machine::{Facts, Intent, Leadership, Machine, Next, NotActed, Step};
pub use operation::{Operation, ask, find, replace, start, start_with, stored, stored_as, withdraw};
