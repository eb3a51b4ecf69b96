//! Documents that may differ: looked at again, and repaired while the writes of their index are held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use miroir_core::base::id::{NodeId, ShardId};
use miroir_core::replica::anti_entropy::{Repairs, ToRepair, repairs};
use miroir_core::replica::digest::Version;
use miroir_store::Batch;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};

use super::PassFindings;
use super::shard::Copies;
use crate::clock::now_ms;
use crate::state::index_lock::{IndexGuard, linger};
use crate::state::stale::{Miss, Reason};
use crate::write::access::{Failed, Replica};
use crate::write::debts::Unrecorded;
use crate::write::parts::PartOutcome;
use crate::{Index, Replicas};

/// Looks at documents before writes are held for them: most of what differs is only on its way.
const LOOKS: u32 = 3;
/// Before the second look; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(50);
/// How long nodes may take to do what they have accepted, before documents are left to the next pass.
const CATCH_UP: Duration = Duration::from_secs(60);
/// How often writes are held in vain before documents are left to the next pass.
const FENCES: u32 = 3;

/// What every replica holds of some documents.
struct Held {
    /// By id, then node; none: the node does not have it.
    versions: BTreeMap<String, BTreeMap<NodeId, Option<Version>>>,
    raw: BTreeMap<(NodeId, String), Bytes>,
}

/// Whether documents could be looked at together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// They are alike, repaired, reported, or left to the next pass.
    Through,
    /// Nodes are so far behind that there is no use in looking at others of the shard.
    TooFarBehind,
}

/// What became of documents while writes were paused.
enum InPause {
    /// Both sides could not be seen at one point in time.
    TooLong,
    /// There is nobody to compare with any more.
    Alone,
    /// Nothing is left of the difference.
    Equal,
    /// So many differ, and are not to be repaired.
    Reported(usize),
    /// So many were repaired, by these tasks.
    Repaired(usize, Vec<(NodeId, Vec<u64>)>),
}

impl Held {
    /// Those that are not held alike, or have expired.
    fn suspects(&self, now: u64) -> Vec<String> {
        let unlike = |copies: &BTreeMap<NodeId, Option<Version>>| {
            let first = copies.values().next();
            let expired = copies.values().flatten().any(|version| version.is_expired(now));
            expired || copies.values().any(|copy| Some(copy) != first)
        };
        self.versions.iter().filter(|(_, copies)| unlike(copies)).map(|(id, _)| id.clone()).collect()
    }
}

impl Replicas {
    /// Look at documents that were not listed alike, and repair those that stay different.
    pub(super) async fn look_into(
        &self,
        index: &Arc<Index>,
        shard: ShardId,
        mut ids: Vec<String>,
        found: &mut PassFindings,
    ) -> Result<Looked, Failed> {
        for look in 0..LOOKS {
            if look > 0 {
                sleep(PAUSE * (1 << look)).await;
                if catch_up(&self.fresh_replicas(index, shard)).await?.is_none() {
                    found.postponed += ids.len() as u64;
                    return Ok(Looked::TooFarBehind);
                }
            }
            let replicas = self.fresh_replicas(index, shard);
            ids = read(&replicas, &ids).await?.suspects(now_ms());
            if ids.is_empty() || replicas.len() < 2 {
                return Ok(Looked::Through);
            }
        }
        for attempt in 0..FENCES {
            sleep(PAUSE * attempt).await;
            match catch_up(&self.fresh_replicas(index, shard)).await? {
                // What has come meanwhile takes about as long: writes would be held in vain.
                Some(took) if took > self.state.config.rebalancer.fence_max => continue,
                Some(_) => {}
                None => break,
            }
            match self.repair_in_pause(index, shard, &ids).await? {
                InPause::TooLong => {}
                InPause::Alone | InPause::Equal => return Ok(Looked::Through),
                InPause::Reported(documents) => {
                    found.mismatches += documents as u64;
                    return Ok(Looked::Through);
                }
                InPause::Repaired(documents, tasks) => {
                    found.mismatches += documents as u64;
                    found.repaired += documents as u64;
                    self.see_to_the_end(index, shard, tasks).await?;
                    return Ok(Looked::Through);
                }
            }
        }
        found.postponed += ids.len() as u64;
        Ok(Looked::TooFarBehind)
    }

