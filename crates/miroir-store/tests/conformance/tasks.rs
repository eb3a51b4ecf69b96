//! The one sequence of tasks.

use std::collections::BTreeSet;
use std::sync::Arc;

use miroir_core::base::id::{IndexUid, TaskUid};
use miroir_core::write::task::{NewTask, TaskQuery, TaskStatus};
use miroir_store::{Batch, Store, StoreError, Table, TypedTable};
use serde_json::value::RawValue;

use super::{at, done, register, waiting};

const NAMES: TypedTable<String> = TypedTable::new(Table::Catalog);

pub async fn numbers_begin_at_zero_and_are_consecutive(store: Arc<dyn Store>) {
    assert!(store.task(TaskUid(0)).await.expect("read").is_none());
    let first = register(&*store, vec![waiting(Some("a"), 0), waiting(Some("b"), 0)]).await.expect("written");
    let second = register(&*store, vec![waiting(None, 1)]).await.expect("written");
    assert_eq!((first, second), (vec![TaskUid(0), TaskUid(1)], vec![TaskUid(2)]));
    let task = store.task(TaskUid(1)).await.expect("read").expect("there");
    assert_eq!((task.uid, task.index_uid.as_ref().map(|uid| uid.as_str())), (TaskUid(1), Some("b")));
    for unknown in [3, u64::MAX] {
        assert!(store.task(TaskUid(unknown)).await.expect("read").is_none());
    }
}

pub async fn a_conflict_registers_no_task_and_uses_up_no_number(store: Arc<dyn Store>) {
    let batch = Batch {
        writes: vec![NAMES.put_if("a", &"x".to_owned(), Some(9)).expect("JSON")],
        new_tasks: vec![waiting(Some("a"), 0)],
        ..Batch::default()
    };
    assert!(matches!(store.commit(batch).await, Err(StoreError::Conflict { .. })));
    assert_eq!(store.tasks(&TaskQuery::default()).await.expect("read").total, 0);
    assert_eq!(register(&*store, vec![waiting(None, 1)]).await.expect("written"), [TaskUid(0)]);
}

/// A third of the committers loses a conflict; the neighbours in its group must not notice.
pub async fn concurrent_committers_get_unique_rising_numbers(store: Arc<dyn Store>) {
    const COMMITTERS: usize = 100;
    const ROUNDS: i64 = 5;
    let commit = |store: Arc<dyn Store>, who: usize| async move {
        let mut mine = Vec::new();
        for round in 0..ROUNDS {
            if who.is_multiple_of(3) {
                let writes = vec![NAMES.put_if("nobody", &"x".to_owned(), Some(1)).expect("JSON")];
                let lost = Batch { writes, new_tasks: vec![waiting(Some("lost"), round)], ..Batch::default() };
                let outcome = store.commit(lost).await;
                assert!(matches!(outcome, Err(StoreError::Conflict { .. })), "{outcome:?}");
            }
            let index = format!("index-{who}");
            mine.extend(register(&*store, vec![waiting(Some(&index), round)]).await.expect("written"));
        }
        assert!(mine.is_sorted(), "{mine:?}");
        mine
    };
    let committers: Vec<_> = (0..COMMITTERS).map(|who| tokio::spawn(commit(store.clone(), who))).collect();
    let mut all = BTreeSet::new();
    for committer in committers {
        all.extend(committer.await.expect("no panic"));
    }
    let expected: BTreeSet<TaskUid> = (0..COMMITTERS as u64 * ROUNDS as u64).map(TaskUid).collect();
    assert_eq!(all, expected);
    let listed = store.tasks(&TaskQuery { limit: 1000, ..TaskQuery::default() }).await.expect("read");
    assert_eq!((listed.total, listed.tasks.len()), (500, 500));
    assert!(listed.tasks.iter().all(|task| { task.index_uid.as_ref().is_some_and(|uid| uid.as_str() != "lost") }));
}

