//! What replicas leave behind where nobody reads or writes them is deleted, and seen to be gone.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use miroir_core::base::id::{NodeId, ShardId};
use miroir_core::membership::transition::Replica;
use miroir_work::led::Next;
use time::OffsetDateTime;

use super::LOOK;
use super::machine::Rebalancing;
use super::record::TransitionRecord;
use crate::write::access::Failed;
use crate::write::erase::Erasing;
use crate::{Error, Index, Membership};

/// Other steps do not wait for longer. What is being deleted then is waited for in the next round.
const AT_MOST: Duration = Duration::from_secs(20);
/// Indexes looked at together on one node.
const TOGETHER: usize = 8;

type ByShards = BTreeMap<NonZeroU32, Vec<ShardId>>;

impl Rebalancing {
    /// Delete what is left of these replicas, and record what is gone.
    pub(super) async fn clean(
        &self,
        record: &TransitionRecord,
        replicas: &[Replica],
    ) -> Result<Next<TransitionRecord>, Error> {
        let quiet = record.quiet_at.is_none_or(|quiet_at| OffsetDateTime::now_utc() >= quiet_at);
        let mut by_node: BTreeMap<&NodeId, ByShards> = BTreeMap::new();
        for replica in replicas {
            by_node.entry(&replica.node).or_default().entry(replica.shards).or_default().push(replica.shard);
        }
        self.membership.catch_up_all().await?;
        let cleaned = join_all(by_node.iter().map(|(node, shards)| async move {
            let cleaned = tokio::time::timeout(AT_MOST, self.membership.clean_node(node, shards)).await;
            match cleaned {
                Ok(Ok(())) => true,
                Ok(Err(error)) => {
                    tracing::debug!(%node, %error, "what replicas left behind stays for now");
                    false
                }
                Err(_) => false,
            }
        }))
        .await;
        let clean: BTreeSet<&NodeId> =
            by_node.keys().copied().zip(cleaned).filter(|(_, cleaned)| *cleaned).map(|(node, _)| node).collect();
        let mut next = record.clone();
        if quiet {
            next.cleaned.extend(replicas.iter().filter(|replica| clean.contains(&replica.node)).cloned());
        }
        if next == *record {
            // It was decided upon because nothing else could be done.
            tokio::time::sleep(LOOK).await;
        }
        Ok(Next::to(next))
    }
}

impl Membership {
    /// Returns when a node holds nothing of these shards, and has nothing to do any more that could change that.
    async fn clean_node(&self, id: &NodeId, shards: &ByShards) -> Result<(), Failed> {
        let node = self.state.node(id).ok_or_else(|| Failed::Unanswered(format!("{id} is not a member")))?;
        // First: what it has accepted may be documents of these shards.
        node.drain(self.state.read_timeout()).await?;
        let erasing = self.writes.erasing(id).await.map_err(|error| Failed::Unanswered(error.to_string()))?;
        let erasing = erasing.ok_or_else(|| Failed::Unanswered("somebody else deletes from it".into()))?;
        let indexes = self.state.catalog.all();
        let cleaned = indexes
            .iter()
            .filter_map(|index| Some(self.clean_index(&erasing, index, id, shards.get(&index.shards)?).boxed()));
        let cleaned: Vec<_> = cleaned.collect();
        let told: Result<Vec<Option<u64>>, Failed> =
            stream::iter(cleaned).buffer_unordered(TOGETHER).try_collect().await;
        // Given back before the node is done: what it has accepted comes before all that it is given later.
        erasing.done().await;
        let tasks: Vec<u64> = told?.into_iter().flatten().collect();
        Ok(node.await_tasks(&tasks, self.state.read_timeout()).await?)
    }

    /// Tell a node to delete what is left of these shards, if anything is. Returns its task.
    async fn clean_index(
        &self,
        erasing: &Erasing<'_>,
        index: &Arc<Index>,
        id: &NodeId,
        shards: &[ShardId],
    ) -> Result<Option<u64>, Failed> {
        let on = self.writes.on_node(index, id)?;
        let counts = match on.counts().await {
            Ok(counts) => counts,
            // Deleted in the meantime, or not made yet.
            Err(error) => return if self.lacks(index, id).await { Ok(None) } else { Err(error) },
        };
        let left: Vec<ShardId> =
            shards.iter().filter(|shard| counts.get(shard).is_some_and(|count| *count > 0)).copied().collect();
        if left.is_empty() {
            return Ok(None);
        }
        tracing::debug!(node = %id, index = %index.physical, ?left, "deleting what replicas left behind");
        erasing.delete_shards(&on, &left).await.map(Some)
    }

    /// Whether a node says that it has no such index.
    async fn lacks(&self, index: &Index, id: &NodeId) -> bool {
        let Some(node) = self.state.node(id) else { return false };
        let path = format!("/indexes/{}", index.physical);
        let told = node.call(miroir_node::Call::get("indexes", path, self.state.read_timeout())).await;
        told.is_ok_and(|reply| reply.status == 404)
    }

    /// How many documents replicas hold, as far as their nodes tell.
    pub(super) async fn documents_on(&self, replicas: &[Replica]) -> u64 {
        let mut by_node: BTreeMap<(NonZeroU32, &NodeId), BTreeSet<ShardId>> = BTreeMap::new();
        for replica in replicas {
            by_node.entry((replica.shards, &replica.node)).or_default().insert(replica.shard);
        }
        let indexes = self.state.catalog.all();
        let pairs = indexes.iter().flat_map(|index| {
            let of_index = by_node.iter().filter(move |((shards, _), _)| *shards == index.shards);
            of_index.map(move |((_, node), shards)| (index, *node, shards))
        });
        let counted = pairs.map(|(index, node, shards)| {
            async move {
                let Ok(on) = self.writes.on_node(index, node) else { return 0 };
                let counts = on.counts().await.unwrap_or_default();
                counts.iter().filter(|(shard, _)| shards.contains(shard)).map(|(_, n)| n).sum::<u64>()
            }
            .boxed()
        });
        stream::iter(counted.collect::<Vec<_>>())
            .buffer_unordered(TOGETHER)
            .fold(0, |sum, n| async move { sum + n })
            .await
    }
}
