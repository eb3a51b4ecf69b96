//! A store that tells what it is asked for. The tests of other crates use it by its path.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use miroir_core::base::id::TaskUid;
use miroir_core::write::task::{Task, TaskPage, TaskQuery};
use miroir_store::{Batch, Committed, Entry, HeldLease, Lease, Record, Store, StoreError, Table, Watch};
use time::OffsetDateTime;

/// Who is told.
#[async_trait]
pub trait Observer: Send + Sync + 'static {
    /// What a call returns that has begun is dropped when the call has ended.
    fn begins(&self) -> Box<dyn Send> {
        Box::new(())
    }

    /// A batch is about to be committed, when this returns.
    async fn commits(&self, _batch: &Batch) {}

    /// So many rows were read.
    fn reads(&self, _rows: usize) {}
}

/// The store, and who is told.
pub struct Observed<O> {
    pub store: Arc<dyn Store>,
    pub observer: O,
}

impl<O: Observer> Observed<O> {
    fn read<T>(&self, rows: Vec<T>) -> Vec<T> {
        self.observer.reads(rows.len());
        rows
    }
}

#[async_trait]
impl<O: Observer> Store for Observed<O> {
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let _call = self.observer.begins();
        self.observer.commits(&batch).await;
        self.store.commit(batch).await
    }

    async fn get(&self, table: Table, key: &str) -> Result<Option<Record>, StoreError> {
        let _call = self.observer.begins();
        self.observer.reads(1);
        self.store.get(table, key).await
    }

    async fn list(&self, table: Table) -> Result<Vec<(String, Record)>, StoreError> {
        let _call = self.observer.begins();
        self.store.list(table).await.map(|rows| self.read(rows))
    }

    async fn task(&self, uid: TaskUid) -> Result<Option<Task>, StoreError> {
        let _call = self.observer.begins();
        self.observer.reads(1);
        self.store.task(uid).await
    }

    async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage, StoreError> {
        let _call = self.observer.begins();
        let page = self.store.tasks(query).await?;
        Ok(TaskPage { tasks: self.read(page.tasks), ..page })
    }

    async fn unfinished_tasks(&self, after: Option<TaskUid>, limit: usize) -> Result<Vec<Task>, StoreError> {
        let _call = self.observer.begins();
        self.store.unfinished_tasks(after, limit).await.map(|rows| self.read(rows))
    }

    async fn unfinished_uids(&self, after: Option<TaskUid>, limit: usize) -> Result<Vec<TaskUid>, StoreError> {
        let _call = self.observer.begins();
        self.store.unfinished_uids(after, limit).await.map(|rows| self.read(rows))
    }

    async fn prune_tasks(&self, finished_before: OffsetDateTime, limit: usize) -> Result<u64, StoreError> {
        let _call = self.observer.begins();
        self.store.prune_tasks(finished_before, limit).await
    }

    async fn delete_tasks(&self, query: &TaskQuery, before: TaskUid, limit: usize) -> Result<u64, StoreError> {
        let _call = self.observer.begins();
        self.store.delete_tasks(query, before, limit).await
    }

    async fn acquire(&self, scope: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let _call = self.observer.begins();
        self.store.acquire(scope, holder, ttl).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<bool, StoreError> {
        let _call = self.observer.begins();
        self.store.renew(lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let _call = self.observer.begins();
        self.store.release(lease).await
    }

    async fn leases(&self) -> Result<Vec<HeldLease>, StoreError> {
        let _call = self.observer.begins();
        self.store.leases().await
    }

    async fn lapsed_leases(&self) -> Result<Vec<Lease>, StoreError> {
        let _call = self.observer.begins();
        self.store.lapsed_leases().await.map(|rows| self.read(rows))
    }

    async fn count(&self, counter: &str) -> Result<u64, StoreError> {
        let _call = self.observer.begins();
        self.store.count(counter).await
    }

    async fn log(&self, log: &str, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let _call = self.observer.begins();
        self.store.log(log, after, limit).await
    }

    async fn trim(&self, log: &str, through: u64) -> Result<(), StoreError> {
        let _call = self.observer.begins();
        self.store.trim(log, through).await
    }

    fn watch(&self) -> Watch {
        self.store.watch()
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    async fn mark(&self, mark: u64) -> Result<(), StoreError> {
        let _call = self.observer.begins();
        self.store.mark(mark).await
    }

    async fn close(&self) {
        let _call = self.observer.begins();
        self.store.close().await;
    }
}
