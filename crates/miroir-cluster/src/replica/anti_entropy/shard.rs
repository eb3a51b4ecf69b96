//! One shard compared: its fresh replicas counted, folded, and listed where they differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::{join_all, try_join_all};
use miroir_core::base::id::{IndexUid, NodeId, ShardId};
use miroir_core::replica::anti_entropy::{Look, after_counts, after_digests, suspects};
use miroir_core::replica::digest::{BUCKETS, Depth, Digest, Listing, TooMany, in_groups};
use miroir_store::Batch;

use super::PassFindings;
use super::listing::list;
use super::repair::Looked;
use crate::clock::now_ms;
use crate::state::stale::{Miss, Reason};
use crate::write::access::{Failed, Replica};
use crate::{Index, Replicas};

/// Ids held at once of one replica.
const LISTED: usize = 20_000;
/// Documents repaired together, while writes are held.
const TOGETHER: usize = 200;
/// Expired documents recorded on the way; those beyond are found by the next pass.
const EXPIRED: usize = 10_000;

/// The replicas that are compared, by node.
pub(super) type Copies = BTreeMap<NodeId, Replica>;

/// A replica folded, and what has expired on it.
#[derive(Default)]
struct Folded {
    digest: Digest,
    expired: BTreeSet<String>,
}

impl Replicas {
    /// Compare the replicas of a shard, and repair what differs.
    pub(super) async fn compare_shard(&self, physical: IndexUid, shard: ShardId, depth: Depth) -> PassFindings {
        let mut found = PassFindings::default();
        let Some(index) = self.state.catalog.by_physical(&physical).filter(|index| index.ready) else { return found };
        let replicas = self.fresh_replicas(&index, shard);
        if replicas.len() < 2 || index.key().is_none() {
            return PassFindings { shards: 1, ..found };
        }
        match self.compare(&index, shard, &replicas, depth, &mut found).await {
            Ok(()) => found.shards = 1,
            Err(error) => {
                tracing::warn!(%error, index = %index.uid, %shard, "the replicas of a shard could not be compared");
                found.failures += 1;
            }
        }
        if found.mismatches + found.lost_replicas > 0 {
            tracing::warn!(
                index = %index.uid, %shard, mismatches = found.mismatches, repaired = found.repaired,
                lost_replicas = found.lost_replicas, "replicas of a shard differed"
            );
        }
        found
    }

    /// The replicas that hold every write, as far as is known, and answer; of all groups.
    pub(super) fn fresh_replicas(&self, index: &Arc<Index>, shard: ShardId) -> Copies {
        let fresh = self.state.fresh_nodes(index, shard).into_iter();
        fresh.filter_map(|node| Some((node.clone(), self.writes.replica(index, shard, &node).ok()?))).collect()
    }

    async fn compare(
        &self,
        index: &Arc<Index>,
        shard: ShardId,
        replicas: &Copies,
        depth: Depth,
        found: &mut PassFindings,
    ) -> Result<(), Failed> {
        let count = |(node, replica): (&NodeId, &Replica)| {
            let (node, replica) = (node.clone(), replica.clone());
            async move { Ok::<_, Failed>((node, replica.count().await?)) }
        };
        let counts: BTreeMap<NodeId, u64> = try_join_all(replicas.iter().map(count)).await?.into_iter().collect();
        let (buckets, depth, expired) = match after_counts(&counts, depth) {
            Look::Nothing => return Ok(()),
            Look::Mirror(lost) => {
                found.lost_replicas += lost.len() as u64;
                return self.lost(index, shard, lost).await;
            }
            Look::Digests(depth) => {
                let folded = self.fold(replicas, depth, found).await?;
                let expired = folded.values().flat_map(|folded| folded.expired.iter().cloned()).collect();
                let digests = folded.into_iter().map(|(node, folded)| (node, folded.digest)).collect();
                (after_digests(&digests), depth, expired)
            }
            Look::Ids(depth) => {
                let each = counts.values().copied().max().unwrap_or_default() / BUCKETS as u64 + 1;
                ((0..=u8::MAX).map(|bucket| (bucket, each)).collect(), depth, BTreeSet::new())
            }
        };
        self.suspect(index, shard, expired, found).await?;
        for group in in_groups(&buckets, LISTED as u64) {
            let listings = self.list_buckets(replicas, &group, depth, found).await?;
            self.suspect(index, shard, suspects(&listings, now_ms()), found).await?;
        }
        Ok(())
    }

