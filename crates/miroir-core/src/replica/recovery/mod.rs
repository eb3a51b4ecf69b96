//! Recovery: what a node that returns, or joins, is checked for before anything counts on it.
//!
//! A node is looked at when it has done all that it had accepted, and what it takes no writes of is deleted: tasks that it had
//! accepted long ago may bring back a shard that it has given up since. One that has its own disk, as far as [`at_a_glance`] can
//! tell, serves meanwhile; any other one counts only afterwards.
//!
//! Invariant: a replica that may hold less or other than it should is named here, and known as stale before its node's
//! answers count again. What is named for nothing costs a mirror that finds nothing.

mod glance;
mod release;
mod returned;

pub use glance::{Doubt, Glance, Remembered, at_a_glance};
pub use release::{OLDEST, Release, UnreadableRelease};
pub use returned::{
    Expected, ExpectedIndex, FoundIndex, Measure, MembershipStatus, NodeInventory, PlanForIndex, ProbeVerdict,
    ReadmissionPlan, Refused, Why, check,
};
