//! The wings over nodes of tests' own, in virtual time: what takes seconds for users takes none here, and waits are as long
//! as they are said to be, to the millisecond.

mod first_writes;
mod reads;
mod settings;
mod store;
mod writes;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use miroir_core::base::id::{IndexUid, TaskUid};
use miroir_core::document::Format;
use miroir_core::settings::Floor;
use miroir_core::write::task::{Task, TaskStatus};
use miroir_node::testing::{Documents, FakeNode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::testing::over;
use crate::{Answer, Cluster, Error, Ingest, TaskReconciler, Wants};

/// No wait of a test is longer than this, in its own time.
const BOUND: Duration = Duration::from_secs(600);

/// An instance, its nodes, and what these hold.
struct World {
    cluster: Arc<Cluster>,
    nodes: Vec<FakeNode>,
    held: Vec<Documents>,
    background: Vec<JoinHandle<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.background.iter().for_each(JoinHandle::abort);
    }
}

impl World {
    /// So many nodes, every shard on as many replicas, and more of the configuration. Tasks end by themselves.
    async fn new(nodes: usize, replicas: usize, config: &str) -> Self {
        let (nodes, held): (Vec<_>, Vec<_>) = (0..nodes).map(|_| Documents::node()).unzip();
        let config = format!("replication_factor: {replicas}\n{config}");
        let cluster = over(store::in_memory().await, &nodes, &config).await;
        let reconciler = TaskReconciler::new(cluster.tasks.clone());
        let background = vec![tokio::spawn(reconciler.run())];
        Self { cluster, nodes, held, background }
    }

    /// Documents are sent as a client sends them.
    async fn send(&self, index: &str, documents: Value) -> Result<Answer, Error> {
        let ingest = Ingest {
            method: Method::POST,
            body: documents.to_string().into(),
            format: Format::Json,
            primary_key: None,
            skip_creation: false,
            may_create: true,
            custom_metadata: None,
            reserved: self.cluster.state.bodies.reserve(),
        };
        let uid = uid(index);
        self.cluster.writes.undertake((), move |writer| async move { writer.ingest(&uid, ingest).await }).await
    }

    /// The task of what was accepted, when it has ended.
    async fn ended(&self, accepted: &Answer) -> Task {
        let body: Value = serde_json::from_slice(&accepted.body).expect("JSON");
        let task = TaskUid(body["taskUid"].as_u64().expect("a number"));
        let store = &self.cluster.state.store;
        until("the task ends", async || {
            let task = store.task(task).await.expect("read").expect("there");
            task.status.is_final().then_some(task)
        })
        .await
    }

    /// An index with so many documents, on all its replicas.
    async fn load(&self, index: &str, documents: usize) {
        let documents: Value = (0..documents).map(|n| json!({ "id": format!("d{n}"), "v": 1 })).collect();
        let accepted = self.send(index, documents).await.expect("accepted");
        assert_eq!(self.ended(&accepted).await.status, TaskStatus::Succeeded);
    }

    /// A search for everything.
    async fn search(&self, index: &str) -> Result<Answer, Error> {
        let body = Bytes::from_static(br#"{"q":"","limit":1000}"#);
        self.cluster.reads.search_body(&uid(index), body, None, Wants::default(), Floor::default()).await
    }
}

fn uid(index: &str) -> IndexUid {
    index.parse().expect("a uid")
}

/// What `look` returns at last.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(BOUND, looking).await.unwrap_or_else(|_| panic!("{what}: not within {BOUND:?}"))
}

/// What a future returns, and how long it took.
async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    let made = future.await;
    (made, begun.elapsed())
}
