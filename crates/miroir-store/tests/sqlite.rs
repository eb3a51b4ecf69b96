//! The conformance suite on SQLite, and what is SQLite's alone: files that survive, and files that cannot be used.

#[macro_use]
mod conformance;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use conformance::queries::{deletions_agree_with_the_definition, history, listings_agree_with_the_definition, query};
use conformance::{done, register, waiting};
use miroir_core::base::id::TaskUid;
use miroir_core::write::task::TaskQuery;
use miroir_store::{Batch, SqliteOptions, SqliteStore, Store, StoreError, Table, TypedTable};
use proptest::prelude::*;
use tempfile::TempDir;

const NAMES: TypedTable<String> = TypedTable::new(Table::Catalog);

mod in_memory {
    suite!(crate::in_memory);
}

mod on_disk {
    suite!(crate::on_disk);
}

async fn in_memory() -> (Arc<dyn Store>, ()) {
    (SqliteStore::open(":memory:").await.expect("a store"), ())
}

async fn on_disk() -> (Arc<dyn Store>, TempDir) {
    let directory = tempdir();
    (open(directory.path()).await.expect("a store"), directory)
}

fn tempdir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

async fn open(directory: &Path) -> Result<Arc<dyn Store>, StoreError> {
    let options = SqliteOptions { busy_timeout: Duration::from_millis(50), ..SqliteOptions::default() };
    SqliteStore::open_with(directory.join("miroir.db"), options).await
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn listings_are_as_defined(history in history(), queries in prop::collection::vec(query(), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (store, ()) = in_memory().await;
            listings_agree_with_the_definition(store, history, queries).await;
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn deletions_are_as_defined(history in history(), query in query()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (store, ()) = in_memory().await;
            deletions_agree_with_the_definition(store, history, query).await;
        });
    }
}

async fn fill(store: &dyn Store) {
    let writes = vec![NAMES.put("a", &"x".to_owned()).expect("JSON")];
    let new_tasks = vec![done(Some("a"), 0), waiting(Some("a"), 1)];
    store.commit(Batch { writes, new_tasks, ..Batch::default() }).await.expect("written");
}

async fn assert_filled(store: &dyn Store) {
    assert_eq!(NAMES.get(store, "a").await.expect("read").map(|record| record.value), Some("x".to_owned()));
    assert_eq!(store.tasks(&TaskQuery::default()).await.expect("read").total, 2);
    let unsettled = store.unfinished_tasks(None, 10).await.expect("read");
    assert_eq!(unsettled.iter().map(|task| task.uid).collect::<Vec<_>>(), [TaskUid(1)]);
    assert_eq!(register(store, vec![waiting(None, 2)]).await.expect("written"), [TaskUid(2)]);
}

#[tokio::test]
async fn a_closed_store_is_reopened_as_it_was() {
    let directory = tempdir();
    let store = open(directory.path()).await.expect("a store");
    fill(&*store).await;
    store.close().await;
    let files = std::fs::read_dir(directory.path()).expect("listed").map(|file| file.expect("a file").file_name());
    let mut files: Vec<_> = files.collect();
    files.sort();
    assert_eq!(files, ["miroir.db", "miroir.db.lock"], "closing leaves one file, and what guards it");
    assert_filled(&*open(directory.path()).await.expect("a store")).await;
}

