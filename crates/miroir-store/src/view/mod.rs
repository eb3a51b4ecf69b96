//! A table held in memory, and what is made of it there.
//!
//! Reads cost one atomic load. Changes go to the store under the condition that the records they are about are still what
//! memory has of them, so that any number of processes may change one table; notification brings the others up to date.
//!
//! Invariant: a record in memory is never replaced by an older one.

mod records;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::turns::Turns;
use crate::{Batch, Committed, Store, StoreError, Typed, TypedTable, Write};

pub use records::Records;

/// Attempts of one change against others of the same records. Each that is lost was won by somebody else.
const ATTEMPTS: usize = 64;

/// Makes of the records what readers need. With it comes what was made before, and the keys of the records that differ.
type Make<T, V> = Box<dyn Fn(&Records<T>, Option<(&State<T, V>, &BTreeSet<String>)>) -> V + Send + Sync>;

/// What is made of records one by one, so that a change of one costs the same however many there are. Copies have to be
/// cheap: one is made for each change.
pub trait Derived<T>: Clone {
    /// Apply the change of one record. `before` is `None` for a new record, `after` for one that was deleted.
    fn apply_change(&mut self, key: &str, before: Option<&T>, after: Option<&T>);
}

/// A table in memory, and `V`, which is made of its records.
pub struct View<T, V> {
    table: TypedTable<T>,
    store: Arc<dyn Store>,
    state: ArcSwap<State<T, V>>,
    make: Make<T, V>,
    /// Had by whoever takes from the store what memory is to have of a record.
    turns: Turns,
    /// Held while memory is changed, which never waits for anything.
    applying: Mutex<()>,
}

/// The records and what is made of them, at one moment.
#[derive(Debug)]
pub struct State<T, V> {
    records: Records<T>,
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

    /// The records that it is about.
    fn keys(&self) -> BTreeSet<String> {
        self.records.keys().chain(self.relies_on.keys()).cloned().collect()
    }
}

