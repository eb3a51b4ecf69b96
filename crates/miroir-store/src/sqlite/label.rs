//! The label of a group of tasks: the indexes that listings find its tasks by, separated by commas.
//!
//! Invariant: a task's label is made when it is registered and changes only when indexes change names, never with the
//! task's body, which may have been read before.

use miroir_core::id::IndexUid;
use miroir_core::task::Task;
use rusqlite::{Connection, params};

use super::failure::failure;
use crate::StoreError;

/// No index uid contains it.
const SEPARATOR: char = ',';

/// The label of a new task.
pub(super) fn of(task: &Task) -> String {
    let names: Vec<&str> = task.indexes().map(IndexUid::as_str).collect();
    names.join(",")
}

/// The indexes of a label; none for tasks without an index.
pub(super) fn indexes(label: &str) -> impl Iterator<Item = &str> {
    label.split(SEPARATOR).filter(|name| !name.is_empty())
}

/// Exchange two names in all labels. Labels that were different stay so.
pub(super) fn exchange(connection: &Connection, a: &IndexUid, b: &IndexUid) -> Result<(), StoreError> {
    let (a, b) = (a.as_str(), b.as_str());
    let mut changed: Vec<(i64, String)> = Vec::new();
    {
        let sql = "SELECT id, index_uid FROM task_groups";
        let mut statement = connection.prepare_cached(sql).map_err(failure)?;
        let mut rows = statement.query([]).map_err(failure)?;
        while let Some(row) = rows.next().map_err(failure)? {
            let label: String = row.get(1).map_err(failure)?;
            if indexes(&label).any(|name| name == a || name == b) {
                let other = |name| {
                    if name == a {
                        b
                    } else if name == b {
                        a
                    } else {
                        name
                    }
                };
                let names: Vec<&str> = indexes(&label).map(other).collect();
                changed.push((row.get(0).map_err(failure)?, names.join(",")));
            }
        }
    }
    let sql = "UPDATE task_groups SET index_uid = ?2 WHERE id = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    // In two steps: on the way, two groups must not have one label. A label never begins with a space.
    for (id, _) in &changed {
        statement.execute(params![id, format!(" {id}")]).map_err(failure)?;
    }
    for (id, label) in &changed {
        statement.execute(params![id, label]).map_err(failure)?;
    }
    Ok(())
}
