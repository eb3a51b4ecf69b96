//! The tables in the file, and how they came to be.
//!
//! Invariant: the schema version stands in `user_version`; migration `n` leads from version `n` to `n + 1`, and is never
//! changed once released.

use rusqlite::{Connection, TransactionBehavior};

use super::failure::failure;
use crate::StoreError;

/// "miro": marks the file as ours.
const APPLICATION: i64 = 0x6d69_726f;

/// Listings are answered from `task_groups`: tasks that agree in index, kind and status are one group, whose size the
/// triggers keep. So a filter over these three costs as many look-ups as there are groups, whatever the number of tasks.
/// Bodies lie apart, so that scanning for other filters reads narrow rows.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('task', 0), ('version', 0);

CREATE TABLE records (
    tbl TEXT NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    value BLOB NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (tbl, key)
);
CREATE INDEX records_by_expiry ON records (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE task_groups (
    id INTEGER PRIMARY KEY,
    index_uid TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    size INTEGER NOT NULL DEFAULT 0,
    UNIQUE (index_uid, kind, status)
);
CREATE TABLE tasks (
    uid INTEGER PRIMARY KEY,
    group_id INTEGER NOT NULL,
    settled INTEGER NOT NULL,
    begun INTEGER NOT NULL,
    canceled_by INTEGER,
    enqueued_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER
);
CREATE TABLE task_bodies (uid INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE INDEX tasks_by_group ON tasks (group_id, uid);
CREATE INDEX tasks_unsettled ON tasks (uid) WHERE settled = 0;
CREATE INDEX tasks_by_canceler ON tasks (canceled_by) WHERE canceled_by IS NOT NULL;
CREATE INDEX tasks_by_enqueuing ON tasks (enqueued_at, group_id);
CREATE INDEX tasks_by_start ON tasks (started_at, group_id) WHERE started_at IS NOT NULL;
CREATE INDEX tasks_by_end ON tasks (finished_at, group_id) WHERE finished_at IS NOT NULL;

CREATE TRIGGER task_added AFTER INSERT ON tasks BEGIN
    UPDATE task_groups SET size = size + 1 WHERE id = NEW.group_id;
END;
CREATE TRIGGER task_moved AFTER UPDATE OF group_id ON tasks WHEN OLD.group_id <> NEW.group_id BEGIN
    UPDATE task_groups SET size = size - 1 WHERE id = OLD.group_id;
    UPDATE task_groups SET size = size + 1 WHERE id = NEW.group_id;
END;
CREATE TRIGGER task_removed AFTER DELETE ON tasks BEGIN
    UPDATE task_groups SET size = size - 1 WHERE id = OLD.group_id;
    DELETE FROM task_bodies WHERE uid = OLD.uid;
END;
",
    "
CREATE TABLE leases (
    scope TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    token INTEGER NOT NULL,
    ends_at INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('token', 0);

CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE logs (name TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE log_entries (
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (name, position)
) WITHOUT ROWID;
",
];

/// The version that this release writes.
pub(super) fn supported() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Bring the file to the version that this release writes.
///
/// # Errors
/// [`StoreError::Newer`] and [`StoreError::Foreign`] when the file is not ours to change; else why it cannot be.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    if version(connection)? == supported() && application(connection)? == APPLICATION {
        return Ok(());
    }
    let migration = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failure)?;
    let found = version(&migration)?;
    if application(&migration)? != APPLICATION {
        let things: i64 =
            migration.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).map_err(failure)?;
        if things > 0 || found != 0 {
            return Err(StoreError::Foreign);
        }
        migration.pragma_update(None, "application_id", APPLICATION).map_err(failure)?;
    }
    if found > supported() {
        return Err(StoreError::Newer { found, supported: supported() });
    }
    let done = usize::try_from(found).map_err(|_| StoreError::Corrupted(format!("schema version {found}")))?;
    for step in MIGRATIONS.iter().skip(done) {
        migration.execute_batch(step).map_err(failure)?;
    }
    migration.pragma_update(None, "user_version", supported()).map_err(failure)?;
    migration.commit().map_err(failure)
}

fn version(connection: &Connection) -> Result<i64, StoreError> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failure)
}

fn application(connection: &Connection) -> Result<i64, StoreError> {
    connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failure)
}
