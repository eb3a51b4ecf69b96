//! The key registry: all keys, as requests look them up.

use std::cmp::Reverse;
use std::sync::Arc;

use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::{Key, KeyValue};

/// The keys and the master key they hang on. Copies share what they have in common, so that one can be made for each change.
///
/// Values are found by their digest, so that how long a look-up takes tells nothing about any value.
#[derive(Clone, Default)]
pub struct KeyRegistry {
    master_key: Option<Arc<str>>,
    keys: RedBlackTreeMapSync<Uuid, Arc<Key>>,
    by_digest: HashTrieMapSync<[u8; 32], Uuid>,
}

impl KeyRegistry {
    /// The registry of these keys. Without a master key no key has a value.
    pub fn new(master_key: Option<&str>, keys: impl IntoIterator<Item = Key>) -> Self {
        let mut registry = Self { master_key: master_key.map(Arc::from), ..Self::default() };
        for key in keys {
            registry.insert(key);
        }
        registry
    }

    /// Add a key, in place of the one of its uid. A value belongs to a uid: it is derived when the uid is new.
    pub fn insert(&mut self, key: Key) {
        if !self.keys.contains_key(&key.uid)
            && let Some(value) = self.value_of(key.uid)
        {
            self.by_digest.insert_mut(digest(&value), key.uid);
        }
        self.keys.insert_mut(key.uid, Arc::new(key));
    }

    /// Take a key away.
    pub fn remove(&mut self, uid: Uuid) {
        self.keys.remove_mut(&uid);
        if let Some(value) = self.value_of(uid) {
            self.by_digest.remove_mut(&digest(&value));
        }
    }

    /// Whether there is a master key; without one everybody may do everything but manage keys.
    pub fn has_master_key(&self) -> bool {
        self.master_key.is_some()
    }

    /// Whether the text is the master key, in a time that does not depend on where it differs.
    pub fn is_master_key(&self, text: &str) -> bool {
        self.master_key.as_ref().is_some_and(|key| key.as_bytes().ct_eq(text.as_bytes()).into())
    }

    /// The value of the key of this uid, whether there is one or not; `None` without a master key.
    pub fn value_of(&self, uid: Uuid) -> Option<KeyValue> {
        self.master_key.as_ref().map(|master_key| KeyValue::derive(master_key, uid))
    }

    /// The key of this uid.
    pub fn get(&self, uid: Uuid) -> Option<&Arc<Key>> {
        self.keys.get(&uid)
    }

    /// The uid of the key that has this value.
    pub fn uid_of(&self, value: &str) -> Option<Uuid> {
        self.by_digest.get(&digest(&KeyValue::parse(value)?)).copied()
    }

    /// All keys, the latest first.
    pub fn listed(&self) -> Vec<&Arc<Key>> {
        let mut keys: Vec<&Arc<Key>> = self.keys.values().collect();
        keys.sort_by_key(|key| Reverse(key.created_at));
        keys
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn digest(value: &KeyValue) -> [u8; 32] {
    Sha256::digest(value.bytes()).into()
}
