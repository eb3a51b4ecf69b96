//! SQLite: the embedded default, for one instance.
//!
//! One thread writes and commits the batches that wait for it together, so that many of them cost one flush to disk; a
//! few threads read. The async side only hands jobs over and waits for the answers.

mod clock;
mod failure;
mod label;
mod lease;
mod lock;
mod log;
mod read;
mod schema;
mod task_query;
mod threads;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use miroir_core::base::id::TaskUid;
use miroir_core::write::task::{Task, TaskPage, TaskQuery};
use rusqlite::Connection;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use self::failure::failure;
use self::lock::FileLock;
use self::threads::{Job, Threads};
use crate::watch::Announcer;
use crate::{Batch, Change, Committed, Entry, HeldLease, Lease, Record, Store, StoreError, Table, Watch};

/// The file name that stands for a database in memory.
const IN_MEMORY: &str = ":memory:";

/// How the file is used.
#[derive(Clone, Copy, Debug)]
pub struct SqliteOptions {
    /// How long to wait for another process that holds the file, before [`StoreError::Locked`].
    pub busy_timeout: Duration,
    /// Threads that read; at least one.
    pub readers: usize,
    /// The most pages that the file may have, where the disk is shared; without it, the disk decides. Beyond it:
    /// [`StoreError::Full`].
    pub max_pages: Option<i64>,
    /// Jobs that wait for the writer, and as many for the readers, before callers wait.
    pub queue: usize,
    /// The longest that a lease of a process that had the file before is still minded.
    pub inherited_leases: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            readers: 2,
            max_pages: None,
            queue: 1024,
            inherited_leases: Duration::from_secs(10),
        }
    }
}

/// The store in one SQLite file.
pub struct SqliteStore {
    threads: std::sync::RwLock<Option<Threads>>,
    handles: tokio::sync::Mutex<Vec<JoinHandle<()>>>,
    /// Taken away when the store closes: watchers see the end.
    announcer: std::sync::Mutex<Option<Announcer>>,
    /// None in memory.
    lock: std::sync::Mutex<Option<FileLock>>,
}

impl SqliteStore {
    /// Open the file, create it if it is not there, and bring its schema up to date. `:memory:` is a store that ends
    /// with this value, for tests.
    ///
    /// # Errors
    /// Each way in which a file cannot be used is an error of its own.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Arc<dyn Store>, StoreError> {
        Self::open_with(path, SqliteOptions::default()).await
    }

    /// As [`SqliteStore::open`], with other options.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub async fn open_with(path: impl Into<PathBuf>, options: SqliteOptions) -> Result<Arc<dyn Store>, StoreError> {
        let path = path.into();
        let opened = tokio::task::spawn_blocking(move || Self::start(&path, options));
        let store = opened.await.map_err(|error| StoreError::Unavailable(Arc::new(error)))??;
        Ok(Arc::new(store))
    }

    fn start(path: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        let in_memory = path == Path::new(IN_MEMORY);
        let lock = if in_memory { None } else { Some(FileLock::take(path, options.busy_timeout)?) };
        let mut writer = connect(path, options.busy_timeout)?;
        schema::migrate(&mut writer)?;
        lease::inherit(&writer, options.inherited_leases)?;
        writer.pragma_update(None, "journal_mode", "WAL").map_err(failure)?;
        if let Some(pages) = options.max_pages {
            writer.pragma_update(None, "max_page_count", pages).map_err(failure)?;
        }
        // A database in memory belongs to one connection: its writer reads, too.
        let readers = if in_memory { 0 } else { options.readers.max(1) };
        let readers: Result<Vec<Connection>, StoreError> =
            (0..readers).map(|_| connect(path, options.busy_timeout)).collect();
        let announcer = Announcer::new();
        let (threads, handles) = Threads::start(writer, readers?, options.queue.max(1), &announcer)
            .map_err(|error| StoreError::Unavailable(Arc::new(error)))?;
        Ok(Self {
            threads: std::sync::RwLock::new(Some(threads)),
            handles: tokio::sync::Mutex::new(handles),
            announcer: std::sync::Mutex::new(Some(announcer)),
            lock: std::sync::Mutex::new(lock),
        })
    }

    fn announcer(&self) -> Option<Announcer> {
        self.announcer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn tell(&self, change: Change) {
        if let Some(announcer) = self.announcer() {
            announcer.tell([change]);
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let queue = self.queue(Threads::writer)?;
        self.run(queue, work).await
    }

    /// Where to send jobs. The lock is held for no longer than a clone takes.
    fn queue(&self, of: impl Fn(&Threads) -> &mpsc::Sender<Job>) -> Result<mpsc::Sender<Job>, StoreError> {
        let threads = self.threads.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        threads.as_ref().map(|threads| of(threads).clone()).ok_or(StoreError::Closed)
    }

    async fn run<T: Send + 'static>(
        &self,
        queue: mpsc::Sender<Job>,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Run(Box::new(move |connection| {
            // A caller that went away does not need its answer.
            let _ = reply.send(threads::unharmed(|| work(connection)));
        }));
        queue.send(job).await.map_err(|_| StoreError::Closed)?;
        drop(queue);
        answer.await.map_err(|_| StoreError::Closed)?
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let queue = self.queue(Threads::readers)?;
        self.run(queue, |connection| {
            // One snapshot for all statements of one answer.
            let snapshot = connection.transaction().map_err(failure)?;
            work(&snapshot)
        })
        .await
    }
}

