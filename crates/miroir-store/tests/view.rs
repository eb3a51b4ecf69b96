//! Views of one table in several processes: here two views of one store, which hear of each other only when told.

use std::sync::Arc;
use std::time::Duration;

use miroir_store::{Batch, Change, Derived, Edit, SqliteStore, Store, StoreError, Table, TypedTable, View};

mod observed;

use observed::{Observed, Observer};

const TABLE: TypedTable<u64> = TypedTable::new(Table::Meta);

/// What is made of the records: their sum.
type Sum = View<u64, u64>;

async fn store() -> Arc<dyn Store> {
    SqliteStore::open(":memory:").await.expect("a store")
}

async fn view(store: &Arc<dyn Store>) -> Sum {
    View::load(store.clone(), TABLE, |records| records.values().map(|record| record.value).sum()).await.expect("read")
}

fn sum(view: &Sum) -> u64 {
    ***view.now()
}

async fn put(view: &Sum, key: &str, value: u64) {
    view.change::<_, StoreError>(|_| Ok((Edit::put(key, value), ()))).await.expect("written");
}

async fn add(view: &Sum, key: &str, by: u64) {
    let plan = |records: &miroir_store::Records<u64>| {
        let before = records.get(key).map_or(0, |record| record.value);
        Ok::<_, StoreError>((Edit::put(key, before + by), ()))
    };
    view.change(plan).await.expect("written");
}

#[tokio::test]
async fn a_change_is_seen_at_once_and_made_of_all_records() {
    let store = store().await;
    let one = view(&store).await;
    put(&one, "a", 2).await;
    put(&one, "b", 3).await;
    assert_eq!(sum(&one), 5);
    assert_eq!(sum(&view(&store).await), 5);
    one.change::<_, StoreError>(|_| Ok((Edit::delete("a"), ()))).await.expect("written");
    assert_eq!(sum(&one), 3);
    assert_eq!(TABLE.get(&*store, "a").await.expect("read"), None);
}

#[tokio::test]
async fn a_change_of_a_record_that_somebody_else_changed_is_planned_again() {
    let store = store().await;
    let (one, two) = (view(&store).await, view(&store).await);
    put(&one, "a", 1).await;
    add(&two, "a", 10).await;
    add(&one, "a", 100).await;
    assert_eq!((sum(&one), sum(&two)), (111, 11), "nothing was lost");
    one.change::<_, StoreError>(|_| Ok((Edit::delete("a"), ()))).await.expect("written");
    add(&two, "a", 1).await;
    assert_eq!(sum(&two), 1, "it was deleted in between");
}

#[tokio::test]
async fn many_processes_add_without_losing_any() {
    let store = store().await;
    let adders = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let view = view(&store).await;
            for _ in 0..10 {
                add(&view, "n", 1).await;
            }
        })
    });
    for adder in adders.collect::<Vec<_>>() {
        adder.await.expect("no panic");
    }
    assert_eq!(sum(&view(&store).await), 80);
}

#[tokio::test]
async fn notification_brings_a_view_up_to_date() {
    let store = store().await;
    let (one, two) = (view(&store).await, view(&store).await);
    let mut watch = store.watch();
    put(&one, "a", 1).await;
    put(&one, "a", 2).await;
    for _ in 0..2 {
        let Some(Change::Record { table: Table::Meta, key, version }) = watch.next().await else { panic!("a record") };
        two.refresh(&key, version).await.expect("read");
    }
    assert_eq!(sum(&two), 2);
    one.change::<_, StoreError>(|_| Ok((Edit::delete("a"), ()))).await.expect("written");
    two.refresh("a", None).await.expect("read");
    assert_eq!(sum(&two), 0);
    put(&one, "b", 7).await;
    two.reload().await.expect("read");
    assert_eq!(sum(&two), 7);
}

#[tokio::test]
async fn what_goes_with_a_change_goes_or_stays_with_it() {
    let store = store().await;
    let one = view(&store).await;
    let count = || Batch { counts: vec![("n".into(), 1)], ..Batch::default() };
    let lease = store.acquire("s", "me", std::time::Duration::from_secs(9)).await.expect("asked").expect("free");
    let fenced = |lease: &miroir_store::Lease| Batch { fences: vec![lease.fence()], ..count() };
    let change =
        |batch: Batch| one.change::<_, StoreError>(move |_| Ok((Edit::put("a", 1).with(batch.clone()), "done")));
    let (result, committed) = change(fenced(&lease)).await.expect("written");
    assert_eq!((result, committed.counts), ("done", vec![1]));
    store.release(&lease).await.expect("released");
    let one_more = one.change::<_, StoreError>(|_| Ok((Edit::put("a", 2).with(fenced(&lease)), ()))).await;
    assert!(matches!(one_more, Err(StoreError::Fenced { .. })), "{one_more:?}");
    assert_eq!((sum(&one), store.count("n").await.expect("read")), (1, 1));
    let refused = one.change::<(), StoreError>(|_| Err(StoreError::Closed)).await;
    assert!(matches!(refused, Err(StoreError::Closed)));
}

