//! Tombstones: physical names under which a node may hold an index that is no client's. The index was deleted, and a
//! node has not been told so yet; or it is about to come into being. They are in the store, and held in memory.
//!
//! Invariants: a name that has a tombstone is given to no other index, so that a node that comes back late never takes
//! the one for the other. Before the first node is told of a new index its name gets a tombstone, *claimed* for a time;
//! the claim is redeemed in the commit that makes the index known. So what is lost in between is deleted as any other
//! index with a tombstone, and the client's name was never taken.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use miroir_core::base::id::{IndexUid, NodeId};
use miroir_store::{Batch, Derived, Edit, Fence, Records, Store, StoreError, Table, TypedTable, View, Write};
use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::state::follow::Follow;

/// The nodes that have to delete an index still.
type Nodes = BTreeSet<NodeId>;

/// A tombstone, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Tombstone {
    /// To be deleted on these nodes.
    Free(Nodes),
    /// About to become an index. If it has not by then, it is to be deleted.
    Claimed {
        nodes: Nodes,
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
    },
}

impl Tombstone {
    fn nodes(&self) -> &Nodes {
        match self {
            Self::Free(nodes) | Self::Claimed { nodes, .. } => nodes,
        }
    }

    fn without(&self, gone: &Nodes) -> Self {
        let left = self.nodes().difference(gone).cloned().collect();
        match self {
            Self::Free(_) => Self::Free(left),
            Self::Claimed { until, .. } => Self::Claimed { nodes: left, until: *until },
        }
    }

    fn is_claimed(&self, now: OffsetDateTime) -> bool {
        matches!(self, Self::Claimed { until, .. } if *until > now)
    }
}

/// A name that is about to become an index.
#[derive(Clone, Debug)]
pub struct Claim {
    physical: IndexUid,
    version: u64,
}

impl Claim {
    /// To be written together with the index: it replaces the tombstone. A claim that has run out fails the batch.
    pub fn redeem(&self) -> Write {
        TABLE.delete_if(self.physical.as_str(), self.version)
    }
}

/// Tombstones by physical name.
#[derive(Clone, Default)]
struct Named(RedBlackTreeMapSync<IndexUid, Tombstone>);

impl Derived<Tombstone> for Named {
    fn apply_change(&mut self, key: &str, _: Option<&Tombstone>, after: Option<&Tombstone>) {
        let Ok(name) = key.parse::<IndexUid>() else { return };
        match after {
            Some(tombstone) => self.0.insert_mut(name, tombstone.clone()),
            None => _ = self.0.remove_mut(&name),
        }
    }
}

/// All tombstones.
pub struct Tombstones {
    known: View<Tombstone, Named>,
    /// Those whose deletion a request is about to send to the nodes itself.
    in_hand: Mutex<BTreeSet<IndexUid>>,
}

/// A tombstone that a request deals with itself; the sweeper leaves it alone while this lives.
pub struct InHand<'a> {
    tombstones: &'a Tombstones,
    physical: IndexUid,
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.tombstones.in_hand().remove(&self.physical);
    }
}

const TABLE: TypedTable<Tombstone> = TypedTable::new(Table::Tombstones);

