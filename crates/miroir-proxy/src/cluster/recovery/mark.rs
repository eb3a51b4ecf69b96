//! What is known as stale from then on, and what is not.

use std::sync::Arc;

use miroir_core::id::{NodeId, ShardId};
use miroir_core::recovery::{Expected, Found, Plan, Why};
use miroir_store::{Batch, Table, TypedTable};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};

use super::super::replica::drain;
use super::super::stale::{Miss, Reason};
use super::super::{Cluster, Error, Index};
use crate::node::Node;

/// When a node was taken back with another disk.
#[derive(Serialize, Deserialize)]
struct TakenBack {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

const TABLE: TypedTable<TakenBack> = TypedTable::new(Table::Meta);

fn key(node: &NodeId) -> String {
    format!("taken_back/{node}")
}

impl Cluster {
    /// Without any other replica there is nothing to heal from: what the node holds is all there is.
    pub(super) fn keep_what_nobody_else_has(&self, node: &Node, plan: &mut Plan) {
        let id = &node.member.id;
        let topology = self.topology();
        for (physical, of_index) in &mut plan.indexes {
            let Some(index) = self.catalog.by_physical(physical) else { continue };
            let others = |shard: ShardId| topology.writers(index.shards, shard).into_iter().any(|other| other != id);
            let before = of_index.mirror.len();
            of_index.mirror.retain(|shard, _| others(*shard));
            let alone = before - of_index.mirror.len();
            if alone > 0 {
                tracing::error!(
                    node = %id, index = %index.uid, shards = alone,
                    "a node came back without documents of shards that no other node has"
                );
                // Nothing of it is thrown away.
                of_index.wipe = false;
            }
        }
    }

    /// Replicas differ for a moment while they are written: what differed is looked at again with writes held, and only
    /// what differs then, or cannot be looked at like that, is known as stale.
    pub(super) async fn confirm(&self, node: &Arc<Node>, plan: &mut Plan) {
        for (physical, of_index) in &mut plan.indexes {
            let counted = |why: &Why| matches!(why, Why::Count | Why::Digest);
            let doubtful: Vec<ShardId> =
                of_index.mirror.iter().filter(|(_, why)| counted(why)).map(|(shard, _)| *shard).collect();
            if doubtful.is_empty() {
                continue;
            }
            let Ok(Some((turn, index))) = self.turn_of(physical).await else { continue };
            let until = Instant::now() + self.config.rebalancer.fence_max;
            let equal = timeout_at(until, self.equal_shards(node, &index, &doubtful)).await.unwrap_or_default();
            drop(turn);
            of_index.mirror.retain(|shard, _| !equal.contains(shard));
        }
    }

    /// Those of the shards that have as many documents on the node as elsewhere, once all have done what they accepted.
    async fn equal_shards(&self, node: &Arc<Node>, index: &Arc<Index>, shards: &[ShardId]) -> Vec<ShardId> {
        let id = &node.member.id;
        let mut others: Vec<NodeId> = shards.iter().flat_map(|shard| self.fresh_elsewhere(index, *shard, id)).collect();
        others.push(id.clone());
        others.sort();
        others.dedup();
        for other in &others {
            let Some(other) = self.node(other) else { return Vec::new() };
            if drain(&other, self.read_timeout()).await.is_err() {
                return Vec::new();
            }
        }
        let Ok(on_node) = self.on_node(index, id) else { return Vec::new() };
        let Ok(held) = on_node.counts().await else { return Vec::new() };
        let fresh = self.fresh_counts(index, id, shards).await;
        let same = |shard: &ShardId| fresh.get(shard).is_none_or(|n| *n == held.get(shard).copied().unwrap_or(0));
        shards.iter().copied().filter(same).collect()
    }

    /// Replicas that are not what they should be are known as stale from now on.
    pub(super) async fn mark(&self, node: &Node, plan: &Plan, expected: &Expected, found: &Found) -> Result<(), Error> {
        let id = &node.member.id;
        let mut missed = Vec::new();
        for (index, of_index) in &plan.indexes {
            let news = of_index.mirror.iter().filter(|(_, why)| **why != Why::KnownStale);
            let miss = |(shard, why): (&ShardId, &Why)| {
                tracing::warn!(node = %id, %index, %shard, ?why, "a replica is not what it should be");
                let reason = Reason::Returned;
                Miss { index: index.clone(), shard: *shard, node: id.clone(), reason, arrives_until: None }
            };
            missed.extend(news.map(miss));
        }
        // Which tasks it had does not matter from then on.
        let forgot = expected.newest_task > found.newest_task;
        let writes = match forgot {
            true => vec![TABLE.put(&key(id), &TakenBack { at: OffsetDateTime::now_utc() })?],
            false => Vec::new(),
        };
        self.metrics.returned_stale(missed.len());
        self.record_missed(&missed, Batch { writes, ..Batch::default() }).await?;
        Ok(())
    }

    pub(super) async fn taken_back_at(&self, node: &NodeId) -> Result<Option<OffsetDateTime>, Error> {
        Ok(TABLE.get(&*self.store, &key(node)).await?.map(|record| record.value.at))
    }
}
