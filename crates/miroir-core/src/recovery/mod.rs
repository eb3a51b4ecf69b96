//! Recovery: what a node that returns, or joins, is checked for before anything counts on it.
//!
//! Invariant: a replica that may hold less or other than it should is named here, and known as stale before its node's
//! answers count again. What is named for nothing costs a mirror that finds nothing.

mod release;
mod returned;

pub use release::{Release, UnreadableRelease};
pub use returned::{
    Expected, ExpectedIndex, Found, FoundIndex, Measure, Plan, PlanForIndex, Refused, Standing, Verdict, Why, check,
};
