//! What is known as stale from then on, and what is not.

use std::collections::BTreeMap;
use std::sync::Arc;

use miroir_core::base::id::{NodeId, ShardId};
use miroir_core::replica::recovery::{Expected, NodeInventory, PlanForIndex, ReadmissionPlan, Why};
use miroir_node::{Call, Node};
use miroir_store::Batch;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};

use super::Serves;
use crate::read::glance::readmission;
use crate::state::stale::{Miss, Reason};
use crate::write::access::Failed;
use crate::{Error, Index, Replicas};

/// It was compared with another, and differs.
fn is_comparison(why: Why) -> bool {
    matches!(why, Why::Count | Why::Digest)
}

impl Replicas {
    /// Without any other replica there is nothing to heal from: what the node holds is all there is.
    pub(super) fn keep_what_nobody_else_has(&self, node: &Node, plan: &mut ReadmissionPlan) {
        let id = &node.member.id;
        let topology = self.state.topology();
        for (physical, of_index) in &mut plan.indexes {
            let Some(index) = self.state.catalog.by_physical(physical) else { continue };
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

    /// Of a node that serves, only what it has lost counts: who is right where it merely differs from another that serves is
    /// not known here, and is found out document by document when replicas are compared. What seems to be lost is looked at
    /// again with writes held: an index may be on its way, and so may the first documents of a shard. Where it differs though it
    /// has returned just now, it is looked at again as well, and is the one that is wrong if both have done what they accepted.
    /// Returns whether all of that could be looked at.
    pub(super) async fn confirm(
        &self,
        node: &Arc<Node>,
        plan: &mut ReadmissionPlan,
        found: &NodeInventory,
        serves: Serves,
    ) -> bool {
        let mut is_sure = true;
        for (physical, of_index) in &mut plan.indexes {
            let held = found.indexes.get(physical);
            let holds = |shard: &ShardId| {
                held.and_then(|held| held.shards.get(shard)).is_some_and(|measure| measure.documents > 0)
            };
            if serves != Serves::SinceReturn {
                of_index.mirror.retain(|shard, why| !(is_comparison(*why) && holds(shard)));
            }
            let doubtful: Vec<ShardId> =
                of_index.mirror.iter().filter(|(_, why)| is_comparison(**why)).map(|(shard, _)| *shard).collect();
            if doubtful.is_empty() && !of_index.create {
                continue;
            }
            let Ok(Some((guard, index))) = self.writes.lock_physical(physical).await else {
                // It is gone, or cannot be looked at: the next look will tell.
                *of_index = PlanForIndex::default();
                continue;
            };
            let until = Instant::now() + self.state.config.rebalancer.fence_max;
            if of_index.create {
                let there = timeout_at(until, self.has_index(node, &index)).await;
                // Without an answer nothing is known, either.
                if !matches!(there, Ok(Ok(false))) {
                    *of_index = PlanForIndex::default();
                }
                continue;
            }
            let equal = timeout_at(until, self.equal_shards(node, &index, &doubtful)).await;
            drop(guard);
            let equal = match equal {
                Ok(Some(equal)) => equal,
                // Without a comparison in that time, only what it seems to have lost counts.
                other => {
                    is_sure &= other.is_err() || serves != Serves::SinceReturn;
                    doubtful.iter().copied().filter(holds).collect()
                }
            };
            of_index.mirror.retain(|shard, _| !equal.contains(shard));
        }
        is_sure
    }

    /// Whether a node has an index, once it has done what it had accepted.
    async fn has_index(&self, node: &Arc<Node>, index: &Index) -> Result<bool, Failed> {
        node.drain(self.state.read_timeout()).await?;
        let call = Call::get("replica_look", format!("/indexes/{}", index.physical), self.state.read_timeout());
        match node.ask(call).await {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(404) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Those of the shards that have as many documents on the node as elsewhere, once all have done what they accepted. None:
    /// somebody does not tell.
    async fn equal_shards(&self, node: &Arc<Node>, index: &Arc<Index>, shards: &[ShardId]) -> Option<Vec<ShardId>> {
        let id = &node.member.id;
        let mut others: Vec<NodeId> = shards.iter().flat_map(|shard| self.fresh_elsewhere(index, *shard, id)).collect();
        others.push(id.clone());
        others.sort();
        others.dedup();
        for other in &others {
            self.state.node(other)?.drain(self.state.read_timeout()).await.ok()?;
        }
        let held = match self.writes.on_node(index, id).ok()?.counts().await {
            Ok(counts) => counts,
            // It has not got what it is to be counted by.
            Err(Failed::Refused(_)) => BTreeMap::new(),
            Err(_) => return None,
        };
        let fresh = self.fresh_counts(index, id, shards).await;
        let same = |shard: &ShardId| fresh.get(shard).is_none_or(|n| *n == held.get(shard).copied().unwrap_or(0));
        Some(shards.iter().copied().filter(same).collect())
    }

    /// Replicas that are not what they should be are known as stale from now on.
    pub(super) async fn mark(
        &self,
        node: &Node,
        plan: &ReadmissionPlan,
        expected: &Expected,
        found: &NodeInventory,
    ) -> Result<(), Error> {
        let id = &node.member.id;
        // One node at a time: two that differ from one another must not both be stale for it.
        let _one_at_a_time = self.marking.lock().await;
        let mut missed = Vec::new();
        for (index, of_index) in &plan.indexes {
            self.state.stale.refresh(index).await?;
            let known = self.state.catalog.by_physical(index);
            let others = |shard: ShardId| known.as_ref().is_some_and(|index| self.is_fresh_elsewhere(index, shard, id));
            let news = of_index.mirror.iter().filter(|(shard, why)| match why {
                Why::KnownStale => false,
                Why::Count | Why::Digest => others(**shard),
                // Whoever else has anything of it, be it stale, has more.
                Why::Absent | Why::Forgot => true,
            });
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
            true => vec![readmission(id, OffsetDateTime::now_utc())?],
            false => Vec::new(),
        };
        self.state.metrics.returned_stale(missed.len());
        self.writes.record_missed(&missed, Batch { writes, ..Batch::default() }).await?;
        Ok(())
    }

    /// Whether another replica of a shard is fresh, be it one that does not answer.
    fn is_fresh_elsewhere(&self, index: &Index, shard: ShardId, but: &NodeId) -> bool {
        let topology = self.state.topology();
        let stale = self.state.stale.of(&index.physical);
        let groups = topology.placements(index.shards).into_iter().flatten();
        let mut replicas = groups.flat_map(|(_, placement)| placement.replicas(shard));
        replicas.any(|node| node != but && !stale.contains(&(shard, node.clone())))
    }
}