#[tokio::test]
async fn what_a_batch_wrote_elsewhere_is_learned_but_never_an_older_record() {
    let store = store().await;
    let one = view(&store).await;
    let writes = vec![one.put("a", &1).expect("JSON")];
    let first = store.commit(Batch { writes, ..Batch::default() }).await.expect("written").versions[0];
    put(&view(&store).await, "b", 5).await;
    let writes = vec![one.put("a", &2).expect("JSON")];
    let second = store.commit(Batch { writes, ..Batch::default() }).await.expect("written").versions[0];
    one.apply_committed(vec![("a".into(), 2, second.expect("a version"))]).await;
    one.apply_committed(vec![("a".into(), 1, first.expect("a version"))]).await;
    assert_eq!(sum(&one), 2);
    one.refresh("b", Some(first.expect("a version") + 1)).await.expect("read");
    assert_eq!(sum(&one), 7);
}

#[tokio::test]
async fn a_plan_that_relies_on_a_record_is_made_again_when_that_has_changed() {
    let store = store().await;
    let (one, two) = (view(&store).await, view(&store).await);
    put(&one, "limit", 5).await;
    two.reload().await.expect("read");
    put(&one, "limit", 7).await;
    let mut seen = Vec::new();
    let plan = |records: &miroir_store::Records<u64>| {
        let limit = records.get("limit").map_or(0, |record| record.value);
        let absent = records.get("absent").map_or(0, |record| record.value);
        seen.push(limit);
        let relies_on = [("limit".to_owned(), limit), ("absent".to_owned(), absent)].into();
        Ok::<_, StoreError>((Edit { relies_on, ..Edit::put("used", limit) }, ()))
    };
    two.change(plan).await.expect("written");
    assert_eq!(seen, [5, 7]);
    assert_eq!(TABLE.get(&*store, "used").await.expect("read").map(|found| found.value), Some(7));
    let put_meanwhile = one.change::<_, StoreError>(|_| Ok((Edit::put("absent", 1), ()))).await;
    assert!(put_meanwhile.is_ok(), "what was relied on to be absent is there, and is changed as any record");
}

/// Commits of one record wait until the test lets them.
struct Gate {
    key: &'static str,
    open: tokio::sync::Semaphore,
}

#[async_trait::async_trait]
impl Observer for Gate {
    async fn commits(&self, batch: &Batch) {
        if batch.writes.iter().any(|write| write.target().1 == self.key) {
            self.open.acquire().await.expect("never closed").forget();
        }
    }
}

#[tokio::test]
async fn a_change_waits_for_those_of_its_own_record_alone() {
    let gate = Gate { key: "slow", open: tokio::sync::Semaphore::new(0) };
    let gated = Arc::new(Observed { store: store().await, observer: gate });
    let view: Arc<Sum> = Arc::new(view(&(gated.clone() as Arc<dyn Store>)).await);
    let slow: Vec<_> = (0..3)
        .map(|_| {
            let view = view.clone();
            tokio::spawn(async move { add(&view, "slow", 1).await })
        })
        .collect();
    let within = Duration::from_secs(20);
    for n in 0..20 {
        let key = format!("quick {}", n % 4);
        let quick = tokio::time::timeout(within, add(&view, &key, 100));
        quick.await.expect("a change of one record waits for one of another");
    }
    tokio::time::timeout(within, view.refresh("quick 1", None)).await.expect("reading waits").expect("read");
    assert_eq!(sum(&view), 2000);
    gated.observer.open.add_permits(3);
    for one in slow {
        one.await.expect("no panic");
    }
    assert_eq!(sum(&view), 2003, "changes of one record come one after the other");
}

/// Counts how often it was told of a record.
#[derive(Clone, Default)]
struct Noted {
    sum: u64,
    notes: usize,
}

impl Derived<u64> for Noted {
    fn apply_change(&mut self, _: &str, before: Option<&u64>, after: Option<&u64>) {
        self.notes += 1;
        self.sum = self.sum - before.copied().unwrap_or(0) + after.copied().unwrap_or(0);
    }
}

#[tokio::test]
async fn what_is_derived_is_told_of_what_changes_and_of_nothing_else() {
    let store = store().await;
    let plain = view(&store).await;
    for n in 0..50 {
        put(&plain, &n.to_string(), n).await;
    }
    let derived = View::derive(store.clone(), TABLE, Noted::default()).await.expect("read");
    let seen = |view: &View<u64, Noted>| (view.now().sum, view.now().notes);
    assert_eq!(seen(&derived), (1225, 50));
    let snapshot = derived.snapshot();
    derived.change::<_, StoreError>(|_| Ok((Edit::put("7", 8), ()))).await.expect("written");
    derived.change::<_, StoreError>(|_| Ok((Edit::delete("49"), ()))).await.expect("written");
    assert_eq!(seen(&derived), (1177, 52));
    assert_eq!((snapshot.sum, snapshot.records().len()), (1225, 50), "a copy has changed");
    put(&plain, "new", 3).await;
    derived.refresh("new", None).await.expect("read");
    assert_eq!(seen(&derived), (1180, 53));
    derived.reload().await.expect("read");
    assert_eq!(seen(&derived), (1180, 50));
}
