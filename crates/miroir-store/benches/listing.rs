//! Listing tasks among a million on both stores, and the memory that Redis takes for them. `TASKS=100000` for fewer.
//!
//! A plain program rather than statistics: what counts is whether the slowest filter stays within its bound.

#[allow(dead_code)] // shared with the tests, which need more of it
#[path = "../tests/redis_server/mod.rs"]
mod redis_server;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use miroir_core::base::id::{IndexUid, NodeId, ShardId, TaskUid};
use miroir_core::write::task::{NewTask, NodeTask, TaskKind, TaskQuery, TaskStatus, TimeRange};
use miroir_store::{Batch, RedisOptions, RedisStore, SqliteStore, Store};
use redis_server::Server;
use serde_json::value::RawValue;
use time::OffsetDateTime;

const INDEXES: u64 = 50;
const ROUNDS: usize = 15;
const BATCH: u64 = 1000;
/// One task a second.
const BEGIN: i64 = 1_700_000_000;

fn main() {
    let tasks = std::env::var("TASKS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(directory.path().join("miroir.db")).await.expect("a store");
        measure("SQLite", &*store, tasks).await;
        store.close().await;
        drop(directory);

        let directory = tempfile::tempdir().expect("a directory");
        let server = Server::start(directory.path(), &["--appendonly", "yes"], false);
        let options = RedisOptions { call_timeout: Duration::from_secs(60), ..RedisOptions::default() };
        let store: Arc<dyn Store> = RedisStore::open_with(&server.url(), options).await.expect("a store");
        let empty = used_memory(&server).await;
        measure("Redis", &*store, tasks).await;
        let left = store.tasks(&TaskQuery { limit: 0, ..TaskQuery::default() }).await.expect("read").total;
        let taken = used_memory(&server).await.saturating_sub(empty);
        println!("Redis: {:.0} KB for 1,000 tasks, whose JSON is {:.0} KB", taken as f64 / left as f64, body());
    });
}

fn body() -> f64 {
    serde_json::to_vec(&task(12_345)).expect("JSON").len() as f64
}

async fn used_memory(server: &Server) -> u64 {
    let client = redis::Client::open(server.url()).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("connected");
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await.expect("read");
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("there");
    used.trim().parse().expect("a number")
}

fn at(second: u64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(BEGIN + i64::try_from(second).unwrap_or(0))
}

fn index(n: u64) -> IndexUid {
    format!("index-{n}").parse().expect("an index uid")
}

/// Three nodes, two shards each; most succeed, 3 of 100 fail, one in 1,000 is canceled.
fn task(n: u64) -> NewTask {
    let spread = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let kind = TaskKind::ALL[[0, 0, 0, 0, 0, 0, 2, 2, 3, 4][(spread % 10) as usize]];
    let status = match (spread / 500) % 1000 {
        0 => TaskStatus::Canceled,
        1..=30 => TaskStatus::Failed,
        _ => TaskStatus::Succeeded,
    };
    let node = |node: u64| NodeTask {
        node: NodeId::new(format!("meili-{node}")),
        uid: n * 3 + node,
        shards: vec![ShardId(u32::try_from(2 * node).unwrap_or(0)), ShardId(u32::try_from(2 * node + 1).unwrap_or(0))],
        status,
        error: None,
        deleted_documents: None,
    };
    let index = index((spread / 10) % INDEXES);
    NewTask {
        index_uid: Some(index.clone()),
        physical: Some(index),
        status,
        details: RawValue::from_string(r#"{"receivedDocuments":1000,"indexedDocuments":1000}"#.into()).ok(),
        started_at: Some(at(n + 1)),
        finished_at: Some(at(n + 1 + spread % 20)),
        canceled_by: (status == TaskStatus::Canceled).then_some(TaskUid(n % 100)),
        node_tasks: (0..3).map(node).collect(),
        ..NewTask::new(kind, at(n))
    }
}

fn queries(tasks: u64) -> Vec<(&'static str, TaskQuery)> {
    let all = TaskQuery::default;
    let indexes = |n: u64| Some((0..n).map(index).collect::<BTreeSet<_>>());
    let failed = || Some([TaskStatus::Failed].into());
    let after = |second| TimeRange { after: Some(at(second)), before: None };
    let before = |second| TimeRange { after: None, before: Some(at(second)) };
    vec![
        ("no filter", all()),
        ("one index", TaskQuery { index_uids: indexes(1), ..all() }),
        ("half of the indexes", TaskQuery { index_uids: indexes(INDEXES / 2), ..all() }),
        ("failed", TaskQuery { statuses: failed(), ..all() }),
        ("one kind", TaskQuery { kinds: Some([TaskKind::DocumentDeletion].into()), ..all() }),
        ("one index, failed", TaskQuery { index_uids: indexes(1), statuses: failed(), ..all() }),
        (
            "canceled, one index",
            TaskQuery { index_uids: indexes(1), statuses: Some([TaskStatus::Canceled].into()), ..all() },
        ),
        ("canceled by one", TaskQuery { canceled_by: Some([TaskUid(7)].into()), ..all() }),
        ("one index, from the middle", TaskQuery { index_uids: indexes(1), from: Some(TaskUid(tasks / 2)), ..all() }),
        ("enqueued in the last hour", TaskQuery { enqueued: after(tasks - 3600), ..all() }),
        ("finished in the first half", TaskQuery { finished: before(tasks / 2), ..all() }),
        (
            "one index, finished in the first half",
            TaskQuery { finished: before(tasks / 2), index_uids: indexes(1), ..all() },
        ),
        ("failed, started in the second half", TaskQuery { started: after(tasks / 2), statuses: failed(), ..all() }),
    ]
}

async fn measure(name: &str, store: &dyn Store, tasks: u64) {
    let begun = Instant::now();
    for first in (0..tasks).step_by(BATCH as usize) {
        let new_tasks = (first..(first + BATCH).min(tasks)).map(task).collect();
        store.commit(Batch { new_tasks, ..Batch::default() }).await.expect("written");
    }
    println!("\n{name}: {tasks} tasks written in {:.0?}", begun.elapsed());
    for (what, query) in queries(tasks) {
        let (median, worst, total) = timed(store, &query).await;
        println!("| {what} | {total} | {median:.1} ms | {worst:.1} ms |");
    }
    let begun = Instant::now();
    let pruned = store.prune_tasks(at(tasks), 1000).await.expect("pruned");
    println!("{pruned} tasks pruned in {:.1?}", begun.elapsed());
    let mut commits = Vec::new();
    for n in 0..200 {
        let begun = Instant::now();
        store.commit(Batch { new_tasks: vec![task(tasks + n)], ..Batch::default() }).await.expect("written");
        commits.push(begun.elapsed());
    }
    commits.sort();
    println!("one commit of one task: {:.2?}", commits[commits.len() / 2]);
}

/// Median and worst in milliseconds, and the total.
async fn timed(store: &dyn Store, query: &TaskQuery) -> (f64, f64, u64) {
    let mut times = Vec::new();
    let mut total = 0;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        total = store.tasks(query).await.expect("read").total;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    (times[ROUNDS / 2], times[ROUNDS - 1], total)
}
