//! The harness of the end-to-end tests: real processes, real sockets, and one Meilisearch as the oracle.
//!
//! A [`Cluster`] is a number of nodes and one orchestrator or several, each its own process, so that a node can be killed the
//! hard way. Nodes are `miroir-devnode`, or the Meilisearch server that `MEILISEARCH_BIN` names. A [`Node`] of its own
//! serves as the reference: what it answers is what a client may expect.
//!
//! The environment may say: `MEILISEARCH_BIN`, a Meilisearch server to run as the nodes; `MIROIR_BIN_DIR`, where the
//! executables under test are (otherwise they are taken from, and when missing or old built into, the directory of the
//! running test); `MIROIR_TEST_KEEP`, to keep data and logs.

pub mod background;
pub mod binaries;
pub mod client;
pub mod cluster;
pub mod config;
pub mod ctl;
pub mod dataset;
pub mod differential;
pub mod disk;
pub mod faults;
pub mod instance;
pub mod jwt;
pub mod ledger;
pub mod moves;
pub mod names;
pub mod node;
pub mod parity;
pub mod ports;
pub mod process;
pub mod queries;
pub mod raw;
pub mod reaper;
pub mod redis;
pub mod replicas;
pub mod rng;
pub mod shape;
pub mod twin;
pub mod usage;
pub mod wait;

pub use client::{Answer, Client};
pub use cluster::{Cluster, ClusterBuilder};
pub use faults::{Fault, Faults};
pub use instance::Instance;
pub use ledger::Ledger;
pub use node::Node;
pub use rng::Rng;
pub use twin::{Differences, Twin};
pub use wait::{AtLast, eventually};
