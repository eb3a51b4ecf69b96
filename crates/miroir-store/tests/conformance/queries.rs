//! Listings of tasks: [`TaskQuery::matches`] is the oracle.

use std::collections::BTreeSet;
use std::sync::Arc;

use miroir_core::base::id::{IndexUid, TaskUid};
use miroir_core::write::task::{NewTask, Task, TaskKind, TaskQuery, TaskStatus, TimeRange};
use miroir_store::{Batch, Store};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{at, register, waiting};

const INDEXES: [&str; 3] = ["a", "b", "c"];

/// Changes are: which task, and what it becomes.
pub type History = (Vec<NewTask>, Vec<(prop::sample::Index, NewTask)>);

fn task() -> impl Strategy<Value = NewTask> {
    let kinds = select(TaskKind::ALL.iter().copied().take(5).collect::<Vec<_>>());
    let statuses = select(TaskStatus::ALL.to_vec());
    let index = option::weighted(0.8, select(INDEXES.to_vec()));
    let (second, started, finished) = (0..20_i64, option::of(0..20_i64), option::of(0..20_i64));
    (index, kinds, statuses, second, started, finished, option::weighted(0.3, 0..6_u64)).prop_map(
        |(index, kind, status, enqueued, started, finished, canceler)| NewTask {
            kind,
            status,
            started_at: started.map(at),
            finished_at: finished.map(at),
            canceled_by: canceler.map(TaskUid),
            ..waiting(index, enqueued)
        },
    )
}

/// Tasks as they are registered, and as they are settled.
pub fn history() -> impl Strategy<Value = History> {
    (vec(task(), 0..40), vec((any::<prop::sample::Index>(), task()), 0..20))
}

fn uids() -> impl Strategy<Value = Option<BTreeSet<TaskUid>>> {
    let uid = prop_oneof![20 => 0..45_u64, 1 => Just(u64::MAX)].prop_map(TaskUid);
    option::weighted(0.25, btree_set(uid, 0..12))
}

fn range() -> impl Strategy<Value = TimeRange> {
    let bound = || option::weighted(0.3, (0..20_i64).prop_map(at));
    (bound(), bound()).prop_map(|(after, before)| TimeRange { after, before })
}

/// A query with any filters and any page.
pub fn query() -> impl Strategy<Value = TaskQuery> {
    let kinds = option::weighted(0.3, btree_set(select(TaskKind::ALL.to_vec()), 0..8));
    let statuses = option::weighted(0.3, btree_set(select(TaskStatus::ALL.to_vec()), 0..4));
    let index = select(vec!["a", "b", "nobody"]).prop_map(|uid| uid.parse::<IndexUid>().expect("an index uid"));
    let indexes = option::weighted(0.3, btree_set(index, 0..3));
    let from = option::weighted(0.4, prop_oneof![9 => 0..45_u64, 1 => Just(u64::MAX)].prop_map(TaskUid));
    let limit = prop_oneof![9 => 0..50_usize, 1 => Just(usize::MAX)];
    let filters = (uids(), uids(), statuses, kinds, indexes, uids());
    (filters, (range(), range(), range()), (from, limit, any::<bool>(), prop::bool::weighted(0.2))).prop_map(
        |(filters, ranges, page)| TaskQuery {
            uids: filters.0,
            batch_uids: filters.1,
            statuses: filters.2,
            kinds: filters.3,
            index_uids: filters.4,
            canceled_by: filters.5,
            begun: page.3,
            enqueued: ranges.0,
            started: ranges.1,
            finished: ranges.2,
            from: page.0,
            limit: page.1,
            reverse: page.2,
        },
    )
}

/// Register and settle as the history says, and keep a copy beside.
async fn replay(store: &dyn Store, (tasks, changes): History) -> Vec<Task> {
    let numbered = |(uid, task): (u64, NewTask)| task.numbered(TaskUid(uid));
    let mut model: Vec<Task> = (0..).zip(tasks.clone()).map(numbered).collect();
    register(store, tasks).await.expect("written");
    if model.is_empty() {
        return model;
    }
    for (which, task) in changes {
        let slot = which.index(model.len());
        // Settling does not move a task to another index.
        let task = Task { index_uid: model[slot].index_uid.clone(), ..task.numbered(TaskUid(slot as u64)) };
        store.commit(Batch { task_updates: vec![task.clone()], ..Batch::default() }).await.expect("written");
        if task.status.is_final() || !model[slot].status.is_final() {
            model[slot] = task;
        }
    }
    model
}

