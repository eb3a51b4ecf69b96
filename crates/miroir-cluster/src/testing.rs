//! An instance for unit tests of what needs one.

use std::sync::Arc;
use std::time::Duration;

use miroir_core::config::Config;
use miroir_node::budget::Budget;
use miroir_node::testing::FakeNode;
use miroir_node::{Limits, NodeClient};
use miroir_store::{SqliteStore, Store};
use miroir_telemetry::Metrics;

use crate::Cluster;

/// The key of clients.
pub const MASTER_KEY: &str = "key-of-clients";

/// The key of operators.
pub const ADMIN_KEY: &str = "key-of-operators";

const CONFIG: &str = "
master_key: key-of-clients
admin: { api_key: key-of-operators }
node_master_key: key-of-nodes
environment: development
shards: 2
replication_factor: 1
nodes:
  - { id: a, address: 'http://127.0.0.1:1', replica_group: 0 }
";

const OVER: &str = "
master_key: key-of-clients
node_master_key: key-of-nodes
environment: development
shards: 4
";

const MIRRORED: &str = "
master_key: key-of-clients
node_master_key: key-of-nodes
environment: development
shards: 2
replication_factor: 2
write: { node_timeout_ms: 300 }
nodes:
  - { id: a, address: 'http://127.0.0.1:1', replica_group: 0 }
  - { id: b, address: 'http://127.0.0.1:2', replica_group: 0 }
";

/// An instance whose only node is not there.
pub async fn instance() -> Arc<Cluster> {
    instance_with(&[]).await
}

/// The same with these settings.
pub async fn instance_with(settings: &[(&str, &str)]) -> Arc<Cluster> {
    made(in_memory().await, CONFIG, settings).await
}

/// An instance whose two nodes are not there; each holds everything.
pub async fn mirrored() -> Arc<Cluster> {
    made(in_memory().await, MIRRORED, &[]).await
}

/// An instance over this store whose only node is at this address.
pub async fn instance_of(store: Arc<dyn Store>, address: &str) -> Arc<Cluster> {
    made(store, &CONFIG.replace("http://127.0.0.1:1", address), &[]).await
}

/// An instance over this store and these nodes, `node-0` and on, with four shards and more of the configuration.
pub async fn over(store: Arc<dyn Store>, nodes: &[FakeNode], config: &str) -> Arc<Cluster> {
    let members = nodes
        .iter()
        .enumerate()
        .map(|(nth, node)| format!("  - {{ id: node-{nth}, address: '{}', replica_group: 0 }}\n", node.address));
    let members: String = members.collect();
    made(store, &format!("{OVER}{config}\nnodes:\n{members}"), &[]).await
}

async fn in_memory() -> Arc<dyn Store> {
    SqliteStore::open(":memory:").await.expect("a store")
}

async fn made(store: Arc<dyn Store>, config: &str, settings: &[(&str, &str)]) -> Arc<Cluster> {
    let settings: Vec<(String, String)> =
        settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let config = Config::load(config, std::iter::empty(), &settings).expect("a configuration");
    let second = Duration::from_secs(1);
    let limits = Limits { max_idle: 1, idle_timeout: second, connect_timeout: second, max_reply: 1 << 20 };
    let metrics = Metrics::default();
    let replies =
        Budget::new("answers", 1 << 20, metrics.clone(), |metrics, bytes| metrics.outside().reply_bytes(bytes));
    let client = NodeClient::new("key", limits, replies).expect("a client");
    Arc::new(Cluster::open(Arc::new(config), store, client, metrics).await.expect("a cluster"))
}
