//! What a node has yet to do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use miroir_core::id::IndexUid;
use miroir_core::task::TaskStatus;
use miroir_work::Backoff;
use serde::Deserialize;
use serde_json::Value;

use super::{Failed, said, unreadable};
use crate::node::{Call, Node};

/// Between two looks at a node's tasks.
const LOOK: Backoff = Backoff { from: Duration::from_millis(20), to: Duration::from_millis(150) };
/// Looks in a row without an answer before the node is given up.
const SILENT: u32 = 3;
/// Tasks asked for in one request.
const PER_CALL: usize = 200;

#[derive(Deserialize)]
struct Tasks {
    results: Vec<Task>,
}

#[derive(Deserialize)]
struct Task {
    uid: u64,
    status: TaskStatus,
    error: Option<Value>,
}

async fn tasks(node: &Node, query: &str, timeout: Duration) -> Result<Vec<Task>, Failed> {
    let path = format!("/tasks?{query}");
    match node.call(Call::get("tasks", path.clone(), timeout)).await {
        Ok(reply) if reply.status == 200 => {
            serde_json::from_slice::<Tasks>(&reply.body).map(|tasks| tasks.results).map_err(unreadable)
        }
        Ok(reply) => Err(Failed::Unanswered(said(&reply, &path))),
        Err(error) => Err(Failed::Unanswered(error.to_string())),
    }
}

/// The newest task that a node knows of; none: it has none.
///
/// # Errors
/// [`Failed::Unanswered`].
pub async fn newest_task(node: &Node, timeout: Duration) -> Result<Option<u64>, Failed> {
    newest_of(node, "", timeout).await
}

async fn newest_of(node: &Node, which: &str, timeout: Duration) -> Result<Option<u64>, Failed> {
    Ok(tasks(node, &format!("limit=1{which}"), timeout).await?.first().map(|task| task.uid))
}

/// Whether a node has tasks of an index that it has not done.
///
/// # Errors
/// [`Failed::Unanswered`].
pub async fn unfinished(node: &Node, index: &IndexUid, timeout: Duration) -> Result<bool, Failed> {
    let query = format!("statuses=enqueued,processing&limit=1&indexUids={index}");
    Ok(!tasks(node, &query, timeout).await?.is_empty())
}

/// Wait until a node has done everything that it has accepted by now.
///
/// # Errors
/// [`Failed::Unanswered`] when it does not answer several times in a row.
pub async fn drain(node: &Arc<Node>, timeout: Duration) -> Result<(), Failed> {
    drain_of(node, "", timeout).await
}

/// Wait until a node has done everything that it has accepted by now for an index.
///
/// # Errors
/// As [`drain`].
pub async fn drain_index(node: &Arc<Node>, index: &IndexUid, timeout: Duration) -> Result<(), Failed> {
    drain_of(node, &format!("&indexUids={index}"), timeout).await
}

async fn drain_of(node: &Arc<Node>, which: &str, timeout: Duration) -> Result<(), Failed> {
    let Some(newest) = patiently(|| newest_of(node, which, timeout)).await? else { return Ok(()) };
    let oldest = format!("statuses=enqueued,processing&reverse=true&limit=1{which}");
    let mut looks = 0_u32;
    loop {
        match patiently(|| tasks(node, &oldest, timeout)).await?.first() {
            Some(oldest) if oldest.uid <= newest => {}
            Some(_) | None => return Ok(()),
        }
        looks = looks.saturating_add(1);
        tokio::time::sleep(LOOK.after(looks)).await;
    }
}

/// Wait for tasks of a node, all of which it has accepted.
///
/// # Errors
/// [`Failed::Refused`] when one did not succeed; [`Failed::Unanswered`] when the node does not answer several times in a
/// row, or does not know them.
pub async fn done(node: &Arc<Node>, uids: &[u64], timeout: Duration) -> Result<(), Failed> {
    let mut open: BTreeSet<u64> = uids.iter().copied().collect();
    let mut looks = 0_u32;
    while !open.is_empty() {
        let asked: Vec<u64> = open.iter().copied().take(PER_CALL).collect();
        let list = asked.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let query = format!("limit={}&uids={list}", asked.len());
        let told = patiently(|| tasks(node, &query, timeout)).await?;
        if told.len() < asked.len() {
            return Err(Failed::Unanswered(format!("it does not know all of its tasks {list}")));
        }
        for task in told {
            match task.status {
                TaskStatus::Enqueued | TaskStatus::Processing => {}
                TaskStatus::Succeeded => _ = open.remove(&task.uid),
                TaskStatus::Failed | TaskStatus::Canceled => {
                    let error = task.error.map_or_else(|| "canceled".to_owned(), |error| error.to_string());
                    return Err(Failed::Refused(format!("task {}: {error}", task.uid)));
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

/// A question that is asked again when it is not answered.
async fn patiently<T, F: Future<Output = Result<T, Failed>>>(ask: impl Fn() -> F) -> Result<T, Failed> {
    let mut silent = 0;
    loop {
        match ask().await {
            Err(error) if silent + 1 >= SILENT => return Err(error),
            Err(_) => {
                silent += 1;
                tokio::time::sleep(LOOK.after(silent + 3)).await;
            }
            answered => return answered,
        }
    }
}