    /// Hold the writes of the index, have all replicas do what they have accepted, look once more, and hand the repairs to
    /// the nodes before anything else is handed to them: no repair undoes a later write.
    async fn repair_in_pause(&self, index: &Arc<Index>, shard: ShardId, ids: &[String]) -> Result<InPause, Failed> {
        let unanswered = |error: crate::Error| Failed::Unanswered(error.to_string());
        let Some(now) = self.state.catalog.by_physical(&index.physical) else { return Ok(InPause::Alone) };
        let guard = self.writes.lock_index(&now.uid).await.map_err(unanswered)?;
        // Kept until the nodes have accepted: no replica is moved away meanwhile.
        let _topology = self.state.topology();
        let replicas = self.fresh_replicas(&now, shard);
        if replicas.len() < 2 || self.state.catalog.by_physical(&index.physical).is_none() {
            return Ok(InPause::Alone);
        }
        let look = async {
            try_join_all(replicas.values().map(Replica::drain)).await?;
            read(&replicas, ids).await
        };
        let held = match timeout(self.state.config.rebalancer.fence_max, look).await {
            Ok(held) => held?,
            Err(_) => return Ok(InPause::TooLong),
        };
        let auto_repair = self.state.config.anti_entropy.auto_repair;
        let outcome = match repairs(&held.versions, now_ms(), auto_repair) {
            ToRepair::Nothing => InPause::Equal,
            ToRepair::Report { documents } => InPause::Reported(documents),
            ToRepair::Repair(repairs) => {
                let nodes: BTreeSet<&NodeId> = repairs.put.keys().chain(repairs.delete.keys()).collect();
                let told = nodes
                    .into_iter()
                    .filter_map(|node| Some(hand_over(&guard, &repairs, &held, node, replicas.get(node)?)));
                let documents = repairs.documents;
                tracing::info!(
                    index = %now.uid, %shard, documents, origin = repairs.origin.tag(), "documents are being repaired"
                );
                let at = OffsetDateTime::now_utc();
                let told = join_all(told).await;
                InPause::Repaired(documents, self.know_who_did_not_answer(guard, &now, shard, at, told).await)
            }
        };
        Ok(outcome)
    }

    /// Nodes that may have got their repairs, or may get them yet, are known as different before anything else is sent to them.
    /// Returns the tasks of the others.
    async fn know_who_did_not_answer(
        &self,
        guard: IndexGuard,
        index: &Index,
        shard: ShardId,
        at: OffsetDateTime,
        told: Vec<(NodeId, Result<Vec<u64>, Failed>)>,
    ) -> Vec<(NodeId, Vec<u64>)> {
        let (mut accepted, mut parts) = (Vec::new(), Vec::new());
        for (node, answer) in told {
            match answer {
                Ok(tasks) => accepted.push((node, tasks)),
                Err(error) => {
                    not_taken(&node, index, shard, &error);
                    parts.push(PartOutcome::unknown(node));
                }
            }
        }
        if parts.is_empty() {
            return accepted;
        }
        let recorded_with = Batch { fences: vec![guard.fence()], ..Batch::default() };
        let (index, topology, touched) = (index.clone(), self.state.topology(), vec![shard]);
        let names = vec![index.uid.clone()];
        let sent = Unrecorded { index, names, topology, touched, at, parts, recorded_with };
        if let Some(until) = self.writes.record_or_owe(sent).await {
            linger(until, &[guard]).await;
        }
        accepted
    }