    async fn suspect(
        &self,
        index: &Arc<Index>,
        shard: ShardId,
        suspects: BTreeSet<String>,
        found: &mut PassFindings,
    ) -> Result<(), Failed> {
        let suspects: Vec<String> = suspects.into_iter().collect();
        let mut chunks = suspects.chunks(TOGETHER);
        while let Some(together) = chunks.next() {
            if self.look_into(index, shard, together.to_vec(), found).await? == Looked::TooFarBehind {
                found.postponed += chunks.map(|later| later.len() as u64).sum::<u64>();
                break;
            }
        }
        Ok(())
    }

    /// Replicas that hold nothing where others hold much are left to healing.
    async fn lost(&self, index: &Index, shard: ShardId, lost: BTreeSet<NodeId>) -> Result<(), Failed> {
        if !self.state.config.anti_entropy.auto_repair {
            return Ok(());
        }
        let miss =
            |node| Miss { index: index.physical.clone(), shard, node, reason: Reason::Differs, arrives_until: None };
        let misses: Vec<Miss> = lost.into_iter().map(miss).collect();
        let known = self.writes.record_missed(&misses, Batch::default()).await;
        known.map(|_| ()).map_err(|error| Failed::Unanswered(error.to_string()))
    }

    async fn fold(
        &self,
        replicas: &Copies,
        depth: Depth,
        found: &mut PassFindings,
    ) -> Result<BTreeMap<NodeId, Folded>, Failed> {
        let (now, batch) = (now_ms(), self.fingerprint_batch());
        let folds = replicas.iter().map(|(node, replica)| async move {
            let folded =
                list(&self.state.client_priority, replica, depth, batch, Folded::default, |folded, document| {
                    folded.digest.add(document);
                    if document.version.is_expired(now) && folded.expired.len() < EXPIRED {
                        folded.expired.insert(document.id.clone());
                    }
                    Ok::<_, TooMany>(())
                });
            Ok::<_, Failed>((node.clone(), folded.await?))
        });
        let folded = try_join_all(folds).await?;
        found.documents += folded.iter().map(|(_, (_, documents))| documents).sum::<u64>();
        Ok(folded.into_iter().map(|(node, (folded, _))| (node, folded)).collect())
    }

    async fn list_buckets(
        &self,
        replicas: &Copies,
        buckets: &[u8],
        depth: Depth,
        found: &mut PassFindings,
    ) -> Result<BTreeMap<NodeId, BTreeMap<String, miroir_core::replica::digest::Version>>, Failed> {
        let batch = self.fingerprint_batch();
        // Twice the limit: buckets may have grown since they were counted.
        let empty = || Listing::of(buckets.iter().copied(), LISTED * 2);
        let lists = replicas.iter().map(|(node, replica)| async move {
            let listed = list(&self.state.client_priority, replica, depth, batch, empty, Listing::add).await?;
            Ok::<_, Failed>((node.clone(), listed))
        });
        let listed = join_all(lists).await.into_iter().collect::<Result<Vec<_>, Failed>>()?;
        found.documents += listed.iter().map(|(_, (_, documents))| documents).sum::<u64>();
        Ok(listed.into_iter().map(|(node, (listing, _))| (node, listing.documents().clone())).collect())
    }

    fn fingerprint_batch(&self) -> u64 {
        u64::from(self.state.config.anti_entropy.fingerprint_batch_size.get())
    }
}
