//! The worker: what it does with jobs, and with its claims.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use miroir_store::{Append, Batch, Job, JobOptions, JobState, Jobs, SqliteStore, Store};
use miroir_work::jobs::{Chunk, Handlers, JobHandler, NotDone, Worker, WorkerOptions};
use miroir_work::{Backoff, Observer};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const LOG: &str = "chunks";
const BOUND: Duration = Duration::from_secs(20);

/// Each chunk leaves an entry in the log, until there are as many as the payload says.
#[derive(Clone, Default)]
struct Counts {
    /// From this chunk on it waits for ever.
    stuck_at: Option<u64>,
    begun: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    /// Chunks that do not work yet.
    failures: Arc<AtomicUsize>,
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl JobHandler for Counts {
    async fn chunk(&self, _: &str, job: &Job) -> Result<Chunk, NotDone> {
        let n = job.cursor.as_u64().unwrap_or(0);
        let name = job.payload["name"].as_str().unwrap_or_default();
        let of = job.payload["chunks"].as_u64().ok_or_else(|| NotDone::Ever("no number of chunks".into()))?;
        if self.stuck_at.is_some_and(|at| n >= at) {
            self.begun.fetch_add(1, Ordering::SeqCst);
            let _dropped = Dropped(self.dropped.clone());
            return std::future::pending().await;
        }
        if self.failures.load(Ordering::SeqCst) > 0 {
            self.failures.fetch_sub(1, Ordering::SeqCst);
            return Err(NotDone::Yet("the node is away".into()));
        }
        sleep(Duration::from_millis(1)).await;
        let appends = vec![Append { log: LOG.into(), value: Bytes::from(format!("{name}{n}")) }];
        let effects = Batch { appends, ..Batch::default() };
        Ok(if n + 1 == of { Chunk::Done { effects } } else { Chunk::Next { cursor: json!(n + 1), effects } })
    }
}

#[derive(Default)]
struct Depths(Mutex<BTreeMap<&'static str, usize>>);

impl Observer for Depths {
    fn queue_depth(&self, kind: &'static str, open: usize) {
        self.0.lock().expect("no panic").insert(kind, open);
    }

    fn leads(&self, _: &'static str, _: usize) {}
}

struct Running {
    depths: Arc<Depths>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.stop.send(true).expect("it listens");
        timeout(BOUND, self.task).await.expect("it stops").expect("no panic");
    }
}

fn worker(store: &Arc<dyn Store>, counts: Counts, options: WorkerOptions) -> Running {
    let depths = Arc::new(Depths::default());
    let jobs = Jobs::new(store.clone(), JobOptions::default());
    let handlers = Handlers::default().with("count", counts);
    let (stop, stopped) = watch::channel(false);
    let worker = Worker::new(jobs, handlers, "me", options, depths.clone());
    Running { depths, stop, task: tokio::spawn(worker.run(stopped)) }
}

fn fast() -> WorkerOptions {
    WorkerOptions {
        heartbeat: Duration::from_millis(20),
        backoff: Backoff { from: Duration::from_millis(10), to: Duration::from_millis(40) },
        pace: Duration::from_millis(5),
        ..WorkerOptions::default()
    }
}

async fn store() -> Arc<dyn Store> {
    SqliteStore::open(":memory:").await.expect("a store")
}

async fn enqueue(store: &Arc<dyn Store>, kind: &str, payload: serde_json::Value) -> String {
    let new = Jobs::new(store.clone(), JobOptions::default()).enqueue(kind, payload).await.expect("room");
    store.commit(Batch { writes: vec![new.write], ..Batch::default() }).await.expect("written");
    new.id
}

async fn job(store: &Arc<dyn Store>, id: &str) -> Job {
    Jobs::new(store.clone(), JobOptions::default()).get(id).await.expect("read").expect("kept")
}

async fn chunks(store: &Arc<dyn Store>) -> Vec<String> {
    let entries = store.log(LOG, 0, 1000).await.expect("read");
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.value).into_owned()).collect()
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(BOUND, wait).await.is_ok(), "waited in vain: {what}");
}

