//! Led work: several instances in one process, over one store.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use miroir_store::{Append, Batch, Lease, SqliteStore, Store, StoreError, Table, TypedTable};
use miroir_work::led::{
    Facts, Intent, LeadOptions, Leaders, Leadership, Machine, Next, NotActed, Step, ask, find, start,
};
use miroir_work::{Backoff, Observer};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const LOG: &str = "acts";
const BOUND: Duration = Duration::from_secs(20);
const TTL: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(60);

/// Goes from phase to phase; each leaves an entry in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Phases {
    at: u32,
    of: u32,
}

/// How an instance acts.
#[derive(Clone, Default)]
struct Acts {
    /// In this phase it waits for `go`.
    stuck_at: Option<u32>,
    go: Arc<AtomicBool>,
    /// Acts that were begun in the phase in which it waits, and those that were dropped there.
    begun: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    /// Acts that fail before one works.
    failures: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Option<String>>>>,
    /// How often it was told to lead no more.
    left: Arc<AtomicUsize>,
    /// How often what its first act has begun beside was polled, if it is to begin anything.
    beside: Option<Arc<AtomicUsize>>,
}

struct Counts(Arc<AtomicUsize>);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Machine for Acts {
    const KIND: &'static str = "walk";
    type Record = Phases;
    type Seen = ();
    type Action = u32;

    async fn observe(&self, _: &str, _: &Phases) -> Result<(), NotActed> {
        Ok(())
    }

    fn decide(&self, record: &Phases, facts: &Facts<()>) -> Step<Phases, u32> {
        self.seen.lock().expect("no panic").push(facts.error.clone());
        match facts.intent {
            Intent::Cancel => Step::Finish(entry("canceled".into())),
            Intent::Pause => Step::Wait(LONG),
            Intent::Run if record.at == record.of => Step::Finish(entry("over".into())),
            Intent::Run => Step::Act(record.at),
        }
    }

    async fn act(&self, lead: &Leadership, record: &Phases, at: u32) -> Result<Next<Phases>, NotActed> {
        if self.failures.load(Ordering::SeqCst) > 0 {
            self.failures.fetch_sub(1, Ordering::SeqCst);
            return Err(NotActed("the node is away".into()));
        }
        if self.stuck_at == Some(at) {
            self.begun.fetch_add(1, Ordering::SeqCst);
            let counts = Counts(self.dropped.clone());
            while !self.go.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(2)).await;
            }
            std::mem::forget(counts);
        }
        if let Some(beats) = self.beside.clone().filter(|_| at == 0) {
            let counts = Counts(self.dropped.clone());
            lead.beside(async move {
                let _dropped = counts;
                loop {
                    beats.fetch_add(1, Ordering::SeqCst);
                    sleep(Duration::from_millis(2)).await;
                }
            });
        }
        assert_eq!(lead.scope(), "walk:north");
        let effects = entry(at.to_string());
        Ok(Next { record: Phases { at: at + 1, ..record.clone() }, effects })
    }

    fn left(&self, scope: &str) {
        assert_eq!(scope, "walk:north");
        self.left.fetch_add(1, Ordering::SeqCst);
    }
}

fn entry(text: String) -> Batch {
    Batch { appends: vec![Append { log: LOG.into(), value: Bytes::from(text) }], ..Batch::default() }
}

async fn entries(store: &Arc<dyn Store>) -> Vec<String> {
    let entries = store.log(LOG, 0, 1000).await.expect("read");
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.value).into_owned()).collect()
}

#[derive(Default)]
struct Seen(AtomicUsize);

