//! The catalog: which indexes there are. The store is its truth; a copy in memory answers every request.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwap;
use miroir_core::id::IndexUid;
use miroir_core::settings::Settings;
use miroir_store::{Batch, Committed, Store, StoreError, Table, TypedTable, Write};
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
    /// Names that readers know it by until the tasks before its renaming are done, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierName>,
    /// As committed: what the nodes read back, without the overlay.
    pub settings: Settings,
}

/// A name that readers still know an index by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierName {
    /// The name.
    pub uid: IndexUid,
    /// The mark of the task whose end is the name's end.
    pub until: String,
}

impl Index {
    /// As readers know it.
    fn shown(self: &Arc<Self>) -> Arc<Self> {
        match self.earlier.first() {
            None => self.clone(),
            Some(name) => Arc::new(Self { uid: name.uid.clone(), ..Self::clone(self) }),
        }
    }
}

/// Exchange the names of two indexes, or give one a name that is free.
#[derive(Clone, Debug)]
pub struct Renaming {
    /// The index.
    pub from: IndexUid,
    /// The other index, or the new name.
    pub to: IndexUid,
}

type Entries = BTreeMap<IndexUid, Arc<Index>>;

/// All indexes at one moment.
#[derive(Default)]
struct Names {
    /// As writes know them.
    writers: Entries,
    /// As reads know them; none whose creation is under way.
    readers: Entries,
}

impl Names {
    fn new(writers: Entries) -> Self {
        let mut readers = Entries::new();
        // An index that keeps its name for readers stands before one that has taken it since.
        let (renamed, others): (Vec<_>, Vec<_>) = writers.values().partition(|index| !index.earlier.is_empty());
        for index in others.into_iter().chain(renamed).filter(|index| index.ready) {
            let shown = index.shown();
            readers.insert(shown.uid.clone(), shown);
        }
        Self { writers, readers }
    }
}

/// All indexes.
pub struct Catalog {
    store: Arc<dyn Store>,
    names: ArcSwap<Names>,
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
        Ok(Self { store, names: ArcSwap::from_pointee(Names::new(entries)), change: tokio::sync::Mutex::default() })
    }

    /// The index that a write means, also one whose creation is still under way.
    pub fn get(&self, uid: &IndexUid) -> Option<Arc<Index>> {
        self.names.load().writers.get(uid).cloned()
    }

    /// The index that a read means.
    pub fn read(&self, uid: &IndexUid) -> Option<Arc<Index>> {
        self.names.load().readers.get(uid).cloned()
    }

    /// The index that is called this on the nodes, under the name that writes use.
    pub fn by_physical(&self, physical: &IndexUid) -> Option<Arc<Index>> {
        self.names.load().writers.values().find(|index| index.physical == *physical).cloned()
    }

    /// All indexes that reads know, by uid.
    pub fn ready(&self) -> Vec<Arc<Index>> {
        self.names.load().readers.values().cloned().collect()
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

    /// Change the index that is called this on the nodes, whatever its name is by now; `change` says whether it changed
    /// anything. Returns what is there now.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn update(
        &self,
        physical: &IndexUid,
        change: impl FnOnce(&mut Index) -> bool + Send,
    ) -> Result<Option<Arc<Index>>, StoreError> {
        let _one_at_a_time = self.change.lock().await;
        let Some(current) = self.by_physical(physical) else { return Ok(None) };
        let mut next = Index::clone(&current);
        if !change(&mut next) {
            return Ok(Some(current));
        }
        self.persist(TABLE.put(next.uid.as_str(), &next)?, Vec::new()).await?;
        let next = Arc::new(next);
        self.swap(|entries| {
            entries.insert(next.uid.clone(), next.clone());
        });
        Ok(Some(next))
    }

    /// Give indexes new names, all at once and together with the rest of the batch. Readers keep the old ones until
    /// [`Catalog::unveil`]; without a mark they do not. `rename` changes what else a new name brings with it.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn rename(
        &self,
        renamings: &[Renaming],
        until: Option<&str>,
        mut batch: Batch,
    ) -> Result<Committed, StoreError> {
        let _one_at_a_time = self.change.lock().await;
        let current = self.names.load_full();
        let mut next = current.writers.clone();
        for Renaming { from, to } in renamings {
            let moved = [(next.remove(from), to), (next.remove(to), from)];
            for (index, uid) in moved {
                let Some(mut index) = index.map(|index| Index::clone(&index)) else { continue };
                match until {
                    Some(until) => index.earlier.push(EarlierName { uid: index.uid, until: until.into() }),
                    None => index.earlier.clear(),
                }
                index.uid = uid.clone();
                index.updated_at = OffsetDateTime::now_utc();
                next.insert(uid.clone(), Arc::new(index));
            }
        }
        for uid in renamings.iter().flat_map(|renaming| [&renaming.from, &renaming.to]) {
            batch.writes.push(match next.get(uid) {
                Some(index) => TABLE.put(uid.as_str(), index)?,
                None => TABLE.delete(uid.as_str()),
            });
        }
        batch.renamed = renamings.iter().map(|renaming| (renaming.from.clone(), renaming.to.clone())).collect();
        let committed = self.store.commit(batch).await?;
        self.names.store(Arc::new(Names::new(next)));
        Ok(committed)
    }

    /// Readers learn the names that are marked with this, and of all names before them.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn unveil(&self, until: &str) -> Result<(), StoreError> {
        let _one_at_a_time = self.change.lock().await;
        let current = self.names.load_full();
        let mut next = current.writers.clone();
        let mut writes = Vec::new();
        for (uid, index) in &mut next {
            let Some(last) = index.earlier.iter().rposition(|name| name.until == until) else { continue };
            let mut changed = Index::clone(index);
            changed.earlier.drain(..=last);
            writes.push(TABLE.put(uid.as_str(), &changed)?);
            *index = Arc::new(changed);
        }
        if !writes.is_empty() {
            self.store.commit(Batch { writes, ..Batch::default() }).await?;
            self.names.store(Arc::new(Names::new(next)));
        }
        Ok(())
    }

    /// Remove the index that is called this on the nodes, together with what else must go in the same step.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn remove(&self, physical: &IndexUid, with: Vec<Write>) -> Result<(), StoreError> {
        let _one_at_a_time = self.change.lock().await;
        let Some(index) = self.by_physical(physical) else { return Ok(()) };
        self.persist(TABLE.delete(index.uid.as_str()), with).await?;
        self.swap(|entries| {
            entries.remove(&index.uid);
        });
        Ok(())
    }

    async fn persist(&self, write: Write, mut with: Vec<Write>) -> Result<(), StoreError> {
        with.push(write);
        self.store.commit(Batch { writes: with, ..Batch::default() }).await.map(drop)
    }

    fn swap(&self, change: impl Fn(&mut Entries)) {
        self.names.rcu(|names| {
            let mut next = names.writers.clone();
            change(&mut next);
            Names::new(next)
        });
    }
}
