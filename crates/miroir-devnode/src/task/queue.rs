//! The queue of tasks: durable, strictly ordered, bounded.
//!
//! Invariant: a task whose number was handed out is on disk, and tasks are taken in the order of their numbers.
//! What filters need of every task is kept in memory; the rest is read from disk for the page that is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

use super::apply::failed_details;
use super::{Content, Kind, Status, Task};
use crate::engine::store::{CatalogChange, Store};
use crate::error::ApiResult;

/// Finished tasks kept before the oldest are forgotten.
const KEPT_TASKS: usize = 100_000;

/// What filters look at.
#[derive(Debug, Clone)]
struct Header {
    status: Status,
    kind: Kind,
    index_uids: Vec<Arc<str>>,
}

#[derive(Debug, Default)]
struct State {
    headers: BTreeMap<u32, Header>,
    pending: BTreeSet<u32>,
    /// Being applied now, by number; the moment they started and their batch.
    processing: BTreeMap<u32, (OffsetDateTime, u32)>,
    next_batch: u32,
    stopping: bool,
}

/// Which tasks are asked for. An empty condition holds for every task.
#[derive(Debug, Default, Clone)]
pub struct TaskFilter {
    /// Any of these numbers.
    pub uids: Option<BTreeSet<u32>>,
    /// Any of these statuses.
    pub statuses: Option<Vec<Status>>,
    /// Any of these kinds.
    pub kinds: Option<Vec<Kind>>,
    /// Concerning any of these indexes.
    pub index_uids: Option<Vec<String>>,
}

impl TaskFilter {
    fn admits(&self, header: &Header) -> bool {
        self.statuses.as_ref().is_none_or(|wanted| wanted.contains(&header.status))
            && self.kinds.as_ref().is_none_or(|wanted| wanted.contains(&header.kind))
            && self
                .index_uids
                .as_ref()
                .is_none_or(|wanted| header.index_uids.iter().any(|uid| wanted.iter().any(|wanted| **wanted == **uid)))
    }
}

/// One page of tasks.
#[derive(Debug)]
pub struct TaskPage {
    /// The tasks of the page.
    pub tasks: Vec<Task>,
    /// How many tasks the filter admits.
    pub total: usize,
    /// The number at which the next page starts.
    pub next: Option<u32>,
}

/// The tasks of one node.
#[derive(Debug)]
pub struct Queue {
    store: Store,
    /// The next number; held while a task is made durable, so that numbers reach the disk in order.
    next_uid: Mutex<u32>,
    state: Mutex<State>,
    wake: Condvar,
}

