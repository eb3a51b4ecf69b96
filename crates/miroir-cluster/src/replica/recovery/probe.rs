//! Probes a node: what it should hold, and what it does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, stream};
use miroir_core::base::id::{IndexUid, NodeId, ShardId};
use miroir_core::replica::recovery::{Expected, ExpectedIndex, FoundIndex, Measure, NodeInventory, OLDEST};
use miroir_core::settings::drift::Drift;
use miroir_core::write::task::TaskQuery;
use miroir_node::Node;

use crate::read::glance::TASKS;
use crate::write::access::Failed;
use crate::write::weigh::shards_of;
use crate::{Error, Index, Replicas};

/// Indexes probed at one time.
const TOGETHER: usize = 4;

impl Replicas {
    pub(super) async fn probe(&self, node: &Arc<Node>) -> Result<(Expected, NodeInventory), Error> {
        let id = &node.member.id;
        let patience = self.state.read_timeout();
        let version = node.version(patience).await.map_err(|error| Error::answer(&node.member.id, error))?;
        // First, since it takes tasks while it is looked at, if it serves.
        let known = node.newest_task().max(self.newest_task_in_store(id).await?);
        let newest = node.ask_newest_task(patience).await.map_err(|error| Error::answer(&node.member.id, error))?;
        let indexes = node.indexes(patience).await.map_err(|error| Error::answer(&node.member.id, error))?;
        let named = indexes.into_iter().filter_map(|index| Some((index.uid.parse().ok()?, index.primary_key)));
        let held: BTreeMap<IndexUid, Option<String>> = named.collect();
        let mut expected = Expected {
            oldest: OLDEST,
            newest_task: known,
            indexes: BTreeMap::new(),
            given_up: self.state.tombstones.on(id).into_iter().collect(),
        };
        let mut found = NodeInventory { version, newest_task: newest, indexes: BTreeMap::new() };
        let indexes: Vec<Arc<Index>> = self.state.catalog.all();
        let physical: BTreeSet<&IndexUid> = indexes.iter().map(|index| &index.physical).collect();
        let others = held.keys().filter(|uid| !physical.contains(uid));
        found.indexes.extend(others.map(|uid| (uid.clone(), FoundIndex::default())));
        let probes: Vec<_> =
            indexes.iter().map(|index| self.probe_index(node, index, held.get(&index.physical)).boxed()).collect();
        let mut probes = stream::iter(probes).buffer_unordered(TOGETHER);
        while let Some(probed) = probes.next().await {
            let (physical, should, holds) = probed?;
            expected.indexes.insert(physical.clone(), should);
            if let Some(holds) = holds {
                found.indexes.insert(physical, holds);
            }
        }
        Ok((expected, found))
    }

    async fn probe_index(
        &self,
        node: &Arc<Node>,
        index: &Arc<Index>,
        held: Option<&Option<String>>,
    ) -> Result<(IndexUid, ExpectedIndex, Option<FoundIndex>), Error> {
        let id = &node.member.id;
        let topology = self.state.topology();
        let stale = self.state.stale.of(&index.physical);
        let shards = shards_of(&topology, index.shards, id);
        let is_stale = |shard: &ShardId| stale.contains(&(*shard, id.clone()));
        let should = ExpectedIndex {
            primary_key: index.key().cloned(),
            settings_version: index.settings_version,
            stale: shards.iter().copied().filter(is_stale).collect(),
            shards: BTreeMap::new(),
        };
        let Some(primary_key) = held else {
            let shards = shards.into_iter().map(|shard| (shard, None)).collect();
            return Ok((index.physical.clone(), ExpectedIndex { shards, ..should }, None));
        };
        // What differs for nothing is mirrored for nothing: the node is asked first, so that it is not the one ahead.
        let holds = self.found_on(node, index, primary_key).await?;
        let fresh = self.fresh_counts(index, id, &shards).await;
        let measure = |shard: ShardId| (shard, fresh.get(&shard).map(|n| Measure { documents: *n, digest: None }));
        let shards = shards.into_iter().map(measure).collect();
        Ok((index.physical.clone(), ExpectedIndex { shards, ..should }, Some(holds)))
    }

    async fn found_on(&self, node: &Node, index: &Arc<Index>, key: &Option<String>) -> Result<FoundIndex, Error> {
        let id = &node.member.id;
        let read = self.settings.settings_of_node(index, id).await?;
        let drifted =
            matches!(self.settings.compare_settings(index, id, &read), Drift::Repair | Drift::Report | Drift::CatchUp);
        let on_node = self.writes.on_node(index, id).map_err(|error| Error::answer(&node.member.id, error))?;
        // Without the settings by which shards are told apart nothing can be counted, and everything may be different.
        let counts = match on_node.counts().await {
            Ok(counts) => counts,
            Err(Failed::Refused(error)) => {
                tracing::warn!(node = %id, index = %index.uid, %error, "documents cannot be counted");
                BTreeMap::new()
            }
            // It has no time, perhaps: that says nothing about what it holds.
            Err(error) => return Err(Error::answer(id, error)),
        };
        Ok(FoundIndex {
            // As long as the cluster does not know it, any will do.
            primary_key: key.clone().filter(|_| index.key().is_some()),
            settings_hold: !drifted,
            recorded_version: Some(index.settings_version),
            shards: counts.into_iter().map(|(shard, n)| (shard, Measure { documents: n, digest: None })).collect(),
        })
    }

    /// What fresh replicas on other nodes hold of these shards, as far as there are any that answer.
    pub(super) async fn fresh_counts(
        &self,
        index: &Arc<Index>,
        but: &NodeId,
        shards: &[ShardId],
    ) -> BTreeMap<ShardId, u64> {
        let mut by_node: BTreeMap<NodeId, Vec<ShardId>> = BTreeMap::new();
        for shard in shards {
            if let Some(node) = self.fresh_elsewhere(index, *shard, but).into_iter().next() {
                by_node.entry(node).or_default().push(*shard);
            }
        }
        let mut found = BTreeMap::new();
        for (node, shards) in by_node {
            let Ok(on_node) = self.writes.on_node(index, &node) else { continue };
            match on_node.counts().await {
                Ok(counts) => {
                    found.extend(shards.into_iter().map(|shard| (shard, counts.get(&shard).copied().unwrap_or(0))));
                }
                Err(error) => tracing::warn!(%node, index = %index.uid, %error, "documents cannot be counted"),
            }
        }
        found
    }

    /// The live fresh replicas of a shard on other nodes.
    pub(super) fn fresh_elsewhere(&self, index: &Index, shard: ShardId, but: &NodeId) -> Vec<NodeId> {
        self.state.fresh_nodes(index, shard).into_iter().filter(|node| node != but).collect()
    }

    /// The newest task that a node is known to have accepted since it was taken back with another disk.
    async fn newest_task_in_store(&self, id: &NodeId) -> Result<Option<u64>, Error> {
        let page = self.state.store.tasks(&TaskQuery { limit: TASKS, ..TaskQuery::default() }).await?;
        let since = self.reads.readmitted_at(id).await?;
        let since_then = page.tasks.iter().filter(|task| since.is_none_or(|since| task.enqueued_at > since));
        Ok(since_then.flat_map(|task| &task.node_tasks).filter(|task| task.node == *id).map(|task| task.uid).max())
    }
}
