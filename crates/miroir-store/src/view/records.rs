//! The records of a table in memory.

use rpds::RedBlackTreeMapSync;

use crate::Typed;

/// The records of a table, by key. Copies share what they have in common: a copy costs nothing, and a change of one costs a
/// few steps however many there are.
#[derive(Clone, Debug)]
pub struct Records<T>(RedBlackTreeMapSync<String, Typed<T>>);

impl<T> Default for Records<T> {
    fn default() -> Self {
        Self(RedBlackTreeMapSync::default())
    }
}

impl<T> Records<T> {
    /// The record of a key.
    pub fn get(&self, key: &str) -> Option<&Typed<T>> {
        self.0.get(key)
    }

    /// Whether there is a record of this key.
    pub fn contains_key(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Typed<T>)> {
        self.0.iter()
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// The records, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &Typed<T>> {
        self.0.values()
    }

    /// Which version of a record this is; none: there is no record.
    pub(super) fn version(&self, key: &str) -> Option<u64> {
        self.get(key).map(|record| record.version)
    }

    /// The record of a key is this; none: there is none.
    pub(super) fn set(&mut self, key: String, record: Option<Typed<T>>) {
        match record {
            Some(record) => self.0.insert_mut(key, record),
            None => _ = self.0.remove_mut(&key),
        }
    }
}

impl<T> FromIterator<(String, Typed<T>)> for Records<T> {
    fn from_iter<I: IntoIterator<Item = (String, Typed<T>)>>(records: I) -> Self {
        Self(records.into_iter().collect())
    }
}
