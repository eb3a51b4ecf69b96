//! The registry of API keys. The store is its truth; a ring in memory answers every request.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use miroir_core::auth::{Key, KeyRing};
use miroir_core::error::{Code, ErrorBody};
use miroir_store::{Batch, Store, StoreError, Table, TypedTable, Write};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Error;

/// Every key is held in memory.
const MAX_KEYS: usize = 100_000;

const TABLE: TypedTable<Key> = TypedTable::new(Table::Keys);
/// Written with the default keys, so that of two instances that start at once only one makes them.
const DEFAULTS: TypedTable<bool> = TypedTable::new(Table::Meta);
const DEFAULTS_KEY: &str = "default_keys";

/// All keys.
pub struct Keys {
    store: Arc<dyn Store>,
    ring: ArcSwap<KeyRing>,
    /// One change at a time, so that memory follows the store in order.
    change: tokio::sync::Mutex<()>,
}

impl Keys {
    /// What the store remembers; the default keys when it has none.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn load(store: Arc<dyn Store>, master_key: Option<&str>) -> Result<Self, StoreError> {
        if TABLE.list(&*store).await?.is_empty() {
            make_defaults(&*store).await?;
        }
        let keys = TABLE.list(&*store).await?.into_iter().map(|(_, record)| record.value);
        let ring = ArcSwap::from_pointee(KeyRing::new(master_key, keys));
        Ok(Self { store, ring, change: tokio::sync::Mutex::default() })
    }

    /// The keys as they are now.
    pub fn ring(&self) -> Guard<Arc<KeyRing>> {
        self.ring.load()
    }

    /// The key that a path names, by its uid or by its value.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is none.
    pub fn find(&self, text: &str) -> Result<Arc<Key>, Error> {
        let ring = self.ring();
        let uid = match Uuid::parse_str(text) {
            Ok(uid) => uid,
            Err(_) => ring.uid_of(text).ok_or_else(|| not_found(text))?,
        };
        ring.get(uid).cloned().ok_or_else(|| not_found(uid))
    }

    /// Add a key.
    ///
    /// # Errors
    /// [`Error::Invalid`] when its uid is taken; [`Error::Store`] when it cannot be recorded: then nothing changed.
    pub async fn create(&self, key: Key) -> Result<Arc<Key>, Error> {
        let _one_at_a_time = self.change.lock().await;
        if self.ring().get(key.uid).is_some() {
            let taken = format!("`uid` field value `{}` is already an existing API key.", key.uid);
            return Err(Error::Invalid(ErrorBody::new(Code::ApiKeyAlreadyExists, taken)));
        }
        if self.ring().len() >= MAX_KEYS {
            return Err(Error::Overloaded("API keys"));
        }
        self.put(key).await
    }

    /// Change the key that a path names.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is none or `change` refuses; [`Error::Store`] as [`Keys::create`].
    pub async fn update(
        &self,
        text: &str,
        change: impl FnOnce(&Key) -> Result<Key, ErrorBody> + Send,
    ) -> Result<Arc<Key>, Error> {
        let _one_at_a_time = self.change.lock().await;
        let key = self.find(text)?;
        self.put(change(&key).map_err(Error::Invalid)?).await
    }

    /// Take away the key that a path names, and with it every token that it signed.
    ///
    /// # Errors
    /// As [`Keys::update`].
    pub async fn delete(&self, text: &str) -> Result<(), Error> {
        let _one_at_a_time = self.change.lock().await;
        let uid = self.find(text)?.uid;
        self.persist(TABLE.delete(&uid.to_string())).await?;
        self.swap(|ring| ring.remove(uid));
        Ok(())
    }

    async fn put(&self, key: Key) -> Result<Arc<Key>, Error> {
        self.persist(TABLE.put(&key.uid.to_string(), &key)?).await?;
        self.swap(|ring| ring.insert(key.clone()));
        Ok(Arc::new(key))
    }

    async fn persist(&self, write: Write) -> Result<(), StoreError> {
        self.store.commit(Batch { writes: vec![write], ..Batch::default() }).await.map(drop)
    }

    fn swap(&self, change: impl Fn(&mut KeyRing)) {
        self.ring.rcu(|ring| {
            let mut next = KeyRing::clone(ring);
            change(&mut next);
            next
        });
    }
}

async fn make_defaults(store: &dyn Store) -> Result<(), StoreError> {
    let before = DEFAULTS.get(store, DEFAULTS_KEY).await?.map(|record| record.version);
    let mut writes = vec![DEFAULTS.put_if(DEFAULTS_KEY, &true, before)?];
    for key in Key::defaults(OffsetDateTime::now_utc(), std::array::from_fn(|_| Uuid::new_v4())) {
        writes.push(TABLE.put(&key.uid.to_string(), &key)?);
    }
    match store.commit(Batch { writes, ..Batch::default() }).await {
        // Another instance made them in this moment.
        Err(StoreError::Conflict { .. }) => Ok(()),
        result => result.map(drop),
    }
}

fn not_found(text: impl std::fmt::Display) -> Error {
    Error::Invalid(ErrorBody::new(Code::ApiKeyNotFound, format!("API key `{text}` not found.")))
}
