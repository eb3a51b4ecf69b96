//! Statistics: documents counted once, without anything of ours.
//!
//! Invariant: whoever asks is told of every index there is, in one round trip for each node. Of an index whose nodes
//! cannot say how much there is, what was last known is told, and the answer says that it is so.

mod ask;
mod known;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use miroir_core::access::Grant;
use miroir_core::base::id::{IndexUid, NodeId, ShardId};
use miroir_core::base::strip;
use miroir_core::membership::topology::Topology;
use miroir_core::read::stats::{Counted, Holders, Remembered, StatsQuery, counted};
use miroir_core::write::task::{TaskQuery, TaskStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use known::LastKnown;
use known::Numbers;
use miroir_node::Call;

use crate::read::refusal::{Original, Read, Unread};
use crate::{Answer, Degraded, Error, Index, Reads};

/// Tasks that are read at a time to see which indexes are being written to, and how many times.
const TASKS: (usize, usize) = (1000, 10);

/// `GET /indexes/{uid}/stats`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexStats {
    number_of_documents: u64,
    raw_document_db_size: Value,
    avg_document_size: Value,
    is_indexing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    internal_database_sizes: Option<Map<String, Value>>,
    number_of_embeddings: u64,
    number_of_embedded_documents: u64,
    field_distribution: BTreeMap<String, u64>,
}

/// As a node tells it, for the replicas it holds.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StatsOfNode {
    number_of_documents: u64,
    raw_document_db_size: u64,
    number_of_embeddings: u64,
    number_of_embedded_documents: u64,
    field_distribution: BTreeMap<String, u64>,
    internal_database_sizes: BTreeMap<String, u64>,
}

/// As a node tells it of all its indexes.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AllOfNode {
    database_size: u64,
    used_database_size: u64,
    indexes: BTreeMap<String, StatsOfNode>,
}

/// The statistics of one index, by the node that reported them.
type StatsByNode = BTreeMap<NodeId, StatsOfNode>;

/// The nodes of an index as its statistics see them.
struct Nodes<'a> {
    reads: &'a Reads,
    topology: &'a Topology,
    index: &'a Index,
    stale: Arc<BTreeSet<(ShardId, NodeId)>>,
}

impl Holders for Nodes<'_> {
    fn holds_its_part_alone(&self, node: &NodeId) -> bool {
        self.reads.state.is_live(node)
            && !self.stale.iter().any(|(_, stale)| stale == node)
            && !self.topology.may_hold_more(self.index.shards, node)
    }

    fn can_answer(&self, shard: ShardId, node: &NodeId) -> bool {
        self.reads.state.is_live(node)
            && (self.stale.is_empty() || !self.stale.contains(&(shard, node.clone())))
            && !self.index.lagging.contains_key(node)
    }
}

/// The statistics of an index, but for what only the request decides.
struct Found {
    numbers: Arc<Numbers>,
    /// What each node reported: every replica of a document counts.
    by_node: StatsByNode,
    /// What was last known, or what is left of it: nobody can say more.
    is_remembered: bool,
}

impl Reads {
    /// `GET /indexes/{uid}/stats`.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`]; a refusal of parameters.
    pub async fn index_stats(&self, uid: &IndexUid, query: &str) -> Result<Answer, Error> {
        let index = self.state.find_index(uid).await?;
        let wanted = self.wanted(query, || Unread::read(&Original::query(Read::Stats, query), uid)).await?;
        let by_node = self.stats_of_nodes(&index, wanted).await;
        let mut degraded = Degraded::default();
        // Shard by shard, so that what a node should not hold any more is not counted either.
        let exactly = match self.count_documents(&index).await {
            Ok((documents, seen)) => {
                degraded = degraded.and(seen);
                Some(documents).filter(|_| degraded.shards.is_empty())
            }
            Err(error @ Error::IndexNotFound(_)) => return Err(error),
            Err(error) => {
                tracing::debug!(%error, index = %index.uid, "documents cannot be counted");
                None
            }
        };
        let found = self.found(&index, by_node, exactly);
        degraded.counts = usize::from(found.is_remembered);
        let indexing = self.indexing(Some(&index.uid)).await;
        let stats = shown(&found, wanted, indexing.contains(&index.uid));
        Ok(Answer { body: to_json(&stats)?.into(), degraded })
    }

