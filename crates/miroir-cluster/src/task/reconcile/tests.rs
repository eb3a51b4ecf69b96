//! A round of the task reconciler costs the same, whatever the number of unfinished tasks.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use async_trait::async_trait;
use http::StatusCode;
use miroir_core::base::id::ShardId;
use miroir_core::write::task::{NewTask, NodeTask, TaskStatus};
use miroir_node::testing::FakeNode;
use miroir_store::{Batch, RedisOptions, RedisStore, SqliteStore, Store};
use serde_json::{Value, json};

use super::listen::CALLS;
use super::*;
use crate::Index;
use crate::testing::instance_of;

#[allow(dead_code)] // this needs less of it than its owner
#[path = "../../../../miroir-store/tests/redis_server/mod.rs"]
mod redis_server;

use crate::observed::{Observed, Observer};

/// Unfinished tasks.
const MANY: u64 = 100_000;
/// Tasks of one index follow one another.
const INDEXES: u64 = 10;
/// Rounds in which as many tasks end as one may end.
const ROUNDS: usize = 20;

/// Counts what a store is asked for.
#[derive(Default)]
struct Cost {
    rows: AtomicUsize,
    commits: AtomicUsize,
}

impl Cost {
    /// Rows read and commits made since this was asked last.
    fn take(&self) -> (usize, usize) {
        (self.rows.swap(0, Ordering::Relaxed), self.commits.swap(0, Ordering::Relaxed))
    }
}

#[async_trait]
impl Observer for Cost {
    async fn commits(&self, _: &Batch) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    fn reads(&self, rows: usize) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }
}

fn physical(nth: u64) -> IndexUid {
    format!("films{nth}").parse().expect("a uid")
}

fn unfinished(uid: u64) -> NewTask {
    let index = physical(uid % INDEXES);
    let node_task = NodeTask {
        node: NodeId::new("a"),
        uid,
        shards: vec![ShardId(0)],
        status: TaskStatus::Enqueued,
        error: None,
        deleted_documents: None,
    };
    NewTask {
        index_uid: Some(index.clone()),
        physical: Some(index),
        node_tasks: vec![node_task],
        ..NewTask::new(TaskKind::DocumentAdditionOrUpdate, OffsetDateTime::now_utc())
    }
}

/// A node that has ended the first so many of its tasks.
fn node(ended: Arc<AtomicU64>) -> FakeNode {
    FakeNode::answering(move |_, path| {
        let ended = ended.load(Ordering::Relaxed);
        let uids = path.split_once("uids=").map_or("", |(_, uids)| uids);
        let told = uids.split(',').filter_map(|uid| uid.parse::<u64>().ok()).map(|uid| {
            let status = if uid < ended { "succeeded" } else { "enqueued" };
            let finished = (uid < ended).then_some("2026-01-01T00:00:00Z");
            json!({ "uid": uid, "status": status, "error": null, "startedAt": finished, "finishedAt": finished })
        });
        (StatusCode::OK, json!({ "results": told.collect::<Vec<Value>>() }))
    })
}

/// Rows that a round may read at most.
const ROWS: usize = LOADED + SWEPT + WEIGHED + SHOWN + BY_THEMSELVES + 100;
/// Commits that a round may make at most, when no index comes, goes or changes its name.
const COMMITS: usize = 2;