pub async fn a_final_task_is_never_unfinished_again(store: Arc<dyn Store>) {
    let uid = register(&*store, vec![waiting(Some("a"), 0)]).await.expect("written")[0];
    let settle = |status| {
        let task = match status {
            TaskStatus::Succeeded | TaskStatus::Failed | TaskStatus::Canceled => done(Some("a"), 0),
            TaskStatus::Enqueued | TaskStatus::Processing => waiting(Some("a"), 0),
        };
        let mut task = task.numbered(uid);
        task.status = status;
        let store = store.clone();
        async move {
            store.commit(Batch { task_updates: vec![task], ..Batch::default() }).await.expect("written");
            store.task(uid).await.expect("read").expect("there").status
        }
    };
    assert_eq!(settle(TaskStatus::Processing).await, TaskStatus::Processing);
    assert_eq!(settle(TaskStatus::Enqueued).await, TaskStatus::Enqueued);
    assert_eq!(settle(TaskStatus::Failed).await, TaskStatus::Failed);
    assert_eq!(settle(TaskStatus::Processing).await, TaskStatus::Failed);
    assert_eq!(settle(TaskStatus::Succeeded).await, TaskStatus::Succeeded);
    assert!(store.unfinished_tasks(None, 10).await.expect("read").is_empty());

    for unknown in [7, u64::MAX] {
        let ghost = done(Some("a"), 0).numbered(TaskUid(unknown));
        store.commit(Batch { task_updates: vec![ghost], ..Batch::default() }).await.expect("ignored");
        assert!(store.task(TaskUid(unknown)).await.expect("read").is_none());
    }
    assert_eq!(store.tasks(&TaskQuery::default()).await.expect("read").total, 1);
}

pub async fn unfinished_tasks_come_oldest_first_in_pages(store: Arc<dyn Store>) {
    let tasks = (0..10).map(|n| if n % 3 == 0 { done(Some("a"), n) } else { waiting(Some("a"), n) }).collect();
    register(&*store, tasks).await.expect("written");
    let uids = |after, limit| {
        let store = store.clone();
        async move {
            let page = store.unfinished_tasks(after, limit).await.expect("read");
            let uids: Vec<TaskUid> = page.into_iter().map(|task| task.uid).collect();
            assert_eq!(store.unfinished_uids(after, limit).await.expect("read"), uids);
            uids.into_iter().map(|uid| uid.0).collect::<Vec<_>>()
        }
    };
    assert_eq!(uids(None, 4).await, [1, 2, 4, 5]);
    assert_eq!(uids(Some(TaskUid(5)), 4).await, [7, 8]);
    assert!(uids(Some(TaskUid(8)), 4).await.is_empty());
    assert!(uids(Some(TaskUid(u64::MAX)), 4).await.is_empty());
}

pub async fn pruning_forgets_the_oldest_final_tasks_only(store: Arc<dyn Store>) {
    // Finished at 1, 2, 3, 4; one still waits.
    let mut tasks: Vec<_> = (0..4).map(|n| done(Some("a"), n)).collect();
    tasks.insert(0, waiting(Some("a"), 0));
    register(&*store, tasks).await.expect("written");
    assert_eq!(store.prune_tasks(at(1), 10).await.expect("pruned"), 0, "the bound itself stays");
    assert_eq!(store.prune_tasks(at(4), 2).await.expect("pruned"), 2);
    assert!(store.task(TaskUid(1)).await.expect("read").is_none());
    assert!(store.task(TaskUid(3)).await.expect("read").is_some());
    assert_eq!(store.prune_tasks(at(100), 10).await.expect("pruned"), 2);
    let left = store.tasks(&TaskQuery::default()).await.expect("read");
    assert_eq!((left.total, left.tasks.first().map(|task| task.uid)), (1, Some(TaskUid(0))));
}

pub async fn numbers_are_not_given_again_after_pruning(store: Arc<dyn Store>) {
    register(&*store, vec![done(None, 0)]).await.expect("written");
    assert_eq!(store.prune_tasks(at(100), 10).await.expect("pruned"), 1);
    assert_eq!(register(&*store, vec![done(None, 0)]).await.expect("written"), [TaskUid(1)]);
}

