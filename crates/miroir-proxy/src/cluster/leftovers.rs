//! Leftovers: indexes that are deleted for clients, but that a node has not been told about yet. In the store, and held
//! in memory.
//!
//! Invariant: the name of a leftover is given to no other index, so that a node that comes back late never takes the one
//! for the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use miroir_core::id::{IndexUid, NodeId};
use miroir_store::{Batch, Store, StoreError, Table, TypedTable, Write};

/// Who has to delete an index still.
type Nodes = BTreeSet<NodeId>;

/// All leftovers.
pub struct Leftovers {
    known: ArcSwap<BTreeMap<IndexUid, Nodes>>,
    /// Those that a request is about to tell the nodes about.
    in_hand: Mutex<BTreeSet<IndexUid>>,
    /// One change at a time, so that memory follows the store in order.
    change: tokio::sync::Mutex<()>,
}

/// A leftover that a request deals with itself; the sweeper leaves it alone while this lives.
pub struct InHand<'a> {
    leftovers: &'a Leftovers,
    physical: IndexUid,
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.leftovers.in_hand().remove(&self.physical);
    }
}

const TABLE: TypedTable<Nodes> = TypedTable::new(Table::Leftovers);

impl Leftovers {
    /// What the store remembers.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let records = TABLE.list(store).await?;
        let known = records.into_iter().filter_map(|(name, record)| Some((name.parse().ok()?, record.value)));
        Ok(Self {
            known: ArcSwap::from_pointee(known.collect()),
            in_hand: Mutex::default(),
            change: tokio::sync::Mutex::default(),
        })
    }

    /// Some node may hold an index of this name that is no longer any client's.
    pub fn contains(&self, physical: &IndexUid) -> bool {
        self.known.load().contains_key(physical)
    }

    fn in_hand(&self) -> MutexGuard<'_, BTreeSet<IndexUid>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deal with an index without the sweeper.
    pub fn take_in_hand(&self, physical: &IndexUid) -> InHand<'_> {
        self.in_hand().insert(physical.clone());
        InHand { leftovers: self, physical: physical.clone() }
    }

    /// The indexes that a node has to delete and that nobody deals with.
    pub fn on(&self, node: &NodeId) -> Vec<IndexUid> {
        let known = self.known.load();
        let in_hand = self.in_hand();
        let open = known.iter().filter(|(physical, nodes)| nodes.contains(node) && !in_hand.contains(*physical));
        open.map(|(physical, _)| physical.clone()).collect()
    }

    /// The write that makes a leftover known to the store; [`Leftovers::learn`] follows.
    ///
    /// # Errors
    /// When the record cannot be written as JSON.
    pub fn write(&self, physical: &IndexUid, nodes: &Nodes) -> Result<Write, StoreError> {
        TABLE.put(physical.as_str(), nodes)
    }

    /// Take note of what the store has accepted.
    pub fn learn(&self, physical: &IndexUid, nodes: &Nodes) {
        self.known.rcu(|known| {
            let mut next = BTreeMap::clone(known);
            next.insert(physical.clone(), nodes.clone());
            next
        });
    }

    /// These nodes have been told to delete the index.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn told(&self, store: &dyn Store, physical: &IndexUid, nodes: &Nodes) -> Result<(), StoreError> {
        let _one_at_a_time = self.change.lock().await;
        let known = self.known.load_full();
        let Some(before) = known.get(physical) else { return Ok(()) };
        let left: Nodes = before.difference(nodes).cloned().collect();
        let write = if left.is_empty() { TABLE.delete(physical.as_str()) } else { self.write(physical, &left)? };
        store.commit(Batch { writes: vec![write], ..Batch::default() }).await?;
        self.known.rcu(|known: &Arc<BTreeMap<IndexUid, Nodes>>| {
            let mut next = BTreeMap::clone(known);
            if let Some(left) = next.get_mut(physical) {
                left.retain(|node| !nodes.contains(node));
                if left.is_empty() {
                    next.remove(physical);
                }
            }
            next
        });
        Ok(())
    }
}
