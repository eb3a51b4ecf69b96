//! Built-in tasks: those that the task reconciler does by itself, since no node has a part in them.

use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::id::TaskUid;
use miroir_core::write::task::{Task, TaskKind, TaskQuery, TaskStatus};
use serde_json::{Map, Value};

use crate::task::reconcile::{TaskReconciler, finish};
use crate::write::fan_out::raw;
use crate::{Error, Index};

/// Tasks forgotten in one step: short enough not to hold up writers.
const STEP: usize = 1000;
/// Steps of one deletion in one round: other tasks wait for the reconciler meanwhile.
const STEPS_PER_ROUND: usize = 10;

impl TaskReconciler {
    /// Go on with a built-in task.
    ///
    /// # Errors
    /// [`Error::Store`]; it is tried again.
    pub(crate) async fn run_builtin_task(&self, task: &mut Task) -> Result<(), Error> {
        if let Some(cut_over) = &task.effects.cuts_over {
            let busy = |physical| self.backlog.is_busy(physical, task.uid);
            if self.has_loaded(task.uid) && !cut_over.physical.iter().any(busy) {
                self.tasks.state.catalog.cut_over(&cut_over.token).await?;
                finish(task, TaskStatus::Succeeded, None);
            }
            return Ok(());
        }
        if let Some(change) = task.effects.rules.clone() {
            return self.tasks.go_on_with_rules(task, &change).await;
        }
        if task.waits_in_queue() {
            return self.judge_creation(task).await;
        }
        if task.kind == TaskKind::TaskDeletion {
            return self.delete_tasks(task).await;
        }
        if task.kind == TaskKind::TaskCancelation {
            return self.conclude_cancelation(task).await;
        }
        tracing::error!(task = %task.uid, kind = %task.kind, "a task without anything to do was left open");
        finish(task, TaskStatus::Succeeded, None);
        Ok(())
    }

    /// An index was asked for whose name was taken, be it by an index that was still to come. Now all that was asked for
    /// before has ended.
    async fn judge_creation(&self, task: &mut Task) -> Result<(), Error> {
        let Some(physical) = task.physical.clone() else {
            finish(task, TaskStatus::Succeeded, None);
            return Ok(());
        };
        if !self.has_loaded(task.uid) || self.backlog.is_busy(&physical, task.uid) {
            return Ok(());
        }
        if task.effects.canceler.is_some() {
            finish(task, TaskStatus::Canceled, None);
            return Ok(());
        }
        let catalog = &self.tasks.state.catalog;
        let index = catalog.by_physical(&physical).filter(|index| !index.ready);
        if index.is_none() {
            let uid = task.index_uid.as_ref().map_or_else(String::new, ToString::to_string);
            let taken = ErrorBody::new(Code::IndexAlreadyExists, format!("Index `{uid}` already exists."));
            finish(task, TaskStatus::Failed, Some(taken));
            return Ok(());
        }
        // Whatever was to create it came to nothing.
        if self.tasks.complete(&physical).await? {
            if let Some(key) = &task.effects.primary_key {
                let take = |index: &mut Index| _ = index.primary_key.get_or_insert_with(|| key.clone());
                catalog.update(&physical, take).await?;
            }
            finish(task, TaskStatus::Succeeded, None);
        } else {
            task.status = TaskStatus::Processing;
        }
        Ok(())
    }

    async fn delete_tasks(&self, task: &mut Task) -> Result<(), Error> {
        let mut details = details(task);
        let filter = details.get("originalFilter").and_then(Value::as_str).unwrap_or_default();
        let pairs: Vec<(String, String)> =
            form_urlencoded::parse(filter.trim_start_matches('?').as_bytes()).into_owned().collect();
        let selection = TaskQuery::of_selection(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let Ok(Some(query)) = selection else {
            // It was read when it was taken.
            return Err(Error::Internal(format!("task {}: the filter cannot be read", task.uid)));
        };
        let query = TaskQuery { index_uids: task.effects.deletes_within.clone(), ..query };
        if self.has_to_wait(task, &query).await? {
            return Ok(());
        }
        let mut deleted = details.get("deletedTasks").and_then(Value::as_u64).unwrap_or(0);
        let mut done = false;
        for _ in 0..STEPS_PER_ROUND {
            let gone = self.tasks.state.store.delete_tasks(&query, task.uid, STEP).await?;
            deleted += gone;
            done = gone < STEP as u64;
            if done {
                break;
            }
        }
        details.insert("deletedTasks".into(), deleted.into());
        task.details = raw(&Value::Object(details));
        if done {
            finish(task, TaskStatus::Succeeded, None);
        }
        Ok(())
    }

    /// One server takes a deletion up when what it is at is done, which may be what is to be deleted. Of tasks that it
    /// has not begun it deletes none. What nodes are at is in the store one round after the deletion was first seen.
    async fn has_to_wait(&self, task: &mut Task, query: &TaskQuery) -> Result<bool, Error> {
        if task.status == TaskStatus::Enqueued {
            task.status = TaskStatus::Processing;
            task.started_at = Some(time::OffsetDateTime::now_utc());
            return Ok(true);
        }
        let processing = TaskStatus::Processing;
        if query.statuses.as_ref().is_some_and(|statuses| !statuses.contains(&processing)) {
            return Ok(false);
        }
        let under_way = TaskQuery { statuses: Some([processing].into()), limit: 1, reverse: true, ..query.clone() };
        let under_way = self.tasks.state.store.tasks(&under_way).await?;
        Ok(under_way.tasks.iter().any(|other| other.uid < task.uid))
    }

    /// A cancelation is done when all it is about has ended, canceled or otherwise.
    async fn conclude_cancelation(&self, task: &mut Task) -> Result<(), Error> {
        let uid: TaskUid = task.uid;
        if !self.has_loaded(uid) || self.backlog.has_selected(uid, &task.effects.cancels) {
            task.status = TaskStatus::Processing;
            task.started_at = task.started_at.or(Some(time::OffsetDateTime::now_utc()));
            return Ok(());
        }
        let canceled = TaskQuery { canceled_by: Some([uid].into()), limit: 0, ..TaskQuery::default() };
        let canceled = self.tasks.state.store.tasks(&canceled).await?.total;
        let mut details = details(task);
        details.insert("canceledTasks".into(), canceled.into());
        task.details = raw(&Value::Object(details));
        finish(task, TaskStatus::Succeeded, None);
        Ok(())
    }
}

fn details(task: &Task) -> Map<String, Value> {
    task.details.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}
