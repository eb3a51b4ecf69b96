//! Orphaned documents, on nodes that hold no replica of their shard: checked against an owner, then removed. And documents
//! that somebody wrote to a node without Miroir, which are of no shard.

use std::collections::BTreeMap;
use std::sync::Arc;

use miroir_core::base::id::{NodeId, ShardId};
use miroir_core::replica::anti_entropy::{OrphanAction, OrphanFacts, orphan_action};

use super::PassFindings;
use crate::write::access::{Failed, OnNode};
use crate::write::erase::Erasing;
use crate::{Index, Replicas};

impl Replicas {
    /// Remove the orphaned documents of an index from all live nodes.
    pub(super) async fn remove_orphans(&self, index: &Arc<Index>) -> PassFindings {
        let mut found = PassFindings::default();
        for node in self.state.nodes().keys().filter(|node| self.state.is_live(node)) {
            match self.remove_orphans_of(index, node).await {
                Ok(documents) => found.orphans += documents,
                // A node that lacks the index, or its settings, is looked after elsewhere.
                Err(error) => tracing::debug!(%error, %node, index = %index.uid, "a node's shards cannot be counted"),
            }
        }
        found
    }

    async fn remove_orphans_of(&self, index: &Arc<Index>, node: &NodeId) -> Result<u64, Failed> {
        let on_node = self.writes.on_node(index, node)?;
        // From then on the node is given nothing: what it is not to hold now it is not to hold when it is told to delete it.
        let erasing = self.writes.erasing(node).await.map_err(|error| Failed::Unanswered(error.to_string()))?;
        let Some(erasing) = erasing else { return Ok(0) };
        let removed = self.remove_with(&erasing, index, node, &on_node).await;
        erasing.done().await;
        let (left, tasks) = removed?;
        on_node.done(&tasks).await?;
        Ok(left)
    }

    /// Returns how many orphaned documents the node had, and the tasks by which the node deletes them.
    async fn remove_with(
        &self,
        erasing: &Erasing<'_>,
        index: &Arc<Index>,
        node: &NodeId,
        on_node: &OnNode,
    ) -> Result<(u64, Vec<u64>), Failed> {
        let topology = self.state.topology();
        let known = |shard: ShardId| {
            let mut besides = topology.besides().iter();
            erasing.is_to_hold(index, shard)
                || besides.any(|b| b.shards == index.shards && b.shard == shard && b.node == *node)
        };
        let (mut remove, mut left) = (Vec::new(), 0);
        for (shard, documents) in on_node.counts().await? {
            if known(shard) {
                continue;
            }
            let mut owners = BTreeMap::new();
            for (owner, replica) in self.fresh_replicas(index, shard) {
                owners.insert(owner, replica.count().await?);
            }
            let auto_repair = self.state.config.anti_entropy.auto_repair;
            let found = OrphanFacts { node, shard, documents, takes_writes: false, owners: &owners, auto_repair };
            match orphan_action(&found) {
                OrphanAction::None => {}
                OrphanAction::Remove => {
                    left += documents;
                    remove.push(shard);
                }
                OrphanAction::Report | OrphanAction::Keep => {
                    left += documents;
                    tracing::warn!(%node, index = %index.uid, %shard, documents, "a node holds documents of a shard that is not its own");
                }
            }
        }
        let mut tasks = Vec::new();
        if !remove.is_empty() {
            tracing::info!(%node, index = %index.uid, shards = remove.len(), "orphaned documents are being removed");
            tasks.push(erasing.delete_shards(on_node, &remove).await?);
        }
        let strangers = on_node.count_strangers().await?;
        if strangers > 0 {
            let removed = self.state.config.anti_entropy.auto_repair;
            tracing::warn!(%node, index = %index.uid, documents = strangers, removed, "a node holds documents of nobody");
            if removed {
                tasks.push(erasing.tell(on_node, on_node.strangers_deletion()).await?);
            }
        }
        Ok((left + strangers, tasks))
    }
}
