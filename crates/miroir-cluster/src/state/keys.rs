//! The registry of API keys. The store is its truth; the key registry in memory answers every request.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::Guard;
use miroir_core::access::{Key, KeyRegistry};
use miroir_core::base::error::{Code, ErrorBody};
use miroir_store::{Batch, Derived, Edit, Records, State, Store, StoreError, Table, TypedTable, View};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Error;
use crate::state::follow::Follow;

/// Every key is held in memory.
const MAX_KEYS: usize = 100_000;

const TABLE: TypedTable<Key> = TypedTable::new(Table::Keys);
/// Written with the default keys, so that of two instances that start at once only one makes them.
const DEFAULTS: TypedTable<bool> = TypedTable::new(Table::Meta);
const DEFAULTS_KEY: &str = "default_keys";

/// The keys as requests look them up. Each key's value is derived when the key comes, and not again.
#[derive(Clone)]
pub struct HeldKeys(KeyRegistry);

impl Deref for HeldKeys {
    type Target = KeyRegistry;

    fn deref(&self) -> &KeyRegistry {
        &self.0
    }
}

impl Derived<Key> for HeldKeys {
    fn apply_change(&mut self, _: &str, before: Option<&Key>, after: Option<&Key>) {
        match (before, after) {
            (_, Some(key)) => self.0.insert(key.clone()),
            (Some(key), None) => self.0.remove(key.uid),
            (None, None) => {}
        }
    }
}

/// All keys.
pub struct Keys(View<Key, HeldKeys>);

impl Keys {
    /// What the store remembers; the default keys when it has none.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn load(store: Arc<dyn Store>, master_key: Option<&str>) -> Result<Self, StoreError> {
        if TABLE.list(&*store).await?.is_empty() {
            make_defaults(&*store).await?;
        }
        View::derive(store, TABLE, HeldKeys(KeyRegistry::new(master_key, []))).await.map(Self)
    }

    /// The keys as the store has them, for whoever follows its changes.
    pub(crate) fn follow(&self) -> &impl Follow {
        &self.0
    }

    /// The keys as they are now.
    pub fn registry(&self) -> Guard<Arc<State<Key, HeldKeys>>> {
        self.0.now()
    }

    /// The key that a path names, by its uid or by its value.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is none.
    pub fn find(&self, text: &str) -> Result<Arc<Key>, Error> {
        let registry = self.registry();
        let uid = match Uuid::parse_str(text) {
            Ok(uid) => uid,
            Err(_) => registry.uid_of(text).ok_or_else(|| not_found(text))?,
        };
        registry.get(uid).cloned().ok_or_else(|| not_found(uid))
    }

    /// Add a key.
    ///
    /// # Errors
    /// [`Error::Invalid`] when its uid is taken; [`Error::Store`] when it cannot be recorded: then nothing changed.
    pub(crate) async fn create(&self, key: Key) -> Result<Arc<Key>, Error> {
        let name = key.uid.to_string();
        let plan = |keys: &Records<Key>| {
            if keys.contains_key(&name) {
                let taken = format!("`uid` field value `{name}` is already an existing API key.");
                return Err(Error::Invalid(ErrorBody::new(Code::ApiKeyAlreadyExists, taken)));
            }
            if keys.len() >= MAX_KEYS {
                return Err(Error::Overloaded("API keys"));
            }
            Ok((Edit::put(name.as_str(), key.clone()), Arc::new(key.clone())))
        };
        self.0.change(plan).await.map(|(key, _)| key)
    }

    /// Change the key that a path names.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is none or `change` refuses; [`Error::Store`] as [`Keys::create`].
    pub(crate) async fn update(
        &self,
        text: &str,
        change: impl Fn(&Key) -> Result<Key, ErrorBody> + Send,
    ) -> Result<Arc<Key>, Error> {
        let uid = self.find(text)?.uid;
        let plan = |keys: &Records<Key>| {
            let key = keys.get(&uid.to_string()).ok_or_else(|| not_found(uid))?;
            let key = change(&key.value).map_err(Error::Invalid)?;
            Ok((Edit::put(uid.to_string(), key.clone()), Arc::new(key)))
        };
        self.0.change(plan).await.map(|(key, _)| key)
    }

    /// Take away the key that a path names, and with it every token that it signed.
    ///
    /// # Errors
    /// As [`Keys::update`].
    pub(crate) async fn delete(&self, text: &str) -> Result<(), Error> {
        let uid = self.find(text)?.uid;
        let plan = |keys: &Records<Key>| match keys.contains_key(&uid.to_string()) {
            true => Ok((Edit::delete(uid.to_string()), ())),
            false => Err(not_found(uid)),
        };
        self.0.change(plan).await.map(drop)
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
