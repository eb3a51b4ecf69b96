//! A table held in memory, and what is made of it there.
//!
//! Reads cost one atomic load. Changes go to the store under the condition that the records they are about are still what
//! memory has of them, so that any number of processes may change one table; notification brings the others up to date.
//!
//! Invariant: a record in memory is never replaced by an older one.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Batch, Committed, Store, StoreError, Typed, TypedTable, Write};

/// Attempts of one change against others of the same records. Each that is lost was won by somebody else.
const ATTEMPTS: usize = 64;

/// The records of a table, by key.
pub type Records<T> = BTreeMap<String, Typed<T>>;

type Make<T, V> = Box<dyn Fn(&Records<T>) -> V + Send + Sync>;

/// A table in memory, and `V`, which is made of its records.
pub struct View<T, V> {
    table: TypedTable<T>,
    store: Arc<dyn Store>,
    state: ArcSwap<State<T, V>>,
    make: Make<T, V>,
    /// Held by whoever takes from the store what memory is to have, so that it is taken in order.
    turn: tokio::sync::Mutex<()>,
}

/// The records and what is made of them, at one moment.
#[derive(Debug)]
pub struct State<T, V> {
    records: Arc<Records<T>>,
    made: V,
}

impl<T, V> State<T, V> {
    /// The records.
    pub fn records(&self) -> &Records<T> {
        &self.records
    }
}

impl<T, V> Deref for State<T, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.made
    }
}

/// A change of some records of a view.
#[derive(Debug)]
pub struct Edit<T> {
    /// What the records of these keys are to be; none: deleted. Other records are not touched.
    pub records: BTreeMap<String, Option<T>>,
    /// The plan holds only while these records are what memory has of them. They are written, also when they stay the same.
    pub relies_on: BTreeMap<String, T>,
    /// What else is to be written in the same step. Its own writes come after the records.
    pub with: Batch,
}

impl<T> Edit<T> {
    /// Nothing is to be changed.
    pub fn nothing() -> Self {
        Self { records: BTreeMap::new(), relies_on: BTreeMap::new(), with: Batch::default() }
    }

    /// One record is to be this.
    pub fn put(key: impl Into<String>, value: T) -> Self {
        Self { records: [(key.into(), Some(value))].into(), ..Self::nothing() }
    }

    /// One record is to be deleted.
    pub fn delete(key: impl Into<String>) -> Self {
        Self { records: [(key.into(), None)].into(), ..Self::nothing() }
    }

    /// The same, together with something else.
    pub fn with(self, with: Batch) -> Self {
        Self { with, ..self }
    }
}

