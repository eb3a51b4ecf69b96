//! The catalog: which indexes there are. The store is its truth; a copy in memory answers every request.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwap;
use miroir_core::id::IndexUid;
use miroir_core::settings::Settings;
use miroir_store::{Batch, Store, StoreError, Table, TypedTable, Write};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// An index as clients know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Index {
    /// The client's name.
    pub uid: IndexUid,
    /// The name on the nodes.
    pub physical: IndexUid,
    /// Given or inferred; routing needs it.
    pub primary_key: Option<String>,
    /// Number of shards, fixed at creation.
    pub shards: NonZeroU32,
    /// When it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// Its creation has been processed. Before that, as with one server, only writes know it.
    pub ready: bool,
    /// As committed: what the nodes read back, without the overlay.
    pub settings: Settings,
}

type Entries = BTreeMap<IndexUid, Arc<Index>>;

/// All indexes.
pub struct Catalog {
    store: Arc<dyn Store>,
    entries: ArcSwap<Entries>,
    /// One change at a time, so that memory follows the store in order.
    change: tokio::sync::Mutex<()>,
}

const TABLE: TypedTable<Index> = TypedTable::new(Table::Catalog);

impl Catalog {
    /// What the store remembers.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let records = TABLE.list(&*store).await?;
        let entries: Entries =
            records.into_iter().map(|(_, record)| (record.value.uid.clone(), Arc::new(record.value))).collect();
        Ok(Self { store, entries: ArcSwap::from_pointee(entries), change: tokio::sync::Mutex::default() })
    }

    /// The index, also one whose creation is still under way.
    pub fn get(&self, uid: &IndexUid) -> Option<Arc<Index>> {
        self.entries.load().get(uid).cloned()
    }

    /// The index that is called this on the nodes.
    pub fn by_physical(&self, physical: &IndexUid) -> Option<Arc<Index>> {
        self.entries.load().values().find(|index| index.physical == *physical).cloned()
    }

    /// All indexes whose creation has been processed, by uid.
    pub fn ready(&self) -> Vec<Arc<Index>> {
        self.entries.load().values().filter(|index| index.ready).cloned().collect()
    }

    /// Insert an index that is not there. Returns whether it was inserted.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn insert(&self, index: Index) -> Result<bool, StoreError> {
        let _one_at_a_time = self.change.lock().await;
        if self.get(&index.uid).is_some() {
            return Ok(false);
        }
        self.persist(TABLE.put(index.uid.as_str(), &index)?, Vec::new()).await?;
        self.swap(|entries| {
            entries.insert(index.uid.clone(), Arc::new(index.clone()));
        });
        Ok(true)
    }

    /// Change an index that is there; `change` says whether it changed anything. Returns what is there now.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn update(
        &self,
        uid: &IndexUid,
        change: impl FnOnce(&mut Index) -> bool + Send,
    ) -> Result<Option<Arc<Index>>, StoreError> {
        let _one_at_a_time = self.change.lock().await;
        let Some(current) = self.get(uid) else { return Ok(None) };
        let mut next = Index::clone(&current);
        if !change(&mut next) {
            return Ok(Some(current));
        }
        self.persist(TABLE.put(uid.as_str(), &next)?, Vec::new()).await?;
        let next = Arc::new(next);
        self.swap(|entries| {
            entries.insert(uid.clone(), next.clone());
        });
        Ok(Some(next))
    }

    /// Remove an index, together with what else must go in the same step.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn remove(&self, uid: &IndexUid, with: Vec<Write>) -> Result<(), StoreError> {
        let _one_at_a_time = self.change.lock().await;
        self.persist(TABLE.delete(uid.as_str()), with).await?;
        self.swap(|entries| {
            entries.remove(uid);
        });
        Ok(())
    }

    async fn persist(&self, write: Write, mut with: Vec<Write>) -> Result<(), StoreError> {
        with.push(write);
        self.store.commit(Batch { writes: with, ..Batch::default() }).await.map(drop)
    }

    fn swap(&self, change: impl Fn(&mut Entries)) {
        self.entries.rcu(|entries| {
            let mut next = Entries::clone(entries);
            change(&mut next);
            next
        });
    }
}