async fn a_round_is_bounded(store: Arc<dyn Store>) {
    let ended = Arc::new(AtomicU64::new(0));
    let node = node(ended.clone());
    let counting = Arc::new(Observed { store: store.clone(), observer: Cost::default() });
    let cluster = instance_of(counting.clone(), &node.address).await;
    for nth in 0..INDEXES {
        let mut index = Index::new(physical(nth), physical(nth), None, NonZeroU32::new(2).expect("not zero"));
        index.ready = true;
        cluster.state.catalog.insert(index, Batch::default()).await.expect("written");
    }
    for first in (0..MANY).step_by(1000) {
        let new_tasks = (first..first + 1000).map(unfinished).collect();
        store.commit(Batch { new_tasks, ..Batch::default() }).await.expect("written");
    }

    let mut reconciler = TaskReconciler::new(cluster.tasks.clone());
    let mut asked = 0;
    let mut round = async |reconciler: &mut TaskReconciler| {
        counting.observer.take();
        let moved = reconciler.round().await.expect("a round");
        let (rows, commits) = counting.observer.take();
        let calls = node.asked().len() - asked;
        asked += calls;
        assert!(rows <= ROWS && commits <= COMMITS && calls <= CALLS, "{rows} rows, {commits} commits, {calls} calls");
        (moved, rows, calls)
    };
    // Nothing ends while the backlog is read.
    let mut rounds = 0;
    while reconciler.backlog.len() < MANY as usize {
        round(&mut reconciler).await;
        rounds += 1;
    }
    assert!(rounds <= MANY as usize / LOADED + 1, "{rounds}");
    // Nothing moves: the node is asked for the oldest, and what is known is not read again.
    round(&mut reconciler).await;
    let (moved, rows, calls) = round(&mut reconciler).await;
    assert!(!moved && rows <= 1 && calls == 1, "{rows} rows, {calls} calls");
    // Tasks that have ended in the middle are ended at once, however much there is.
    ended.store(700, Ordering::Relaxed);
    let (moved, rows, _) = round(&mut reconciler).await;
    assert!(moved && rows > 500, "{rows} rows");
    ended.store(MANY, Ordering::Relaxed);
    for _ in 0..ROUNDS {
        let before = reconciler.backlog.len();
        assert!(round(&mut reconciler).await.0);
        let done = before - reconciler.backlog.len();
        assert!((WEIGHED..=WEIGHED + SHOWN).contains(&done), "{done} tasks ended in one round");
    }
    let done = MANY as usize - reconciler.backlog.len();
    let succeeded = TaskQuery { statuses: Some([TaskStatus::Succeeded].into()), limit: 1, ..TaskQuery::default() };
    assert_eq!(store.tasks(&succeeded).await.expect("read").total, done as u64);
    for nth in 0..INDEXES {
        let index = cluster.state.catalog.read(&physical(nth)).expect("there");
        assert!(index.updated_at > index.created_at, "an index does not show that it was changed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_100_000_tasks_costs_a_round_no_more_in_sqlite() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(directory.path().join("miroir.db")).await.expect("a store");
    a_round_is_bounded(store.clone()).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_100_000_tasks_costs_a_round_no_more_in_redis() {
    let server = redis_server::Server::shared();
    let store = RedisStore::open_with(&server.url(), RedisOptions::default()).await.expect("a store");
    a_round_is_bounded(store.clone()).await;
    store.close().await;
}

/// Two tasks of one round: after the first only one replica is fresh, and what the second says of that one must not make
/// it stale, for then nobody would be.
#[tokio::test]
async fn of_tasks_weighed_together_the_later_know_who_is_stale_since_the_earlier() {
    let ended = Arc::new(AtomicU64::new(0));
    let node = node(ended);
    let store = SqliteStore::open(":memory:").await.expect("a store");
    let cluster = instance_of(store.clone(), &node.address).await;
    let mut index = Index::new(physical(0), physical(0), None, NonZeroU32::new(2).expect("not zero"));
    index.ready = true;
    cluster.state.catalog.insert(index, Batch::default()).await.expect("written");
    let b = NodeId::new("b");
    let part = |node: &NodeId, status| NodeTask { node: node.clone(), status, ..unfinished(0).node_tasks.remove(0) };
    let a = NodeId::new("a");
    let mut found = super::conclude::RoundFindings::default();
    let stale = found.stale(&cluster.tasks, &physical(0)).clone();
    assert!(stale.is_empty());
    let first = [part(&a, TaskStatus::Succeeded), part(&b, TaskStatus::Failed)];
    let second = [part(&a, TaskStatus::Failed), part(&b, TaskStatus::Succeeded)];
    let mut fresh: BTreeSet<NodeId> = [a.clone(), b.clone()].into();
    for parts in [first, second] {
        let known = found.stale(&cluster.tasks, &physical(0)).clone();
        let is_fresh = |shard, node: &NodeId| !known.contains(&(shard, node.clone()));
        let miroir_core::write::settlement::Settlement::Final { stale, .. } =
            miroir_core::write::settlement::settlement(&parts, |_| false, is_fresh)
        else {
            panic!("not final")
        };
        let missed = stale.into_iter().flat_map(|(node, shards)| {
            fresh.remove(&node);
            shards.into_iter().map(move |shard| crate::state::stale::Miss {
                index: physical(0),
                shard,
                node: node.clone(),
                reason: crate::state::stale::Reason::FailedTask,
                arrives_until: None,
            })
        });
        found.miss(&cluster.tasks, missed.collect());
    }
    assert_eq!(fresh, [a].into(), "nobody is fresh any more");
}
