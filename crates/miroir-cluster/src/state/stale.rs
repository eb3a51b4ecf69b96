//! Stale replicas: which (index, shard, node) may have missed a write. In the store, and held in memory.
//!
//! Invariant: a client is never answered before the replicas that missed its write are in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use miroir_core::base::id::{IndexUid, NodeId, ShardId};
use miroir_store::{Batch, Committed, Derived, Edit, Records, Store, StoreError, Table, TypedTable, View, Write};
use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::clock::rfc3339;
use crate::state::follow::Follow;

/// Why a replica is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its node did not accept a write.
    MissedWrite,
    /// Its node accepted a write and failed it, or never said what became of it.
    FailedTask,
    /// Its node came back without the data that it should hold.
    Returned,
    /// It is to become a replica, and is being filled.
    Joining,
    /// It was found to differ from the others.
    Differs,
    /// An operator had another one promoted, which may lack what it holds.
    Overruled,
}

impl Reason {
    fn view(self) -> miroir_api::Reason {
        match self {
            Self::MissedWrite => miroir_api::Reason::MissedWrite,
            Self::FailedTask => miroir_api::Reason::FailedTask,
            Self::Returned => miroir_api::Reason::Returned,
            Self::Joining => miroir_api::Reason::Joining,
            Self::Differs => miroir_api::Reason::Differs,
            Self::Overruled => miroir_api::Reason::Overruled,
        }
    }
}

/// A write that a replica missed, or other grounds not to trust it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The physical index.
    pub index: IndexUid,
    /// The shard.
    pub shard: ShardId,
    /// Where the replica is.
    pub node: NodeId,
    /// Why it was taken for stale at first.
    pub reason: Reason,
    /// The write may still arrive, until then.
    pub arrives_until: Option<OffsetDateTime>,
}

impl Miss {
    /// Among the stale replicas of its index.
    pub fn add_to(&self, replicas: &mut OfIndex) {
        match replicas.iter_mut().find(|replica| replica.is_of(self.shard, &self.node)) {
            Some(replica) => replica.missed_again(self),
            None => replicas.push(StaleReplica::new(self)),
        }
    }
}

/// A stale replica, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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
    /// Why, at first.
    pub reason: Reason,
    /// Rises with each write that it may have missed.
    pub misses: u64,
    /// Writes that it missed may arrive until then.
    #[serde(with = "time::serde::rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    pub quiet_at: Option<OffsetDateTime>,
}

impl StaleReplica {
    /// As operators see it.
    pub fn view(&self) -> miroir_api::StaleReplica {
        let Self { index, shard, node, since, reason, misses, quiet_at } = self;
        miroir_api::StaleReplica {
            index: index.to_string(),
            shard: shard.0,
            node: node.to_string(),
            since: rfc3339(*since),
            reason: reason.view(),
            misses: *misses,
            quiet_at: quiet_at.map(rfc3339),
        }
    }

    fn new(miss: &Miss) -> Self {
        let Miss { index, shard, node, reason, arrives_until } = miss.clone();
        Self { index, shard, node, since: OffsetDateTime::now_utc(), reason, misses: 1, quiet_at: arrives_until }
    }

    fn is_of(&self, shard: ShardId, node: &NodeId) -> bool {
        self.shard == shard && self.node == *node
    }

    fn missed_again(&mut self, miss: &Miss) {
        self.misses = self.misses.saturating_add(1);
        self.quiet_at = self.quiet_at.max(miss.arrives_until);
    }
}

/// The stale replicas of an index. An index that has none may have an empty record.
pub type OfIndex = Vec<StaleReplica>;

/// Those of one index.
pub type StaleShards = BTreeSet<(ShardId, NodeId)>;

/// Those of a record.
pub fn named(replicas: &OfIndex) -> StaleShards {
    replicas.iter().map(|it| (it.shard, it.node.clone())).collect()
}

/// Whether a replica is none of these.
pub fn fresh_by(stale: &StaleShards) -> impl Fn(ShardId, &NodeId) -> bool {
    |shard, node| !stale.contains(&(shard, node.clone()))
}

/// What readers need of the records.
#[derive(Clone, Default)]
pub struct StaleByIndex {
    /// By the physical index, which is the record's key.
    of: RedBlackTreeMapSync<String, Arc<StaleShards>>,
    /// How many are on each node.
    on: BTreeMap<NodeId, usize>,
}