impl Observer for Seen {
    fn queue_depth(&self, _: &'static str, _: usize) {}

    fn leads(&self, kind: &'static str, scopes: usize) {
        assert_eq!(kind, "walk");
        self.0.store(scopes, Ordering::SeqCst);
    }
}

/// An instance. Aborted: crashed, without a word to the store.
struct Instance {
    acts: Acts,
    leads: Arc<Seen>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Instance {
    fn start(store: &Arc<dyn Store>, name: &str, acts: Acts, ttl: Duration) -> Self {
        let backoff = Backoff { from: Duration::from_millis(5), to: Duration::from_millis(20) };
        let options = LeadOptions { ttl, renew_every: ttl / 8, backoff, ..LeadOptions::new(name) };
        let leads = Arc::new(Seen::default());
        let (stop, stopped) = watch::channel(false);
        let leaders = Leaders::new(store.clone(), options, leads.clone()).with(acts.clone());
        Self { acts, leads, stop, task: tokio::spawn(leaders.run(stopped)) }
    }

    async fn stop(self) {
        self.stop.send(true).expect("it listens");
        timeout(BOUND, self.task).await.expect("it stops").expect("no panic");
    }

    fn is_leading(&self) -> bool {
        self.leads.0.load(Ordering::SeqCst) > 0
    }
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(BOUND, wait).await.is_ok(), "waited in vain: {what}");
}

async fn store() -> Arc<dyn Store> {
    SqliteStore::open(":memory:").await.expect("a store")
}

async fn begin(store: &Arc<dyn Store>, of: u32) -> Result<(), StoreError> {
    let writes = vec![start::<Acts>(Some("north"), Phases { at: 0, of }).expect("JSON")];
    store.commit(Batch { writes, ..Batch::default() }).await.map(|_| ())
}

async fn over(store: &Arc<dyn Store>) {
    eventually("the operation is over", async || find::<Acts>(&**store, Some("north")).await.expect("read").is_none())
        .await;
}

fn stuck(at: u32) -> Acts {
    Acts { stuck_at: Some(at), ..Acts::default() }
}

async fn is_stuck(instance: &Instance) {
    eventually("the act is begun", async || instance.acts.begun.load(Ordering::SeqCst) > 0).await;
}

/// Takes the lease from whoever has it, who is not told.
async fn steal(store: &Arc<dyn Store>) -> Lease {
    let held = store.leases().await.expect("read").into_iter().find(|held| held.lease.scope == "walk:north");
    store.release(&held.expect("somebody leads").lease).await.expect("released");
    let stolen = store.acquire("walk:north", "thief", LONG).await.expect("asked");
    stolen.expect("nobody was faster")
}

#[tokio::test]
async fn an_operation_that_any_instance_starts_is_driven_to_its_end() {
    let store = store().await;
    let instances = ["a", "b"].map(|name| Instance::start(&store, name, Acts::default(), TTL));
    begin(&store, 5).await.expect("none is under way");
    over(&store).await;
    assert_eq!(entries(&store).await, ["0", "1", "2", "3", "4", "over"]);
    // Another one of the same scope.
    begin(&store, 1).await.expect("none is under way");
    over(&store).await;
    assert_eq!(entries(&store).await.len(), 8);
    for instance in instances {
        instance.stop().await;
    }
    assert_eq!(store.leases().await.expect("read"), []);
}

#[tokio::test]
async fn one_operation_of_a_scope_is_under_way_at_a_time() {
    let store = store().await;
    begin(&store, 1).await.expect("none is under way");
    let refused = begin(&store, 2).await;
    assert!(matches!(refused, Err(StoreError::Conflict { table: Table::Operations, .. })), "{refused:?}");
    let (operation, intent) = find::<Acts>(&*store, Some("north")).await.expect("read").expect("there");
    assert_eq!((operation.record, intent), (Phases { at: 0, of: 1 }, Intent::Run));
    assert!(find::<Acts>(&*store, None).await.expect("read").is_none());
}

#[tokio::test]
async fn who_takes_over_from_a_crashed_leader_goes_on_where_it_saved_last() {
    let store = store().await;
    begin(&store, 6).await.expect("none is under way");
    let crashes = Instance::start(&store, "a", stuck(3), TTL);
    is_stuck(&crashes).await;
    let next = Instance::start(&store, "b", Acts::default(), TTL);
    sleep(TTL * 2).await;
    assert_eq!(entries(&store).await, ["0", "1", "2"], "one that renews is not taken over");
    assert!(crashes.is_leading() && !next.is_leading());
    crashes.task.abort();
    let crashed = tokio::time::Instant::now();
    over(&store).await;
    let taken = crashed.elapsed();
    assert!(taken > TTL / 2 && taken < TTL + Duration::from_secs(2), "{taken:?}");
    assert_eq!(entries(&store).await, ["0", "1", "2", "3", "4", "5", "over"]);
    next.stop().await;
}

#[tokio::test]
async fn what_goes_on_beside_is_never_left_alone_and_ends_with_the_lease() {
    let store = store().await;
    begin(&store, 5).await.expect("none is under way");
    let beats = Arc::new(AtomicUsize::new(0));
    let acts = Acts { beside: Some(beats.clone()), ..stuck(1) };
    let instance = Instance::start(&store, "a", acts, TTL * 10);
    is_stuck(&instance).await;
    // Nothing is done for a long time.
    assert!(ask::<Acts>(&*store, Some("north"), Intent::Pause).await.expect("asked"));
    eventually("the act is dropped", async || instance.acts.dropped.load(Ordering::SeqCst) == 1).await;
    let before = beats.load(Ordering::SeqCst);
    eventually("it goes on", async || beats.load(Ordering::SeqCst) > before + 5).await;
    steal(&store).await;
    eventually("it is dropped", async || instance.acts.dropped.load(Ordering::SeqCst) == 2).await;
    instance.stop().await;
}

#[tokio::test]
async fn acts_are_dropped_at_once_when_the_lease_is_lost() {
    let store = store().await;
    begin(&store, 2).await.expect("none is under way");
    let instance = Instance::start(&store, "a", stuck(1), TTL);
    is_stuck(&instance).await;
    assert!(instance.is_leading());
    let stolen = steal(&store).await;
    eventually("the act is dropped", async || instance.acts.dropped.load(Ordering::SeqCst) == 1).await;
    eventually("it leads no more", async || !instance.is_leading()).await;
    eventually("it knows", async || instance.acts.left.load(Ordering::SeqCst) == 1).await;
    instance.acts.go.store(true, Ordering::SeqCst);
    sleep(TTL).await;
    assert_eq!(entries(&store).await, ["0"], "somebody else leads");
    store.release(&stolen).await.expect("released");
    over(&store).await;
    assert_eq!(entries(&store).await, ["0", "1", "over"], "it tried to lead again");
    eventually("it knows that it is over", async || instance.acts.left.load(Ordering::SeqCst) == 2).await;
    instance.stop().await;
}

/// The lease is gone, and the leader has not noticed: it finishes its act and tries to save.
#[tokio::test]
async fn what_a_stale_leader_saves_is_refused() {
    let store = store().await;
    begin(&store, 3).await.expect("none is under way");
    let instance = Instance::start(&store, "a", stuck(1), LONG);
    is_stuck(&instance).await;
    let stolen = steal(&store).await;
    instance.acts.go.store(true, Ordering::SeqCst);
    eventually("it notices by its write", async || !instance.is_leading()).await;
    assert_eq!(instance.acts.dropped.load(Ordering::SeqCst), 0, "the act came to its end");
    let (operation, _) = find::<Acts>(&*store, Some("north")).await.expect("read").expect("there");
    assert_eq!(operation.record.at, 1);
    assert_eq!(entries(&store).await, ["0"], "neither the record nor the effects were written");
    store.release(&stolen).await.expect("released");
    over(&store).await;
    assert_eq!(entries(&store).await, ["0", "1", "2", "over"]);
    instance.stop().await;
}

#[tokio::test]
async fn stopping_drops_the_act_and_releases_the_lease() {
    let store = store().await;
    begin(&store, 2).await.expect("none is under way");
    let stops = Instance::start(&store, "a", stuck(1), LONG);
    is_stuck(&stops).await;
    let dropped = stops.acts.dropped.clone();
    stops.stop().await;
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!(store.leases().await.expect("read"), []);
    let next = Instance::start(&store, "b", Acts::default(), LONG);
    over(&store).await;
    assert_eq!(entries(&store).await, ["0", "1", "over"]);
    next.stop().await;
}

#[tokio::test]
async fn an_operation_is_paused_and_goes_on_and_is_canceled_in_mid_act() {
    let store = store().await;
    let instance = Instance::start(&store, "a", stuck(1), LONG);
    begin(&store, 3).await.expect("none is under way");
    is_stuck(&instance).await;
    let begun = || instance.acts.begun.load(Ordering::SeqCst);
    let dropped = || instance.acts.dropped.load(Ordering::SeqCst);
    assert!(ask::<Acts>(&*store, Some("north"), Intent::Pause).await.expect("asked"));
    eventually("the act is dropped", async || dropped() == 1).await;
    let (_, intent) = find::<Acts>(&*store, Some("north")).await.expect("read").expect("there");
    assert_eq!((intent, begun()), (Intent::Pause, 1));
    assert!(ask::<Acts>(&*store, Some("north"), Intent::Run).await.expect("asked"));
    eventually("the act is begun again", async || begun() == 2).await;
    // To want what is wanted already interrupts nothing.
    assert!(ask::<Acts>(&*store, Some("north"), Intent::Run).await.expect("asked"));
    assert!(ask::<Acts>(&*store, Some("north"), Intent::Cancel).await.expect("asked"));
    over(&store).await;
    assert_eq!((begun(), dropped()), (2, 2));
    assert_eq!(entries(&store).await, ["0", "canceled"]);
    assert_eq!(store.list(Table::Operations).await.expect("read"), [], "the request has gone as well");
    assert!(!ask::<Acts>(&*store, Some("north"), Intent::Cancel).await.expect("asked"), "nothing is under way");
    instance.stop().await;
}

/// A request that is written when its operation has ended already.
#[tokio::test]
async fn a_request_is_for_the_operation_that_it_was_meant_for() {
    const REQUESTS: TypedTable<serde_json::Value> = TypedTable::new(Table::Operations);
    let store = store().await;
    let late = serde_json::json!({ "operation": "one before", "intent": "cancel" });
    let writes = vec![REQUESTS.put("walk:north/intent", &late).expect("JSON")];
    store.commit(Batch { writes, ..Batch::default() }).await.expect("written");
    let instance = Instance::start(&store, "a", Acts::default(), LONG);
    begin(&store, 1).await.expect("none is under way");
    over(&store).await;
    assert_eq!(entries(&store).await, ["0", "over"]);
    instance.stop().await;
}

#[tokio::test]
async fn what_fails_is_tried_again_and_decided_upon_with_that_in_mind() {
    let store = store().await;
    let acts = Acts::default();
    acts.failures.store(3, Ordering::SeqCst);
    let instance = Instance::start(&store, "a", acts, LONG);
    begin(&store, 2).await.expect("none is under way");
    over(&store).await;
    assert_eq!(entries(&store).await, ["0", "1", "over"]);
    let failed = Some("the node is away".to_owned());
    let seen = instance.acts.seen.lock().expect("no panic").clone();
    assert_eq!(seen, [None, failed.clone(), failed.clone(), failed, None, None]);
    instance.stop().await;
}
