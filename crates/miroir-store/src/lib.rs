//! The durable shared state of Miroir, behind one trait.
//!
//! Invariant: what [`Store::commit`] acknowledged outlives the process. Nothing above this crate keeps state that cannot
//! be rebuilt from here.

mod error;
mod jobs;
mod label;
mod lease;
mod record;
mod redis;
mod sqlite;
mod typed;
mod view;
mod watch;

use std::time::Duration;

use async_trait::async_trait;
use miroir_core::base::id::TaskUid;
use miroir_core::write::task::{Task, TaskPage, TaskQuery};
use time::OffsetDateTime;

pub use self::redis::{RedisOptions, RedisStore};
pub use error::StoreError;
pub use jobs::{Claim, Enqueued, Job, JobError, JobOptions, JobState, Jobs, ListedJob, Look};
pub use lease::{Fence, HeldLease, Lease};
pub use record::{Append, Batch, Committed, Entry, Record, Table, Write};
pub use sqlite::{SqliteOptions, SqliteStore};
pub use typed::{Typed, TypedTable};
pub use view::{Derived, Edit, Records, State, View};
pub use watch::{Change, Watch};

/// What every backend does. All of it is safe to call from many tasks at once, and none of it blocks a thread of the
/// async runtime.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Write all of the batch or nothing of it; durable when this returns. Once begun it is done even when the caller
    /// stops waiting.
    ///
    /// New tasks get consecutive numbers of the one sequence, which begins at 0 and never gives a number twice.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] and [`StoreError::Fenced`] when a condition of the batch does not hold; otherwise why the
    /// store cannot write.
    /// In each case nothing was written, except that after [`StoreError::Closed`], and after [`StoreError::Unavailable`]
    /// of a store that [is shared](Store::is_shared), nobody knows.
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError>;

    /// The record of this key, unless it expired.
    ///
    /// # Errors
    /// Why the store cannot be read.
    async fn get(&self, table: Table, key: &str) -> Result<Option<Record>, StoreError>;

    /// All records of the table that have not expired, by key.
    ///
    /// # Errors
    /// Why the store cannot be read.
    async fn list(&self, table: Table) -> Result<Vec<(String, Record)>, StoreError>;

    /// The task of this number, unless it was pruned or never given.
    ///
    /// # Errors
    /// Why the store cannot be read.
    async fn task(&self, uid: TaskUid) -> Result<Option<Task>, StoreError>;

    /// A page of the tasks that match, as [`TaskQuery::matches`] defines it. Page and total are of one moment.
    ///
    /// # Errors
    /// Why the store cannot be read.
    async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage, StoreError>;

    /// The oldest tasks that are not final, later than `after`, oldest first.
    ///
    /// # Errors
    /// Why the store cannot be read.
    async fn unfinished_tasks(&self, after: Option<TaskUid>, limit: usize) -> Result<Vec<Task>, StoreError>;

    /// The numbers of the oldest tasks that are not final, later than `after`, oldest first. Costs far less than the tasks.
    ///
    /// # Errors
    /// Why the store cannot be read.
    async fn unfinished_uids(&self, after: Option<TaskUid>, limit: usize) -> Result<Vec<TaskUid>, StoreError>;

    /// Forget at most `limit` final tasks that finished before this instant, those that finished first. Returns how many.
    ///
    /// # Errors
    /// Why the store cannot write; nothing was forgotten then.
    async fn prune_tasks(&self, finished_before: OffsetDateTime, limit: usize) -> Result<u64, StoreError>;

    /// Forget at most `limit` final tasks that match, with numbers below `before`, oldest first. The page of the query
    /// does not matter. Returns how many.
    ///
    /// # Errors
    /// Why the store cannot write; nothing was forgotten then.
    async fn delete_tasks(&self, query: &TaskQuery, before: TaskUid, limit: usize) -> Result<u64, StoreError>;

    /// Take the lease of a scope that is free, or whose lease has ended. Who holds it already gets the same lease again,
    /// renewed. Returns `None` if another holder has it; that one is asked to release it.
    ///
    /// # Errors
    /// Why the store cannot write; somebody who is not answered may hold the lease.
    async fn acquire(&self, scope: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, StoreError>;

    /// Hold on to a lease for `ttl` from now. False: it was lost, or is about to be. One that has ended but that nobody
    /// else has taken since is held on to.
    ///
    /// # Errors
    /// Why the store cannot write.
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<bool, StoreError>;

    /// Give a lease back. One that was lost is left to whoever has it.
    ///
    /// # Errors
    /// Why the store cannot write; the lease ends by itself.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;

    /// All leases that have not ended, by scope.
    ///
    /// # Errors
    /// Why the store cannot be read.
    async fn leases(&self) -> Result<Vec<HeldLease>, StoreError>;

    /// The leases that ended, that nobody gave back and nobody has taken since, by scope. Remembered for a year at least.
    ///
    /// # Errors
    /// Why the store cannot be read.
    async fn lapsed_leases(&self) -> Result<Vec<Lease>, StoreError>;

    /// Where a counter stands.
    ///
    /// # Errors
    /// Why the store cannot be read.
    async fn count(&self, counter: &str) -> Result<u64, StoreError>;

    /// At most `limit` entries of a log after this position, in order; all begin after position 0.
    ///
    /// # Errors
    /// Why the store cannot be read.
    async fn log(&self, log: &str, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// Forget the entries of a log up to and with this position. Positions go on from where they were.
    ///
    /// # Errors
    /// Why the store cannot write; nothing was forgotten then.
    async fn trim(&self, log: &str, through: u64) -> Result<(), StoreError>;

    /// The changes from now on: every one that is committed after this returns is told, or [`Change::Everything`] is.
    fn watch(&self) -> Watch;

    /// Tell the watchers here [`Change::Marked`], after every change that anybody had committed when this was called: whoever
    /// sees the mark has seen them all.
    ///
    /// # Errors
    /// Why the store cannot be asked. After [`Change::Everything`] a mark may be lost.
    async fn mark(&self, mark: u64) -> Result<(), StoreError>;

    /// Whether other processes may use this store at the same time.
    fn is_shared(&self) -> bool;

    /// Finish what was begun and let go of the backend. Every later call is [`StoreError::Closed`], and watchers see the
    /// end.
    async fn close(&self);
}