/// The store lists what the definition says.
pub async fn listings_agree_with_the_definition(store: Arc<dyn Store>, history: History, queries: Vec<TaskQuery>) {
    let model = replay(&*store, history).await;
    for query in queries {
        agrees(&*store, &model, &query).await;
    }
}

async fn agrees(store: &dyn Store, model: &[Task], query: &TaskQuery) {
    let mut matching: Vec<&Task> = model.iter().filter(|task| query.matches(task)).collect();
    let total = matching.len() as u64;
    if !query.reverse {
        matching.reverse();
    }
    let reached: Vec<&Task> = matching.into_iter().filter(|task| query.is_reached(task.uid)).collect();
    let expected: Vec<String> = reached.iter().take(query.limit).map(|task| task.view()).collect();
    let page = store.tasks(query).await.expect("read");
    let views: Vec<String> = page.tasks.iter().map(Task::view).collect();
    assert_eq!((views, page.total), (expected, total), "{query:?}");
    assert_eq!(page.next, reached.get(query.limit).map(|task| task.uid), "{query:?}");
}

/// The store forgets what the definition says, and nothing that is not final.
pub async fn deletions_agree_with_the_definition(store: Arc<dyn Store>, history: History, query: TaskQuery) {
    let mut model = replay(&*store, history).await;
    let before = TaskUid(30);
    let to_delete = |task: &Task| query.matches(task) && task.status.is_final() && task.uid < before;
    let expected = model.iter().filter(|task| to_delete(task)).count() as u64;
    let first = store.delete_tasks(&query, before, 3).await.expect("deleted");
    assert_eq!(first, expected.min(3), "{query:?}");
    let rest = store.delete_tasks(&query, before, usize::MAX).await.expect("deleted");
    assert_eq!(first + rest, expected, "{query:?}");
    model.retain(|task| !to_delete(task));
    let all = store.tasks(&TaskQuery { limit: 1000, reverse: true, ..TaskQuery::default() }).await.expect("read");
    let views: Vec<String> = all.tasks.iter().map(Task::view).collect();
    assert_eq!(views, model.iter().map(Task::view).collect::<Vec<_>>());
    assert_eq!(all.total, model.len() as u64);
}

