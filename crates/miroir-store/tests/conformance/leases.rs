//! Leases and the tokens that fence writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use miroir_store::{Batch, Fence, Lease, Store, StoreError, Table, TypedTable};
use tokio::time::sleep;

const NAMES: TypedTable<String> = TypedTable::new(Table::Operations);
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(30);

async fn taken(store: &dyn Store, scope: &str, holder: &str, ttl: Duration) -> Lease {
    store.acquire(scope, holder, ttl).await.expect("asked").expect("free")
}

/// Ask until the lease before has ended.
async fn taken_over(store: &dyn Store, scope: &str, holder: &str) -> Lease {
    let begun = Instant::now();
    loop {
        if let Some(lease) = store.acquire(scope, holder, LONG).await.expect("asked") {
            return lease;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the lease never ended");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn write(store: &dyn Store, fences: Vec<Fence>, value: &str) -> Result<(), StoreError> {
    let writes = vec![NAMES.put("led", &value.to_owned()).expect("JSON")];
    store.commit(Batch { fences, writes, ..Batch::default() }).await.map(drop)
}

pub async fn a_scope_has_one_holder(store: Arc<dyn Store>) {
    let lease = taken(&*store, "a", "me", LONG).await;
    assert_eq!((lease.scope.as_str(), lease.holder.as_str()), ("a", "me"));
    assert_eq!(store.acquire("a", "you", LONG).await.expect("asked"), None);
    let again = taken(&*store, "a", "me", LONG).await;
    assert_eq!(again, lease, "who holds it gets it again");
    let other = taken(&*store, "b", "you", LONG).await;
    assert!(other.token > lease.token, "scopes are apart, tokens rise");
}

pub async fn a_released_lease_is_free(store: Arc<dyn Store>) {
    let lease = taken(&*store, "a", "me", LONG).await;
    store.release(&lease).await.expect("released");
    store.release(&lease).await.expect("releasing twice is no error");
    assert!(!store.renew(&lease, LONG).await.expect("asked"));
    let next = taken(&*store, "a", "you", LONG).await;
    assert!(next.token > lease.token);
    store.release(&lease).await.expect("nothing to release");
    assert!(store.renew(&next, LONG).await.expect("asked"), "the lease of another was left alone");
}

pub async fn a_lease_that_is_not_renewed_ends(store: Arc<dyn Store>) {
    let first = taken(&*store, "a", "me", SHORT).await;
    let second = taken_over(&*store, "a", "you").await;
    assert!(second.token > first.token);
    assert!(!store.renew(&first, LONG).await.expect("asked"), "it was taken over");
    let leases = store.leases().await.expect("read");
    assert_eq!(leases.len(), 1);
    assert_eq!(leases[0].lease, second);
    assert!(leases[0].ends_in <= LONG && leases[0].ends_in > LONG / 2, "{:?}", leases[0].ends_in);
}

pub async fn who_takes_over_a_lease_is_told_that_nobody_gave_it_back(store: Arc<dyn Store>) {
    let first = taken(&*store, "a", "me", LONG).await;
    assert_eq!(first.lapsed, None, "there was none before");
    store.release(&first).await.expect("released");
    let second = taken(&*store, "a", "me", SHORT).await;
    assert_eq!(second.lapsed, None, "it was given back");
    assert_eq!(store.lapsed_leases().await.expect("read"), []);
    let begun = Instant::now();
    while store.lapsed_leases().await.expect("read") != [second.clone()] {
        assert!(begun.elapsed() < Duration::from_secs(20), "the lease never ended");
        sleep(Duration::from_millis(5)).await;
    }
    let third = taken(&*store, "a", "you", LONG).await;
    let lapsed = third.lapsed.expect("nobody gave it back");
    assert!(lapsed <= begun.elapsed(), "{lapsed:?}");
    assert_eq!(store.lapsed_leases().await.expect("read"), [], "somebody has it");
    let again = taken(&*store, "a", "you", LONG).await;
    assert_eq!(
        (&again, again.lapsed),
        (&third, Some(Duration::ZERO)),
        "what became of what was done before is not known"
    );
}

pub async fn a_renewed_lease_stays(store: Arc<dyn Store>) {
    let lease = taken(&*store, "a", "me", SHORT).await;
    assert!(store.renew(&lease, LONG).await.expect("asked"));
    sleep(SHORT * 2).await;
    assert_eq!(store.acquire("a", "you", LONG).await.expect("asked"), None);

    // One that ended, and that nobody took.
    let late = taken(&*store, "b", "me", SHORT).await;
    let begun = Instant::now();
    while store.leases().await.expect("read").iter().any(|held| held.lease == late) {
        assert!(begun.elapsed() < Duration::from_secs(20), "the lease never ended");
        sleep(Duration::from_millis(5)).await;
    }
    assert!(store.renew(&late, LONG).await.expect("asked"));
    assert_eq!(store.acquire("b", "you", LONG).await.expect("asked"), None);
}

pub async fn a_stale_token_writes_nothing(store: Arc<dyn Store>) {
    let mine = taken(&*store, "a", "me", SHORT).await;
    let side = taken(&*store, "b", "me", LONG).await;
    write(&*store, vec![mine.fence(), side.fence()], "first").await.expect("both are held");
    let yours = taken_over(&*store, "a", "you").await;
    for fences in [vec![mine.fence()], vec![side.fence(), mine.fence()], vec![yours.fence(), mine.fence()]] {
        match write(&*store, fences, "late").await {
            Err(StoreError::Fenced { scope }) => assert_eq!(scope, "a"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(NAMES.get(&*store, "led").await.expect("read").expect("there").value, "first");
    write(&*store, vec![yours.fence()], "second").await.expect("held");
    store.release(&yours).await.expect("released");
    let released = write(&*store, vec![yours.fence()], "third").await;
    assert!(matches!(released, Err(StoreError::Fenced { .. })), "{released:?}");
    let unknown = Fence { scope: "nobody's".into(), holder: "me".into(), token: 1 };
    assert!(matches!(write(&*store, vec![unknown], "x").await, Err(StoreError::Fenced { .. })));
}

pub async fn a_token_is_its_holders_alone(store: Arc<dyn Store>) {
    let mine = taken(&*store, "a", "me", LONG).await;
    // As when the store had forgotten whom it gave the number, and gave it to somebody else.
    let yours = Lease { holder: "you".into(), ..mine.clone() };
    assert!(!store.renew(&yours, LONG).await.expect("asked"));
    let written = write(&*store, vec![yours.fence()], "yours").await;
    assert!(matches!(written, Err(StoreError::Fenced { .. })), "{written:?}");
    store.release(&yours).await.expect("nothing to release");
    assert!(store.renew(&mine, LONG).await.expect("asked"), "it was given back by somebody else");
    write(&*store, vec![mine.fence()], "mine").await.expect("held");
}

pub async fn one_of_many_wins_a_lease(store: Arc<dyn Store>) {
    let rivals = (0..16).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.acquire("a", &format!("rival {n}"), LONG).await.expect("asked") })
    });
    let mut winners = Vec::new();
    for rival in rivals.collect::<Vec<_>>() {
        winners.extend(rival.await.expect("no panic"));
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
}