    /// `GET /stats`: of the indexes that may be seen; the sizes are of all.
    ///
    /// # Errors
    /// A refusal of parameters.
    pub async fn stats(&self, grant: &Grant, query: &str) -> Result<Answer, Error> {
        let wanted = self.wanted(query, || Unread::of_server("stats", "stats", query)).await?;
        let start = Instant::now();
        let mut of_nodes = self.all_stats_of_nodes(wanted).await;
        let sizes = of_nodes.values().fold((0u64, 0u64), |sum, node| {
            (sum.0.saturating_add(node.database_size), sum.1.saturating_add(node.used_database_size))
        });
        let all = self.state.indexes();
        self.last_known.keep_only(&all.iter().map(|index| &index.physical).collect());
        let visible: Vec<Arc<Index>> = all.into_iter().filter(|index| grant.allows(index.uid.as_str())).collect();
        let by_node: Vec<StatsByNode> = visible.iter().map(|index| take_stats(&mut of_nodes, index)).collect();
        let counts = self.count_all(&visible, &by_node, start).await;
        let indexing = self.indexing(None).await;
        let mut degraded = Degraded { isolated: self.state.peers.evicted_for(), ..Degraded::default() };
        let mut indexes = Map::new();
        for ((index, by_node), exactly) in visible.iter().zip(by_node).zip(counts) {
            let found = self.found(index, by_node, exactly);
            degraded.counts += usize::from(found.is_remembered);
            let stats = shown(&found, wanted, indexing.contains(&index.uid));
            let stats = serde_json::to_value(&stats).map_err(|error| Error::Internal(error.to_string()))?;
            indexes.insert(index.uid.to_string(), stats);
        }
        let last_update = visible
            .iter()
            .map(|index| index.updated_at)
            .max()
            .and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok())
            .map_or(Value::Null, Value::String);
        let body = serde_json::json!({
            "databaseSize": wanted.size(sizes.0),
            "usedDatabaseSize": wanted.size(sizes.1),
            "lastUpdate": last_update,
            "indexes": indexes,
        });
        Ok(Answer { body: to_json(&body)?.into(), degraded })
    }

    /// What the client wants to see; what cannot be read is for a node to refuse.
    async fn wanted(&self, query: &str, unread: impl FnOnce() -> Unread) -> Result<StatsQuery, Error> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        match StatsQuery::from_query(pairs.iter().map(|(name, value)| (&**name, &**value))) {
            Ok(wanted) => Ok(wanted),
            Err(_) => Err(self.refuse_unread(unread()).await),
        }
    }

    /// Documents of each index, where that can be known: most by what the nodes told already, the others by asking them
    /// once more, all together.
    async fn count_all(&self, indexes: &[Arc<Index>], by_node: &[StatsByNode], start: Instant) -> Vec<Option<u64>> {
        let topology = self.state.topology();
        let mut to_ask = Vec::new();
        let mut counts: Vec<Option<u64>> = Vec::with_capacity(indexes.len());
        for (position, (index, by_node)) in indexes.iter().zip(by_node).enumerate() {
            let nodes = Nodes { reads: self, topology: &topology, index, stale: self.state.stale.of(&index.physical) };
            let Some(placements) = topology.placements(index.shards) else {
                counts.push(None);
                continue;
            };
            let documents = documents_by_node(by_node);
            let known = self.last_known.of(&index.physical);
            let then = known.as_ref().map(|known| &known.then);
            counts.push(match counted(placements, &documents, updated_at_ms(index), &nodes, then) {
                Counted::Exactly(documents) => Some(documents),
                Counted::Ask => {
                    to_ask.push(position);
                    None
                }
                Counted::Unknown => None,
            });
        }
        let asked: Vec<Arc<Index>> = to_ask.iter().filter_map(|position| indexes.get(*position).cloned()).collect();
        let answers = self.count_together(&asked, start).await;
        for (position, answer) in to_ask.into_iter().zip(answers) {
            if let Some(count) = counts.get_mut(position) {
                *count = answer;
            }
        }
        counts
    }

    /// The statistics of an index that has exactly so many documents, or else those that were last known of it.
    fn found(&self, index: &Index, by_node: StatsByNode, exactly: Option<u64>) -> Found {
        let known = || self.last_known.of(&index.physical).map(|known| known.numbers);
        let numbers = match exactly {
            Some(documents) => {
                let numbers = numbers(&by_node, documents);
                let then =
                    Remembered { updated_at_ms: updated_at_ms(index), by_node: documents_by_node(&by_node), documents };
                // Without the nodes nothing but the number of documents is known.
                if !by_node.is_empty() {
                    self.last_known.record(&index.physical, then, &numbers);
                }
                Arc::new(numbers)
            }
            None => known()
                .unwrap_or_else(|| Arc::new(numbers(&by_node, at_least(&by_node, index, &self.state.topology())))),
        };
        Found { numbers, by_node, is_remembered: exactly.is_none() }
    }

    /// Which nodes may be asked about an index.
    fn tells_of(&self, index: &Index) -> impl Fn(&NodeId) -> bool {
        let stale = self.state.stale.of(&index.physical);
        let lagging: BTreeSet<NodeId> = index.lagging.keys().cloned().collect();
        move |node| !lagging.contains(node) && !stale.iter().any(|(_, stale)| stale == node)
    }

    async fn stats_of_nodes(&self, index: &Index, wanted: StatsQuery) -> StatsByNode {
        let nodes = self.state.nodes();
        let may_tell = self.tells_of(index);
        let live = nodes.values().filter(|node| node.health.state().is_live() && may_tell(&node.member.id));
        let path = format!("/indexes/{}/stats{}", index.physical, parameters(wanted));
        let calls = live.map(|node| async {
            let stats = node.read(Call::get("stats", path.clone(), self.state.read_timeout())).await.ok()?;
            Some((node.member.id.clone(), stats))
        });
        join_all(calls).await.into_iter().flatten().collect()
    }

    /// One request to each node.
    async fn all_stats_of_nodes(&self, wanted: StatsQuery) -> BTreeMap<NodeId, AllOfNode> {
        let nodes = self.state.nodes();
        let live = nodes.values().filter(|node| node.health.state().is_live());
        let path = format!("/stats{}", parameters(wanted));
        let calls = live.map(|node| async {
            let reply = node.ask(Call::get("stats", path.clone(), self.state.read_timeout())).await.ok()?;
            // There may be thousands of indexes, with hundreds of fields each.
            let read = tokio::task::spawn_blocking(move || serde_json::from_slice(&reply.body));
            Some((node.member.id.clone(), read.await.ok()?.ok()?))
        });
        join_all(calls).await.into_iter().flatten().collect()
    }

    /// The indexes that are being written to; of one index, whether it is among them.
    async fn indexing(&self, of: Option<&IndexUid>) -> BTreeSet<IndexUid> {
        let (at_a_time, times) = TASKS;
        let mut found = BTreeSet::new();
        let mut query = TaskQuery {
            statuses: Some([TaskStatus::Processing].into()),
            index_uids: of.map(|uid| [uid.clone()].into()),
            limit: if of.is_some() { 1 } else { at_a_time },
            ..TaskQuery::default()
        };
        for _ in 0..times {
            // While the store is away nobody knows, which is no reason to tell nothing else.
            let Ok(page) = self.state.store.tasks(&query).await else { break };
            found.extend(page.tasks.iter().flat_map(|task| task.indexes().cloned()));
            match page.next.filter(|_| of.is_none()) {
                Some(next) => query.from = Some(next),
                None => break,
            }
        }
        found
    }
}