impl Queue {
    /// Reads the tasks in `store`; those that never finished wait again.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(store: Store) -> ApiResult<Self> {
        let mut state = State::default();
        let mut next_uid = 0;
        store.for_each_task(|task| {
            next_uid = task.uid.saturating_add(1);
            if let Some(batch) = task.batch_uid {
                state.next_batch = state.next_batch.max(batch.saturating_add(1));
            }
            if task.content.is_some() {
                state.pending.insert(task.uid);
            }
            state.headers.insert(task.uid, header(&task));
        })?;
        Ok(Self { store, next_uid: Mutex::new(next_uid), state: Mutex::new(state), wake: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a task. When this returns, the task is on disk.
    ///
    /// # Errors
    /// When it cannot be written; then it was not accepted.
    pub fn enqueue(&self, index_uid: Option<String>, content: Content) -> ApiResult<Task> {
        let mut next_uid = self.next_uid.lock().unwrap_or_else(PoisonError::into_inner);
        let task = Task::new(*next_uid, index_uid, content);
        self.store.commit(std::slice::from_ref(&task), &[], &[])?;
        *next_uid = next_uid.saturating_add(1);
        let mut state = self.state();
        state.headers.insert(task.uid, header(&task));
        state.pending.insert(task.uid);
        drop(state);
        drop(next_uid);
        self.wake.notify_all();
        Ok(task)
    }

    /// Takes those of `uids` that still wait out of the queue, as a task of its own that ends at once.
    ///
    /// # Errors
    /// When it cannot be written; then nothing was canceled.
    pub fn cancel(&self, uids: &BTreeSet<u32>, filter: String) -> ApiResult<Task> {
        let mut next_uid = self.next_uid.lock().unwrap_or_else(PoisonError::into_inner);
        let (matched, taken): (usize, Vec<u32>) = {
            let mut state = self.state();
            let waits = |uid: &&u32| state.pending.contains(uid) && !state.processing.contains_key(uid);
            let taken: Vec<u32> = uids.iter().filter(waits).copied().collect();
            let matched = uids.iter().filter(|uid| state.headers.contains_key(uid)).count();
            // From now on the worker does not find them.
            taken.iter().for_each(|uid| {
                state.pending.remove(uid);
            });
            (matched, taken)
        };
        let mut cancelation = Task::new(*next_uid, None, Content::Cancel { matched, filter });
        let now = OffsetDateTime::now_utc();
        let result = self.store.tasks(&taken).and_then(|mut tasks| {
            for task in &mut tasks {
                for (name, value) in failed_details(task) {
                    task.details.insert(name.to_owned(), value);
                }
                task.content = None;
                end(task, Status::Canceled, now);
                task.canceled_by = Some(cancelation.uid);
            }
            cancelation.content = None;
            cancelation.details.insert("canceledTasks".to_owned(), tasks.len().into());
            end(&mut cancelation, Status::Succeeded, now);
            tasks.push(cancelation.clone());
            self.store.commit(&tasks, &[], &[])
        });
        let mut state = self.state();
        match result {
            Ok(()) => {
                *next_uid = next_uid.saturating_add(1);
                state.headers.insert(cancelation.uid, header(&cancelation));
                for uid in taken {
                    if let Some(header) = state.headers.get_mut(&uid) {
                        header.status = Status::Canceled;
                    }
                }
                Ok(cancelation)
            }
            Err(error) => {
                state.pending.extend(taken);
                self.wake.notify_all();
                Err(error)
            }
        }
    }

    /// Waits for waiting tasks and returns the numbers of the first `most`, oldest first; `None` once stopped.
    pub fn wait_for_work(&self, most: usize) -> Option<Vec<u32>> {
        let mut state = self.state();
        loop {
            if state.stopping {
                return None;
            }
            if !state.pending.is_empty() {
                return Some(state.pending.iter().take(most).copied().collect());
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Tells the worker to stop after the batch in hand.
    pub fn stop(&self) {
        self.state().stopping = true;
        self.wake.notify_all();
    }

    /// Marks those of `uids` that still wait as being applied, and returns the moment and the number of their batch,
    /// and which they are.
    pub fn start(&self, uids: &[u32]) -> (OffsetDateTime, u32, BTreeSet<u32>) {
        let now = OffsetDateTime::now_utc();
        let mut state = self.state();
        let batch = state.next_batch;
        state.next_batch = batch.saturating_add(1);
        let waiting: BTreeSet<u32> = uids.iter().filter(|uid| state.pending.contains(uid)).copied().collect();
        for uid in &waiting {
            state.processing.insert(*uid, (now, batch));
            if let Some(header) = state.headers.get_mut(uid) {
                header.status = Status::Processing;
            }
        }
        (now, batch, waiting)
    }

    /// Records the end of `tasks` together with what they changed in the catalog, and forgets the oldest tasks.
    ///
    /// # Errors
    /// When it cannot be written; the tasks then still wait.
    pub fn finish(&self, tasks: &[Task], changes: &[CatalogChange]) -> ApiResult<()> {
        let pruned: Vec<u32> = {
            let state = self.state();
            let surplus = state.headers.len().saturating_sub(KEPT_TASKS);
            let waiting = |uid: &&u32| !state.pending.contains(uid);
            state.headers.keys().filter(waiting).take(surplus).copied().collect()
        };
        let result = self.store.commit(tasks, changes, &pruned);
        let mut state = self.state();
        for task in tasks {
            state.processing.remove(&task.uid);
            if result.is_ok() {
                state.pending.remove(&task.uid);
                // Not replaced: a finished swap no longer knows the indexes it concerned.
                let header = state.headers.entry(task.uid).or_insert_with(|| header(task));
                header.status = task.status;
            } else if let Some(header) = state.headers.get_mut(&task.uid) {
                header.status = Status::Enqueued;
            }
        }
        if result.is_ok() {
            for uid in pruned {
                state.headers.remove(&uid);
            }
        }
        result
    }

    /// The task `uid`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn task(&self, uid: u32) -> ApiResult<Option<Task>> {
        Ok(self.read(&[uid])?.pop())
    }

    /// Reads tasks from disk and adds what only memory knows: which of them run right now. The running ones are
    /// looked up first, so that a task that ends meanwhile shows its end.
    fn read(&self, uids: &[u32]) -> ApiResult<Vec<Task>> {
        let running: BTreeMap<u32, (OffsetDateTime, u32)> = {
            let state = self.state();
            uids.iter().filter_map(|uid| Some((*uid, *state.processing.get(uid)?))).collect()
        };
        let mut tasks = self.store.tasks(uids)?;
        for task in &mut tasks {
            if task.status == Status::Enqueued
                && let Some((started, batch)) = running.get(&task.uid)
            {
                task.status = Status::Processing;
                task.started_at = Some(*started);
                task.batch_uid = Some(*batch);
            }
        }
        Ok(tasks)
    }

    /// The tasks that `filter` admits, newest first (oldest first when `reverse`), from number `from` on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn page(&self, filter: &TaskFilter, limit: usize, from: Option<u32>, reverse: bool) -> ApiResult<TaskPage> {
        let mut admitted: Vec<u32> = {
            let state = self.state();
            let admits = |(uid, header): (&u32, &Header)| filter.admits(header).then_some(*uid);
            match &filter.uids {
                Some(uids) => uids.iter().filter_map(|uid| admits((uid, state.headers.get(uid)?))).collect(),
                None => state.headers.iter().filter_map(admits).collect(),
            }
        };
        let total = admitted.len();
        if !reverse {
            admitted.reverse();
        }
        if let Some(from) = from {
            admitted.retain(|uid| if reverse { *uid >= from } else { *uid <= from });
        }
        let next = admitted.get(limit).copied();
        admitted.truncate(limit);
        Ok(TaskPage { tasks: self.read(&admitted)?, total, next })
    }

    /// Whether the index `uid` has a task being applied now.
    pub fn is_indexing(&self, uid: &str) -> bool {
        let state = self.state();
        state.processing.keys().any(|task| {
            state.headers.get(task).is_some_and(|header| header.index_uids.iter().any(|index| **index == *uid))
        })
    }

    /// The payload files that waiting tasks still need.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn needed_payloads(&self) -> ApiResult<BTreeSet<String>> {
        let pending: Vec<u32> = self.state().pending.iter().copied().collect();
        let payload = |task: Task| match task.content {
            Some(Content::Documents { payload, .. }) => payload,
            Some(_) | None => None,
        };
        Ok(self.store.tasks(&pending)?.into_iter().filter_map(payload).collect())
    }
}

fn end(task: &mut Task, status: Status, at: OffsetDateTime) {
    task.status = status;
    task.started_at = Some(at);
    task.finished_at = Some(at);
    task.batch_uid = task.batch_uid.or(Some(task.uid));
}

fn header(task: &Task) -> Header {
    let mut index_uids: Vec<Arc<str>> = task.index_uid.iter().map(|uid| uid.as_str().into()).collect();
    if let Some(Content::Swap(pairs)) = &task.content {
        index_uids.extend(pairs.iter().flat_map(|(a, b)| [a.as_str().into(), b.as_str().into()]));
    }
    Header { status: task.status, kind: task.kind, index_uids }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(dir: &std::path::Path) -> Queue {
        Queue::open(Store::open(dir).unwrap()).unwrap()
    }

    #[test]
    fn numbers_rise_and_survive_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let first = queue(dir.path());
        let uid = |queue: &Queue| queue.enqueue(Some("a".to_owned()), Content::DeleteAll).unwrap().uid;
        assert_eq!((uid(&first), uid(&first)), (0, 1));
        let Queue { store, .. } = first;
        store.close();
        let second = queue(dir.path());
        assert_eq!(second.wait_for_work(10), Some(vec![0, 1]));
        assert_eq!(uid(&second), 2);
    }

    #[test]
    fn pages_follow_the_filter() {
        let dir = tempfile::tempdir().unwrap();
        let queue = queue(dir.path());
        for index in ["a", "b", "a", "a"] {
            queue.enqueue(Some(index.to_owned()), Content::DeleteAll).unwrap();
        }
        let filter = TaskFilter { index_uids: Some(vec!["a".to_owned()]), ..TaskFilter::default() };
        let page = queue.page(&filter, 2, None, false).unwrap();
        let uids: Vec<u32> = page.tasks.iter().map(|task| task.uid).collect();
        assert_eq!((uids, page.total, page.next), (vec![3, 2], 3, Some(0)));
        let page = queue.page(&filter, 2, Some(2), true).unwrap();
        let uids: Vec<u32> = page.tasks.iter().map(|task| task.uid).collect();
        assert_eq!((uids, page.next), (vec![2, 3], None));
    }

    #[test]
    fn a_started_task_is_seen_processing_and_a_finished_one_is_not_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let queue = queue(dir.path());
        let mut task = queue.enqueue(Some("a".to_owned()), Content::DeleteAll).unwrap();
        queue.start(&[task.uid]);
        assert_eq!(queue.task(task.uid).unwrap().unwrap().status, Status::Processing);
        assert!(queue.is_indexing("a"));
        task.status = Status::Succeeded;
        task.content = None;
        queue.finish(&[task.clone()], &[]).unwrap();
        assert_eq!(queue.task(task.uid).unwrap().unwrap().status, Status::Succeeded);
        queue.enqueue(Some("a".to_owned()), Content::DeleteAll).unwrap();
        assert_eq!(queue.wait_for_work(10), Some(vec![1]));
    }
}
