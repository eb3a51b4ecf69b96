//! Batches into the file.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use miroir_core::base::id::{IndexUid, TaskUid};
use miroir_core::write::task::{NewTask, Task, TaskKind, TaskStatus, instant};
use rusqlite::{Connection, DropBehavior, OptionalExtension, Savepoint, TransactionBehavior, params};
use time::OffsetDateTime;

use super::clock::forward;
use super::failure::failure;
use super::threads::{Reply, unharmed};
use super::{label, lease, log};
use crate::watch::Announcer;
use crate::{Append, Batch, Change, Committed, Fence, StoreError, Table, Write};

/// The most expired records that one group of batches removes in passing.
const SWEEP: i64 = 64;

/// A batch as rows: what can fail without the file has not failed.
pub(super) struct Prepared {
    fences: Vec<Fence>,
    renamed: Vec<(IndexUid, IndexUid)>,
    writes: Vec<Write>,
    new_tasks: Vec<Row>,
    task_updates: Vec<(TaskUid, Row)>,
    forgotten: Vec<String>,
    counts: Vec<(String, u64)>,
    appends: Vec<Append>,
}

/// A task as its columns. `body` is the task as JSON, with or without its number.
struct Row {
    /// Where it belongs when it is new.
    label: String,
    kind: TaskKind,
    status: TaskStatus,
    begun: bool,
    canceled_by: Option<u64>,
    enqueued_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    body: Vec<u8>,
}

impl Prepared {
    /// Write the tasks as JSON.
    pub(super) fn new(batch: Batch) -> Result<Self, StoreError> {
        let new_tasks = batch.new_tasks.into_iter().map(|task| {
            let body = serde_json::to_vec(&task).map_err(|error| StoreError::NewTask(Arc::new(error)))?;
            // Only columns are read from it: the number does not matter here.
            Ok(Row::new(&NewTask::numbered(task, TaskUid(0)), body))
        });
        // A number that the file cannot hold was never given.
        let given = batch.task_updates.into_iter().filter(|task| i64::try_from(task.uid.0).is_ok());
        let task_updates = given.map(|task| {
            let body = serde_json::to_vec(&task)
                .map_err(|error| StoreError::Task { uid: task.uid, source: Arc::new(error) })?;
            Ok((task.uid, Row::new(&task, body)))
        });
        Ok(Self {
            fences: batch.fences,
            renamed: batch.renamed,
            writes: batch.writes,
            new_tasks: new_tasks.collect::<Result<_, StoreError>>()?,
            task_updates: task_updates.collect::<Result<_, StoreError>>()?,
            forgotten: batch.forgotten,
            counts: batch.counts,
            appends: batch.appends,
        })
    }
}

impl Prepared {
    /// What watchers are told once it is committed.
    fn changes<'a>(&'a self, committed: &'a Committed) -> impl Iterator<Item = Change> + 'a {
        let records = self.writes.iter().zip(&committed.versions).map(|(write, version)| {
            let (table, key) = write.target();
            Change::Record { table, key: key.to_owned(), version: *version }
        });
        let tasks = !(self.new_tasks.is_empty() && self.task_updates.is_empty() && self.renamed.is_empty());
        let logs = self.appends.iter().map(|append| Change::Log(append.log.clone()));
        records.chain(tasks.then_some(Change::Tasks)).chain(logs)
    }
}

impl Row {
    fn new(task: &Task, body: Vec<u8>) -> Self {
        Self {
            label: crate::label::of(task),
            kind: task.kind,
            status: task.status,
            begun: task.batch_uid().is_some(),
            canceled_by: task.canceled_by.map(|uid| uid.0),
            enqueued_at: instant(task.enqueued_at),
            started_at: task.started_at.map(instant),
            finished_at: task.finished_at.map(instant),
            body,
        }
    }
}

/// Commit the batches in one transaction, each in a savepoint of its own so that a conflict concerns it alone.
///
/// Invariant: nobody is answered before the transaction is on disk and the watchers were told.
pub(super) fn group(connection: &mut Connection, announcer: &Announcer, batches: Vec<(Prepared, Reply)>) {
    if batches.is_empty() {
        return;
    }
    let (batches, replies): (Vec<Prepared>, Vec<Reply>) = batches.into_iter().unzip();
    let outcomes = unharmed(|| commit(connection, &batches));
    for ((position, reply), batch) in replies.into_iter().enumerate().zip(&batches) {
        let outcome = match &outcomes {
            Ok(outcomes) => outcomes.get(position).cloned().unwrap_or(Err(StoreError::Closed)),
            Err(error) => Err(error.clone()),
        };
        if let Ok(committed) = &outcome {
            announcer.tell(batch.changes(committed));
        }
        // A caller that went away does not need its answer.
        let _ = reply.send(outcome);
    }
}

