//! The search engine's indexes on disk, by uid.

pub mod embedder_settings;
pub mod embedders;
pub mod locale;
pub mod rules;
pub mod setting_values;
pub mod settings;
pub mod store;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use milli_core::heed::EnvOpenOptions;
use milli_core::update::IndexerConfig;
use milli_core::{Index, ThreadPoolNoAbortBuilder};

use self::embedders::Embedders;
use self::rules::Rules;
use self::store::{CatalogChange, Store};
use crate::error::{ApiError, ApiResult};

/// Virtual size of one index: sparse, only what is used takes space.
const INDEX_MAP_BYTES: usize = 20 << 30;

/// Longest index uid.
const MAX_UID_BYTES: usize = 512;

/// One indexing pool for all nodes of the process: several nodes on a small machine must not each claim every core. Few
/// threads: the engine clears 50 MiB of buffers for each of them whenever it indexes, be it a single document.
static INDEXER: LazyLock<IndexerConfig> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
    let thread_pool = ThreadPoolNoAbortBuilder::new()
        .thread_name(|index| format!("indexing-{index}"))
        .num_threads((cores / 2).clamp(1, 4))
        .build()
        .ok();
    IndexerConfig { thread_pool, ..IndexerConfig::default() }
});

/// How documents are indexed, shared by every node of the process.
pub fn indexer() -> &'static IndexerConfig {
    &INDEXER
}

/// The indexes of one node.
pub struct Engine {
    store: Store,
    dir: PathBuf,
    open: Mutex<HashMap<String, Index>>,
    embedders: Embedders,
    rules: Rules,
}

impl Engine {
    /// Opens what `data_dir` holds, and removes directories that no index uid names any more.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn open(data_dir: &Path) -> ApiResult<Arc<Self>> {
        let store_dir = data_dir.join("tasks");
        let dir = data_dir.join("indexes");
        std::fs::create_dir_all(&store_dir)?;
        std::fs::create_dir_all(&dir)?;
        let store = Store::open(&store_dir)?;
        let known: Vec<String> = store.indexes()?.into_iter().map(|(_, id)| id).collect();
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            if !known.iter().any(|id| entry.file_name() == id.as_str()) {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        let embedders = Embedders::default();
        let rules = Rules::open(data_dir);
        Ok(Arc::new(Self { store, dir, open: Mutex::default(), embedders, rules }))
    }

    /// The node's own database.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The embedders in use.
    pub const fn embedders(&self) -> &Embedders {
        &self.embedders
    }

    /// The search rules.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<String, Index>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index `uid`.
    ///
    /// # Errors
    /// `index_not_found`, or when its files cannot be read.
    pub fn index(&self, uid: &str) -> ApiResult<Index> {
        match self.store.index_id(uid)? {
            Some(id) => self.open_id(&id, false),
            None => Err(ApiError::index_not_found(uid)),
        }
    }

    fn open_id(&self, id: &str, creation: bool) -> ApiResult<Index> {
        let mut opened = self.opened();
        if let Some(index) = opened.get(id) {
            return Ok(index.clone());
        }
        let path = self.dir.join(id);
        std::fs::create_dir_all(&path)?;
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(INDEX_MAP_BYTES).max_readers(1024);
        let index = Index::new(options, &path, creation)?;
        opened.insert(id.to_owned(), index.clone());
        Ok(index)
    }

    /// A new index that no uid names yet, and its directory's name.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn prepare_index(&self) -> ApiResult<(String, Index)> {
        let id = uuid::Uuid::new_v4().to_string();
        let index = self.open_id(&id, true)?;
        Ok((id, index))
    }

    /// The index `uid`, created when it does not exist.
    ///
    /// # Errors
    /// When its files cannot be read or written.
    pub fn index_or_create(&self, uid: &str) -> ApiResult<Index> {
        if let Some(id) = self.store.index_id(uid)? {
            return self.open_id(&id, false);
        }
        let (id, index) = self.prepare_index()?;
        let change = CatalogChange::Insert { uid: uid.to_owned(), id };
        self.store.commit(&[], &[change], &[])?;
        Ok(index)
    }

    /// Removes the files of an index that no uid names any more. Searches that still read it finish.
    pub fn discard(&self, id: &str) {
        self.opened().remove(id);
        if let Err(error) = std::fs::remove_dir_all(self.dir.join(id)) {
            tracing::warn!(%error, id, "could not remove a deleted index; it is removed at the next start");
        }
    }

    /// The bytes that the indexes take on disk.
    ///
    /// # Errors
    /// When the indexes cannot be listed.
    pub fn disk_bytes(&self) -> ApiResult<u64> {
        let mut total = 0;
        for (_, id) in self.store.indexes()? {
            total += self.open_id(&id, false)?.on_disk_size()?;
        }
        Ok(total)
    }

    /// Closes every index, so that the directory can be opened again in this process. Waits a bounded time for readers.
    pub fn close(self) {
        let opened = self.open.into_inner().unwrap_or_else(PoisonError::into_inner);
        for index in opened.into_values() {
            index.prepare_for_closing().wait_timeout(Duration::from_secs(5));
        }
        self.store.close();
    }
}

/// Checks that `uid` can name an index.
///
/// # Errors
/// `invalid_index_uid`.
pub fn check_uid(uid: &str) -> ApiResult<()> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !uid.is_empty() && uid.len() <= MAX_UID_BYTES && uid.bytes().all(valid) {
        return Ok(());
    }
    Err(ApiError::new(
        "invalid_index_uid",
        format!(
            "`{uid}` is not a valid index uid. Index uid can be an integer or a string containing only \
             alphanumeric characters, hyphens (-) and underscores (_), and can not be more than {MAX_UID_BYTES} bytes."
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_uids_are_plain_words() {
        assert!(check_uid("products-2_a").is_ok());
        for bad in ["", "a/b", "é", "a b", "..", &"a".repeat(MAX_UID_BYTES + 1)] {
            assert_eq!(check_uid(bad).unwrap_err().code, "invalid_index_uid");
        }
    }
}
