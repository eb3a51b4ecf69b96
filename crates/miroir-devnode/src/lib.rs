//! A Meilisearch-compatible node around the real engine, for development, demos and tests.
//!
//! One [`Node`] owns a data directory and serves Meilisearch's REST API on one address. Several nodes live side by side
//! in one process. Tasks are durable: a write that was answered 202 survives the death of the process.

mod engine;
mod error;
mod fields;
mod http;
mod node;
mod search;
mod select;
mod task;

pub use node::{Node, NodeOptions, StartError};

/// The Meilisearch version whose engine a node runs.
pub const ENGINE_VERSION: &str = http::ENGINE_VERSION;