impl StaleByIndex {
    /// Those of an index, if it has any.
    pub fn get(&self, index: &IndexUid) -> Option<&StaleShards> {
        self.of.get(index.as_str()).map(|of| &**of)
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.on.values().sum()
    }
}

impl Derived<OfIndex> for StaleByIndex {
    fn apply_change(&mut self, key: &str, before: Option<&OfIndex>, after: Option<&OfIndex>) {
        for StaleReplica { node, .. } in before.into_iter().flatten() {
            let left = self.on.get(node).map_or(0, |count| count.saturating_sub(1));
            if left > 0 {
                self.on.insert(node.clone(), left)
            } else {
                self.on.remove(node)
            };
        }
        for StaleReplica { node, .. } in after.into_iter().flatten() {
            *self.on.entry(node.clone()).or_default() += 1;
        }
        let replicas = after.map(named).unwrap_or_default();
        if replicas.is_empty() {
            self.of.remove_mut(key);
        } else {
            self.of.insert_mut(key.to_owned(), Arc::new(replicas));
        }
    }
}

/// All stale replicas of the cluster, a record an index.
pub struct StaleReplicas(View<OfIndex, StaleByIndex>);

const TABLE: TypedTable<OfIndex> = TypedTable::new(Table::StaleReplicas);

/// The write of an index's stale replicas, if its record is the one that was read at this version; none: if there is no
/// record.
///
/// # Errors
/// When they cannot be written as JSON.
pub fn record_of(index: &str, replicas: &OfIndex, version: Option<u64>) -> Result<Write, StoreError> {
    TABLE.put_if(index, replicas, version)
}

/// The records with these misses added.
fn with_misses(records: &Records<OfIndex>, misses: &[Miss]) -> BTreeMap<String, Option<OfIndex>> {
    let mut changed: BTreeMap<String, OfIndex> = BTreeMap::new();
    for miss in misses {
        let key = miss.index.to_string();
        let before = || records.get(&key).map(|record| record.value.clone()).unwrap_or_default();
        let replicas = changed.entry(key.clone()).or_insert_with(before);
        miss.add_to(replicas);
    }
    changed.into_iter().map(|(key, replicas)| (key, Some(replicas))).collect()
}

