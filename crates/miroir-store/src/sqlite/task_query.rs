//! Task listings by index.
//!
//! Filters over index, kind and status select groups; without other filters, sizes of groups add up to the total and the
//! page is read from the end of each group. Other filters scan the narrow task rows within the bounds of the index that
//! SQLite finds best.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use miroir_core::base::id::{IndexUid, TaskUid};
use miroir_core::write::task::{Task, TaskPage, TaskQuery, TimeRange, instant};
use rusqlite::types::Value;
use rusqlite::{Connection, TransactionBehavior, params_from_iter};

use super::failure::failure;
use super::read;
use crate::{StoreError, label};

/// From more groups than this, a page is found by scanning the tasks from where it begins.
const GROUPS_READ_ONE_BY_ONE: usize = 128;

/// Some of the groups, and how many tasks they hold.
struct Groups {
    ids: Vec<i64>,
    size: u64,
    /// They are all there are.
    all: bool,
}

/// The page and the total.
pub(super) fn page(connection: &Connection, query: &TaskQuery) -> Result<TaskPage, StoreError> {
    let groups = groups(connection, query)?;
    if groups.ids.is_empty() {
        return Ok(TaskPage::default());
    }
    let filters = Filters::new(query, &groups);
    let total = match filters.beyond_groups {
        false => groups.size,
        true => filters.count(connection)?,
    };
    // One more than asked for says where the next page begins.
    let wanted = query.limit.saturating_add(1);
    let by_group = !filters.beyond_groups && !groups.all && groups.ids.len() <= GROUPS_READ_ONE_BY_ONE;
    let mut uids = match (total, by_group) {
        (0, _) => Vec::new(),
        (_, true) => merged(connection, query, &groups, wanted)?,
        (_, false) => filters.uids(connection, query, wanted, total.saturating_mul(4) < groups.size)?,
    };
    let next = (uids.len() > query.limit).then(|| uids.pop()).flatten();
    let mut tasks: Vec<Task> = Vec::with_capacity(uids.len());
    for uid in uids {
        tasks.extend(read::task(connection, uid)?);
    }
    Ok(TaskPage { tasks, total, next })
}

/// Forget final tasks that match, oldest first.
pub(super) fn delete(
    connection: &mut Connection,
    query: &TaskQuery,
    before: TaskUid,
    limit: usize,
) -> Result<u64, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failure)?;
    let groups = groups(&transaction, query)?;
    if groups.ids.is_empty() {
        return Ok(0);
    }
    let filters = Filters::new(query, &groups);
    let mut values = filters.values.clone();
    let before = i64::try_from(before.0).unwrap_or(i64::MAX);
    values.extend([Value::Integer(before), Value::Integer(sql_limit(limit))]);
    let (bound, most) = (values.len() - 1, values.len());
    let sql = format!(
        "DELETE FROM tasks WHERE uid IN (SELECT uid FROM tasks
            WHERE settled AND uid < ?{bound} AND {} ORDER BY uid LIMIT ?{most})",
        filters.sql
    );
    let gone = transaction.execute(&sql, params_from_iter(&values)).map_err(failure)?;
    if gone > 0 {
        transaction.execute("DELETE FROM task_groups WHERE size = 0", []).map_err(failure)?;
    }
    transaction.commit().map_err(failure)?;
    Ok(gone as u64)
}

fn groups(connection: &Connection, query: &TaskQuery) -> Result<Groups, StoreError> {
    let sql = "SELECT id, size, index_uid, kind, status FROM task_groups WHERE size > 0";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let mut rows = statement.query([]).map_err(failure)?;
    let kinds = query.kinds.as_ref().map(|set| set.iter().map(|kind| kind.name()).collect::<BTreeSet<_>>());
    let statuses = query.statuses.as_ref().map(|set| set.iter().map(|status| status.name()).collect::<BTreeSet<_>>());
    let indexes = query.index_uids.as_ref().map(|set| set.iter().map(IndexUid::as_str).collect::<BTreeSet<_>>());
    let mut found = Groups { ids: Vec::new(), size: 0, all: true };
    while let Some(row) = rows.next().map_err(failure)? {
        let passes = |set: &Option<BTreeSet<&str>>, column: usize| -> rusqlite::Result<bool> {
            let Some(set) = set else { return Ok(true) };
            Ok(row.get_ref(column)?.as_str().is_ok_and(|text| set.contains(text)))
        };
        let of_index = |row: &rusqlite::Row<'_>| -> rusqlite::Result<bool> {
            let Some(set) = &indexes else { return Ok(true) };
            Ok(row.get_ref(2)?.as_str().is_ok_and(|label| label::indexes(label).any(|name| set.contains(name))))
        };
        let selected = of_index(row).and_then(|a| Ok(a && passes(&kinds, 3)? && passes(&statuses, 4)?));
        if selected.map_err(failure)? {
            found.ids.push(row.get(0).map_err(failure)?);
            found.size += row.get::<_, u64>(1).map_err(failure)?;
        } else {
            found.all = false;
        }
    }
    Ok(found)
}

