//! Batches as clients see them: every task is a batch of its own number.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::view::{text, timestamp};
use super::{Task, TaskKind, TaskStatus, duration};
use crate::base::id::TaskUid;

impl Task {
    /// The JSON text of `GET /batches/{uid}`; none before the task has begun.
    pub fn batch_view(&self) -> Option<String> {
        self.batch().map(|batch| text(&batch))
    }

    fn batch(&self) -> Option<Value> {
        let uid = self.batch_uid()?;
        // What never began has begun and ended when it was canceled.
        let started = self.started_at.or(self.finished_at).unwrap_or(self.enqueued_at);
        let indexes: Map<String, Value> =
            self.shown_index().map(|uid| (uid.to_owned(), json!(1))).into_iter().collect();
        let lasted = self.finished_at.and_then(|end: OffsetDateTime| duration(end - started));
        Some(json!({
            "uid": uid,
            "progress": self.progress(),
            "details": self.batch_details(),
            "stats": {
                "totalNbTasks": 1,
                "status": { self.status.name(): 1 },
                "types": { self.kind.name(): 1 },
                "indexUids": indexes,
            },
            "duration": lasted,
            "startedAt": timestamp(started),
            "finishedAt": self.finished_at.map(timestamp),
            "batchStrategy": self.batch_strategy(uid),
        }))
    }

    /// As those of the task. What is null there is not known of a batch, other than settings, where it means something.
    fn batch_details(&self) -> Map<String, Value> {
        let details = self.details.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok());
        let mut details: Map<String, Value> = details.unwrap_or_default();
        if self.kind != TaskKind::SettingsUpdate {
            details.retain(|_, value| !value.is_null());
        }
        details
    }

    /// Why a server that has nothing else to do makes a batch of this task alone.
    fn batch_strategy(&self, uid: TaskUid) -> String {
        match self.kind {
            TaskKind::DocumentAdditionOrUpdate | TaskKind::DocumentDeletion | TaskKind::SettingsUpdate => {
                "batched all enqueued tasks".into()
            }
            TaskKind::IndexDeletion => format!("stopped after task with id {uid} because it deletes the index"),
            TaskKind::TaskDeletion | TaskKind::SnapshotCreation | TaskKind::UpgradeDatabase => {
                let kind = self.kind;
                format!(
                    "stopped after the last task of type `{kind}` because they cannot be batched with tasks of any other type."
                )
            }
            TaskKind::DocumentEdition
            | TaskKind::IndexCreation
            | TaskKind::IndexUpdate
            | TaskKind::IndexSwap
            | TaskKind::TaskCancelation
            | TaskKind::DumpCreation
            | TaskKind::Export
            | TaskKind::IndexCompaction
            | TaskKind::NetworkTopologyChange
            | TaskKind::DsrUpdate
            | TaskKind::DsrClear => format!(
                "created batch containing only task with id {uid} of type `{}` that cannot be batched with any other task.",
                self.kind
            ),
        }
    }

    /// How far the nodes are; none once it has ended.
    fn progress(&self) -> Value {
        if self.status != TaskStatus::Processing {
            return Value::Null;
        }
        let total = self.node_tasks.len();
        let finished = self.node_tasks.iter().filter(|task| task.status.is_final()).count();
        let percentage = if total == 0 { 0.0 } else { finished as f64 * 100.0 / total as f64 };
        let step = json!({ "currentStep": "processing tasks", "finished": finished, "total": total });
        json!({ "steps": [step], "percentage": percentage })
    }
}
