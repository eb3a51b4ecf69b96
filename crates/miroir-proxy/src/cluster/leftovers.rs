//! Leftovers: indexes that are deleted for clients, but that a node has not been told about yet. In the store, and held
//! in memory.
//!
//! Invariant: the name of a leftover is given to no other index, so that a node that comes back late never takes the one
//! for the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use miroir_core::id::{IndexUid, NodeId};
use miroir_store::{Edit, Records, Store, StoreError, Table, Typed, TypedTable, View, Write};

use super::follow::Follow;

/// Who has to delete an index still.
type Nodes = BTreeSet<NodeId>;

/// All leftovers.
pub struct Leftovers {
    known: View<Nodes, BTreeMap<IndexUid, Nodes>>,
    /// Those that a request is about to tell the nodes about.
    in_hand: Mutex<BTreeSet<IndexUid>>,
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
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let by_name = |records: &Records<Nodes>| {
            let named = |(name, record): (&String, &Typed<Nodes>)| Some((name.parse().ok()?, record.value.clone()));
            records.iter().filter_map(named).collect()
        };
        Ok(Self { known: View::load(store, TABLE, by_name).await?, in_hand: Mutex::default() })
    }

    /// The leftovers as the store has them, for whoever follows its changes.
    pub(super) fn follow(&self) -> &impl Follow {
        &self.known
    }

    /// Learn what other instances made of a name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn refresh(&self, physical: &IndexUid) -> Result<(), StoreError> {
        self.known.refresh(physical.as_str(), None).await
    }

    /// Some node may hold an index of this name that is no longer any client's, or is about to.
    pub fn contains(&self, physical: &IndexUid) -> bool {
        self.known.now().contains_key(physical) || self.in_hand().contains(physical)
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
        let known = self.known.now();
        let in_hand = self.in_hand();
        let open = known.iter().filter(|(physical, nodes)| nodes.contains(node) && !in_hand.contains(*physical));
        open.map(|(physical, _)| physical.clone()).collect()
    }

    /// The write that makes a leftover known to the store; [`Leftovers::learn`] follows.
    ///
    /// # Errors
    /// When the record cannot be written as JSON.
    pub fn write(&self, physical: &IndexUid, nodes: &Nodes) -> Result<Write, StoreError> {
        self.known.put(physical.as_str(), nodes)
    }

    /// Take note of what the store has accepted, at this version.
    pub async fn learn(&self, physical: &IndexUid, nodes: Nodes, version: u64) {
        self.known.learn(vec![(physical.to_string(), nodes, version)]).await;
    }

    /// A node may hold an index that is no longer any client's.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn add(&self, physical: &IndexUid, node: &NodeId) -> Result<(), StoreError> {
        let plan = |records: &Records<Nodes>| {
            let mut nodes = records.get(physical.as_str()).map(|record| record.value.clone()).unwrap_or_default();
            nodes.insert(node.clone());
            Ok::<_, StoreError>((Edit::put(physical.as_str(), nodes), ()))
        };
        self.known.change(plan).await.map(drop)
    }

    /// These nodes have been told to delete the index.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn told(&self, physical: &IndexUid, nodes: &Nodes) -> Result<(), StoreError> {
        let plan = |records: &Records<Nodes>| {
            let Some(before) = records.get(physical.as_str()) else { return Ok((Edit::nothing(), ())) };
            let left: Nodes = before.value.difference(nodes).cloned().collect();
            let name = physical.as_str();
            Ok::<_, StoreError>((if left.is_empty() { Edit::delete(name) } else { Edit::put(name, left) }, ()))
        };
        self.known.change(plan).await.map(drop)
    }
}
