//! Tasks are canceled and forgotten, each as a built-in task of its own.

use std::collections::BTreeSet;

use miroir_core::base::id::TaskUid;
use miroir_core::write::task::{Effects, Selection, Task, TaskKind, TaskQuery, TaskStatus};
use serde_json::json;

use crate::write::fan_out::{Accepted, Change, raw};
use crate::{Error, Tasks, Writer};

/// Unfinished tasks looked at together.
const PAGE: usize = 1000;

impl Tasks {
    /// `POST /tasks/cancel`; `filter` is the query as the client wrote it. Tasks that have ended count as matched, too,
    /// as with one server; only those that are unfinished now can still be canceled.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn cancel_tasks(&self, writer: &Writer, query: &TaskQuery, filter: &str) -> Result<Accepted, Error> {
        let matched = self.count_tasks(query).await?;
        let details = |canceled: Option<u64>| {
            raw(&json!({ "matchedTasks": matched, "canceledTasks": canceled, "originalFilter": filter }))
        };
        let cancels = self.unfinished(query).await?;
        let change = Change::of_no_index(TaskKind::TaskCancelation);
        if cancels.is_empty() {
            return writer.conclude_at_once(Change { details: details(Some(0)), ..change }).await;
        }
        let effects = Effects { cancels, ..Effects::default() };
        writer.do_later(Change { details: details(None), effects, ..change }).await
    }

    /// `DELETE /tasks`; `filter` is the query as the client wrote it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn delete_tasks(&self, writer: &Writer, query: &TaskQuery, filter: &str) -> Result<Accepted, Error> {
        let matched = self.count_tasks(query).await?;
        let details = json!({ "matchedTasks": matched, "deletedTasks": null, "originalFilter": filter });
        let effects = Effects { deletes_within: query.index_uids.clone(), ..Effects::default() };
        writer.do_later(Change { details: raw(&details), effects, ..Change::of_no_index(TaskKind::TaskDeletion) }).await
    }

    async fn count_tasks(&self, query: &TaskQuery) -> Result<u64, Error> {
        Ok(self.state.store.tasks(&TaskQuery { limit: 0, ..query.clone() }).await?.total)
    }

    /// The tasks that match and can still be canceled, by number.
    async fn unfinished(&self, query: &TaskQuery) -> Result<Selection, Error> {
        let unfinished = BTreeSet::from([TaskStatus::Enqueued, TaskStatus::Processing]);
        let statuses = match &query.statuses {
            Some(wanted) => wanted.intersection(&unfinished).copied().collect(),
            None => unfinished,
        };
        let mut selection = Selection::default();
        let mut next: Option<TaskUid> = None;
        loop {
            let page =
                TaskQuery { statuses: Some(statuses.clone()), from: next, limit: PAGE, reverse: true, ..query.clone() };
            let page = self.state.store.tasks(&page).await?;
            page.tasks.iter().filter(|task| can_be_canceled(task)).for_each(|task| selection.push(task.uid));
            match page.next {
                Some(uid) => next = Some(uid),
                None => return Ok(selection),
            }
        }
    }
}

/// What the catalog has carried out already is not undone: deletions of indexes, and new names.
fn can_be_canceled(task: &Task) -> bool {
    let done_elsewhere = !task.node_tasks.is_empty() || task.effects.broadcast.is_some();
    done_elsewhere && task.kind != TaskKind::IndexDeletion && task.effects.cuts_over.is_none()
}
