//! Redis, or Valkey: for several instances.
//!
//! Every operation is one command or one script, and so one round trip in which nobody sees a half. Time is Redis's. Keys
//! are named `miroir:<table>:<key>`, with the names of a table's records in `miroir:_index:<table>`; what is no record
//! begins with `miroir:_`, and tasks lie as `lua/tasks.lua` says.

mod clock;
mod commit;
mod failure;
mod feed;
mod lease;
mod pool;
mod record;
mod reply;
mod row;
mod schema;
mod script;
mod task;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use miroir_core::base::id::TaskUid;
use miroir_core::write::task::{Task, TaskPage, TaskQuery};
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use self::clock::Clock;
use self::feed::{Feed, Marks};
use self::pool::Pool;
use crate::watch::Announcer;
use crate::{Batch, Committed, Entry, HeldLease, Lease, Record, Store, StoreError, Table, Watch};

/// Between two attempts to open a store whose Redis is not up.
const PAUSE: Duration = Duration::from_millis(250);

/// How Redis is used.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// What all keys begin with.
    pub prefix: String,
    /// The most connections, beside the one that listens for changes; at least one.
    pub max_connections: usize,
    /// How long a call may take, waiting for a connection included.
    pub call_timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long opening waits for a Redis that cannot be reached or is not ready.
    pub patience: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            prefix: "miroir:".into(),
            max_connections: 50,
            call_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            patience: Duration::from_secs(30),
        }
    }
}

/// The store in a Redis that others use at the same time.
pub struct RedisStore {
    pool: Arc<Pool>,
    prefix: String,
    clock: Arc<Clock>,
    /// Taken away when the store closes: watchers see the end.
    announcer: Mutex<Option<Announcer>>,
    marks: Marks,
    follower: Mutex<Option<JoinHandle<()>>>,
}

impl RedisStore {
    /// Connect to `redis://[user:password@]host:port/[database]`, or `rediss://` for TLS, and bring the schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Newer`] when a later release uses this Redis; otherwise why it cannot be used. None of them shows the
    /// password.
    pub async fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
        Self::open_with(url, RedisOptions::default()).await
    }

    /// As [`RedisStore::open`], with other options.
    ///
    /// # Errors
    /// As [`RedisStore::open`].
    pub async fn open_with(url: &str, options: RedisOptions) -> Result<Arc<dyn Store>, StoreError> {
        let pool = Arc::new(Pool::new(url, &options)?);
        let begun = Instant::now();
        let mut told = false;
        let (time, feed) = loop {
            match Self::start(&pool, &options.prefix).await {
                Ok(started) => break started,
                Err(error) => {
                    let passing = failure::of(&error).filter(|failure| failure.is_passing());
                    let Some(reason) = passing.filter(|_| begun.elapsed() < options.patience) else {
                        return Err(error);
                    };
                    if !told {
                        tracing::warn!(%reason, patience = ?options.patience, "waiting for Redis");
                        told = true;
                    }
                }
            }
            sleep(PAUSE).await;
        };
        schema::advise(&pool).await;
        let clock = Arc::new(Clock::new(time));
        let announcer = Announcer::new();
        let marks = Marks::default();
        let follower =
            feed.follow(pool.clone(), options.prefix.clone(), clock.clone(), announcer.clone(), marks.clone());
        Ok(Arc::new(Self {
            pool,
            prefix: options.prefix,
            clock,
            announcer: Mutex::new(Some(announcer)),
            marks,
            follower: Mutex::new(Some(tokio::spawn(follower))),
        }))
    }

    async fn start(pool: &Pool, prefix: &str) -> Result<(u64, Feed), StoreError> {
        schema::require_version(pool).await?;
        let time = schema::migrate(pool, prefix).await?;
        Ok((time, Feed::open(pool, prefix).await?))
    }

    fn announcer(&self) -> Option<Announcer> {
        self.announcer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stop_following(&self) -> Option<JoinHandle<()>> {
        let follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner).take();
        follower.inspect(JoinHandle::abort)
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.stop_following();
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let (pool, clock, prefix) = (self.pool.clone(), self.clock.clone(), self.prefix.clone());
        // A task of its own: what was begun is done even when the caller stops waiting.
        let committing = tokio::spawn(async move { commit::commit(&pool, &clock, &prefix, batch).await });
        committing.await.map_err(|_| StoreError::Closed)?
    }

    async fn get(&self, table: Table, key: &str) -> Result<Option<Record>, StoreError> {
        record::get(&self.pool, &self.prefix, table, key).await
    }

    async fn list(&self, table: Table) -> Result<Vec<(String, Record)>, StoreError> {
        record::all(&self.pool, &self.prefix, table).await
    }

    async fn task(&self, uid: TaskUid) -> Result<Option<Task>, StoreError> {
        task::one(&self.pool, &self.prefix, uid).await
    }

    async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage, StoreError> {
        task::page(&self.pool, &self.prefix, query).await
    }

    async fn unfinished_tasks(&self, after: Option<TaskUid>, limit: usize) -> Result<Vec<Task>, StoreError> {
        task::unsettled(&self.pool, &self.prefix, after, limit).await
    }

    async fn unfinished_uids(&self, after: Option<TaskUid>, limit: usize) -> Result<Vec<TaskUid>, StoreError> {
        task::unfinished_uids(&self.pool, &self.prefix, after, limit).await
    }

    async fn prune_tasks(&self, finished_before: OffsetDateTime, limit: usize) -> Result<u64, StoreError> {
        task::prune(&self.pool, &self.prefix, finished_before, limit).await
    }

    async fn delete_tasks(&self, query: &TaskQuery, before: TaskUid, limit: usize) -> Result<u64, StoreError> {
        task::delete(&self.pool, &self.prefix, query, before, limit).await
    }

    async fn acquire(&self, scope: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        lease::acquire(&self.pool, &self.prefix, scope, holder, ttl).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<bool, StoreError> {
        lease::renew(&self.pool, &self.prefix, lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        lease::release(&self.pool, &self.prefix, lease).await
    }

    async fn leases(&self) -> Result<Vec<HeldLease>, StoreError> {
        lease::all(&self.pool, &self.prefix).await
    }

    async fn lapsed_leases(&self) -> Result<Vec<Lease>, StoreError> {
        lease::lapsed(&self.pool, &self.prefix).await
    }

    async fn count(&self, counter: &str) -> Result<u64, StoreError> {
        record::count(&self.pool, &self.prefix, counter).await
    }

    async fn log(&self, log: &str, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        record::log(&self.pool, &self.prefix, log, after, limit).await
    }

    async fn trim(&self, log: &str, through: u64) -> Result<(), StoreError> {
        record::trim(&self.pool, &self.prefix, log, through).await
    }

    fn watch(&self) -> Watch {
        // Once closed, a watch of nobody: it ends at once.
        self.announcer().unwrap_or_else(Announcer::new).watch()
    }

    async fn mark(&self, mark: u64) -> Result<(), StoreError> {
        self.marks.mark(&self.pool, mark).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn close(&self) {
        self.pool.close().await;
        if let Some(follower) = self.stop_following() {
            // Stopping is all that its end says.
            let _ = follower.await;
        }
        drop(self.announcer.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