#[tokio::test]
async fn jobs_are_done_and_what_cannot_be_done_fails() {
    let store = store().await;
    let before = enqueue(&store, "count", json!({ "chunks": 3, "name": "a" })).await;
    let running = worker(&store, Counts::default(), fast());
    let wrong = enqueue(&store, "count", json!({})).await;
    let foreign = enqueue(&store, "of a later release", json!({ "chunks": 1 })).await;
    eventually("both have ended", async || {
        !job(&store, &before).await.state.is_open() && !job(&store, &wrong).await.state.is_open()
    })
    .await;
    assert_eq!(chunks(&store).await, ["a0", "a1", "a2"]);
    assert_eq!(job(&store, &before).await.state, JobState::Finished);
    let failed = job(&store, &wrong).await;
    assert_eq!((failed.state, failed.error.as_deref()), (JobState::Failed, Some("no number of chunks")));
    assert_eq!(job(&store, &foreign).await.attempts, 0, "no handler, no claim");
    eventually("the depth is told", async || {
        *running.depths.0.lock().expect("no panic") == [("count", 0), ("other", 1)].into()
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn what_does_not_work_yet_is_tried_again() {
    let store = store().await;
    let counts = Counts::default();
    counts.failures.store(3, Ordering::SeqCst);
    let running = worker(&store, counts, fast());
    let id = enqueue(&store, "count", json!({ "chunks": 2, "name": "a" })).await;
    eventually("it is done", async || job(&store, &id).await.state == JobState::Finished).await;
    assert_eq!(chunks(&store).await, ["a0", "a1"]);
    running.stop().await;
}

#[tokio::test]
async fn stopping_drops_the_chunk_and_gives_the_claim_back() {
    let store = store().await;
    let id = enqueue(&store, "count", json!({ "chunks": 5, "name": "a" })).await;
    let counts = Counts { stuck_at: Some(2), ..Counts::default() };
    let running = worker(&store, counts.clone(), fast());
    eventually("a chunk is under way", async || counts.begun.load(Ordering::SeqCst) == 1).await;
    running.stop().await;
    assert_eq!(counts.dropped.load(Ordering::SeqCst), 1);
    let waiting = job(&store, &id).await;
    assert_eq!((waiting.state, waiting.cursor, waiting.vanished), (JobState::Waiting, json!(2), 0));
    assert_eq!(store.leases().await.expect("read"), []);

    let running = worker(&store, Counts::default(), fast());
    eventually("it is done", async || job(&store, &id).await.state == JobState::Finished).await;
    assert_eq!(chunks(&store).await, ["a0", "a1", "a2", "a3", "a4"]);
    running.stop().await;
}

#[tokio::test]
async fn a_chunk_is_dropped_when_its_claim_is_lost() {
    let store = store().await;
    let id = enqueue(&store, "count", json!({ "chunks": 5, "name": "a" })).await;
    let counts = Counts { stuck_at: Some(2), ..Counts::default() };
    let running = worker(&store, counts.clone(), WorkerOptions { concurrency: 1, ..fast() });
    eventually("a chunk is under way", async || counts.begun.load(Ordering::SeqCst) == 1).await;
    let held = store.leases().await.expect("read").remove(0).lease;
    store.release(&held).await.expect("released");
    let thief = store.acquire(&held.scope, "thief", BOUND).await.expect("asked");
    assert!(thief.is_some(), "whoever has no place free does not claim");
    eventually("the chunk is dropped", async || counts.dropped.load(Ordering::SeqCst) == 1).await;
    let left = job(&store, &id).await;
    assert_eq!((left.state, left.cursor), (JobState::Running, json!(2)), "a lost claim writes nothing");
    assert_eq!(chunks(&store).await, ["a0", "a1"]);
    running.stop().await;
}

#[tokio::test]
async fn jobs_take_turns_where_there_is_one_place() {
    let store = store().await;
    let payload = |name: &str| json!({ "chunks": 30, "name": name });
    let ids = [enqueue(&store, "count", payload("a")).await, enqueue(&store, "count", payload("b")).await];
    let options = WorkerOptions { concurrency: 1, slice: Duration::from_millis(10), ..fast() };
    let running = worker(&store, Counts::default(), options);
    for id in &ids {
        eventually("it is done", async || job(&store, id).await.state == JobState::Finished).await;
    }
    running.stop().await;
    let chunks = chunks(&store).await;
    for name in ["a", "b"] {
        let own: Vec<&String> = chunks.iter().filter(|chunk| chunk.starts_with(name)).collect();
        let wanted: Vec<String> = (0..30).map(|n| format!("{name}{n}")).collect();
        assert_eq!(own, wanted.iter().collect::<Vec<_>>());
    }
    let turns = chunks.windows(2).filter(|pair| pair[0].as_bytes()[0] != pair[1].as_bytes()[0]).count();
    assert!(turns >= 3, "one waited for the other: {chunks:?}");
}
