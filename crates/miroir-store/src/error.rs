//! Why the store did not do what it was asked.

use std::error::Error;
use std::sync::Arc;

use miroir_core::base::id::TaskUid;
use thiserror::Error;

use crate::Table;

/// Why the store did not do what it was asked. Cheap to clone: one failure answers every batch of its group.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// The record is not at the version that the write expected.
    #[error("{table} `{key}` was changed by somebody else")]
    Conflict {
        /// The table of the record.
        table: Table,
        /// Which record.
        key: String,
    },
    /// The scope was given to somebody else, or nobody holds it.
    #[error("the lease of `{scope}` was lost to somebody else")]
    Fenced {
        /// The scope of the lease that is lost.
        scope: String,
    },
    /// Another process holds the store for longer than we wait.
    #[error("the store is locked by another process")]
    Locked,
    /// The disk, or the memory that the store may use, has no room left.
    #[error("the store is full: its disk or memory has no room left")]
    Full,
    /// What is stored cannot be understood.
    #[error("the store is corrupted: {0}")]
    Corrupted(String),
    /// What is stored was written by something else than Miroir.
    #[error("the file holds a database that is not Miroir's")]
    Foreign,
    /// What is stored was written by a later release.
    #[error(
        "the store has schema version {found}, but this release knows versions up to {supported}: use a newer release"
    )]
    Newer {
        /// The schema version found.
        found: i64,
        /// The latest that this release knows.
        supported: i64,
    },
    /// A value is not what its table holds.
    #[error("{table} `{key}` cannot be converted")]
    Record {
        /// The table of the record.
        table: Table,
        /// Which record.
        key: String,
        /// What is wrong with it.
        source: Arc<serde_json::Error>,
    },
    /// A task is not what the task table holds.
    #[error("task {uid} cannot be converted")]
    Task {
        /// The number of the task.
        uid: TaskUid,
        /// What is wrong with it.
        source: Arc<serde_json::Error>,
    },
    /// A new task cannot be written as JSON.
    #[error("a new task cannot be converted")]
    NewTask(#[source] Arc<serde_json::Error>),
    /// The store cannot be reached, opened, read or written for another reason.
    #[error("the store cannot be used")]
    Unavailable(#[source] Arc<dyn Error + Send + Sync>),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}