impl<T, V> View<T, V>
where
    T: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// The table as it is.
    ///
    /// # Errors
    /// As [`TypedTable::list`].
    pub async fn load(
        store: Arc<dyn Store>,
        table: TypedTable<T>,
        make: impl Fn(&Records<T>) -> V + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let records: Records<T> = table.list(&*store).await?.into_iter().collect();
        let state = State { made: make(&records), records: Arc::new(records) };
        let (state, turn) = (ArcSwap::from_pointee(state), tokio::sync::Mutex::default());
        Ok(Self { table, store, state, make: Box::new(make), turn })
    }

    /// As memory has it.
    pub fn now(&self) -> Guard<Arc<State<T, V>>> {
        self.state.load()
    }

    /// As memory has it, to keep.
    pub fn snapshot(&self) -> Arc<State<T, V>> {
        self.state.load_full()
    }

    /// Change records. `plan` sees them and says what they are to be; it is asked again when somebody else was faster.
    ///
    /// # Errors
    /// What `plan` refuses; [`StoreError::Conflict`] when others were always faster, or when it is about a record of
    /// another table; else as [`Store::commit`]: then
    /// memory is as before, and follows if the store was written after all.
    pub async fn change<R, E: From<StoreError>>(
        &self,
        mut plan: impl FnMut(&Records<T>) -> Result<(Edit<T>, R), E>,
    ) -> Result<(R, Committed), E> {
        let _in_order = self.turn.lock().await;
        let mut lost = 0;
        loop {
            let state = self.snapshot();
            let (edit, result) = plan(&state.records)?;
            match self.try_change(&state.records, edit).await {
                Ok(committed) => return Ok((result, committed)),
                // A conflict about something else of the batch is for whoever wants it.
                Err((StoreError::Conflict { table, .. }, keys)) if table == self.table.table() && lost < ATTEMPTS => {
                    lost += 1;
                    for key in keys {
                        let found = self.table.get(&*self.store, &key).await?;
                        self.apply([(key, found)]);
                    }
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    async fn try_change(
        &self,
        before: &Records<T>,
        Edit { records, relies_on, mut with }: Edit<T>,
    ) -> Result<Committed, (StoreError, Vec<String>)> {
        let mut writes = Vec::with_capacity(records.len());
        let mut changed = Vec::with_capacity(records.len());
        let relied_on = relies_on.into_iter().filter(|(key, _)| !records.contains_key(key));
        let relied_on: Vec<_> = relied_on.map(|(key, value)| (key, Some(value), true)).collect();
        for (key, value, always) in records.into_iter().map(|(key, value)| (key, value, false)).chain(relied_on) {
            let known = before.get(&key);
            let write = match &value {
                Some(value) if !always && known.is_some_and(|known| known.value == *value) => continue,
                Some(value) => self.table.put_if(&key, value, known.map(|known| known.version)),
                None => match known {
                    Some(known) => Ok(self.table.delete_if(&key, known.version)),
                    None => continue,
                },
            };
            writes.push(write.map_err(|error| (error, Vec::new()))?);
            changed.push((key, value));
        }
        if writes.is_empty() && with.is_empty() {
            return Ok(Committed::default());
        }
        writes.append(&mut with.writes);
        with.writes = writes;
        let mut committed = match self.store.commit(with).await {
            Ok(committed) => committed,
            Err(error) => return Err((error, changed.into_iter().map(|(key, _)| key).collect())),
        };
        let rest = committed.versions.split_off(changed.len().min(committed.versions.len()));
        let versions = std::mem::replace(&mut committed.versions, rest);
        self.apply(changed.into_iter().zip(versions).map(|((key, value), version)| {
            let typed = value.zip(version).map(|(value, version)| Typed { version, value, expires_at: None });
            (key, typed)
        }));
        Ok(committed)
    }

    /// A write for a batch that is committed elsewhere; [`View::learn`] follows.
    ///
    /// # Errors
    /// As [`TypedTable::put`].
    pub fn put(&self, key: &str, value: &T) -> Result<Write, StoreError> {
        self.table.put(key, value)
    }

    /// Take note of records that a batch has written at these versions.
    pub async fn learn(&self, written: Vec<(String, T, u64)>) {
        if written.is_empty() {
            return;
        }
        let _in_order = self.turn.lock().await;
        let records = self.snapshot().records.clone();
        let news = written.into_iter().filter(|(key, _, version)| {
            // A later one was heard of on the way.
            records.get(key).is_none_or(|known| known.version < *version)
        });
        self.apply(news.map(|(key, value, version)| (key, Some(Typed { version, value, expires_at: None }))));
    }

    /// Read a record again, unless memory has this version of it or a later one.
    ///
    /// # Errors
    /// As [`TypedTable::get`].
    pub async fn refresh(&self, key: &str, version: Option<u64>) -> Result<(), StoreError> {
        if self.has(key, version) {
            return Ok(());
        }
        let _in_order = self.turn.lock().await;
        if self.has(key, version) {
            return Ok(());
        }
        let found = self.table.get(&*self.store, key).await?;
        self.apply([(key.to_owned(), found)]);
        Ok(())
    }

    /// Read everything again.
    ///
    /// # Errors
    /// As [`TypedTable::list`].
    pub async fn reload(&self) -> Result<(), StoreError> {
        let _in_order = self.turn.lock().await;
        let records: Records<T> = self.table.list(&*self.store).await?.into_iter().collect();
        self.state.store(Arc::new(State { made: (self.make)(&records), records: Arc::new(records) }));
        Ok(())
    }

    fn has(&self, key: &str, version: Option<u64>) -> bool {
        let known = self.now().records.get(key).map(|known| known.version);
        version.is_some() && known >= version
    }

    /// Whoever calls this holds the turn.
    fn apply(&self, news: impl IntoIterator<Item = (String, Option<Typed<T>>)>) {
        let mut records = Records::clone(&self.now().records);
        for (key, record) in news {
            match record {
                Some(record) => records.insert(key, record),
                None => records.remove(&key),
            };
        }
        self.state.store(Arc::new(State { made: (self.make)(&records), records: Arc::new(records) }));
    }
}