impl Tombstones {
    /// What the store remembers.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        Ok(Self { known: View::derive(store, TABLE, Named::default()).await?, in_hand: Mutex::default() })
    }

    /// The tombstones as the store has them, for whoever follows its changes.
    pub(crate) fn follow(&self) -> &impl Follow {
        &self.known
    }

    /// Read again from the store whether a name has a tombstone.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn refresh(&self, physical: &IndexUid) -> Result<(), StoreError> {
        self.known.refresh(physical.as_str(), None).await
    }

    /// Some node may hold an index of this name that is no longer any client's, or is about to.
    pub fn contains(&self, physical: &IndexUid) -> bool {
        self.known.now().0.contains_key(physical) || self.in_hand().contains(physical)
    }

    fn in_hand(&self) -> MutexGuard<'_, BTreeSet<IndexUid>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deal with an index without the sweeper.
    pub fn take_in_hand(&self, physical: &IndexUid) -> InHand<'_> {
        self.in_hand().insert(physical.clone());
        InHand { tombstones: self, physical: physical.clone() }
    }

    /// The indexes that a node has to delete, that nobody deals with, and that nobody has claimed.
    pub fn on(&self, node: &NodeId) -> Vec<IndexUid> {
        let (known, now) = (self.known.now(), OffsetDateTime::now_utc());
        let in_hand = self.in_hand();
        let is_open = |(physical, tombstone): &(&IndexUid, &Tombstone)| {
            tombstone.nodes().contains(node) && !tombstone.is_claimed(now) && !in_hand.contains(*physical)
        };
        known.0.iter().filter(is_open).map(|(physical, _)| physical.clone()).collect()
    }

    /// Claim a name for a new index, until then. Returns none when it is not free any more.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn claim(
        &self,
        physical: &IndexUid,
        nodes: Nodes,
        until: OffsetDateTime,
        fence: Option<Fence>,
    ) -> Result<Option<Claim>, StoreError> {
        let claimed = Tombstone::Claimed { nodes, until };
        let with = Batch { fences: fence.into_iter().collect(), ..Batch::default() };
        let plan = |records: &Records<Tombstone>| {
            Ok::<_, StoreError>(match records.contains_key(physical.as_str()) {
                true => (Edit::nothing(), false),
                false => (Edit::put(physical.as_str(), claimed.clone()).with(with.clone()), true),
            })
        };
        let (is_ours, _) = self.known.change(plan).await?;
        let state = self.known.now();
        let version = state.records().get(physical.as_str()).filter(|found| found.value == claimed);
        let version = version.map(|found| found.version).filter(|_| is_ours);
        Ok(version.map(|version| Claim { physical: physical.clone(), version }))
    }

    /// Nobody can redeem a claim of this name from now on. Returns false when its tombstone is gone.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn free(&self, physical: &IndexUid) -> Result<bool, StoreError> {
        let plan = |records: &Records<Tombstone>| {
            let found = records.get(physical.as_str()).map(|record| &record.value);
            Ok::<_, StoreError>(match found {
                None => (Edit::nothing(), false),
                Some(Tombstone::Free(_)) => (Edit::nothing(), true),
                Some(Tombstone::Claimed { nodes, .. }) => {
                    (Edit::put(physical.as_str(), Tombstone::Free(nodes.clone())), true)
                }
            })
        };
        self.known.change(plan).await.map(|(is_left, _)| is_left)
    }

    /// The write that puts a tombstone into the store; [`Tombstones::apply_committed`] follows.
    ///
    /// # Errors
    /// When the record cannot be written as JSON.
    pub fn write(&self, physical: &IndexUid, nodes: &Nodes) -> Result<Write, StoreError> {
        self.known.put(physical.as_str(), &Tombstone::Free(nodes.clone()))
    }

    /// Apply to memory a tombstone that was committed at this version.
    pub async fn apply_committed(&self, physical: &IndexUid, nodes: Nodes, version: u64) {
        self.known.apply_committed(vec![(physical.to_string(), Tombstone::Free(nodes), version)]).await;
    }

    /// A node may hold an index that is no longer any client's.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn add(&self, physical: &IndexUid, node: &NodeId) -> Result<(), StoreError> {
        let plan = |records: &Records<Tombstone>| {
            let known = records.get(physical.as_str()).map(|record| record.value.clone());
            let mut tombstone = known.unwrap_or_else(|| Tombstone::Free(Nodes::new()));
            match &mut tombstone {
                Tombstone::Free(nodes) | Tombstone::Claimed { nodes, .. } => nodes.insert(node.clone()),
            };
            Ok::<_, StoreError>((Edit::put(physical.as_str(), tombstone), ()))
        };
        self.known.change(plan).await.map(drop)
    }

    /// These nodes have accepted the deletion of the index; the tombstone goes with the last of them.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn deleted_on(&self, physical: &IndexUid, nodes: &Nodes) -> Result<(), StoreError> {
        let plan = |records: &Records<Tombstone>| {
            let Some(before) = records.get(physical.as_str()) else { return Ok((Edit::nothing(), ())) };
            let left = before.value.without(nodes);
            let name = physical.as_str();
            let edit = if left.nodes().is_empty() { Edit::delete(name) } else { Edit::put(name, left) };
            Ok::<_, StoreError>((edit, ()))
        };
        self.known.change(plan).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use miroir_store::SqliteStore;

    use super::*;

    fn nodes(names: &[&str]) -> Nodes {
        names.iter().map(|name| NodeId::new(*name)).collect()
    }

    #[test]
    fn tombstones_of_earlier_releases_are_read() {
        let read: Tombstone = serde_json::from_str(r#"["a","b"]"#).expect("a tombstone");
        assert_eq!(read, Tombstone::Free(nodes(&["a", "b"])));
        let until = OffsetDateTime::UNIX_EPOCH;
        let claimed = Tombstone::Claimed { nodes: nodes(&["a"]), until };
        let text = serde_json::to_string(&claimed).expect("JSON");
        assert_eq!(serde_json::from_str::<Tombstone>(&text).expect("a tombstone"), claimed);
    }

    #[tokio::test]
    async fn a_claim_is_redeemed_once_and_not_after_the_name_was_freed() {
        let store: Arc<dyn Store> = SqliteStore::open(":memory:").await.expect("a store");
        let tombstones = Tombstones::load(store.clone()).await.expect("tombstones");
        let name: IndexUid = "movies".parse().expect("a uid");
        let (soon, past) = (OffsetDateTime::now_utc() + Duration::from_secs(60), OffsetDateTime::UNIX_EPOCH);
        let redeem = |claim: &Claim| store.commit(Batch { writes: vec![claim.redeem()], ..Batch::default() });

        let claim = tombstones.claim(&name, nodes(&["a"]), soon, None).await.expect("a claim").expect("it is free");
        assert!(tombstones.on(&NodeId::new("a")).is_empty(), "a claimed name is swept");
        let again = tombstones.claim(&name, nodes(&["a"]), soon, None).await.expect("an answer");
        assert!(again.is_none(), "a name is claimed twice");
        redeem(&claim).await.expect("the claim holds");
        tombstones.refresh(&name).await.expect("it is read");
        assert!(!tombstones.contains(&name));

        let claim = tombstones.claim(&name, nodes(&["a"]), past, None).await.expect("a claim").expect("it is free");
        assert_eq!(
            tombstones.on(&NodeId::new("a")),
            std::slice::from_ref(&name),
            "a claim that has run out is kept for ever"
        );
        assert!(tombstones.free(&name).await.expect("it is freed"));
        let late = redeem(&claim).await;
        assert!(matches!(late, Err(StoreError::Conflict { .. })), "what is being deleted has become an index");
    }
}
