//! The conformance suite on Redis, and what is Redis's alone: servers that die, pause, forget, or refuse.

#[macro_use]
mod conformance;
mod redis_server;

use std::error::Error;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use conformance::queries::{deletions_agree_with_the_definition, history, listings_agree_with_the_definition, query};
use conformance::{at, done, register, waiting};
use miroir_core::base::id::TaskUid;
use miroir_core::write::task::TaskQuery;
use miroir_store::{Append, Batch, Change, RedisOptions, RedisStore, Store, StoreError, Table, TypedTable, Watch};
use proptest::prelude::*;
use redis_server::Server;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

const NAMES: TypedTable<String> = TypedTable::new(Table::Catalog);
const LONG: Duration = Duration::from_secs(60);

static SHARED: LazyLock<Server> = LazyLock::new(Server::shared);

mod shared_server {
    suite!(crate::empty);
}

/// Options of a store of its own on the shared server.
fn options() -> RedisOptions {
    static STORES: AtomicUsize = AtomicUsize::new(0);
    let prefix = format!("test-{}:", STORES.fetch_add(1, Ordering::Relaxed));
    RedisOptions { prefix, max_connections: 8, patience: Duration::ZERO, ..RedisOptions::default() }
}

async fn empty() -> (Arc<dyn Store>, ()) {
    (RedisStore::open_with(&SHARED.url(), options()).await.expect("a store"), ())
}

fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn listings_are_as_defined(history in history(), queries in prop::collection::vec(query(), 1..12)) {
        run(async {
            let (store, ()) = empty().await;
            listings_agree_with_the_definition(store, history, queries).await;
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn deletions_are_as_defined(history in history(), query in query()) {
        run(async {
            let (store, ()) = empty().await;
            deletions_agree_with_the_definition(store, history, query).await;
        });
    }
}

fn tempdir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// Options that make failures quick.
fn hasty() -> RedisOptions {
    let (call_timeout, connect_timeout) = (Duration::from_millis(700), Duration::from_millis(500));
    RedisOptions { call_timeout, connect_timeout, ..options() }
}

async fn open(server: &Server, options: &RedisOptions) -> Arc<dyn Store> {
    RedisStore::open_with(&server.url(), options.clone()).await.expect("a store")
}

/// Why a store could not be opened, with all that lies behind.
async fn refusal(url: &str) -> (StoreError, String) {
    let error = RedisStore::open_with(url, hasty()).await.err().expect("refused");
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    (error, text)
}

/// A command of the test's own.
async fn send(server: &Server, words: &[&str]) -> redis::Value {
    let client = redis::Client::open(server.url()).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("connected");
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command.query_async(&mut connection).await.expect("done")
}

async fn next(watch: &mut Watch) -> Change {
    timeout(Duration::from_secs(20), watch.next()).await.expect("a change").expect("open")
}

/// Try until the store works again.
async fn eventually_registered(store: &dyn Store) -> TaskUid {
    let begun = Instant::now();
    loop {
        match register(store, vec![waiting(Some("late"), 0)]).await {
            Ok(uids) => return uids[0],
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the store never recovered");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Committers go on while the server is killed: what they were told was written is there afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_kill_and_the_store_goes_on() {
    let directory = tempdir();
    let settings = ["--appendonly", "yes", "--appendfsync", "everysec"];
    let mut server = Server::start(directory.path(), &settings, false);
    let options = hasty();
    let store = open(&server, &options).await;
    let mut watch = store.watch();
    let committers = (0..8).map(|who| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for n in 0.. {
                let key = format!("{who}-{n}");
                let writes = vec![NAMES.put(&key, &key).expect("JSON")];
                let batch = Batch { writes, new_tasks: vec![waiting(Some(&key), n)], ..Batch::default() };
                match store.commit(batch).await {
                    Ok(committed) => acknowledged.push((key, committed.tasks[0])),
                    Err(_) => break,
                }
            }
            acknowledged
        })
    });
    let committers: Vec<_> = committers.collect();
    while store.tasks(&TaskQuery::default()).await.expect("read").total < 200 {
        sleep(Duration::from_millis(5)).await;
    }
    server.signal("KILL");
    let mut acknowledged = Vec::new();
    for committer in committers {
        acknowledged.extend(committer.await.expect("no panic"));
    }
    let port = server.port();
    drop(server);
    let _server = Server::start_at(port, directory.path(), &settings, false);
    let later = eventually_registered(&*store).await;
    for (key, uid) in &acknowledged {
        assert!(*uid < later);
        let record = NAMES.get(&*store, key).await.expect("read").expect("there");
        assert_eq!(&record.value, key);
        let task = store.task(*uid).await.expect("read").expect("there");
        assert_eq!(task.index_uid.map(|uid| uid.to_string()).as_ref(), Some(key));
    }
    assert!(acknowledged.len() >= 192, "{}", acknowledged.len());
    while next(&mut watch).await != Change::Everything {}
    // Told again from now on.
    register(&*store, vec![waiting(None, 0)]).await.expect("written");
    while next(&mut watch).await != Change::Tasks {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_server_costs_no_more_than_the_bound_and_does_nothing_late() {
    let directory = tempdir();
    let mut server = Server::start(directory.path(), &[], false);
    let options = hasty();
    let store = open(&server, &options).await;
    register(&*store, vec![waiting(Some("before"), 0)]).await.expect("written");
    server.signal("STOP");
    let begun = Instant::now();
    let asked = (0..20).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            if n % 2 == 0 {
                store.tasks(&TaskQuery::default()).await.map(drop)
            } else {
                register(&*store, vec![waiting(Some("lost"), n)]).await.map(drop)
            }
        })
    });
    for answer in asked.collect::<Vec<_>>() {
        let answer = answer.await.expect("no panic");
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    }
    assert!(begun.elapsed() < options.call_timeout * 3, "{:?}", begun.elapsed());
    server.signal("CONT");
    eventually_registered(&*store).await;
    let index_uids = Some(["lost".parse().expect("an index uid")].into());
    let lost = store.tasks(&TaskQuery { index_uids, ..TaskQuery::default() }).await.expect("read");
    assert_eq!(lost.total, 0, "nobody waited for these any more");
}

