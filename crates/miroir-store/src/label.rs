//! The label of a group of tasks: the indexes that listings find its tasks by, separated by commas.
//!
//! Invariant: a task's label is made when it is registered and changes only when indexes change names, never with the
//! task's body, which may have been read before.

use std::sync::Arc;

use miroir_core::base::id::{IndexUid, TaskUid};
use miroir_core::write::task::{NewTask, Task};

use crate::StoreError;

/// No index uid contains it.
const SEPARATOR: char = ',';

/// The label of a new task.
pub(crate) fn of(task: &Task) -> String {
    let names: Vec<&str> = task.indexes().map(IndexUid::as_str).collect();
    names.join(",")
}

/// The indexes of a label; none for tasks without an index.
pub(crate) fn indexes(label: &str) -> impl Iterator<Item = &str> {
    label.split(SEPARATOR).filter(|name| !name.is_empty())
}

/// A task out of its body, with or without its number. The label knows better than the body what the indexes are called
/// now.
pub(crate) fn parse(uid: TaskUid, body: &[u8], label: &str) -> Result<Task, StoreError> {
    let mut task: NewTask =
        serde_json::from_slice(body).map_err(|error| StoreError::Task { uid, source: Arc::new(error) })?;
    let mut names = indexes(label).filter_map(|name| name.parse().ok());
    task.index_uid = task.index_uid.and_then(|_| names.next());
    task.also = names.collect();
    Ok(task.numbered(uid))
}