/// The page of tasks of these groups alone: the first of each, merged.
fn merged(
    connection: &Connection,
    query: &TaskQuery,
    groups: &Groups,
    wanted: usize,
) -> Result<Vec<TaskUid>, StoreError> {
    let sql = if query.reverse {
        "SELECT uid FROM tasks WHERE group_id = ?1 AND uid >= ?2 ORDER BY uid LIMIT ?3"
    } else {
        "SELECT uid FROM tasks WHERE group_id = ?1 AND uid <= ?2 ORDER BY uid DESC LIMIT ?3"
    };
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let (from, limit) = (start(query), sql_limit(wanted));
    let mut uids: Vec<u64> = Vec::new();
    for group in &groups.ids {
        let rows = statement.query_map([*group, from, limit], |row| row.get(0)).map_err(failure)?;
        for uid in rows {
            uids.push(uid.map_err(failure)?);
        }
    }
    uids.sort_unstable();
    if !query.reverse {
        uids.reverse();
    }
    uids.truncate(wanted);
    Ok(uids.into_iter().map(TaskUid).collect())
}

fn start(query: &TaskQuery) -> i64 {
    let default = if query.reverse { 0 } else { i64::MAX };
    query.from.map_or(default, |from| i64::try_from(from.0).unwrap_or(i64::MAX))
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A condition over the columns of `tasks`.
struct Filters {
    sql: String,
    values: Vec<Value>,
    /// The groups do not say it all.
    beyond_groups: bool,
}

impl Filters {
    fn new(query: &TaskQuery, groups: &Groups) -> Self {
        let mut filters = Self { sql: "TRUE".into(), values: Vec::new(), beyond_groups: false };
        filters.among("uid", query.uids.as_ref());
        if query.batch_uids.is_some() || query.begun {
            filters.sql.push_str(" AND begun");
        }
        filters.among("uid", query.batch_uids.as_ref());
        filters.among("canceled_by", query.canceled_by.as_ref());
        filters.within("enqueued_at", query.enqueued);
        filters.within("started_at", query.started);
        filters.within("finished_at", query.finished);
        filters.beyond_groups = query.begun || !filters.values.is_empty();
        if !groups.all {
            // The sign keeps SQLite from preferring the groups to a narrower index.
            filters.one_of("+group_id", groups.ids.iter().copied());
        }
        filters
    }

    fn among(&mut self, column: &str, uids: Option<&BTreeSet<TaskUid>>) {
        if let Some(uids) = uids {
            self.one_of(column, uids.iter().filter_map(|uid| i64::try_from(uid.0).ok()));
        }
    }

    fn one_of(&mut self, column: &str, values: impl Iterator<Item = i64>) {
        let list: Vec<String> = values.map(|value| value.to_string()).collect();
        self.values.push(Value::Text(format!("[{}]", list.join(","))));
        // Writing to a string cannot fail.
        let _ = write!(self.sql, " AND {column} IN (SELECT value FROM json_each(?{}))", self.values.len());
    }

    fn within(&mut self, column: &str, range: TimeRange) {
        for (operator, bound) in [(">", range.after), ("<", range.before)] {
            if let Some(bound) = bound {
                self.values.push(Value::Integer(instant(bound)));
                let _ = write!(self.sql, " AND {column} {operator} ?{}", self.values.len());
            }
        }
    }

    fn count(&self, connection: &Connection) -> Result<u64, StoreError> {
        let sql = format!("SELECT count(*) FROM tasks WHERE {}", self.sql);
        connection
            .prepare_cached(&sql)
            .and_then(|mut s| s.query_row(params_from_iter(&self.values), |row| row.get(0)))
            .map_err(failure)
    }

    /// Few matches are found by the index of a filter and then sorted; many, by walking along the page's order.
    fn uids(
        &self,
        connection: &Connection,
        query: &TaskQuery,
        wanted: usize,
        few: bool,
    ) -> Result<Vec<TaskUid>, StoreError> {
        // A sign keeps SQLite from using a column's order.
        let uid = if few { "+uid" } else { "uid" };
        let (comparison, order) = if query.reverse { (">=", "") } else { ("<=", "DESC") };
        let mut values = self.values.clone();
        values.extend([Value::Integer(start(query)), Value::Integer(sql_limit(wanted))]);
        let (from, limit) = (values.len() - 1, values.len());
        let sql = format!(
            "SELECT uid FROM tasks WHERE {} AND {uid} {comparison} ?{from} ORDER BY {uid} {order} LIMIT ?{limit}",
            self.sql
        );
        let mut statement = connection.prepare_cached(&sql).map_err(failure)?;
        let rows = statement.query_map(params_from_iter(&values), |row| row.get(0)).map_err(failure)?;
        rows.map(|uid| uid.map(TaskUid).map_err(failure)).collect()
    }
}
