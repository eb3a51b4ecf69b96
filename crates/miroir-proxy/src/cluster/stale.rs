//! Stale replicas: which (index, shard, node) may have missed a write. In the store, and held in memory.
//!
//! Invariant: a client is never answered before the replicas that missed its write are in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use miroir_core::id::{IndexUid, NodeId, ShardId};
use miroir_store::{Records, Store, StoreError, Table, TypedTable, View, Write};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::follow::Follow;

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

type Known = BTreeMap<IndexUid, BTreeSet<(ShardId, NodeId)>>;

/// All stale replicas of the cluster.
pub struct StaleReplicas(View<StaleReplica, Known>);

/// Replicas on their way into the store, with a batch that is committed elsewhere.
#[derive(Default)]
pub struct Pending(Vec<(String, StaleReplica)>);

const TABLE: TypedTable<StaleReplica> = TypedTable::new(Table::StaleReplicas);

fn known(records: &Records<StaleReplica>) -> Known {
    let mut known = Known::new();
    for StaleReplica { index, shard, node, .. } in records.values().map(|record| &record.value) {
        known.entry(index.clone()).or_default().insert((*shard, node.clone()));
    }
    known
}

impl StaleReplicas {
    /// What the store remembers.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        View::load(store, TABLE, known).await.map(Self)
    }

    /// The replicas as the store has them, for whoever follows its changes.
    pub(super) fn follow(&self) -> &impl Follow {
        &self.0
    }

    /// The writes that make these known to the store, which come first in their batch; [`StaleReplicas::learn`] follows.
    /// Replicas that are known already cost nothing.
    ///
    /// # Errors
    /// When a record cannot be written as JSON.
    pub fn writes(&self, replicas: Vec<StaleReplica>) -> Result<(Vec<Write>, Pending), StoreError> {
        let state = self.0.now();
        let new = replicas.into_iter().map(|replica| (replica.key(), replica));
        let new: Vec<_> = new.filter(|(key, _)| !state.records().contains_key(key)).collect();
        let writes = new.iter().map(|(key, replica)| self.0.put(key, replica)).collect::<Result<_, _>>()?;
        Ok((writes, Pending(new)))
    }

    /// Take note of what the store has accepted, at these versions.
    pub async fn learn(&self, Pending(new): Pending, versions: &[Option<u64>]) {
        let written = new.into_iter().zip(versions);
        let written = written.filter_map(|((key, replica), version)| Some((key, replica, (*version)?)));
        self.0.learn(written.collect()).await;
    }

    /// The writes that forget an index in the store; [`StaleReplicas::reload`] follows.
    pub fn forgetting(&self, index: &IndexUid) -> Vec<Write> {
        let state = self.0.now();
        let of_index = state.records().iter().filter(|(_, record)| record.value.index == *index);
        of_index.map(|(key, _)| TABLE.delete(key)).collect()
    }

    /// Read them again.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn reload(&self) -> Result<(), StoreError> {
        self.0.reload().await
    }

    /// A view for planning one request.
    pub fn of(&self, index: &IndexUid) -> BTreeSet<(ShardId, NodeId)> {
        self.0.now().get(index).cloned().unwrap_or_default()
    }

    /// Whether anything on this node is stale.
    pub fn any_on(&self, node: &NodeId) -> bool {
        self.0.now().values().any(|of| of.iter().any(|(_, n)| n == node))
    }

    /// All of them.
    pub fn all(&self) -> Vec<StaleReplica> {
        self.0.now().records().values().map(|record| record.value.clone()).collect()
    }
}