/// The outcome of each batch, or why none of them was written.
fn commit(connection: &mut Connection, batches: &[Prepared]) -> Result<Vec<Result<Committed, StoreError>>, StoreError> {
    let now = forward();
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failure)?;
    let mut outcomes = Vec::with_capacity(batches.len());
    for batch in batches {
        let mut savepoint = transaction.savepoint().map_err(failure)?;
        savepoint.set_drop_behavior(DropBehavior::Rollback);
        match apply(&savepoint, batch, now) {
            Ok(committed) => {
                savepoint.commit().map_err(failure)?;
                outcomes.push(Ok(committed));
            }
            Err(unmet @ (StoreError::Conflict { .. } | StoreError::Fenced { .. })) => {
                savepoint.finish().map_err(failure)?;
                outcomes.push(Err(unmet));
            }
            // The file itself failed: nothing of the group can be trusted to be written.
            Err(error) => return Err(error),
        }
    }
    let sweep = "DELETE FROM records WHERE rowid IN (
        SELECT rowid FROM records WHERE expires_at IS NOT NULL AND expires_at <= ?1 LIMIT ?2)";
    transaction.prepare_cached(sweep).and_then(|mut s| s.execute(params![now, SWEEP])).map_err(failure)?;
    transaction.commit().map_err(failure)?;
    Ok(outcomes)
}

fn apply(savepoint: &Savepoint<'_>, batch: &Prepared, now: i64) -> Result<Committed, StoreError> {
    for fence in &batch.fences {
        lease::require(savepoint, fence)?;
    }
    for (a, b) in &batch.renamed {
        label::exchange(savepoint, a, b)?;
    }
    let mut versions = Vec::with_capacity(batch.writes.len());
    for write in &batch.writes {
        versions.push(record(savepoint, write, now)?);
    }
    let first = advance(savepoint, "task", batch.new_tasks.len() as u64)?;
    let mut tasks = Vec::with_capacity(batch.new_tasks.len());
    for (uid, row) in (first..).zip(&batch.new_tasks) {
        add(savepoint, uid, row)?;
        tasks.push(TaskUid(uid));
    }
    for (uid, row) in &batch.task_updates {
        replace(savepoint, uid.0, row)?;
    }
    for counter in &batch.forgotten {
        log::forget(savepoint, counter)?;
    }
    let counts = batch.counts.iter().map(|(name, by)| log::advance(savepoint, name, *by));
    let counts = counts.collect::<Result<_, _>>()?;
    let positions = batch.appends.iter().map(|append| log::append(savepoint, append));
    let positions = positions.collect::<Result<_, _>>()?;
    Ok(Committed { tasks, versions, counts, positions })
}

/// Move a counter and return where it stood.
pub(super) fn advance(connection: &Connection, counter: &str, by: u64) -> Result<u64, StoreError> {
    if by == 0 {
        return Ok(0);
    }
    let sql = "UPDATE counters SET value = value + ?2 WHERE name = ?1 RETURNING value - ?2";
    connection
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row(params![counter, by], |row| row.get(0)))
        .map_err(failure)
}

fn until(now: i64, ttl: Option<Duration>) -> Option<i64> {
    ttl.map(|ttl| lease::end(now, ttl))
}

/// Returns the version written.
fn record(connection: &Connection, write: &Write, now: i64) -> Result<Option<u64>, StoreError> {
    match write {
        Write::Put { table, key, value, ttl } => put(connection, *table, key, value, until(now, *ttl)).map(Some),
        Write::PutIf { table, key, value, ttl, expected } => {
            require(connection, *table, key, *expected, now)?;
            put(connection, *table, key, value, until(now, *ttl)).map(Some)
        }
        Write::Delete { table, key } => delete(connection, *table, key),
        Write::DeleteIf { table, key, expected } => {
            require(connection, *table, key, Some(*expected), now)?;
            delete(connection, *table, key)
        }
    }
}

fn require(
    connection: &Connection,
    table: Table,
    key: &str,
    expected: Option<u64>,
    now: i64,
) -> Result<(), StoreError> {
    let sql = "SELECT version FROM records WHERE tbl = ?1 AND key = ?2 AND (expires_at IS NULL OR expires_at > ?3)";
    let found: Option<u64> = connection
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row(params![table.name(), key, now], |row| row.get(0)).optional())
        .map_err(failure)?;
    if found == expected { Ok(()) } else { Err(StoreError::Conflict { table, key: key.into() }) }
}

