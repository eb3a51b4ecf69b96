//! The harness of the end-to-end tests: real processes, real sockets, and one Meilisearch as the oracle.
//!
//! A [`Cluster`] is a number of nodes and one orchestrator, each its own process, so that a node can be killed the
//! hard way. Nodes are `miroir-devnode`, or the Meilisearch server that `MEILISEARCH_BIN` names. A [`Node`] of its own
//! serves as the reference: what it answers is what a client may expect.

pub mod binaries;
pub mod client;
pub mod cluster;
pub mod config;
pub mod dataset;
pub mod node;
pub mod parity;
pub mod ports;
pub mod process;
pub mod queries;
pub mod raw;
pub mod reaper;
pub mod rng;
pub mod shape;
pub mod twin;
pub mod wait;

pub use client::{Answer, Client};
pub use cluster::{Cluster, ClusterBuilder};
pub use node::Node;
pub use rng::Rng;
pub use twin::{Differences, Twin};
pub use wait::eventually;
