//! Counters, logs, and watching.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use miroir_store::{Append, Batch, Change, Store, StoreError, Table, TypedTable, Watch};
use tokio::time::timeout;

use super::{register, waiting};

const NAMES: TypedTable<String> = TypedTable::new(Table::Catalog);
const LONG: Duration = Duration::from_secs(60);

fn append(log: &str, text: &str) -> Append {
    Append { log: log.into(), value: Bytes::copy_from_slice(text.as_bytes()) }
}

async fn texts(store: &dyn Store, log: &str, after: u64, limit: usize) -> Vec<(u64, String)> {
    let entries = store.log(log, after, limit).await.expect("read");
    entries.into_iter().map(|entry| (entry.position, String::from_utf8_lossy(&entry.value).into_owned())).collect()
}

async fn next(watch: &mut Watch) -> Change {
    timeout(Duration::from_secs(20), watch.next()).await.expect("a change").expect("open")
}

pub async fn a_forgotten_counter_begins_anew(store: Arc<dyn Store>) {
    let count = |forgotten: &[&str]| Batch {
        counts: vec![("n".into(), 3), ("m".into(), 1)],
        forgotten: forgotten.iter().map(|name| (*name).to_owned()).collect(),
        ..Batch::default()
    };
    store.commit(count(&[])).await.expect("written");
    assert_eq!(store.commit(count(&["n", "unknown"])).await.expect("written").counts, [3, 2]);
    let forget = Batch { forgotten: vec!["m".into()], ..Batch::default() };
    assert!(!forget.is_empty());
    store.commit(forget).await.expect("written");
    assert_eq!((store.count("n").await.expect("read"), store.count("m").await.expect("read")), (3, 0));
}

pub async fn counters_move_forward(store: Arc<dyn Store>) {
    assert_eq!(store.count("n").await.expect("read"), 0);
    let count = |by| Batch { counts: vec![("n".into(), by), ("m".into(), 1)], ..Batch::default() };
    assert_eq!(store.commit(count(3)).await.expect("written").counts, [3, 1]);
    assert_eq!(store.commit(count(4)).await.expect("written").counts, [7, 2]);
    let writes = vec![NAMES.put_if("absent", &String::new(), Some(9)).expect("JSON")];
    let refused = store.commit(Batch { writes, ..count(1) }).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!((store.count("n").await.expect("read"), store.count("m").await.expect("read")), (7, 2));
}

pub async fn a_log_is_read_from_any_position(store: Arc<dyn Store>) {
    let appends = vec![append("a", "1"), append("b", "other \u{0}"), append("a", "2")];
    let committed = store.commit(Batch { appends, ..Batch::default() }).await.expect("written");
    assert_eq!(committed.positions, [1, 1, 2]);
    store.commit(Batch { appends: vec![append("a", "3")], ..Batch::default() }).await.expect("written");
    let all = [(1, "1".to_owned()), (2, "2".to_owned()), (3, "3".to_owned())];
    assert_eq!(texts(&*store, "a", 0, 10).await, all);
    assert_eq!(texts(&*store, "a", 0, 2).await, all[..2]);
    assert_eq!(texts(&*store, "a", 2, 10).await, all[2..]);
    assert_eq!(texts(&*store, "a", u64::MAX, 10).await, []);
    assert_eq!(texts(&*store, "b", 0, 10).await, [(1, "other \u{0}".to_owned())]);
    assert_eq!(texts(&*store, "nobody's", 0, 10).await, []);
}

pub async fn a_trimmed_log_goes_on_where_it_was(store: Arc<dyn Store>) {
    let appends = (1..=5).map(|n| append("a", &n.to_string())).collect();
    store.commit(Batch { appends, ..Batch::default() }).await.expect("written");
    store.trim("a", 3).await.expect("trimmed");
    store.trim("nobody's", 3).await.expect("nothing to trim");
    assert_eq!(texts(&*store, "a", 0, 10).await, [(4, "4".to_owned()), (5, "5".to_owned())]);
    store.trim("a", u64::MAX).await.expect("trimmed");
    assert_eq!(texts(&*store, "a", 0, 10).await, []);
    let committed = store.commit(Batch { appends: vec![append("a", "6")], ..Batch::default() }).await.expect("written");
    assert_eq!(committed.positions, [6]);
}

pub async fn watchers_are_told_what_was_committed(store: Arc<dyn Store>) {
    let mut watch = store.watch();
    let writes = vec![NAMES.put("a", &"x".to_owned()).expect("JSON"), NAMES.delete("b")];
    let appends = vec![append("log", "x")];
    let committed = store.commit(Batch { writes, appends, ..Batch::default() }).await.expect("written");
    let record = |key: &str, version| Change::Record { table: Table::Catalog, key: key.into(), version };
    let told = [next(&mut watch).await, next(&mut watch).await, next(&mut watch).await];
    assert_eq!(told, [record("a", committed.versions[0]), record("b", None), Change::Log("log".into())]);

    let refused = vec![NAMES.put_if("a", &"y".to_owned(), None).expect("JSON")];
    store.commit(Batch { writes: refused, ..Batch::default() }).await.expect_err("a conflict");
    register(&*store, vec![waiting(Some("a"), 0)]).await.expect("written");
    assert_eq!(next(&mut watch).await, Change::Tasks, "a refused batch tells nothing");

    let lease = store.acquire("s", "me", LONG).await.expect("asked").expect("free");
    assert_eq!(store.acquire("s", "you", LONG).await.expect("asked"), None);
    assert_eq!(next(&mut watch).await, Change::LeaseWanted("s".into()));
    store.release(&lease).await.expect("released");
    assert_eq!(next(&mut watch).await, Change::LeaseReleased("s".into()));
    store.release(&lease).await.expect("nothing to release");
    store.close().await;
    assert_eq!(timeout(Duration::from_secs(20), watch.next()).await.expect("the end"), None);
}

pub async fn a_mark_is_told_after_what_was_committed_before(store: Arc<dyn Store>) {
    let mut watch = store.watch();
    for round in 0..50 {
        let writes = vec![NAMES.put("a", &round.to_string()).expect("JSON")];
        let committed = store.commit(Batch { writes, ..Batch::default() }).await.expect("written");
        store.mark(round).await.expect("marked");
        let record = Change::Record { table: Table::Catalog, key: "a".into(), version: committed.versions[0] };
        assert_eq!([next(&mut watch).await, next(&mut watch).await], [record, Change::Marked(round)]);
    }
    store.close().await;
    store.mark(50).await.expect_err("closed");
}

pub async fn a_slow_watcher_is_told_to_read_everything(store: Arc<dyn Store>) {
    let mut watch = store.watch();
    for _ in 0..8 {
        let writes = (0..1000).map(|n| NAMES.put(&n.to_string(), &"x".to_owned()).expect("JSON")).collect();
        store.commit(Batch { writes, ..Batch::default() }).await.expect("written");
    }
    assert_eq!(next(&mut watch).await, Change::Everything);
}
