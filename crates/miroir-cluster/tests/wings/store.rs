//! A store whose work takes no time. The threads that do it are none of the runtime's, which would take them for idle and
//! advance a paused clock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use miroir_core::base::id::TaskUid;
use miroir_core::write::task::{Task, TaskPage, TaskQuery};
use miroir_store::{Batch, Committed, Entry, HeldLease, Lease, Record, SqliteStore, Store, StoreError, Table, Watch};
use time::OffsetDateTime;

/// An empty store.
pub async fn in_memory() -> Arc<dyn Store> {
    Arc::new(Timeless(at_once(SqliteStore::open(":memory:")).await.expect("a store")))
}

/// Waits without letting a paused clock advance: it stands still while a blocking task of the runtime's own is under way.
async fn at_once<T>(work: impl Future<Output = T>) -> T {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let waiting = tokio::task::spawn_blocking(move || wait.recv());
    let made = work.await;
    drop(done);
    drop(waiting);
    made
}

struct Timeless(Arc<dyn Store>);

#[async_trait]
impl Store for Timeless {
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        at_once(self.0.commit(batch)).await
    }

    async fn get(&self, table: Table, key: &str) -> Result<Option<Record>, StoreError> {
        at_once(self.0.get(table, key)).await
    }

    async fn list(&self, table: Table) -> Result<Vec<(String, Record)>, StoreError> {
        at_once(self.0.list(table)).await
    }

    async fn task(&self, uid: TaskUid) -> Result<Option<Task>, StoreError> {
        at_once(self.0.task(uid)).await
    }

    async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage, StoreError> {
        at_once(self.0.tasks(query)).await
    }

    async fn unfinished_tasks(&self, after: Option<TaskUid>, limit: usize) -> Result<Vec<Task>, StoreError> {
        at_once(self.0.unfinished_tasks(after, limit)).await
    }

    async fn unfinished_uids(&self, after: Option<TaskUid>, limit: usize) -> Result<Vec<TaskUid>, StoreError> {
        at_once(self.0.unfinished_uids(after, limit)).await
    }

    async fn prune_tasks(&self, finished_before: OffsetDateTime, limit: usize) -> Result<u64, StoreError> {
        at_once(self.0.prune_tasks(finished_before, limit)).await
    }

    async fn delete_tasks(&self, query: &TaskQuery, before: TaskUid, limit: usize) -> Result<u64, StoreError> {
        at_once(self.0.delete_tasks(query, before, limit)).await
    }

    async fn acquire(&self, scope: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        at_once(self.0.acquire(scope, holder, ttl)).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<bool, StoreError> {
        at_once(self.0.renew(lease, ttl)).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        at_once(self.0.release(lease)).await
    }

    async fn leases(&self) -> Result<Vec<HeldLease>, StoreError> {
        at_once(self.0.leases()).await
    }

    async fn lapsed_leases(&self) -> Result<Vec<Lease>, StoreError> {
        at_once(self.0.lapsed_leases()).await
    }

    async fn count(&self, counter: &str) -> Result<u64, StoreError> {
        at_once(self.0.count(counter)).await
    }

    async fn log(&self, log: &str, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        at_once(self.0.log(log, after, limit)).await
    }

    async fn trim(&self, log: &str, through: u64) -> Result<(), StoreError> {
        at_once(self.0.trim(log, through)).await
    }

    fn watch(&self) -> Watch {
        self.0.watch()
    }

    fn is_shared(&self) -> bool {
        self.0.is_shared()
    }

    async fn mark(&self, mark: u64) -> Result<(), StoreError> {
        at_once(self.0.mark(mark)).await
    }

    async fn close(&self) {
        at_once(self.0.close()).await;
    }
}
