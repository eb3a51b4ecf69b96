//! Labels of groups of tasks in the file.

use miroir_core::base::id::IndexUid;
use rusqlite::{Connection, params};

use super::failure::failure;
use crate::StoreError;
use crate::label::indexes;

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