impl StaleReplicas {
    /// What the store remembers.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        View::derive(store, TABLE, StaleByIndex::default()).await.map(Self)
    }

    /// The records as they are stored now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn in_store(store: &dyn Store) -> Result<Records<OfIndex>, StoreError> {
        Ok(TABLE.list(store).await?.into_iter().collect())
    }

    /// The replicas as the store has them, for whoever follows its changes.
    pub(crate) fn follow(&self) -> &impl Follow {
        &self.0
    }

    /// Know of these misses, in one step with the rest of the batch. A miss of a replica that is known as stale counts as
    /// well: whoever brings it up to date has to know.
    ///
    /// # Errors
    /// As [`View::change`].
    pub async fn miss(&self, misses: &[Miss], with: Batch) -> Result<Committed, StoreError> {
        let plan = |records: &Records<OfIndex>| {
            let edit = Edit { records: with_misses(records, misses), ..Edit::nothing() };
            Ok::<_, StoreError>((edit.with(with.clone()), ()))
        };
        self.0.change(plan).await.map(|((), committed)| committed)
    }

    /// A replica is equal to the fresh ones: it is stale no longer, in one step with the batch, if it has missed nothing
    /// since it had missed so much. Returns false, and writes nothing, if it has.
    ///
    /// # Errors
    /// As [`View::change`].
    pub async fn heal(
        &self,
        index: &IndexUid,
        shard: ShardId,
        node: &NodeId,
        misses: u64,
        with: Batch,
    ) -> Result<bool, StoreError> {
        let heal = |replicas: &mut OfIndex| {
            let before = replicas.len();
            replicas.retain(|replica| !(replica.is_of(shard, node) && replica.misses == misses));
            replicas.len() < before
        };
        self.change(index, with, heal).await
    }

    /// Change the list of an index, in one step with the batch, as it is when it is written. Returns what `edit` said last.
    ///
    /// # Errors
    /// As [`View::change`].
    pub async fn change<T>(
        &self,
        index: &IndexUid,
        with: Batch,
        edit: impl Fn(&mut OfIndex) -> T,
    ) -> Result<T, StoreError> {
        let plan = |records: &Records<OfIndex>| {
            let mut replicas = records.get(index.as_str()).map(|record| record.value.clone()).unwrap_or_default();
            let before = replicas.clone();
            let said = edit(&mut replicas);
            Ok::<_, StoreError>(match replicas == before {
                true => (Edit::nothing(), said),
                false => (Edit::put(index.as_str(), replicas).with(with.clone()), said),
            })
        };
        self.0.change(plan).await.map(|(said, _)| said)
    }

    /// The write of who missed the creation of an index, for the batch that it comes into being with; none: nobody.
    /// [`StaleReplicas::refresh`] follows.
    ///
    /// # Errors
    /// When they cannot be written as JSON.
    pub fn of_new_index(&self, index: &IndexUid, misses: &[Miss]) -> Result<Option<Write>, StoreError> {
        let mut replicas = OfIndex::new();
        misses.iter().for_each(|miss| miss.add_to(&mut replicas));
        (!replicas.is_empty()).then(|| TABLE.put(index.as_str(), &replicas)).transpose()
    }

    /// The writes that forget an index in the store; [`StaleReplicas::refresh`] follows.
    pub fn forgetting(&self, index: &IndexUid) -> Option<Write> {
        self.0.now().records().contains_key(index.as_str()).then(|| TABLE.delete(index.as_str()))
    }

    /// Read those of an index again.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn refresh(&self, index: &IndexUid) -> Result<(), StoreError> {
        self.0.refresh(index.as_str(), None).await
    }

    /// A view for planning one request.
    pub fn of(&self, index: &IndexUid) -> Arc<StaleShards> {
        self.0.now().of.get(index.as_str()).cloned().unwrap_or_default()
    }

    /// Look at those of all indexes where they are.
    pub fn with<T>(&self, look: impl FnOnce(&StaleByIndex) -> T) -> T {
        look(&self.0.now())
    }

    /// What is known of a stale replica.
    pub fn find(&self, index: &IndexUid, shard: ShardId, node: &NodeId) -> Option<StaleReplica> {
        let state = self.0.now();
        let replicas = &state.records().get(index.as_str())?.value;
        replicas.iter().find(|replica| replica.is_of(shard, node)).cloned()
    }

    /// Whether anything on this node is stale.
    pub fn any_on(&self, node: &NodeId) -> bool {
        self.0.now().on.contains_key(node)
    }

    /// All of them.
    pub fn all(&self) -> Vec<StaleReplica> {
        self.0.now().records().values().flat_map(|record| record.value.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn miss(shard: u32, arrives_until: Option<OffsetDateTime>) -> Miss {
        let index = "movies".parse().expect("a uid");
        let (node, reason) = (NodeId::new("a"), Reason::MissedWrite);
        Miss { index, shard: ShardId(shard), node, reason, arrives_until }
    }

    #[test]
    fn a_miss_of_a_stale_replica_counts_and_the_latest_arrival_stays() {
        let late = OffsetDateTime::now_utc();
        let misses = [miss(1, Some(late)), miss(2, None), miss(1, None)];
        let records = with_misses(&Records::default(), &misses);
        let found: Vec<(u32, u64, bool)> = records
            .get("movies")
            .and_then(Option::as_ref)
            .into_iter()
            .flatten()
            .map(|replica| (replica.shard.0, replica.misses, replica.quiet_at == Some(late)))
            .collect();
        assert_eq!(found, [(1, 2, true), (2, 1, false)]);
    }

    #[test]
    fn what_is_known_follows_each_record_alone() {
        let of = |misses: &[Miss]| {
            let mut replicas = OfIndex::new();
            misses.iter().for_each(|miss| miss.add_to(&mut replicas));
            replicas
        };
        let (one, both) = (of(&[miss(1, None)]), of(&[miss(1, None), miss(2, None)]));
        let (mut known, a) = (StaleByIndex::default(), NodeId::new("a"));
        known.apply_change("movies", None, Some(&one));
        known.apply_change("books", None, Some(&both));
        known.apply_change("movies", Some(&one), Some(&both));
        assert_eq!((known.of.get("movies").map(|of| of.len()), known.on.get(&a)), (Some(2), Some(&4)));
        known.apply_change("movies", Some(&both), Some(&OfIndex::new()));
        known.apply_change("books", Some(&both), None);
        assert!(known.of.is_empty() && known.on.is_empty());
    }
}