/// The files as they are when a commit has returned are all that a killed process leaves behind.
#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let directory = tempdir();
    let store = open(directory.path()).await.expect("a store");
    fill(&*store).await;
    let left_behind = tempdir();
    for file in std::fs::read_dir(directory.path()).expect("listed") {
        let file = file.expect("listed");
        if !file.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(file.path(), left_behind.path().join(file.file_name())).expect("copied");
        }
    }
    assert_filled(&*open(left_behind.path()).await.expect("a store")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_stops_waiting_loses_the_answer_and_nothing_else() {
    let (store, _directory) = on_disk().await;
    for _ in 0..20 {
        let commit = register(&*store, vec![waiting(None, 0)]);
        let _ = tokio::time::timeout(Duration::ZERO, commit).await;
    }
    let next = register(&*store, vec![waiting(None, 0)]).await.expect("written")[0];
    let total = store.tasks(&TaskQuery::default()).await.expect("read").total;
    assert_eq!(total, next.0 + 1, "every number that was given has its task");
}

#[tokio::test]
async fn a_file_that_another_process_holds_is_locked_until_it_lets_go() {
    let directory = tempdir();
    let store = open(directory.path()).await.expect("a store");
    let other = rusqlite::Connection::open(directory.path().join("miroir.db")).expect("opened");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let refused = register(&*store, vec![waiting(None, 0)]).await;
    assert!(matches!(refused, Err(StoreError::Locked)), "{refused:?}");
    assert_eq!(store.tasks(&TaskQuery::default()).await.expect("reading goes on").total, 0);
    other.execute_batch("ROLLBACK").expect("unlocked");
    assert_eq!(register(&*store, vec![waiting(None, 0)]).await.expect("written"), [TaskUid(0)]);
}

#[tokio::test]
async fn a_full_disk_is_an_error_of_its_own_and_writes_nothing() {
    let directory = tempdir();
    let store = open(directory.path()).await.expect("a store");
    fill(&*store).await;
    store.close().await;
    let file = directory.path().join("miroir.db");
    let pages: i64 = rusqlite::Connection::open(&file)
        .and_then(|file| file.pragma_query_value(None, "page_count", |row| row.get(0)))
        .expect("counted");
    let options = SqliteOptions { max_pages: Some(pages), ..SqliteOptions::default() };
    let store = SqliteStore::open_with(&file, options).await.expect("a store");
    let big = "x".repeat(1 << 20);
    let writes = vec![NAMES.put("big", &big).expect("JSON")];
    let refused = store.commit(Batch { writes, new_tasks: vec![waiting(None, 0)], ..Batch::default() }).await;
    assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
    assert_filled(&*store).await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupted() {
    let directory = tempdir();
    std::fs::write(directory.path().join("miroir.db"), "no database at all. ".repeat(1000)).expect("written");
    let refused = open(directory.path()).await.err();
    assert!(matches!(refused, Some(StoreError::Corrupted(_))), "{refused:?}");
}

#[tokio::test]
async fn a_page_that_was_overwritten_is_noticed() {
    let directory = tempdir();
    let store = open(directory.path()).await.expect("a store");
    for n in 0..50 {
        register(&*store, (0..50).map(|m| done(Some("a"), n * 50 + m)).collect()).await.expect("written");
    }
    store.close().await;
    let file = directory.path().join("miroir.db");
    let mut bytes = std::fs::read(&file).expect("read");
    // All but the schema, which opening reads.
    let kept = bytes.len() / 4;
    bytes[kept..].fill(0xAA);
    std::fs::write(&file, bytes).expect("written");
    let outcome = match open(directory.path()).await {
        Ok(store) => store.tasks(&TaskQuery { limit: 2500, ..TaskQuery::default() }).await.err(),
        Err(error) => Some(error),
    };
    assert!(matches!(outcome, Some(StoreError::Corrupted(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_both_versions() {
    let directory = tempdir();
    open(directory.path()).await.expect("a store").close().await;
    let file = rusqlite::Connection::open(directory.path().join("miroir.db")).expect("opened");
    file.pragma_update(None, "user_version", 99).expect("written");
    drop(file);
    let refused = open(directory.path()).await.err().expect("refused");
    assert!(matches!(refused, StoreError::Newer { found: 99, supported: 2 }), "{refused:?}");
    assert!(refused.to_string().contains("schema version 99"), "{refused}");
}

#[tokio::test]
async fn a_database_of_something_else_is_left_alone() {
    let directory = tempdir();
    let file = rusqlite::Connection::open(directory.path().join("miroir.db")).expect("opened");
    file.execute_batch("CREATE TABLE theirs (x)").expect("written");
    let refused = open(directory.path()).await.err();
    assert!(matches!(refused, Some(StoreError::Foreign)), "{refused:?}");
    let mode: String = file.pragma_query_value(None, "journal_mode", |row| row.get(0)).expect("read");
    assert_eq!(mode, "delete", "nothing in the file was changed");
}

#[tokio::test]
async fn a_path_that_cannot_be_opened_is_unavailable() {
    let refused = open(&tempdir().path().join("no").join("such")).await.err();
    assert!(matches!(refused, Some(StoreError::Unavailable(_))), "{refused:?}");
}

#[tokio::test]
async fn one_process_at_a_time_uses_a_file() {
    let directory = tempdir();
    let one = open(directory.path()).await.expect("a store");
    let at_once = SqliteOptions { busy_timeout: Duration::ZERO, ..SqliteOptions::default() };
    let path = directory.path().join("miroir.db");
    let refused = SqliteStore::open_with(&path, at_once).await.err();
    assert!(matches!(refused, Some(StoreError::Locked)), "{refused:?}");
    let waiting = tokio::spawn(open_with(path, SqliteOptions::default()));
    one.close().await;
    waiting.await.expect("no panic").expect("the file is free");
}

async fn open_with(path: PathBuf, options: SqliteOptions) -> Result<Arc<dyn Store>, StoreError> {
    SqliteStore::open_with(path, options).await
}

#[tokio::test]
async fn a_store_of_the_first_schema_is_brought_up_to_date() {
    let directory = tempdir();
    let store = open(directory.path()).await.expect("a store");
    fill(&*store).await;
    store.close().await;
    let file = rusqlite::Connection::open(directory.path().join("miroir.db")).expect("opened");
    let back = "DROP TABLE leases; DROP TABLE counts; DROP TABLE logs; DROP TABLE log_entries;
        DELETE FROM counters WHERE name = 'token'; PRAGMA user_version = 1";
    file.execute_batch(back).expect("written");
    drop(file);
    let store = open(directory.path()).await.expect("migrated");
    assert_filled(&*store).await;
    assert!(store.acquire("a", "me", Duration::from_secs(9)).await.expect("asked").is_some());
}

/// As it is after a crash, when the machine's clock was set back by an hour meanwhile.
#[tokio::test]
async fn a_lease_of_a_process_that_is_gone_ends_whatever_its_clock_was() {
    let directory = tempdir();
    let path = directory.path().join("miroir.db");
    let options = SqliteOptions { inherited_leases: Duration::from_millis(20), ..SqliteOptions::default() };
    let store = open_with(path.clone(), options).await.expect("a store");
    let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
    let before = store.acquire("led", "before", hour).await.expect("asked").expect("free");
    store.close().await;
    let file = rusqlite::Connection::open(&path).expect("opened");
    file.execute("UPDATE leases SET ends_at = ends_at + ?1", [i64::try_from(day.as_nanos()).expect("fits")])
        .expect("set");
    drop(file);

    let store = open_with(path, options).await.expect("a store");
    let begun = std::time::Instant::now();
    let lease = loop {
        if let Some(lease) = store.acquire("led", "after", hour).await.expect("asked") {
            break lease;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody leads");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(lease.token > before.token);
    assert!(!store.renew(&before, hour).await.expect("asked"));
    assert_eq!(store.acquire("led", "other", hour).await.expect("asked"), None, "our own leases are minded");
}
