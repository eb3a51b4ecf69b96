//! Tables of values: one abstraction for all of them.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use crate::{Record, Store, StoreError, Table, Write};

/// A table whose records are `T` as JSON. Reads go to a store; writes are values to put into a [`crate::Batch`].
#[derive(Debug)]
pub struct TypedTable<T> {
    table: Table,
    of: PhantomData<fn() -> T>,
}

/// A record with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed<T> {
    /// As in [`Record`].
    pub version: u64,
    /// The value.
    pub value: T,
    /// As in [`Record`].
    pub expires_at: Option<OffsetDateTime>,
}

impl<T> TypedTable<T> {
    /// This table, holding `T`.
    pub const fn new(table: Table) -> Self {
        Self { table, of: PhantomData }
    }

    /// Which table it is.
    pub(crate) const fn table(&self) -> Table {
        self.table
    }

    /// Delete, if it is there at all.
    pub fn delete(&self, key: &str) -> Write {
        Write::Delete { table: self.table, key: key.into() }
    }

    /// Delete if the record is at this version.
    pub fn delete_if(&self, key: &str, expected: u64) -> Write {
        Write::DeleteIf { table: self.table, key: key.into(), expected }
    }

    fn broken(&self, key: &str, source: serde_json::Error) -> StoreError {
        StoreError::Record { table: self.table, key: key.into(), source: Arc::new(source) }
    }
}

impl<T: Serialize> TypedTable<T> {
    /// Write, whatever is there.
    ///
    /// # Errors
    /// [`StoreError::Record`] when the value cannot be written as JSON.
    pub fn put(&self, key: &str, value: &T) -> Result<Write, StoreError> {
        Ok(Write::Put { table: self.table, key: key.into(), value: self.text(key, value)?, ttl: None })
    }

    /// Write, whatever is there, for a time.
    ///
    /// # Errors
    /// As [`TypedTable::put`].
    pub fn put_for(&self, key: &str, value: &T, ttl: Duration) -> Result<Write, StoreError> {
        let value = self.text(key, value)?;
        Ok(Write::Put { table: self.table, key: key.into(), value, ttl: Some(ttl) })
    }

    /// Write if the record is at this version; `None`: if there is no record.
    ///
    /// # Errors
    /// As [`TypedTable::put`].
    pub fn put_if(&self, key: &str, value: &T, expected: Option<u64>) -> Result<Write, StoreError> {
        let value = self.text(key, value)?;
        Ok(Write::PutIf { table: self.table, key: key.into(), value, ttl: None, expected })
    }

    fn text(&self, key: &str, value: &T) -> Result<Bytes, StoreError> {
        serde_json::to_vec(value).map(Bytes::from).map_err(|error| self.broken(key, error))
    }
}

impl<T: DeserializeOwned> TypedTable<T> {
    /// The record of this key.
    ///
    /// # Errors
    /// As [`Store::get`]; [`StoreError::Record`] when the record is no `T`.
    pub async fn get(&self, store: &dyn Store, key: &str) -> Result<Option<Typed<T>>, StoreError> {
        let record = store.get(self.table, key).await?;
        record.map(|record| self.value(key, &record)).transpose()
    }

    /// All records, by key.
    ///
    /// # Errors
    /// As [`Store::list`]; [`StoreError::Record`] when a record is no `T`.
    pub async fn list(&self, store: &dyn Store) -> Result<Vec<(String, Typed<T>)>, StoreError> {
        let records = store.list(self.table).await?;
        let typed = |(key, record): (String, Record)| self.value(&key, &record).map(|value| (key, value));
        records.into_iter().map(typed).collect()
    }

    fn value(&self, key: &str, record: &Record) -> Result<Typed<T>, StoreError> {
        let value = serde_json::from_slice(&record.value).map_err(|error| self.broken(key, error))?;
        Ok(Typed { version: record.version, value, expires_at: record.expires_at })
    }
}