    /// A node that failed its repairs holds something else than the others.
    async fn see_to_the_end(
        &self,
        index: &Arc<Index>,
        shard: ShardId,
        accepted: Vec<(NodeId, Vec<u64>)>,
    ) -> Result<(), Failed> {
        let mut misses = Vec::new();
        for (node, tasks) in accepted {
            let done = match self.writes.replica(index, shard, &node) {
                Ok(replica) => replica.done(&tasks).await,
                Err(failed) => Err(failed),
            };
            if let Err(error) = done {
                not_taken(&node, index, shard, &error);
                let arrives_until = Some(OffsetDateTime::now_utc() + self.state.write_timeout());
                misses.push(Miss {
                    index: index.physical.clone(),
                    shard,
                    node,
                    reason: Reason::Differs,
                    arrives_until,
                });
            }
        }
        let known = self.writes.record_missed(&misses, Batch::default()).await;
        known.map(|_| ()).map_err(|error| Failed::Unanswered(error.to_string()))
    }
}

/// How long all replicas need to do what they have accepted by now; `None` when that is longer than anybody waits. Writes go on
/// meanwhile: they are to be held only for as long as nodes need for what came last.
async fn catch_up(replicas: &Copies) -> Result<Option<Duration>, Failed> {
    let begun = Instant::now();
    match timeout(CATCH_UP, try_join_all(replicas.values().map(Replica::drain))).await {
        Ok(drained) => drained.map(|_| Some(begun.elapsed())),
        Err(_) => Ok(None),
    }
}

fn not_taken(node: &NodeId, index: &Index, shard: ShardId, error: &Failed) {
    tracing::warn!(%node, index = %index.uid, %shard, %error, "a replica did not take its repairs");
}

/// Deletions first: vectors that a document should not have stay when it is replaced.
async fn hand_over(
    guard: &IndexGuard,
    repairs: &Repairs,
    held: &Held,
    node: &NodeId,
    replica: &Replica,
) -> (NodeId, Result<Vec<u64>, Failed>) {
    // What an instance sends that has lost the lock may undo a later write.
    let lost = || Failed::Unanswered("the write lock of the index was lost".into());
    let told = async {
        let mut tasks = Vec::new();
        if let Some(ids) = repairs.delete.get(node) {
            if !guard.lasts() {
                return Err(lost());
            }
            tasks.push(replica.delete(&ids.iter().cloned().collect::<Vec<_>>()).await?);
        }
        let from = repairs.put.get(node).into_iter().flatten();
        let wanted = from.flat_map(|(from, ids)| ids.iter().map(move |id| (from.clone(), id.clone())));
        let documents: Vec<Bytes> = wanted.filter_map(|key| held.raw.get(&key).cloned()).collect();
        if !documents.is_empty() {
            if !guard.lasts() {
                return Err(lost());
            }
            tasks.push(replica.put(documents).await?);
        }
        Ok(tasks)
    };
    let told = tokio::select! {
        biased;
        told = told => told,
        () = guard.lost() => Err(lost()),
    };
    (node.clone(), told)
}

/// What all replicas hold of some documents, whole. Where they are too large to be read together, in parts.
async fn read(replicas: &Copies, ids: &[String]) -> Result<Held, Failed> {
    let reads = replicas.iter().map(|(node, replica)| async move {
        let mut documents = Vec::with_capacity(ids.len());
        let mut open = vec![ids];
        while let Some(part) = open.pop() {
            match replica.fetch(part).await {
                Ok((found, _)) => documents.extend(found),
                Err(Failed::TooLarge(_)) if part.len() > 1 => {
                    let (one, two) = part.split_at(part.len() / 2);
                    open.extend([one, two]);
                }
                Err(failed) => return Err(failed),
            }
        }
        Ok((node, documents))
    });
    let nodes = || replicas.keys().map(|node| (node.clone(), None));
    let mut held =
        Held { versions: ids.iter().map(|id| (id.clone(), nodes().collect())).collect(), raw: BTreeMap::new() };
    for (node, documents) in try_join_all(reads).await? {
        for document in documents {
            let id = document.copied.id;
            if let Some(copy) = held.versions.get_mut(&id).and_then(|copies| copies.get_mut(node)) {
                *copy = Some(document.copied.version);
                held.raw.insert((node.clone(), id), document.raw);
            }
        }
    }
    Ok(held)
}
