//! Stale replicas: which (index, shard, node) may have missed a write. In the store, and held in memory.
//!
//! Invariant: a client is never answered before the replicas that missed its write are in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use miroir_core::id::{IndexUid, NodeId, ShardId};
use miroir_store::{Store, StoreError, Table, TypedTable, Write};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Why a replica is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its node did not accept a write.
    MissedWrite,
    /// Its node accepted a write and failed it, or never said what became of it.
    FailedTask,
}

/// A stale replica, as the store keeps it and the admin API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleReplica {
    /// The physical index.
    pub index: IndexUid,
    /// The shard.
    pub shard: ShardId,
    /// Where the replica is.
    pub node: NodeId,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Why.
    pub reason: Reason,
}

impl StaleReplica {
    fn key(&self) -> String {
        format!("{}/{}/{}", self.index, self.shard, self.node)
    }
}

type Known = BTreeMap<IndexUid, BTreeMap<(ShardId, NodeId), StaleReplica>>;

/// All stale replicas of the cluster.
pub struct StaleReplicas(ArcSwap<Known>);

const TABLE: TypedTable<StaleReplica> = TypedTable::new(Table::StaleReplicas);

impl StaleReplicas {
    /// What the store remembers.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let this = Self(ArcSwap::default());
        let records = TABLE.list(store).await?;
        this.learn(records.into_iter().map(|(_, record)| record.value).collect());
        Ok(this)
    }

    /// The writes that make these known to the store; replicas that are known already cost nothing.
    ///
    /// # Errors
    /// When a record cannot be written as JSON.
    pub fn writes(&self, replicas: &[StaleReplica]) -> Result<Vec<Write>, StoreError> {
        let known = self.0.load();
        replicas
            .iter()
            .filter(|new| !known.get(&new.index).is_some_and(|of| of.contains_key(&(new.shard, new.node.clone()))))
            .map(|new| TABLE.put(&new.key(), new))
            .collect()
    }

    /// Take note of what the store has accepted.
    pub fn learn(&self, replicas: Vec<StaleReplica>) {
        if replicas.is_empty() {
            return;
        }
        self.0.rcu(|known| {
            let mut next = Known::clone(known);
            for replica in &replicas {
                next.entry(replica.index.clone())
                    .or_default()
                    .entry((replica.shard, replica.node.clone()))
                    .or_insert_with(|| replica.clone());
            }
            next
        });
    }

    /// The writes that forget an index in the store; [`StaleReplicas::forget`] follows.
    pub fn forgetting(&self, index: &IndexUid) -> Vec<Write> {
        let known = self.0.load();
        known.get(index).into_iter().flat_map(|of| of.values()).map(|replica| TABLE.delete(&replica.key())).collect()
    }

    /// A deleted index has no replicas.
    pub fn forget(&self, index: &IndexUid) {
        self.0.rcu(|known| {
            let mut next = Known::clone(known);
            next.remove(index);
            next
        });
    }

    /// A view for planning one request.
    pub fn of(&self, index: &IndexUid) -> BTreeSet<(ShardId, NodeId)> {
        self.0.load().get(index).map(|of| of.keys().cloned().collect()).unwrap_or_default()
    }

    /// Whether anything on this node is stale.
    pub fn any_on(&self, node: &NodeId) -> bool {
        self.0.load().values().any(|of| of.keys().any(|(_, n)| n == node))
    }

    /// All of them.
    pub fn all(&self) -> Vec<StaleReplica> {
        let known: Arc<Known> = self.0.load_full();
        known.values().flat_map(|of| of.values().cloned()).collect()
    }
}