/// Redis dies, and what comes back has never heard of the last lease that was given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_redis_has_lost_is_of_no_use_once_somebody_else_has_the_scope() {
    let directory = tempdir();
    let server = Server::start(directory.path(), &[], false);
    let options = hasty();
    let (first, second) = (open(&server, &options).await, open(&server, &options).await);
    let before = first.acquire("earlier", "first", LONG).await.expect("asked").expect("free");
    send(&server, &["SAVE"]).await;
    let lost = first.acquire("led", "first", LONG).await.expect("asked").expect("free");
    let port = server.port();
    drop(server);
    let _server = Server::start_at(port, directory.path(), &[], false);
    eventually_registered(&*second).await;
    eventually_registered(&*first).await;
    assert!(first.renew(&before, LONG).await.expect("asked"), "what was saved is lost as well");

    let theirs = second.acquire("led", "second", LONG).await.expect("asked").expect("free");
    assert!(theirs.token > lost.token, "{} was given again: {}", lost.token, theirs.token);
    assert!(!first.renew(&lost, LONG).await.expect("asked"));
    let led = |fences| Batch { fences, new_tasks: vec![waiting(Some("led"), 0)], ..Batch::default() };
    let refused = first.commit(led(vec![lost.fence()])).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
    first.release(&lost).await.expect("nothing to release");
    second.commit(led(vec![theirs.fence()])).await.expect("held");
    assert!(second.renew(&theirs, LONG).await.expect("asked"));
}