pub async fn details_stay_the_text_they_were(store: Arc<dyn Store>) {
    let text = r#"{"b": 1.0, "a": 12345678901234567890, "b": 1e2}"#;
    let mut task = waiting(Some("a"), 0);
    task.details = RawValue::from_string(text.into()).ok();
    task.effects.creates_index = true;
    let uid = register(&*store, vec![task]).await.expect("written")[0];
    let mut back = store.task(uid).await.expect("read").expect("there");
    assert_eq!(back.details.as_ref().map(|raw| raw.get()), Some(text));
    assert!(back.effects.creates_index);
    back.status = TaskStatus::Processing;
    store.commit(Batch { task_updates: vec![back], ..Batch::default() }).await.expect("written");
    let again = store.unfinished_tasks(None, 1).await.expect("read").pop().expect("there");
    assert_eq!((again.uid, again.details.as_ref().map(|raw| raw.get())), (uid, Some(text)));
}

fn uid(name: &str) -> IndexUid {
    name.parse().expect("an index uid")
}

async fn listed(store: &dyn Store, index: &str) -> Vec<(u64, Option<String>)> {
    let query = TaskQuery { index_uids: Some([uid(index)].into()), reverse: true, ..TaskQuery::default() };
    let page = store.tasks(&query).await.expect("read");
    assert_eq!(page.total, page.tasks.len() as u64);
    page.tasks.into_iter().map(|task| (task.uid.0, task.index_uid.map(|uid| uid.to_string()))).collect()
}

pub async fn tasks_follow_the_names_of_their_indexes(store: Arc<dyn Store>) {
    register(&*store, vec![waiting(Some("a"), 0), done(Some("b"), 0), waiting(None, 0)]).await.expect("written");
    let swap = NewTask { also: vec![uid("a"), uid("b")], ..waiting(None, 1) };
    let batch = Batch { renamed: vec![(uid("a"), uid("b"))], new_tasks: vec![swap], ..Batch::default() };
    store.commit(batch).await.expect("written");
    assert_eq!(listed(&*store, "a").await, [(1, Some("a".into())), (3, None)]);
    assert_eq!(listed(&*store, "b").await, [(0, Some("b".into())), (3, None)]);
    // To a name that nobody had, and a chain of two.
    let renamed = vec![(uid("a"), uid("c")), (uid("c"), uid("d"))];
    store.commit(Batch { renamed, ..Batch::default() }).await.expect("written");
    assert!(listed(&*store, "a").await.is_empty() && listed(&*store, "c").await.is_empty());
    assert_eq!(listed(&*store, "d").await, [(1, Some("d".into())), (3, None)]);
    assert_eq!(store.tasks(&TaskQuery::default()).await.expect("read").total, 4);
}

pub async fn a_task_settled_from_an_old_copy_keeps_its_new_name(store: Arc<dyn Store>) {
    register(&*store, vec![waiting(Some("a"), 0)]).await.expect("written");
    let mut old = store.task(TaskUid(0)).await.expect("read").expect("there");
    store.commit(Batch { renamed: vec![(uid("a"), uid("b"))], ..Batch::default() }).await.expect("written");
    old.status = TaskStatus::Succeeded;
    store.commit(Batch { task_updates: vec![old], ..Batch::default() }).await.expect("written");
    assert_eq!(listed(&*store, "b").await, [(0, Some("b".into()))]);
    assert!(listed(&*store, "a").await.is_empty());
}

pub async fn a_closed_store_says_so(store: Arc<dyn Store>) {
    store.close().await;
    store.close().await;
    assert!(matches!(register(&*store, vec![waiting(None, 0)]).await, Err(StoreError::Closed)));
    assert!(matches!(store.task(TaskUid(0)).await, Err(StoreError::Closed)));
    assert!(matches!(store.list(Table::Catalog).await, Err(StoreError::Closed)));
}
