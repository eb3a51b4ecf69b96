//! The one thread of a node that writes: it takes tasks strictly in order and applies them.
//!
//! Consecutive document additions to one index are applied together, because a transaction costs far more than a
//! document. Should the engine refuse such a group as a whole, its tasks are applied one by one, so that a bad task
//! fails alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use super::apply::{self, Outcome};
use super::documents::{self, Addition};
use super::queue::Queue;
use super::{Content, Method, Status, Task};
use crate::engine::Engine;
use crate::error::{ApiError, ApiResult};

/// Most tasks applied together.
const GROUP_TASKS: usize = 256;

/// Most payload bytes applied together.
const GROUP_BYTES: u64 = 128 << 20;

/// The directory of payload files inside a data directory.
pub fn payload_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("payloads")
}

/// A node's writer.
pub struct Worker {
    /// The indexes to write to.
    pub engine: Arc<Engine>,
    /// Where tasks come from.
    pub queue: Arc<Queue>,
    /// Where payloads lie.
    pub payloads: PathBuf,
}

impl Worker {
    /// Applies tasks until the queue is stopped.
    pub fn run(&self) {
        while let Some(uids) = self.queue.wait_for_work(GROUP_TASKS) {
            if let Err(error) = self.step(&uids) {
                // Only the node's own disk can bring us here. The tasks still wait; try again in a while.
                tracing::error!(%error, "tasks could not be processed");
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }

    fn step(&self, uids: &[u32]) -> ApiResult<()> {
        let mut tasks = self.engine.store().tasks(uids)?;
        tasks.truncate(self.group_length(&tasks));
        let uids: Vec<u32> = tasks.iter().map(|task| task.uid).collect();
        let (started_at, batch, waiting) = self.queue.start(&uids);
        // What was canceled meanwhile is not applied.
        tasks.retain(|task| waiting.contains(&task.uid));
        let additions = tasks.first().is_some_and(|task| matches!(task.content, Some(Content::Documents { .. })));
        for task in &mut tasks {
            task.batch_uid = Some(batch);
            task.started_at = Some(started_at);
        }
        if additions { self.apply_additions(tasks) } else { self.apply_single(tasks) }
    }

    /// How many of `tasks`, from the first on, are applied together.
    fn group_length(&self, tasks: &[Task]) -> usize {
        let Some(first) = tasks.first() else { return 0 };
        let Some(key) = addition_key(first) else { return 1 };
        // The first documents of an index decide its primary key; that decision must not be shared.
        if !self.has_primary_key(first.index_uid.as_deref()) {
            return 1;
        }
        let mut bytes = 0;
        tasks
            .iter()
            .take_while(|task| {
                bytes += payload_bytes(task);
                addition_key(task) == Some(key) && (bytes <= GROUP_BYTES || task.uid == first.uid)
            })
            .count()
    }

    fn has_primary_key(&self, uid: Option<&str>) -> bool {
        let read = || -> ApiResult<bool> {
            let index = self.engine.index(uid.unwrap_or_default())?;
            let rtxn = index.read_txn()?;
            Ok(index.primary_key(&rtxn)?.is_some())
        };
        read().unwrap_or(false)
    }

    fn apply_single(&self, tasks: Vec<Task>) -> ApiResult<()> {
        for task in tasks {
            let outcome = guarded(|| apply::apply(&self.engine, &task));
            self.end(vec![(task, outcome)])?;
        }
        Ok(())
    }

    fn apply_additions(&self, tasks: Vec<Task>) -> ApiResult<()> {
        let results = guarded(|| self.add(&tasks));
        match results {
            Ok(results) => {
                let indexed = |result: Result<u64, ApiError>| {
                    result.map(|count| Outcome {
                        details: vec![("indexedDocuments", count.into())],
                        ..Outcome::default()
                    })
                };
                self.end(tasks.into_iter().zip(results.into_iter().map(indexed)).collect())
            }
            Err(error) if tasks.len() == 1 => {
                self.end(tasks.into_iter().map(|task| (task, Err(error.clone()))).collect())
            }
            Err(_) => tasks.into_iter().try_for_each(|task| self.apply_additions(vec![task])),
        }
    }

    fn add(&self, tasks: &[Task]) -> ApiResult<Vec<Result<u64, ApiError>>> {
        let Some(uid) = tasks.first().and_then(|task| task.index_uid.as_deref()) else {
            return Ok(Vec::new());
        };
        let index = self.engine.index_or_create(uid)?;
        let mut primary_key = None;
        let mut additions = Vec::with_capacity(tasks.len());
        for task in tasks {
            if let Some(Content::Documents { method, primary_key: key, payload, .. }) = &task.content {
                primary_key = key.as_deref();
                let path = payload.as_ref().map(|name| self.payloads.join(name));
                let payload = documents::read_payload(path.as_deref())?;
                additions.push(Addition { method: *method, payload });
            }
        }
        documents::add(&self.engine, uid, &index, primary_key, &additions)
    }

    /// Records how tasks ended, then removes what they no longer need.
    fn end(&self, ended: Vec<(Task, ApiResult<Outcome>)>) -> ApiResult<()> {
        let finished_at = OffsetDateTime::now_utc();
        let (mut tasks, mut changes, mut payloads, mut discarded) = (vec![], vec![], vec![], vec![]);
        for (mut task, outcome) in ended {
            let details = match outcome {
                Ok(outcome) => {
                    task.status = Status::Succeeded;
                    changes.extend(outcome.changes);
                    discarded.extend(outcome.discard);
                    outcome.details
                }
                Err(error) => {
                    task.status = Status::Failed;
                    task.error = Some(error);
                    apply::failed_details(&task)
                }
            };
            for (name, value) in details {
                task.details.insert(name.to_owned(), value);
            }
            task.finished_at = Some(finished_at);
            if let Some(Content::Documents { payload: Some(name), .. }) = task.content.take() {
                payloads.push(name);
            }
            tasks.push(task);
        }
        self.queue.finish(&tasks, &changes)?;
        for name in payloads {
            // Whatever stays behind is swept at the next start.
            let _ = std::fs::remove_file(self.payloads.join(name));
        }
        for id in discarded {
            self.engine.discard(&id);
        }
        Ok(())
    }
}

/// What tasks must have in common to be applied together.
fn addition_key(task: &Task) -> Option<(Option<&str>, Method, Option<&str>)> {
    match &task.content {
        Some(Content::Documents { method, primary_key, .. }) => {
            Some((task.index_uid.as_deref(), *method, primary_key.as_deref()))
        }
        Some(_) | None => None,
    }
}

fn payload_bytes(task: &Task) -> u64 {
    match &task.content {
        Some(Content::Documents { bytes, .. }) => *bytes,
        Some(_) | None => 0,
    }
}

/// Runs `work`; a panic inside the engine becomes the task's error instead of the end of the writer.
fn guarded<T>(work: impl FnOnce() -> ApiResult<T>) -> ApiResult<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let what = panic_text(panic.as_ref());
        Err(ApiError::internal(format!("An unexpected crash occurred when processing the task: {what}")))
    })
}

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown".to_owned())
}