pub async fn pages_follow_one_another_in_both_directions(store: Arc<dyn Store>) {
    let tasks = (0..25).map(|n| waiting(Some(if n % 2 == 0 { "a" } else { "b" }), n)).collect();
    register(&*store, tasks).await.expect("written");
    let only_a = Some(BTreeSet::from(["a".parse().expect("an index uid")]));
    for (reverse, index_uids) in [(false, None), (true, None), (false, only_a.clone()), (true, only_a)] {
        let mut query = TaskQuery { limit: 4, reverse, index_uids: index_uids.clone(), ..TaskQuery::default() };
        let mut seen = Vec::new();
        loop {
            let page = store.tasks(&query).await.expect("read");
            assert_eq!(page.total, if index_uids.is_some() { 13 } else { 25 });
            seen.extend(page.tasks.iter().map(|task| task.uid.0));
            match page.next {
                Some(next) => query.from = Some(next),
                None => break,
            }
        }
        let mut expected: Vec<u64> = (0..25).filter(|n| index_uids.is_none() || n % 2 == 0).collect();
        if !reverse {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
}

pub async fn a_page_of_many_indexes_is_in_order(store: Arc<dyn Store>) {
    let tasks = (0..600).map(|n| waiting(Some(&format!("index-{}", n % 300)), n)).collect();
    register(&*store, tasks).await.expect("written");
    let index_uids = (0..299).map(|n| format!("index-{n}").parse().expect("an index uid")).collect();
    let query = TaskQuery { index_uids: Some(index_uids), limit: 3, ..TaskQuery::default() };
    let page = store.tasks(&query).await.expect("read");
    let uids: Vec<u64> = page.tasks.iter().map(|task| task.uid.0).collect();
    assert_eq!((uids, page.total, page.next), (vec![598, 597, 596], 598, Some(TaskUid(595))));
}

/// A number below `n`, always the same ones in the same order.
fn below(state: &mut u64, n: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % n
}

/// Times rise with the numbers, roughly, to the nanosecond.
fn one_of_many(state: &mut u64, n: i64) -> NewTask {
    let time = |state: &mut u64, late: i64| {
        let nanos = i64::try_from(below(state, 1_000_000_000)).unwrap_or(0);
        at(n + late) + time::Duration::nanoseconds(nanos)
    };
    let index = ["a", "b", "a-long-name", "rare"][if below(state, 400) == 0 { 3 } else { below(state, 3) as usize }];
    let status = TaskStatus::ALL[below(state, 5) as usize];
    let kind = TaskKind::ALL[below(state, 3) as usize];
    let begun = status != TaskStatus::Enqueued;
    let mut task = waiting((below(state, 10) > 0).then_some(index), n);
    task.enqueued_at = time(state, 0);
    task.started_at = begun.then(|| time(state, 2));
    task.finished_at = status.is_final().then(|| time(state, 3));
    task.canceled_by = (status == TaskStatus::Canceled).then(|| TaskUid(below(state, 50)));
    NewTask { kind, status, ..task }
}

fn some_query(state: &mut u64, tasks: u64) -> TaskQuery {
    let mut query =
        TaskQuery { reverse: below(state, 2) == 0, limit: below(state, 30) as usize, ..TaskQuery::default() };
    if below(state, 3) == 0 {
        query.from = Some(TaskUid(below(state, tasks + 20)));
    }
    if below(state, 3) == 0 {
        let name = ["a", "rare", "nobody"][below(state, 3) as usize];
        query.index_uids = Some([name.parse().expect("an index uid")].into());
    }
    if below(state, 3) == 0 {
        query.statuses = Some([TaskStatus::ALL[below(state, 5) as usize]].into());
    }
    if below(state, 4) == 0 {
        query.kinds = Some([TaskKind::ALL[below(state, 3) as usize]].into());
    }
    if below(state, 8) == 0 {
        query.canceled_by = Some((0..5).map(|_| TaskUid(below(state, 50))).collect());
    }
    for range in [&mut query.enqueued, &mut query.started, &mut query.finished] {
        for bound in [&mut range.after, &mut range.before] {
            if below(state, 6) == 0 {
                *bound = Some(at(below(state, tasks) as i64));
            }
        }
    }
    query
}

/// Enough tasks that a backend which divides them has several parts, changed and pruned here and there.
pub async fn listings_of_many_tasks_agree_with_the_definition(store: Arc<dyn Store>) {
    const TASKS: u64 = 2300;
    let state = &mut 42;
    let mut model: Vec<Task> = Vec::new();
    for batch in 0..23 {
        let tasks: Vec<NewTask> = (0..100).map(|n| one_of_many(state, batch * 100 + n)).collect();
        let uids = register(&*store, tasks.clone()).await.expect("written");
        model.extend(tasks.into_iter().zip(uids).map(|(task, uid)| task.numbered(uid)));
    }
    let mut task_updates = Vec::new();
    for task in model.iter_mut().filter(|task| !task.status.is_final()) {
        if below(state, 2) == 0 {
            let (started_at, finished_at) =
                (task.started_at.or(Some(task.enqueued_at)), Some(at(below(state, 3000) as i64)));
            *task = Task { status: TaskStatus::Failed, started_at, finished_at, ..task.clone() };
            task_updates.push(task.clone());
        }
    }
    store.commit(Batch { task_updates, ..Batch::default() }).await.expect("written");
    for round in 0..150 {
        if round % 50 == 25 {
            let bound = at(300 * (round as i64 / 50 + 1));
            let mut to_delete: Vec<&Task> = model
                .iter()
                .filter(|task| task.status.is_final() && task.finished_at.is_some_and(|finished| finished < bound))
                .collect();
            to_delete.sort_by_key(|task| task.finished_at);
            let to_delete: BTreeSet<TaskUid> = to_delete.iter().take(170).map(|task| task.uid).collect();
            assert_eq!(store.prune_tasks(bound, 170).await.expect("pruned"), to_delete.len() as u64);
            model.retain(|task| !to_delete.contains(&task.uid));
        }
        let query = some_query(state, TASKS);
        if round % 25 == 10 {
            let to_delete = |task: &&Task| query.matches(task) && task.status.is_final() && task.uid.0 < 2000;
            let to_delete: BTreeSet<TaskUid> = model.iter().filter(to_delete).take(40).map(|task| task.uid).collect();
            let gone = store.delete_tasks(&query, TaskUid(2000), 40).await.expect("deleted");
            assert_eq!(gone, to_delete.len() as u64, "{query:?}");
            model.retain(|task| !to_delete.contains(&task.uid));
        }
        agrees(&*store, &model, &query).await;
    }
}
