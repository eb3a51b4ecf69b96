//! Who may do what: API keys, tenant tokens, and the one table of rights.
//!
//! Invariant: a request is let through only by a row of [`rights`] that names its method and path, and what it may then
//! see is a [`Grant`]. What no row names is refused.

mod action;
mod authorize;
mod create;
mod grant;
mod key;
mod pattern;
mod registry;
pub mod rights;
mod token;

pub use action::{Action, UnknownAction};
pub use authorize::{Refusal, authorize, bearer};
pub use create::{patch_key, read_key};
pub use grant::Grant;
pub use key::{Key, KeyValue};
pub use pattern::{IndexPattern, InvalidIndexPattern};
pub use registry::KeyRegistry;
pub use token::{Claims, SearchRules, TokenError, TokenFilter, unverified_key, verify};

#[cfg(test)]
mod tests;
