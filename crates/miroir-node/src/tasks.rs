//! The tasks of a node.

use std::collections::BTreeSet;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use miroir_core::base::error::ErrorBody;
use miroir_core::base::id::IndexUid;
use miroir_core::write::task::TaskStatus;
use miroir_work::Backoff;
use serde::Deserialize;
use thiserror::Error;
use time::OffsetDateTime;

use super::response::{ResponseError, Results};
use super::{Call, Node};

/// Tasks asked for in one request, so that the query stays short.
pub const TASKS_PER_CALL: usize = 200;
/// Between two looks at a node's tasks.
const LOOK: Backoff = Backoff { from: Duration::from_millis(20), to: Duration::from_millis(150) };
/// Between looks in a row without an answer, before the node is given up at the third.
const SILENT: ExponentialBuilder = ExponentialBuilder::new()
    .with_jitter()
    .with_min_delay(Duration::from_millis(60))
    .with_max_delay(Duration::from_millis(100))
    .with_max_times(2);

/// A task, as a node reports it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskResponse {
    /// Its number on the node.
    pub uid: u64,
    /// The index that it is about, if it is about one.
    #[serde(default)]
    pub index_uid: Option<String>,
    /// How far it is.
    pub status: TaskStatus,
    /// Why it failed.
    pub error: Option<ErrorBody>,
    /// What it did.
    #[serde(default)]
    pub details: Option<TaskDetails>,
    /// When the node began with it.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub started_at: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub finished_at: Option<OffsetDateTime>,
}

impl TaskResponse {
    /// Why it did not succeed, in words.
    pub fn failure(&self) -> String {
        self.error.as_ref().map_or_else(|| "canceled".to_owned(), |error| format!("{}: {}", error.code, error.message))
    }
}

/// The part of a task's details that Miroir reads.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskDetails {
    /// Documents that are gone.
    pub deleted_documents: Option<u64>,
}

/// Why nobody can rely on tasks being done.
#[derive(Debug, Error)]
pub enum NotDone {
    /// The node gave no usable response about them.
    #[error(transparent)]
    Response(#[from] ResponseError),
    /// It came back with another disk.
    #[error("it does not know all of its tasks {0}")]
    Forgotten(String),
    /// One did not succeed.
    #[error("task {uid}: {error}")]
    Failed {
        /// Its number on the node.
        uid: u64,
        /// In the node's words.
        error: String,
    },
}

impl Node {
    /// The tasks that a query selects; at most as many as it has in its `limit`.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub async fn tasks(&self, query: &str, timeout: Duration) -> Result<Vec<TaskResponse>, ResponseError> {
        let call = Call::get("tasks", format!("/tasks?{query}"), timeout);
        self.read(call).await.map(|page: Results<TaskResponse>| page.results)
    }

    /// Those of these tasks that it knows; not more than fit into a path.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub async fn these_tasks(&self, uids: &[u64], timeout: Duration) -> Result<Vec<TaskResponse>, ResponseError> {
        self.tasks(&format!("limit={}&uids={}", uids.len(), comma_separated(uids)), timeout).await
    }

    /// The newest task that it says it has; none: it has none.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub async fn ask_newest_task(&self, timeout: Duration) -> Result<Option<u64>, ResponseError> {
        let call = Call::get("tasks", "/tasks?limit=1", timeout).checking();
        let newest: Results<TaskResponse> = self.read(call).await?;
        Ok(newest.results.first().map(|task| task.uid))
    }

    async fn newest_of(&self, which: &str, timeout: Duration) -> Result<Option<u64>, ResponseError> {
        Ok(self.tasks(&format!("limit=1{which}"), timeout).await?.first().map(|task| task.uid))
    }

    /// Whether it has tasks of an index that it has not done.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub async fn has_unfinished(&self, index: &IndexUid, timeout: Duration) -> Result<bool, ResponseError> {
        let query = format!("statuses=enqueued,processing&limit=1&indexUids={index}");
        Ok(!self.tasks(&query, timeout).await?.is_empty())
    }

    /// Wait until it has done everything that it has accepted by now.
    ///
    /// # Errors
    /// [`ResponseError`] when it does not answer several times in a row.
    pub async fn drain(&self, timeout: Duration) -> Result<(), ResponseError> {
        self.drain_of("", timeout).await
    }

    /// Wait until it has done everything that it has accepted by now for an index.
    ///
    /// # Errors
    /// As [`Node::drain`].
    pub async fn drain_index(&self, index: &IndexUid, timeout: Duration) -> Result<(), ResponseError> {
        self.drain_of(&format!("&indexUids={index}"), timeout).await
    }

    async fn drain_of(&self, which: &str, timeout: Duration) -> Result<(), ResponseError> {
        let Some(newest) = patiently(|| self.newest_of(which, timeout)).await? else { return Ok(()) };
        let oldest = format!("statuses=enqueued,processing&reverse=true&limit=1{which}");
        let mut looks = 0_u32;
        loop {
            match patiently(|| self.tasks(&oldest, timeout)).await?.first() {
                Some(oldest) if oldest.uid <= newest => {}
                Some(_) | None => return Ok(()),
            }
            looks = looks.saturating_add(1);
            tokio::time::sleep(LOOK.after(looks)).await;
        }
    }

    /// Wait for tasks, all of which it has accepted.
    ///
    /// # Errors
    /// [`NotDone`]; [`NotDone::Response`] when it does not answer several times in a row.
    pub async fn await_tasks(&self, uids: &[u64], timeout: Duration) -> Result<(), NotDone> {
        let mut open: BTreeSet<u64> = uids.iter().copied().collect();
        let mut looks = 0_u32;
        while !open.is_empty() {
            let asked: Vec<u64> = open.iter().copied().take(TASKS_PER_CALL).collect();
            let known = patiently(|| self.these_tasks(&asked, timeout)).await?;
            if known.len() < asked.len() {
                return Err(NotDone::Forgotten(comma_separated(&asked)));
            }
            for task in known {
                match task.status {
                    TaskStatus::Enqueued | TaskStatus::Processing => {}
                    TaskStatus::Succeeded => _ = open.remove(&task.uid),
                    TaskStatus::Failed | TaskStatus::Canceled => {
                        return Err(NotDone::Failed { uid: task.uid, error: task.failure() });
                    }
                }
            }
            if !open.is_empty() {
                looks = looks.saturating_add(1);
                tokio::time::sleep(LOOK.after(looks)).await;
            }
        }
        Ok(())
    }
}

/// A question that is asked again when it is not answered.
async fn patiently<T, F: Future<Output = Result<T, ResponseError>>>(ask: impl Fn() -> F) -> Result<T, ResponseError> {
    ask.retry(SILENT).await
}

/// Numbers as they are written in a query.
pub fn comma_separated(uids: &[u64]) -> String {
    uids.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}
