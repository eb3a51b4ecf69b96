//! An instance for unit tests of what needs one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use http::StatusCode;
use miroir_core::config::Config;
use miroir_store::{SqliteStore, Store};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Cluster;
use crate::budget::Budget;
use crate::node::{Limits, NodeClient};
use crate::telemetry::Metrics;

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

/// What a node of the tests' own answers to a method and a path.
type Answer = dyn Fn(&str, &str) -> (StatusCode, Value) + Send + Sync;

/// A node that answers as a test says, and remembers what it was asked. It ends with the test's runtime.
pub struct StubNode {
    /// As the configuration has it.
    pub address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl StubNode {
    /// A node that accepts whatever it is told.
    pub async fn start() -> Self {
        Self::answering(|_, _| (StatusCode::ACCEPTED, json!({ "taskUid": 1 }))).await
    }

    /// A node that answers so.
    pub async fn answering(answer: impl Fn(&str, &str) -> (StatusCode, Value) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (log, answer): (_, Arc<Answer>) = (asked.clone(), Arc::new(answer));
        let handle = move |request: Request| {
            let (log, answer) = (log.clone(), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                // A request that does not come to its end is none.
                let Ok(_) = axum::body::to_bytes(body, 1 << 20).await else {
                    return (StatusCode::BAD_REQUEST, String::new());
                };
                let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
                log.lock().expect("no panic").push(format!("{} {path}", parts.method));
                let (status, body) = answer(parts.method.as_str(), path);
                (status, body.to_string())
            }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handle)).await });
        Self { address, asked }
    }

    /// Methods and paths, in the order in which they came.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}
