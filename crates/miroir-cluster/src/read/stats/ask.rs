//! Counting documents shard by shard, of many indexes in one request to each node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use miroir_core::base::id::ShardId;
use miroir_core::base::inert::shard_filter;
use miroir_core::read::multi_search::results;
use miroir_node::Call;
use serde_json::json;

use crate::read::browse::counts_by_shard;
use crate::read::doubt::Named;
use crate::read::scatter::{Share, Target};
use crate::read::versions::Reading;
use crate::state::catalog::all_shards;
use crate::{Error, Index, Reads};

/// Indexes that nodes are asked about in one request.
const TOGETHER: usize = 100;

impl Reads {
    /// The documents of each index; none of one that is not told in time. Statistics that are told late are of no use:
    /// all are asked for within the time of two reads, counted from `start`.
    pub(super) async fn count_together(&self, indexes: &[Arc<Index>], start: Instant) -> Vec<Option<u64>> {
        let mut counts = Vec::with_capacity(indexes.len());
        for some in indexes.chunks(TOGETHER) {
            let left = self.state.read_timeout().saturating_mul(2).saturating_sub(start.elapsed());
            counts.extend(match tokio::time::timeout(left, self.count_some(some, left)).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "documents cannot be counted");
                    vec![None; some.len()]
                }
                Err(_) => vec![None; some.len()],
            });
        }
        counts
    }

    async fn count_some(&self, indexes: &[Arc<Index>], timeout: Duration) -> Result<Vec<Option<u64>>, Error> {
        let readings: Vec<Reading> = indexes.iter().map(|index| Reading::of(index.clone())).collect();
        let targets: Vec<Target<'_>> =
            readings.iter().map(|index| Target { index, shards: all_shards(index), named: Named::Nothing }).collect();
        let query = |share: &Share| {
            let index = indexes.get(share.target)?;
            Some(json!({
                "indexUid": index.physical,
                "limit": 0,
                "facets": [miroir_core::base::inert::SHARD_FIELD],
                "filter": [shard_filter(&share.assignment.shards)],
            }))
        };
        let call = |shares: &[Share]| {
            let queries: Vec<_> = shares.iter().filter_map(query).collect();
            Call { timeout, ..self.multi_search_call(json!({ "queries": queries }).to_string().into_bytes()) }
        };
        let joint = self.gather_jointly(&targets, 0, call).await?;
        let mut answered: Vec<BTreeMap<ShardId, u64>> = vec![BTreeMap::new(); indexes.len()];
        for part in &joint.parts {
            let malformed = |why: String| Error::Answer { node: part.node().into(), why };
            let answers = results(&part.reply.body).map_err(|error| malformed(error.to_string()))?;
            for (share, answer) in part.shares.iter().zip(answers) {
                let Some(of_index) = answered.get_mut(share.target) else { continue };
                // A shard without documents is not among the counts.
                of_index.extend(share.assignment.shards.iter().map(|shard| (*shard, 0)));
                of_index.extend(counts_by_shard(part.node(), answer)?);
            }
        }
        let whole = |(index, counts): (&Arc<Index>, BTreeMap<ShardId, u64>)| {
            (counts.len() == index.shards.get() as usize).then(|| counts.values().sum())
        };
        Ok(indexes.iter().zip(answered).map(whole).collect())
    }
}