fn connect(path: &Path, busy_timeout: Duration) -> Result<Connection, StoreError> {
    let connection = Connection::open(path).map_err(failure)?;
    connection.busy_timeout(busy_timeout).map_err(failure)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "synchronous", "FULL").map_err(failure)?;
    Ok(connection)
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let queue = self.queue(Threads::writer)?;
        let (reply, answer) = oneshot::channel();
        let batch = write::Prepared::new(batch)?;
        queue.send(Job::Commit { batch, reply }).await.map_err(|_| StoreError::Closed)?;
        drop(queue);
        answer.await.map_err(|_| StoreError::Closed)?
    }

    async fn get(&self, table: Table, key: &str) -> Result<Option<Record>, StoreError> {
        let key = key.to_owned();
        self.read(move |connection| read::get(connection, table, &key)).await
    }

    async fn list(&self, table: Table) -> Result<Vec<(String, Record)>, StoreError> {
        self.read(move |connection| read::list(connection, table)).await
    }

    async fn task(&self, uid: TaskUid) -> Result<Option<Task>, StoreError> {
        self.read(move |connection| read::task(connection, uid)).await
    }

    async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage, StoreError> {
        let query = query.clone();
        self.read(move |connection| task_query::page(connection, &query)).await
    }

    async fn unfinished_tasks(&self, after: Option<TaskUid>, limit: usize) -> Result<Vec<Task>, StoreError> {
        self.read(move |connection| read::unsettled(connection, after, limit)).await
    }

    async fn unfinished_uids(&self, after: Option<TaskUid>, limit: usize) -> Result<Vec<TaskUid>, StoreError> {
        self.read(move |connection| read::unfinished_uids(connection, after, limit)).await
    }

    async fn prune_tasks(&self, finished_before: OffsetDateTime, limit: usize) -> Result<u64, StoreError> {
        self.write(move |connection| write::prune(connection, finished_before, limit)).await
    }

    async fn delete_tasks(&self, query: &TaskQuery, before: TaskUid, limit: usize) -> Result<u64, StoreError> {
        let query = query.clone();
        self.write(move |connection| task_query::delete(connection, &query, before, limit)).await
    }

    async fn acquire(&self, scope: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let (of, by) = (scope.to_owned(), holder.to_owned());
        let lease = self.write(move |connection| lease::acquire(connection, of, by, ttl)).await?;
        if lease.is_none() {
            self.tell(Change::LeaseWanted(scope.to_owned()));
        }
        Ok(lease)
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<bool, StoreError> {
        let lease = lease.clone();
        self.write(move |connection| lease::renew(connection, &lease, ttl)).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let given_back = lease.clone();
        if self.write(move |connection| lease::release(connection, &given_back)).await? {
            self.tell(Change::LeaseReleased(lease.scope.clone()));
        }
        Ok(())
    }

    async fn leases(&self) -> Result<Vec<HeldLease>, StoreError> {
        self.read(lease::list).await
    }

    async fn lapsed_leases(&self) -> Result<Vec<Lease>, StoreError> {
        self.read(lease::lapsed).await
    }

    async fn count(&self, counter: &str) -> Result<u64, StoreError> {
        let counter = counter.to_owned();
        self.read(move |connection| log::count(connection, &counter)).await
    }

    async fn log(&self, log: &str, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let log = log.to_owned();
        self.read(move |connection| log::entries(connection, &log, after, limit)).await
    }

    async fn trim(&self, log: &str, through: u64) -> Result<(), StoreError> {
        let log = log.to_owned();
        self.write(move |connection| log::trim(connection, &log, through)).await
    }

    fn watch(&self) -> Watch {
        // Once closed, a watch of nobody: it ends at once.
        self.announcer().unwrap_or_else(Announcer::new).watch()
    }

    async fn mark(&self, mark: u64) -> Result<(), StoreError> {
        // A commit is told before it is acknowledged.
        self.announcer().ok_or(StoreError::Closed)?.tell([Change::Marked(mark)]);
        Ok(())
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn close(&self) {
        // Whoever has a clone of the queue finishes handing its job over; then the threads come to its end. The writer is the
        // last: of connections that end at the same time none would tidy up behind all of them.
        let threads = self.threads.write().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let writer = threads.map(Threads::into_writer);
        let mut handles = std::mem::take(&mut *self.handles.lock().await);
        let joined = tokio::task::spawn_blocking(move || {
            let last = handles.pop();
            let readers = handles.into_iter().all(|handle| handle.join().is_ok());
            drop(writer);
            last.is_none_or(|handle| handle.join().is_ok()) && readers
        });
        if !joined.await.unwrap_or(false) {
            tracing::error!("a thread of the store had panicked");
        }
        drop(self.announcer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
        drop(self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TypedTable;

    const NAMES: TypedTable<u8> = TypedTable::new(Table::Meta);

    #[tokio::test]
    async fn a_job_that_panics_writes_nothing_and_ends_no_thread() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("miroir.db");
        let store = SqliteStore::start(&path, SqliteOptions::default()).expect("a store");
        let half: Result<(), StoreError> = store
            .write(|connection| {
                let transaction = connection.transaction().map_err(failure)?;
                transaction.execute("INSERT INTO counts (name, value) VALUES ('half', 1)", []).map_err(failure)?;
                panic!("in the middle of it");
            })
            .await;
        assert!(matches!(half, Err(StoreError::Unavailable(_))), "{half:?}");
        for _ in 0..=SqliteOptions::default().readers {
            let read: Result<(), StoreError> = store.read(|_| panic!("while reading")).await;
            assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
        }
        let writes = vec![NAMES.put("after", &1).expect("JSON")];
        store.commit(Batch { writes, ..Batch::default() }).await.expect("the writer is there");
        assert_eq!(store.count("half").await.expect("the readers are there"), 0, "a half was written");
        store.close().await;
    }
}
