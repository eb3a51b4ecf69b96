//! Records and tasks out of the file.

use bytes::Bytes;
use miroir_core::base::id::TaskUid;
use miroir_core::write::task::Task;
use rusqlite::{Connection, OptionalExtension, Row, params};
use time::OffsetDateTime;

use super::clock::forward;
use super::failure::failure;
use crate::label::parse;
use crate::{Record, StoreError, Table};

pub(super) fn get(connection: &Connection, table: Table, key: &str) -> Result<Option<Record>, StoreError> {
    let sql = "SELECT version, value, expires_at FROM records
        WHERE tbl = ?1 AND key = ?2 AND (expires_at IS NULL OR expires_at > ?3)";
    let now = forward();
    connection
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row(params![table.name(), key, now], |row| record(row, 0)).optional())
        .map_err(failure)
}

pub(super) fn list(connection: &Connection, table: Table) -> Result<Vec<(String, Record)>, StoreError> {
    let sql = "SELECT key, version, value, expires_at FROM records
        WHERE tbl = ?1 AND (expires_at IS NULL OR expires_at > ?2) ORDER BY key";
    let now = forward();
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let rows = statement.query_map(params![table.name(), now], |row| Ok((row.get(0)?, record(row, 1)?)));
    rows.map_err(failure)?.collect::<Result<_, _>>().map_err(failure)
}

fn record(row: &Row<'_>, first: usize) -> rusqlite::Result<Record> {
    let expires_at: Option<i64> = row.get(first + 2)?;
    Ok(Record {
        version: row.get(first)?,
        value: Bytes::from(row.get::<_, Vec<u8>>(first + 1)?),
        expires_at: expires_at.and_then(|at| OffsetDateTime::from_unix_timestamp_nanos(at.into()).ok()),
    })
}

pub(super) fn task(connection: &Connection, uid: TaskUid) -> Result<Option<Task>, StoreError> {
    // A number that the file cannot hold was never given.
    let Ok(number) = i64::try_from(uid.0) else {
        return Ok(None);
    };
    let sql = "SELECT body, index_uid FROM task_bodies JOIN tasks USING (uid) JOIN task_groups ON id = group_id
        WHERE uid = ?1";
    let found: Option<(Vec<u8>, String)> = connection
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row([number], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(failure)?;
    found.map(|(body, label)| parse(uid, &body, &label)).transpose()
}

pub(super) fn unsettled(
    connection: &Connection,
    after: Option<TaskUid>,
    limit: usize,
) -> Result<Vec<Task>, StoreError> {
    let sql = "SELECT uid, body, index_uid FROM tasks JOIN task_bodies USING (uid) JOIN task_groups ON id = group_id
        WHERE settled = 0 AND uid > ?1 ORDER BY uid LIMIT ?2";
    let (after, limit) = bounds(after, limit);
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let rows = statement
        .query_map([after, limit], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, String>(2)?)));
    let tasks = rows.map_err(failure)?.map(|row| {
        let (uid, body, label) = row.map_err(failure)?;
        parse(TaskUid(uid), &body, &label)
    });
    tasks.collect()
}

pub(super) fn unfinished_uids(
    connection: &Connection,
    after: Option<TaskUid>,
    limit: usize,
) -> Result<Vec<TaskUid>, StoreError> {
    let sql = "SELECT uid FROM tasks WHERE settled = 0 AND uid > ?1 ORDER BY uid LIMIT ?2";
    let (after, limit) = bounds(after, limit);
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let rows = statement.query_map([after, limit], |row| row.get(0).map(TaskUid)).map_err(failure)?;
    rows.collect::<Result<_, _>>().map_err(failure)
}

/// After which number, and how many, as the file has numbers.
fn bounds(after: Option<TaskUid>, limit: usize) -> (i64, i64) {
    let after = after.map_or(-1, |uid| i64::try_from(uid.0).unwrap_or(i64::MAX));
    (after, i64::try_from(limit).unwrap_or(i64::MAX))
}