/// The statistics of this index, taken out of the responses about all indexes. A lagging node may have
/// indexed its documents otherwise, but has as many.
fn take_stats(of_nodes: &mut BTreeMap<NodeId, AllOfNode>, index: &Index) -> StatsByNode {
    let of_node =
        |(node, all): (&NodeId, &mut AllOfNode)| Some((node.clone(), all.indexes.remove(index.physical.as_str())?));
    of_nodes.iter_mut().filter_map(of_node).collect()
}

fn documents_by_node(by_node: &StatsByNode) -> BTreeMap<NodeId, u64> {
    by_node.iter().map(|(node, stats)| (node.clone(), stats.number_of_documents)).collect()
}

fn updated_at_ms(index: &Index) -> u64 {
    u64::try_from(index.updated_at.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}

/// The documents of an index of which nothing better is known: those of the nodes that answered, as if each of them had
/// every copy of what it has.
fn at_least(by_node: &StatsByNode, index: &Index, topology: &Topology) -> u64 {
    let copies = topology.placements(index.shards).map_or(1, |groups| {
        groups.values().map(|placement| placement.replicas(ShardId(0)).len()).sum::<usize>().max(1)
    });
    by_node.values().map(|stats| stats.number_of_documents).sum::<u64>() / copies as u64
}

/// The numbers of an index of so many documents. Each document is counted once per replica that answered, so sums are
/// scaled to the number of documents.
fn numbers(by_node: &StatsByNode, documents: u64) -> Numbers {
    let sum = |of: fn(&StatsOfNode) -> u64| scaled(by_node, documents, by_node.values().map(of).sum());
    let mut fields: BTreeMap<String, u64> = BTreeMap::new();
    for (name, count) in by_node.values().flat_map(|stats| &stats.field_distribution) {
        if !strip::is_ours(name.as_bytes()) {
            *fields.entry(name.clone()).or_default() += count;
        }
    }
    Numbers {
        documents,
        raw_size: sum(|stats| stats.raw_document_db_size),
        embeddings: sum(|stats| stats.number_of_embeddings),
        embedded: sum(|stats| stats.number_of_embedded_documents),
        fields: fields.into_iter().map(|(name, count)| (name, scaled(by_node, documents, count))).collect(),
    }
}

fn scaled(by_node: &StatsByNode, documents: u64, sum: u64) -> u64 {
    match by_node.values().map(|stats| stats.number_of_documents).sum::<u64>() {
        0 => 0,
        by_node => (sum as f64 * documents as f64 / by_node as f64).round() as u64,
    }
}

fn shown(found: &Found, wanted: StatsQuery, is_indexing: bool) -> IndexStats {
    let Found { numbers, by_node, .. } = found;
    let has_documents = by_node.values().any(|stats| stats.number_of_documents > 0);
    IndexStats {
        number_of_documents: numbers.documents,
        raw_document_db_size: wanted.size(numbers.raw_size),
        avg_document_size: wanted.size(numbers.raw_size.checked_div(numbers.documents).unwrap_or(0)),
        is_indexing,
        internal_database_sizes: wanted.show_internal_sizes.then(|| {
            let of = |sum| if has_documents { scaled(by_node, numbers.documents, sum) } else { sum };
            internal_sizes(by_node.values(), of).into_iter().map(|(name, bytes)| (name, wanted.size(bytes))).collect()
        }),
        number_of_embeddings: numbers.embeddings,
        number_of_embedded_documents: numbers.embedded,
        field_distribution: numbers.fields.clone(),
    }
}

/// The parameters for a node, which says sizes as numbers.
fn parameters(wanted: StatsQuery) -> &'static str {
    if wanted.show_internal_sizes { "?showInternalDatabaseSizes=true" } else { "" }
}

/// The sizes of the parts of an index, the largest first.
fn internal_sizes<'a>(
    by_node: impl Iterator<Item = &'a StatsOfNode>,
    scale: impl Fn(u64) -> u64,
) -> Vec<(String, u64)> {
    let mut sums: BTreeMap<&String, u64> = BTreeMap::new();
    for (name, size) in by_node.flat_map(|stats| &stats.internal_database_sizes) {
        *sums.entry(name).or_default() += size;
    }
    let mut sizes: Vec<(String, u64)> = sums.into_iter().map(|(name, sum)| (name.clone(), scale(sum))).collect();
    sizes.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    sizes
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Internal(error.to_string()))
}
