//! An instance for unit tests of what needs one.

use std::sync::Arc;
use std::time::Duration;

use miroir_core::config::Config;
use miroir_store::SqliteStore;

use super::Cluster;
use crate::node::{Limits, NodeClient};
use crate::telemetry::Metrics;

/// The key of clients.
pub const MASTER_KEY: &str = "key-of-clients";

const CONFIG: &str = "
master_key: key-of-clients
node_master_key: key-of-nodes
environment: development
shards: 2
replication_factor: 1
nodes:
  - { id: a, address: 'http://127.0.0.1:1', replica_group: 0 }
";

/// An instance whose only node is not there.
pub async fn instance() -> Arc<Cluster> {
    let config = Config::load(CONFIG, std::iter::empty(), &[]).expect("a configuration");
    let store = SqliteStore::open(":memory:").await.expect("a store");
    let second = Duration::from_secs(1);
    let limits = Limits { max_idle: 1, idle_timeout: second, connect_timeout: second, max_reply: 1024 };
    let client = NodeClient::new("key", limits).expect("a client");
    Arc::new(Cluster::open(Arc::new(config), store, client, Metrics::default()).await.expect("a cluster"))
}
