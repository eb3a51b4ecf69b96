//! Tables of records.

use std::sync::Arc;

use miroir_store::{Batch, Store, StoreError, Table, TypedTable, Write};
use time::{Duration, OffsetDateTime};

const NAMES: TypedTable<String> = TypedTable::new(Table::Catalog);
const NUMBERS: TypedTable<u64> = TypedTable::new(Table::Meta);

async fn write(store: &dyn Store, writes: Vec<Write>) -> Result<Vec<Option<u64>>, StoreError> {
    Ok(store.commit(Batch { writes, ..Batch::default() }).await?.versions)
}

fn name(text: &str) -> String {
    text.to_owned()
}

pub async fn a_record_is_read_as_written(store: Arc<dyn Store>) {
    let odd = "key with \u{0} : * and \u{1F600}";
    let put = NAMES.put(odd, &name("v\u{2055}")).expect("JSON");
    let versions = write(&*store, vec![put]).await.expect("written");
    let record = NAMES.get(&*store, odd).await.expect("read").expect("there");
    assert_eq!((record.value.as_str(), record.expires_at), ("v\u{2055}", None));
    assert_eq!(versions, [Some(record.version)]);
    assert_eq!(NAMES.get(&*store, "other").await.expect("read"), None);

    assert_eq!(write(&*store, vec![NAMES.delete(odd)]).await.expect("deleted"), [None]);
    assert_eq!(NAMES.get(&*store, odd).await.expect("read"), None);
    write(&*store, vec![NAMES.delete(odd)]).await.expect("deleting twice is no error");
}

pub async fn versions_rise_even_when_a_record_is_written_anew(store: Arc<dyn Store>) {
    let put = || NAMES.put("a", &name("x")).expect("JSON");
    let first = write(&*store, vec![put()]).await.expect("written")[0].expect("a version");
    write(&*store, vec![NAMES.delete("a")]).await.expect("deleted");
    let second = write(&*store, vec![put()]).await.expect("written")[0].expect("a version");
    assert!(second > first, "{second} > {first}");
    let stale = write(&*store, vec![NAMES.delete_if("a", first)]).await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })), "{stale:?}");
}

pub async fn conditions_hold_or_nothing_is_written(store: Arc<dyn Store>) {
    let created = write(&*store, vec![NAMES.put_if("a", &name("1"), None).expect("JSON")]).await.expect("created");
    let version = created[0];
    for wrong in [None, version.map(|version| version + 1)] {
        let batch = vec![
            NAMES.put("b", &name("side")).expect("JSON"),
            NAMES.delete("a"),
            NAMES.put("a", &name("again")).expect("JSON"),
            NAMES.put_if("a", &name("2"), wrong).expect("JSON"),
        ];
        match write(&*store, batch).await {
            Err(StoreError::Conflict { table: Table::Catalog, key }) => assert_eq!(key, "a"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(NAMES.get(&*store, "b").await.expect("read"), None, "the whole batch failed");
    let kept = NAMES.get(&*store, "a").await.expect("read").expect("there");
    assert_eq!((kept.value.as_str(), Some(kept.version)), ("1", version));

    write(&*store, vec![NAMES.put_if("a", &name("2"), version).expect("JSON")]).await.expect("the version is right");
    let absent = write(&*store, vec![NAMES.delete_if("nobody", 1)]).await;
    assert!(matches!(absent, Err(StoreError::Conflict { .. })), "{absent:?}");
}

pub async fn a_later_write_of_a_batch_sees_an_earlier_one(store: Arc<dyn Store>) {
    let batch = vec![
        NAMES.put("a", &name("1")).expect("JSON"),
        NAMES.delete("a"),
        NAMES.put_if("a", &name("2"), None).expect("JSON"),
    ];
    let versions = write(&*store, batch).await.expect("written");
    let record = NAMES.get(&*store, "a").await.expect("read").expect("there");
    assert_eq!((record.value.as_str(), Some(record.version)), ("2", versions[2]));
}

pub async fn an_expired_record_is_gone(store: Arc<dyn Store>) {
    let hour = std::time::Duration::from_hours(1);
    let later = OffsetDateTime::now_utc() + hour;
    let batch = vec![
        NAMES.put_for("past", &name("x"), std::time::Duration::ZERO).expect("JSON"),
        NAMES.put_for("later", &name("y"), hour).expect("JSON"),
    ];
    let past = write(&*store, batch).await.expect("written")[0].expect("a version");
    assert_eq!(NAMES.get(&*store, "past").await.expect("read"), None);
    let listed = NAMES.list(&*store).await.expect("read");
    let keys: Vec<&str> = listed.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["later"]);
    let kept = listed[0].1.expires_at.expect("an expiry");
    assert!((kept - later).abs() < Duration::SECOND * 30, "{kept} is {later}");

    let stale = write(&*store, vec![NAMES.put_if("past", &name("z"), Some(past)).expect("JSON")]).await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })), "{stale:?}");
    write(&*store, vec![NAMES.put_if("past", &name("z"), None).expect("JSON")]).await.expect("the key is free");
    assert!(NAMES.get(&*store, "past").await.expect("read").is_some());
}

pub async fn tables_are_apart_and_listed_by_key(store: Arc<dyn Store>) {
    let mut batch = Vec::new();
    for table in Table::ALL {
        let table: TypedTable<String> = TypedTable::new(*table);
        batch.extend(["b", "a", "c"].map(|key| table.put(key, &name(key)).expect("JSON")));
    }
    batch.push(NUMBERS.put("b", &7).expect("JSON"));
    batch.push(NAMES.delete("c"));
    write(&*store, batch).await.expect("written");
    let catalog: Vec<String> = NAMES.list(&*store).await.expect("read").into_iter().map(|(key, _)| key).collect();
    assert_eq!(catalog, ["a", "b"]);
    assert_eq!(store.list(Table::Topology).await.expect("read").len(), 3);
    assert_eq!(NUMBERS.get(&*store, "b").await.expect("read").expect("there").value, 7);
}

pub async fn a_broken_record_is_an_error_that_names_it(store: Arc<dyn Store>) {
    write(&*store, vec![NAMES.put("a", &name("text")).expect("JSON")]).await.expect("written");
    const WRONG: TypedTable<u64> = TypedTable::new(Table::Catalog);
    match WRONG.get(&*store, "a").await {
        Err(StoreError::Record { table: Table::Catalog, key, .. }) => assert_eq!(key, "a"),
        other => panic!("{other:?}"),
    }
}

pub async fn one_of_many_compare_and_set_wins_each_round(store: Arc<dyn Store>) {
    write(&*store, vec![NUMBERS.put("n", &0).expect("JSON")]).await.expect("written");
    let add = |store: Arc<dyn Store>| async move {
        loop {
            let record = NUMBERS.get(&*store, "n").await.expect("read").expect("there");
            let next = NUMBERS.put_if("n", &(record.value + 1), Some(record.version)).expect("JSON");
            match write(&*store, vec![next]).await {
                Ok(_) => return,
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    let adders: Vec<_> = (0..16).map(|_| tokio::spawn(add(store.clone()))).collect();
    for adder in adders {
        adder.await.expect("no panic");
    }
    assert_eq!(NUMBERS.get(&*store, "n").await.expect("read").expect("there").value, 16);
}