impl<T, V> View<T, V>
where
    T: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// The table as it is. `make` is given all records after each change: for tables of few.
    ///
    /// # Errors
    /// As [`TypedTable::list`].
    pub async fn load(
        store: Arc<dyn Store>,
        table: TypedTable<T>,
        make: impl Fn(&Records<T>) -> V + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        Self::load_with(store, table, Box::new(move |records, _| make(records))).await
    }

    /// The table as it is, for tables of many records: what is made of them begins as `none`, and each is applied to it.
    ///
    /// # Errors
    /// As [`TypedTable::list`].
    pub async fn derive(store: Arc<dyn Store>, table: TypedTable<T>, none: V) -> Result<Self, StoreError>
    where
        V: Derived<T>,
    {
        let make = move |records: &Records<T>, news: Option<(&State<T, V>, &BTreeSet<String>)>| match news {
            None => {
                let mut made = none.clone();
                records.iter().for_each(|(key, record)| made.apply_change(key, None, Some(&record.value)));
                made
            }
            Some((before, changed)) => {
                let mut made = before.made.clone();
                for key in changed {
                    let (old, new) = (before.records.get(key), records.get(key));
                    made.apply_change(key, old.map(|old| &old.value), new.map(|new| &new.value));
                }
                made
            }
        };
        Self::load_with(store, table, Box::new(make)).await
    }

    async fn load_with(store: Arc<dyn Store>, table: TypedTable<T>, make: Make<T, V>) -> Result<Self, StoreError> {
        let records: Records<T> = table.list(&*store).await?.into_iter().collect();
        let state = ArcSwap::from_pointee(State { made: make(&records, None), records });
        Ok(Self { table, store, state, make, turns: Turns::default(), applying: Mutex::default() })
    }

    /// As memory has it.
    pub fn now(&self) -> Guard<Arc<State<T, V>>> {
        self.state.load()
    }

    /// As memory has it, to keep.
    pub fn snapshot(&self) -> Arc<State<T, V>> {
        self.state.load_full()
    }

    /// Change records. `plan` sees all of them and says what some are to be; it is asked again when somebody else was faster
    /// with one of those. Changes of different records do not wait for each other.
    ///
    /// # Errors
    /// What `plan` refuses; [`StoreError::Conflict`] when others were always faster, or when it is about a record of
    /// another table; else as [`Store::commit`]: then
    /// memory is as before, and follows if the store was written after all.
    pub async fn change<R, E: From<StoreError>>(
        &self,
        mut plan: impl FnMut(&Records<T>) -> Result<(Edit<T>, R), E>,
    ) -> Result<(R, Committed), E> {
        let mut lost = 0;
        loop {
            let mut state = self.snapshot();
            let (mut edit, mut result) = plan(&state.records)?;
            let mut keys = edit.keys();
            let turn = self.turns.of(&keys).await;
            let now = self.snapshot();
            if keys.iter().any(|key| now.records.version(key) != state.records.version(key)) {
                // Changed while the turn was waited for; in the turn it is not.
                state = now;
                (edit, result) = plan(&state.records)?;
                keys = edit.keys();
            }
            if turn.covers(&keys) {
                match self.try_change(&state.records, edit).await {
                    Ok(committed) => return Ok((result, committed)),
                    // A conflict about something else of the batch is for whoever wants it.
                    Err((StoreError::Conflict { table, .. }, keys))
                        if table == self.table.table() && lost < ATTEMPTS =>
                    {
                        for key in keys {
                            let found = self.table.get(&*self.store, &key).await?;
                            self.apply([(key, found)]);
                        }
                    }
                    Err((error, _)) => return Err(error.into()),
                }
            } else if lost >= ATTEMPTS {
                let key = keys.pop_first().unwrap_or_default();
                return Err(StoreError::Conflict { table: self.table.table(), key }.into());
            }
            lost += 1;
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

    /// A write for a batch that is committed elsewhere; [`View::apply_committed`] follows.
    ///
    /// # Errors
    /// As [`TypedTable::put`].
    pub fn put(&self, key: &str, value: &T) -> Result<Write, StoreError> {
        self.table.put(key, value)
    }

    /// Apply to memory records that a batch has committed at these versions.
    pub async fn apply_committed(&self, written: Vec<(String, T, u64)>) {
        if written.is_empty() {
            return;
        }
        let keys = written.iter().map(|(key, _, _)| key.clone()).collect();
        let _in_order = self.turns.of(&keys).await;
        let records = self.snapshot().records.clone();
        let news = written.into_iter().filter(|(key, _, version)| {
            // A later one was heard of on the way.
            records.version(key).is_none_or(|known| known < *version)
        });
        self.apply(news.map(|(key, value, version)| (key, Some(Typed { version, value, expires_at: None }))));
    }

    /// Read a record again, unless memory has this version of it or a later one. Of many that ask at once, those that wait
    /// while one reads are content with what the next one reads.
    ///
    /// # Errors
    /// As [`TypedTable::get`].
    pub async fn refresh(&self, key: &str, version: Option<u64>) -> Result<(), StoreError> {
        if self.has(key, version) {
            return Ok(());
        }
        let asked = Instant::now();
        let mut turn = self.turns.of(&BTreeSet::from([key.to_owned()])).await;
        if self.has(key, version) {
            return Ok(());
        }
        if let Some(Some((begun, found))) = turn.look()
            && *begun >= asked
        {
            return found.clone();
        }
        let begun = Instant::now();
        let found = self.table.get(&*self.store, key).await;
        let outcome = found.map(|found| self.apply([(key.to_owned(), found)]));
        if let Some(look) = turn.look() {
            *look = Some((begun, outcome.clone()));
        }
        outcome
    }

    /// Read everything again.
    ///
    /// # Errors
    /// As [`TypedTable::list`].
    pub async fn reload(&self) -> Result<(), StoreError> {
        let _in_order = self.turns.of_all().await;
        let records: Records<T> = self.table.list(&*self.store).await?.into_iter().collect();
        let _whole = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        self.state.store(Arc::new(State { made: (self.make)(&records, None), records }));
        Ok(())
    }

    fn has(&self, key: &str, version: Option<u64>) -> bool {
        version.is_some() && self.now().records.version(key) >= version
    }

    /// Whoever calls this has the turns of the records.
    fn apply(&self, news: impl IntoIterator<Item = (String, Option<Typed<T>>)>) {
        let _whole = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot();
        let (mut records, mut changed) = (before.records.clone(), BTreeSet::new());
        for (key, record) in news {
            changed.insert(key.clone());
            records.set(key, record);
        }
        let made = (self.make)(&records, Some((&before, &changed)));
        self.state.store(Arc::new(State { made, records }));
    }
}
