//! Turns: who may take what the store has of a record into memory, so that it is taken in order.
//!
//! Invariant: of each record at most one has the turn, and nobody has that of any record while somebody has all turns.
//! Whoever waits for several takes them in the order of their keys, so that nobody waits for ever.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Mutex as Queue, OwnedMutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::StoreError;

/// The last look at a record in the store: when it began, and how it ended.
pub(super) type Look = Option<(Instant, Result<(), StoreError>)>;

/// The turns of a table's records.
#[derive(Default)]
pub(super) struct Turns {
    all: RwLock<()>,
    /// Of the records that somebody has the turn of or waits for.
    of_records: Mutex<HashMap<String, Arc<Queue<Look>>>>,
}

/// The turns of some records, given back when dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    _not_all: RwLockReadGuard<'a, ()>,
    held: Vec<(String, OwnedMutexGuard<Look>)>,
}

impl Turns {
    /// Wait for the turns of these records.
    pub(super) async fn of(&self, keys: &BTreeSet<String>) -> Turn<'_> {
        let mut turn = Turn { turns: self, _not_all: self.all.read().await, held: Vec::with_capacity(keys.len()) };
        for key in keys {
            let queue = self.of_records().entry(key.clone()).or_default().clone();
            turn.held.push((key.clone(), queue.lock_owned().await));
        }
        turn
    }

    /// Wait for the turns of all records, also of those that are not there yet.
    pub(super) async fn of_all(&self) -> RwLockWriteGuard<'_, ()> {
        self.all.write().await
    }

    fn of_records(&self) -> MutexGuard<'_, HashMap<String, Arc<Queue<Look>>>> {
        self.of_records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Whether it is the turn of all these records.
    pub(super) fn covers(&self, keys: &BTreeSet<String>) -> bool {
        keys.iter().all(|key| self.held.iter().any(|(held, _)| held == key))
    }

    /// The last look at the one record that it is the turn of.
    pub(super) fn look(&mut self) -> Option<&mut Look> {
        self.held.first_mut().map(|(_, look)| &mut **look)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queues = self.turns.of_records();
        for (key, held) in self.held.drain(..) {
            drop(held);
            // Whoever waits has the queue, too.
            if queues.get(&key).is_some_and(|queue| Arc::strong_count(queue) == 1) {
                queues.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn keys(keys: &[&str]) -> BTreeSet<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[tokio::test]
    async fn turns_of_different_records_do_not_wait_for_each_other() {
        let turns = Turns::default();
        let (a, b, ab) = (keys(&["a"]), keys(&["b"]), keys(&["a", "b"]));
        let of_a = turns.of(&a).await;
        let of_b = turns.of(&b).now_or_never().expect("it waits for another record's turn");
        assert!(of_a.covers(&a) && !of_a.covers(&ab));
        assert!(turns.of(&ab).now_or_never().is_none());
        assert!(turns.of_all().now_or_never().is_none());
        drop((of_a, of_b));
        let all = turns.of_all().now_or_never().expect("free");
        assert!(turns.of(&a).now_or_never().is_none());
        drop(all);
        assert!(turns.of(&ab).now_or_never().is_some());
        assert!(turns.of_records().is_empty(), "turns that nobody has are remembered");
    }
}