fn put(
    connection: &Connection,
    table: Table,
    key: &str,
    value: &Bytes,
    expires_at: Option<i64>,
) -> Result<u64, StoreError> {
    let version = advance(connection, "version", 1)? + 1;
    let sql = "INSERT INTO records (tbl, key, version, value, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (tbl, key) DO UPDATE SET version = ?3, value = ?4, expires_at = ?5";
    connection
        .prepare_cached(sql)
        .and_then(|mut s| s.execute(params![table.name(), key, version, value.as_ref(), expires_at]))
        .map_err(failure)?;
    Ok(version)
}

fn delete(connection: &Connection, table: Table, key: &str) -> Result<Option<u64>, StoreError> {
    let sql = "DELETE FROM records WHERE tbl = ?1 AND key = ?2";
    connection.prepare_cached(sql).and_then(|mut s| s.execute(params![table.name(), key])).map_err(failure)?;
    Ok(None)
}

/// The group of tasks that agree in index, kind and status.
fn group_of(connection: &Connection, label: &str, row: &Row) -> Result<i64, StoreError> {
    let key = params![label, row.kind.name(), row.status.name()];
    let known = "SELECT id FROM task_groups WHERE index_uid = ?1 AND kind = ?2 AND status = ?3";
    let found = connection
        .prepare_cached(known)
        .and_then(|mut s| s.query_row(key, |found| found.get(0)).optional())
        .map_err(failure)?;
    if let Some(id) = found {
        return Ok(id);
    }
    let new = "INSERT INTO task_groups (index_uid, kind, status) VALUES (?1, ?2, ?3) RETURNING id";
    connection.prepare_cached(new).and_then(|mut s| s.query_row(key, |made| made.get(0))).map_err(failure)
}

fn add(connection: &Connection, uid: u64, row: &Row) -> Result<(), StoreError> {
    let group = group_of(connection, &row.label, row)?;
    let sql = "INSERT INTO tasks (uid, group_id, settled, begun, canceled_by, enqueued_at, started_at, finished_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let columns = params![
        uid,
        group,
        row.status.is_final(),
        row.begun,
        row.canceled_by,
        row.enqueued_at,
        row.started_at,
        row.finished_at
    ];
    connection.prepare_cached(sql).and_then(|mut s| s.execute(columns)).map_err(failure)?;
    let sql = "INSERT INTO task_bodies (uid, body) VALUES (?1, ?2)";
    connection.prepare_cached(sql).and_then(|mut s| s.execute(params![uid, row.body])).map_err(failure)?;
    Ok(())
}

fn replace(connection: &Connection, uid: u64, row: &Row) -> Result<(), StoreError> {
    let known = "SELECT index_uid FROM tasks JOIN task_groups ON id = group_id WHERE uid = ?1";
    let label: Option<String> = connection
        .prepare_cached(known)
        .and_then(|mut s| s.query_row([uid], |found| found.get(0)).optional())
        .map_err(failure)?;
    // One that was pruned stays away.
    let Some(label) = label else { return Ok(()) };
    let group = group_of(connection, &label, row)?;
    let sql = "UPDATE tasks SET group_id = ?2, settled = ?3, begun = ?4, canceled_by = ?5, enqueued_at = ?6,
        started_at = ?7, finished_at = ?8 WHERE uid = ?1 AND (?3 OR NOT settled)";
    let columns = params![
        uid,
        group,
        row.status.is_final(),
        row.begun,
        row.canceled_by,
        row.enqueued_at,
        row.started_at,
        row.finished_at
    ];
    let replaced = connection.prepare_cached(sql).and_then(|mut s| s.execute(columns)).map_err(failure)?;
    if replaced > 0 {
        let sql = "UPDATE task_bodies SET body = ?2 WHERE uid = ?1";
        connection.prepare_cached(sql).and_then(|mut s| s.execute(params![uid, row.body])).map_err(failure)?;
    }
    Ok(())
}

/// Forget the final tasks that finished first, and groups that have become empty.
pub(super) fn prune(
    connection: &mut Connection,
    finished_before: OffsetDateTime,
    limit: usize,
) -> Result<u64, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failure)?;
    let sql = "DELETE FROM tasks WHERE uid IN (
        SELECT uid FROM tasks WHERE settled AND finished_at IS NOT NULL AND finished_at < ?1
        ORDER BY finished_at LIMIT ?2)";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let gone = transaction.execute(sql, params![instant(finished_before), limit]).map_err(failure)?;
    if gone > 0 {
        transaction.execute("DELETE FROM task_groups WHERE size = 0", []).map_err(failure)?;
    }
    transaction.commit().map_err(failure)?;
    Ok(gone as u64)
}
