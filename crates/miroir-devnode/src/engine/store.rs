//! What a node keeps on disk besides its indexes: the tasks, and which index uid names which index.
//!
//! Invariant: when a function that changes something returns, the change is on disk. A task's end and the change it
//! makes to the catalog of indexes are one transaction, so a node that dies in between applies neither.

use std::path::Path;

use milli_core::heed::byteorder::BE;
use milli_core::heed::types::{SerdeJson, Str, U32};
use milli_core::heed::{Database, Env, EnvOpenOptions, WithoutTls};

use crate::error::ApiResult;
use crate::task::Task;

/// Virtual size of the task database: sparse, only what is used takes space.
const MAP_BYTES: usize = 8 << 30;

/// A change to the catalog of indexes.
#[derive(Debug, Clone)]
pub enum CatalogChange {
    /// `uid` names the index in the directory `id`.
    Insert {
        /// What clients call it.
        uid: String,
        /// Its directory.
        id: String,
    },
    /// `uid` names nothing any more.
    Remove(String),
    /// The two uids exchange their indexes.
    Swap(String, String),
}

/// The node's own database.
#[derive(Debug, Clone)]
pub struct Store {
    env: Env<WithoutTls>,
    tasks: Database<U32<BE>, SerdeJson<Task>>,
    indexes: Database<Str, Str>,
}

impl Store {
    /// Opens the database in `dir`, which must exist.
    ///
    /// # Errors
    /// When the files cannot be opened.
    pub fn open(dir: &Path) -> ApiResult<Self> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(MAP_BYTES).max_dbs(2).max_readers(1024);
        // SAFETY: the file is only ever changed through this environment; a node owns its data directory.
        #[allow(unsafe_code)]
        let env = unsafe { options.open(dir) }?;
        let mut wtxn = env.write_txn()?;
        let tasks = env.create_database(&mut wtxn, Some("tasks"))?;
        let indexes = env.create_database(&mut wtxn, Some("indexes"))?;
        wtxn.commit()?;
        Ok(Self { env, tasks, indexes })
    }

    /// Every task, oldest first, handed to `visit` one by one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn for_each_task(&self, mut visit: impl FnMut(Task)) -> ApiResult<()> {
        let rtxn = self.env.read_txn()?;
        for entry in self.tasks.iter(&rtxn)? {
            visit(entry?.1);
        }
        Ok(())
    }

    /// The tasks with these numbers, in this order; unknown numbers are left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn tasks(&self, uids: &[u32]) -> ApiResult<Vec<Task>> {
        let rtxn = self.env.read_txn()?;
        let mut found = Vec::with_capacity(uids.len());
        for uid in uids {
            found.extend(self.tasks.get(&rtxn, uid)?);
        }
        Ok(found)
    }

    /// Writes `tasks`, applies `changes`, and forgets the tasks `pruned`, all or nothing.
    ///
    /// # Errors
    /// When the database cannot be written; then nothing changed.
    pub fn commit(&self, tasks: &[Task], changes: &[CatalogChange], pruned: &[u32]) -> ApiResult<()> {
        let mut wtxn = self.env.write_txn()?;
        for task in tasks {
            self.tasks.put(&mut wtxn, &task.uid, task)?;
        }
        for uid in pruned {
            self.tasks.delete(&mut wtxn, uid)?;
        }
        for change in changes {
            match change {
                CatalogChange::Insert { uid, id } => self.indexes.put(&mut wtxn, uid, id)?,
                CatalogChange::Remove(uid) => {
                    self.indexes.delete(&mut wtxn, uid)?;
                }
                CatalogChange::Swap(left, right) => {
                    let of_left = self.indexes.get(&wtxn, left)?.map(str::to_owned);
                    let of_right = self.indexes.get(&wtxn, right)?.map(str::to_owned);
                    if let Some((of_left, of_right)) = of_left.zip(of_right) {
                        self.indexes.put(&mut wtxn, left, &of_right)?;
                        self.indexes.put(&mut wtxn, right, &of_left)?;
                    }
                }
            }
        }
        wtxn.commit()?;
        Ok(())
    }

    /// The directory of the index `uid`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn index_id(&self, uid: &str) -> ApiResult<Option<String>> {
        let rtxn = self.env.read_txn()?;
        Ok(self.indexes.get(&rtxn, uid)?.map(str::to_owned))
    }

    /// Every index uid with its directory, in uid order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn indexes(&self) -> ApiResult<Vec<(String, String)>> {
        let rtxn = self.env.read_txn()?;
        let mut all = Vec::new();
        for entry in self.indexes.iter(&rtxn)? {
            let (uid, id) = entry?;
            all.push((uid.to_owned(), id.to_owned()));
        }
        Ok(all)
    }

    /// Closes the database once its last reader is gone, waiting for that at most a few seconds.
    pub fn close(self) {
        let closing = self.env.prepare_for_closing();
        closing.wait_timeout(std::time::Duration::from_secs(5));
    }
}