#[tokio::test]
async fn changes_of_another_store_are_told() {
    let options = options();
    let (one, other) = (open(&SHARED, &options).await, open(&SHARED, &options).await);
    let mut watch = one.watch();
    let batch = Batch {
        writes: vec![NAMES.put("a\u{0}\"", &"x".to_owned()).expect("JSON")],
        new_tasks: vec![waiting(None, 0)],
        appends: vec![Append { log: "l".into(), value: "x".into() }],
        ..Batch::default()
    };
    let committed = other.commit(batch).await.expect("written");
    let record = Change::Record { table: Table::Catalog, key: "a\u{0}\"".into(), version: committed.versions[0] };
    let told = [next(&mut watch).await, next(&mut watch).await, next(&mut watch).await];
    assert_eq!(told, [record, Change::Tasks, Change::Log("l".into())]);
    let lease = one.acquire("s", "one", LONG).await.expect("asked").expect("free");
    assert_eq!(other.acquire("s", "other", LONG).await.expect("asked"), None);
    assert_eq!(next(&mut watch).await, Change::LeaseWanted("s".into()));
    one.release(&lease).await.expect("released");
    assert_eq!(next(&mut watch).await, Change::LeaseReleased("s".into()));
    // A subscription that Redis ends.
    send(&SHARED, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    while next(&mut watch).await != Change::Everything {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_number_tasks_together() {
    let options = options();
    let stores = [open(&SHARED, &options).await, open(&SHARED, &options).await];
    let committers = (0..20).map(|who: usize| {
        let store = stores[who % 2].clone();
        tokio::spawn(async move {
            let mut mine = Vec::new();
            for n in 0..20 {
                mine.extend(register(&*store, vec![waiting(Some("a"), n), done(None, n)]).await.expect("written"));
            }
            assert!(mine.is_sorted(), "{mine:?}");
            mine
        })
    });
    let mut all = Vec::new();
    for committer in committers.collect::<Vec<_>>() {
        all.extend(committer.await.expect("no panic"));
    }
    all.sort();
    assert_eq!(all, (0..800).map(TaskUid).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_stops_waiting_loses_the_answer_and_nothing_else() {
    let store = open(&SHARED, &options()).await;
    for _ in 0..20 {
        let commit = register(&*store, vec![waiting(None, 0)]);
        let _ = timeout(Duration::ZERO, commit).await;
    }
    let begun = Instant::now();
    while store.tasks(&TaskQuery::default()).await.expect("read").total < 20 {
        assert!(begun.elapsed() < Duration::from_secs(20), "what was begun is not done");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_both_versions() {
    let options = options();
    open(&SHARED, &options).await.close().await;
    send(&SHARED, &["SET", &format!("{}_schema", options.prefix), "99"]).await;
    let refused = RedisStore::open_with(&SHARED.url(), options).await.err().expect("refused");
    assert!(matches!(refused, StoreError::Newer { found: 99, supported: 1 }), "{refused:?}");
}

#[tokio::test]
async fn a_store_is_opened_again_as_it_was() {
    let options = options();
    let store = open(&SHARED, &options).await;
    register(&*store, vec![done(Some("a"), 0), waiting(Some("a"), 1)]).await.expect("written");
    store.close().await;
    let store = open(&SHARED, &options).await;
    assert_eq!(store.unfinished_tasks(None, 10).await.expect("read").len(), 1);
    assert_eq!(register(&*store, vec![waiting(None, 2)]).await.expect("written"), [TaskUid(2)]);
}

#[tokio::test]
async fn a_password_opens_and_is_never_shown() {
    let directory = tempdir();
    let server = Server::start(directory.path(), &["--requirepass", "s3cret"], false);
    let at = format!("127.0.0.1:{}", server.port());
    RedisStore::open_with(&format!("redis://:s3cret@{at}/"), hasty()).await.expect("the right one");
    for url in [format!("redis://:wr0ng@{at}/"), format!("redis://user:wr0ng@{at}/"), format!("redis://{at}/")] {
        let (error, text) = refusal(&url).await;
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert!(text.contains("refused the user name or the password"), "{text}");
        assert!(!text.contains("wr0ng") && !format!("{error:?}").contains("wr0ng"), "{text}, {error:?}");
    }
    let (error, text) = refusal("http://:wr0ng@host").await;
    assert!(text.contains("redis://host:6379") && !format!("{text} {error:?}").contains("wr0ng"), "{text}");
}

/// The rights that docs/operations.md names.
#[tokio::test]
async fn a_user_with_the_documented_rights_is_enough() {
    let directory = tempdir();
    let server = Server::start(directory.path(), &[], false);
    let options = RedisOptions { prefix: "miroir:".into(), ..hasty() };
    let page = include_str!("../../../docs/operations.md");
    let rights = page.split('`').find(|code| code.starts_with("~miroir:*")).expect("the page names them");
    let url = format!("redis://me:hush@127.0.0.1:{}/", server.port());
    for rights in [rights, rights.split(" +info").next().expect("a part")] {
        send(&server, &["ACL", "DELUSER", "me"]).await;
        let words: Vec<&str> = ["ACL", "SETUSER", "me", "on", ">hush"].into_iter().chain(rights.split(' ')).collect();
        send(&server, &words).await;
        let store = RedisStore::open_with(&url, options.clone()).await.expect("a store");
        let mut watch = store.watch();
        let appends = vec![Append { log: "l".into(), value: "x".into() }];
        let batch = Batch { appends, new_tasks: vec![done(Some("a"), 0)], ..Batch::default() };
        store.commit(batch).await.expect("written");
        assert_eq!(next(&mut watch).await, Change::Tasks);
        assert_eq!(store.log("l", 0, 9).await.expect("read").len(), 1);
        store.trim("l", 9).await.expect("trimmed");
        assert!(store.acquire("s", "me", LONG).await.expect("asked").is_some());
        assert_eq!(store.prune_tasks(at(9), 9).await.expect("pruned"), 1);
        store.close().await;
    }
    send(&server, &["ACL", "SETUSER", "me", "resetkeys", "~other:*"]).await;
    let refused = RedisStore::open_with(&url, options).await.err().expect("refused");
    let source = refused.source().map(ToString::to_string).unwrap_or_default();
    assert!(source.contains("does not let this user") && !source.contains("hush"), "{source}");
}

#[tokio::test]
async fn what_is_not_redis_is_said_so() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let url = format!("redis://{}/", listener.local_addr().expect("an address"));
    let (error, text) = refusal(&url).await;
    assert!(matches!(error, StoreError::Unavailable(_)) && text.contains("cannot be reached"), "silence: {text}");
    let http = std::thread::spawn(move || {
        for _ in 0..2 {
            // The connections of the first attempt wait in the queue.
            let (mut stream, _) = listener.accept().expect("a connection");
            use std::io::Write as _;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
        listener
    });
    let (_, text) = refusal(&url).await;
    assert!(text.contains("is not Redis"), "{text}");
    drop(http.join().expect("no panic"));
    let (error, text) = refusal(&url).await;
    assert!(matches!(error, StoreError::Unavailable(_)) && text.contains("cannot be reached"), "closed: {text}");
}

#[tokio::test]
async fn opening_waits_for_a_server_that_comes_up() {
    let directory = tempdir();
    let port = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let patient = RedisOptions { patience: LONG, ..hasty() };
    let opening =
        tokio::spawn(
            async move { RedisStore::open_with(&format!("redis://127.0.0.1:{port}/"), patient).await.map(drop) },
        );
    sleep(Duration::from_millis(100)).await;
    let path = directory.path().to_owned();
    let _server =
        tokio::task::spawn_blocking(move || Server::start_at(port, &path, &[], false)).await.expect("started");
    opening.await.expect("no panic").expect("opened");
}

#[tokio::test]
async fn full_memory_is_an_error_of_its_own_and_writes_nothing() {
    let directory = tempdir();
    let server = Server::start(directory.path(), &["--maxmemory-policy", "noeviction"], false);
    let options = options();
    let store = open(&server, &options).await;
    let tasks = (0..1200).map(|n| done(Some("a"), n)).collect();
    register(&*store, tasks).await.expect("written");
    send(&server, &["CONFIG", "SET", "maxmemory", "1"]).await;
    let writes = vec![NAMES.put("a", &"x".to_owned()).expect("JSON")];
    let batch = Batch { writes, new_tasks: vec![waiting(Some("b"), 0)], ..Batch::default() };
    let refused = store.commit(batch).await;
    assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
    let refused = store.acquire("s", "me", LONG).await;
    assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
    assert_eq!(store.tasks(&TaskQuery::default()).await.expect("reading goes on").total, 1200);
    assert_eq!(store.prune_tasks(at(101), 1000).await.expect("making room goes on"), 100);
    let query = TaskQuery::default();
    assert_eq!(store.delete_tasks(&query, TaskUid(150), 1000).await.expect("making room goes on"), 50);
    send(&server, &["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(NAMES.get(&*store, "a").await.expect("read"), None);
    assert_eq!(register(&*store, vec![waiting(None, 0)]).await.expect("written"), [TaskUid(1200)]);
    assert_eq!(store.tasks(&TaskQuery::default()).await.expect("read").total, 1051);
}

#[tokio::test]
async fn a_read_only_replica_is_said_so() {
    let directory = tempdir();
    let server = Server::start(directory.path(), &[], false);
    let store = open(&server, &options()).await;
    send(&server, &["REPLICAOF", "127.0.0.1", "1"]).await;
    let refused = register(&*store, vec![waiting(None, 0)]).await.expect_err("refused");
    let source = refused.source().map(ToString::to_string).unwrap_or_default();
    assert!(source.contains("read-only replica"), "{refused:?}");
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_told_again() {
    let directory = tempdir();
    let server = Server::start(directory.path(), &[], false);
    let store = open(&server, &options()).await;
    for n in 0..3 {
        send(&server, &["SCRIPT", "FLUSH"]).await;
        assert_eq!(register(&*store, vec![waiting(None, 0)]).await.expect("written"), [TaskUid(n)]);
        assert_eq!(store.tasks(&TaskQuery::default()).await.expect("read").total, n + 1);
    }
}

#[tokio::test]
async fn names_of_expired_records_go_in_passing() {
    let options = options();
    let store = open(&SHARED, &options).await;
    let writes = (0..100).map(|n| NAMES.put_for(&n.to_string(), &"x".to_owned(), Duration::ZERO).expect("JSON"));
    store.commit(Batch { writes: writes.collect(), ..Batch::default() }).await.expect("written");
    store
        .commit(Batch { appends: vec![], new_tasks: vec![waiting(None, 0)], ..Batch::default() })
        .await
        .expect("written");
    let left = send(&SHARED, &["ZCARD", &format!("{}_index:catalog", options.prefix)]).await;
    assert_eq!(left, redis::Value::Int(0), "64 with their own batch, the rest with the next");
}

#[tokio::test]
async fn a_large_batch_is_one() {
    let store = open(&SHARED, &options()).await;
    let writes = (0..20_000).map(|n| NAMES.put(&format!("_index:{n}"), &"x".to_owned()).expect("JSON"));
    let batch = Batch {
        writes: writes.collect(),
        new_tasks: (0..5000).map(|n| done(Some("a"), n)).collect(),
        counts: vec![("n".into(), (1 << 53) - 1)],
        ..Batch::default()
    };
    let committed = store.commit(batch).await.expect("written");
    assert_eq!((committed.tasks.len(), committed.versions.len()), (5000, 20_000));
    assert_eq!(store.list(Table::Catalog).await.expect("read").len(), 20_000);
    let beyond = Batch { counts: vec![("n".into(), 1)], new_tasks: vec![waiting(None, 0)], ..Batch::default() };
    assert!(matches!(store.commit(beyond).await, Err(StoreError::Unavailable(_))), "it counts no further");
    assert_eq!(store.tasks(&TaskQuery::default()).await.expect("read").total, 5000);
    assert_eq!(store.prune_tasks(at(10_000), 4999).await.expect("pruned"), 4999);
    assert_eq!(store.tasks(&TaskQuery::default()).await.expect("read").total, 1);
}
