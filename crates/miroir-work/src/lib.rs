//! Background work that survives whoever does it.
//!
//! *Led* work is done by exactly one instance at a time: a state machine over a record, driven by whoever has the lease of
//! its scope ([`led`]). *Queued* work is done by any instance, chunk by chunk ([`jobs`]). Both stop at once when the right
//! to act is lost, and what they write without it is refused by the store.
//!
//! Nothing here knows what the work is about: that is registered by whoever composes an instance.

mod backoff;
mod hold;
pub mod jobs;
pub mod led;
mod observer;
mod stop;

pub use backoff::Backoff;
pub use observer::{Observer, Unobserved};
