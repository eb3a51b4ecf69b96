//! Counters and logs in the file.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::failure::failure;
use crate::{Append, Entry, StoreError};

/// Move a counter and return where it stands.
pub(super) fn advance(connection: &Connection, name: &str, by: u64) -> Result<u64, StoreError> {
    let sql = "INSERT INTO counts (name, value) VALUES (?1, ?2)
        ON CONFLICT (name) DO UPDATE SET value = value + ?2 RETURNING value";
    connection.prepare_cached(sql).and_then(|mut s| s.query_row(params![name, by], |row| row.get(0))).map_err(failure)
}

/// A counter stands where it stood before it was ever moved.
pub(super) fn forget(connection: &Connection, name: &str) -> Result<(), StoreError> {
    let forget = "DELETE FROM counts WHERE name = ?1";
    connection.prepare_cached(forget).and_then(|mut s| s.execute([name])).map(drop).map_err(failure)
}

pub(super) fn count(connection: &Connection, name: &str) -> Result<u64, StoreError> {
    let found = connection
        .prepare_cached("SELECT value FROM counts WHERE name = ?1")
        .and_then(|mut s| s.query_row([name], |row| row.get(0)).optional());
    Ok(found.map_err(failure)?.unwrap_or(0))
}

/// Returns the position of the entry.
pub(super) fn append(connection: &Connection, append: &Append) -> Result<u64, StoreError> {
    let advance = "INSERT INTO logs (name, last) VALUES (?1, 1)
        ON CONFLICT (name) DO UPDATE SET last = last + 1 RETURNING last";
    let position: u64 = connection
        .prepare_cached(advance)
        .and_then(|mut s| s.query_row([&append.log], |row| row.get(0)))
        .map_err(failure)?;
    let add = "INSERT INTO log_entries (name, position, value) VALUES (?1, ?2, ?3)";
    connection
        .prepare_cached(add)
        .and_then(|mut s| s.execute(params![append.log, position, append.value.as_ref()]))
        .map_err(failure)?;
    Ok(position)
}

pub(super) fn entries(connection: &Connection, log: &str, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
    // A position that the file cannot hold was never given.
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = "SELECT position, value FROM log_entries WHERE name = ?1 AND position > ?2 ORDER BY position LIMIT ?3";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let rows = statement.query_map(params![log, after, limit], |row| {
        Ok(Entry { position: row.get(0)?, value: Bytes::from(row.get::<_, Vec<u8>>(1)?) })
    });
    rows.map_err(failure)?.collect::<Result<_, _>>().map_err(failure)
}

pub(super) fn trim(connection: &Connection, log: &str, through: u64) -> Result<(), StoreError> {
    let through = i64::try_from(through).unwrap_or(i64::MAX);
    connection
        .prepare_cached("DELETE FROM log_entries WHERE name = ?1 AND position <= ?2")
        .and_then(|mut s| s.execute(params![log, through]))
        .map(drop)
        .map_err(failure)
}
