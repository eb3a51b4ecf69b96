//! How a task looks when it has ended.

use std::collections::BTreeSet;

use miroir_core::base::error::ErrorBody;
use miroir_core::base::id::ShardId;
use miroir_core::write::task::{Task, TaskKind, TaskStatus};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::error::list;

/// The task has ended so.
pub(crate) fn finish(task: &mut Task, status: TaskStatus, error: Option<ErrorBody>) {
    let now = OffsetDateTime::now_utc();
    // A task that had its error when it was registered fails with that.
    let fails_anyway = task.error.is_some();
    task.status = if fails_anyway { TaskStatus::Failed } else { status };
    task.error = task.error.take().or(error).map(|mut error| {
        error.message = miroir_core::base::strip::message(&error.message);
        if let Some((physical, uid)) = task.physical.as_ref().zip(task.index_uid.as_ref()) {
            error.message = miroir_core::base::strip::index_name(&error.message, physical.as_str(), uid.as_str());
        }
        error
    });
    task.started_at = task.started_at.or(Some(now));
    task.finished_at = task.finished_at.or(Some(now));
    if task.status == TaskStatus::Canceled {
        task.canceled_by = task.effects.canceler;
    }
    if task.status == TaskStatus::Succeeded
        && let Some(details) = task.effects.details.take()
    {
        task.details = Some(details);
    }
    if task.effects.counts_deletions && (task.kind != TaskKind::DocumentEdition || task.status == TaskStatus::Succeeded)
    {
        count_deletions(task);
    }
    if matches!(task.status, TaskStatus::Failed | TaskStatus::Canceled) {
        change_details(task, count_nothing);
    }
}

/// A task that failed as a whole says which shards did their part all the same, and what they hold of it.
pub(super) fn tell_what_was_done(task: &mut Task, done: &BTreeSet<ShardId>) {
    if done.is_empty() || task.status == TaskStatus::Succeeded {
        return;
    }
    let not_done: BTreeSet<ShardId> =
        task.node_tasks.iter().flat_map(|t| &t.shards).copied().filter(|shard| !done.contains(shard)).collect();
    if let Some(error) = &mut task.error {
        let (done, not_done) = (list(done), list(&not_done));
        error.message =
            format!("{} Shards {not_done} did nothing of the task, shards {done} all of it.", error.message);
    }
    let indexed: u64 = task.effects.by_shard.iter().filter(|(shard, _)| done.contains(shard)).map(|(_, n)| n).sum();
    change_details(task, |details| {
        if let Some(value) = details.get_mut("indexedDocuments") {
            *value = indexed.into();
        }
    });
}

/// Change the details of a task that has any.
fn change_details(task: &mut Task, change: impl FnOnce(&mut Map<String, Value>)) {
    let Some(Ok(mut details)) = task.details.as_ref().map(|raw| serde_json::from_str(raw.get())) else { return };
    change(&mut details);
    if let Ok(changed) = serde_json::value::to_raw_value(&details) {
        task.details = Some(changed);
    }
}

/// In the details of a task that did nothing what was not counted is zero.
fn count_nothing(details: &mut Map<String, Value>) {
    const COUNTS: [&str; 3] = ["indexedDocuments", "deletedDocuments", "editedDocuments"];
    // Of an edition only the edited ones are counted then, as by one server.
    let counts = if details.contains_key("editedDocuments") { &COUNTS[2..] } else { &COUNTS[..2] };
    for count in counts {
        if let Some(value) = details.get_mut(*count).filter(|value| value.is_null()) {
            *value = 0.into();
        }
    }
}

/// Every replica reports what it deleted: a document counts once.
fn count_deletions(task: &mut Task) {
    let replicas: usize = task.node_tasks.iter().map(|t| t.shards.len()).sum();
    let shards: BTreeSet<ShardId> = task.node_tasks.iter().flat_map(|t| t.shards.iter().copied()).collect();
    let told: u64 = task.node_tasks.iter().filter_map(|t| t.deleted_documents).sum();
    let copies = replicas as f64 / shards.len().max(1) as f64;
    let deleted = (told as f64 / copies.max(1.0)).round() as u64;
    let edits = task.kind == TaskKind::DocumentEdition;
    change_details(task, |details| {
        if edits {
            // Nodes give one number for both.
            details.insert("editedDocuments".into(), deleted.into());
        }
        details.insert("deletedDocuments".into(), deleted.into());
    });
}

#[cfg(test)]
mod tests {
    use miroir_core::base::error::Code;
    use miroir_core::base::id::{NodeId, TaskUid};
    use miroir_core::write::task::{Effects, NewTask, NodeTask};
    use serde_json::json;
    use serde_json::value::RawValue;

    use super::*;

    fn raw(value: &Value) -> Option<Box<RawValue>> {
        serde_json::value::to_raw_value(value).ok()
    }

    fn part(node: &str, shards: &[u32], status: TaskStatus) -> NodeTask {
        let shards = shards.iter().copied().map(ShardId).collect();
        NodeTask { node: NodeId::new(node), uid: 1, shards, status, error: None, deleted_documents: None }
    }

    fn failed(done: &[u32]) -> Task {
        let task = NewTask {
            details: raw(&json!({ "receivedDocuments": 9, "indexedDocuments": null })),
            node_tasks: vec![part("a", &[0, 1], TaskStatus::Succeeded), part("b", &[2], TaskStatus::Failed)],
            effects: Effects {
                by_shard: vec![(ShardId(0), 4), (ShardId(1), 3), (ShardId(2), 2)],
                details: raw(&json!({ "receivedDocuments": 9, "indexedDocuments": 9 })),
                ..Effects::default()
            },
            ..NewTask::new(TaskKind::DocumentAdditionOrUpdate, OffsetDateTime::now_utc())
        };
        let mut task = task.numbered(TaskUid(1));
        let error = ErrorBody::new(Code::VectorEmbeddingError, "the service does not answer.");
        finish(&mut task, TaskStatus::Failed, Some(error));
        tell_what_was_done(&mut task, &done.iter().copied().map(ShardId).collect());
        task
    }

    fn told(task: &Task) -> (Value, String) {
        let details = task.details.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        (details, task.error.as_ref().map(|error| error.message.clone()).unwrap_or_default())
    }

    #[test]
    fn a_task_that_failed_on_some_shards_tells_what_the_others_hold_of_it() {
        let (details, message) = told(&failed(&[0, 1]));
        assert_eq!(details, json!({ "receivedDocuments": 9, "indexedDocuments": 7 }));
        let told = "the service does not answer. Shards 2 did nothing of the task, shards 0,1 all of it.";
        assert_eq!(message, told);
    }

    #[test]
    fn a_task_that_failed_on_all_shards_did_nothing() {
        let (details, message) = told(&failed(&[]));
        assert_eq!(details, json!({ "receivedDocuments": 9, "indexedDocuments": 0 }));
        assert_eq!(message, "the service does not answer.");
    }
}
