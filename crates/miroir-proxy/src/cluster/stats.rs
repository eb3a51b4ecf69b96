//! Statistics: documents counted once, without anything of ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use miroir_core::auth::Grant;
use miroir_core::id::{IndexUid, NodeId};
use miroir_core::inert::is_reserved;
use miroir_core::stats::StatsQuery;
use miroir_core::task::{TaskQuery, TaskStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::refusal::{Original, Read, Unread};
use super::{Answer, Cluster, Error, Index};
use crate::node::Call;

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

impl Cluster {
    /// `GET /indexes/{uid}/stats`.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`], or when shards are unavailable.
    pub async fn index_stats(&self, uid: &IndexUid, query: &str) -> Result<Answer, Error> {
        let index = self.find_index(uid).await?;
        let wanted = self.wanted(query, || Unread::read(&Original::query(Read::Stats, query), uid)).await?;
        let stats = self.stats_of(&index, wanted).await?;
        Ok(Answer::whole(to_json(&stats)?))
    }

    /// `GET /stats`: of the indexes that may be seen; the sizes are of all.
    ///
    /// # Errors
    /// When shards are unavailable.
    pub async fn stats(&self, grant: &Grant, query: &str) -> Result<Answer, Error> {
        let wanted = self.wanted(query, || Unread::of_server("stats", "stats", query)).await?;
        let mut indexes = serde_json::Map::new();
        let mut last_update = None;
        for index in self.indexes().into_iter().filter(|index| grant.allows(index.uid.as_str())) {
            let stats = match self.stats_of(&index, wanted).await {
                // It has gone since the indexes were listed.
                Err(Error::IndexNotFound(_)) => continue,
                stats => stats?,
            };
            last_update = last_update.max(Some(index.updated_at));
            let stats = serde_json::to_value(&stats).map_err(|error| Error::Internal(error.to_string()))?;
            indexes.insert(index.uid.to_string(), stats);
        }
        let sizes = self.database_sizes().await;
        let last_update = last_update
            .and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok())
            .map_or(Value::Null, Value::String);
        let body = serde_json::json!({
            "databaseSize": wanted.size(sizes.0),
            "usedDatabaseSize": wanted.size(sizes.1),
            "lastUpdate": last_update,
            "indexes": indexes,
        });
        Ok(Answer::whole(to_json(&body)?))
    }

    /// What the client wants to see; what cannot be read is for a node to refuse.
    async fn wanted(&self, query: &str, unread: impl FnOnce() -> Unread) -> Result<StatsQuery, Error> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        match StatsQuery::from_query(pairs.iter().map(|(name, value)| (&**name, &**value))) {
            Ok(wanted) => Ok(wanted),
            Err(_) => Err(self.refuse_unread(unread()).await),
        }
    }

    async fn stats_of(&self, index: &Arc<Index>, wanted: StatsQuery) -> Result<IndexStats, Error> {
        let documents = self.count_documents(index).await?;
        let told = self.told_by_nodes(index, wanted).await;
        // Each document is told once per replica that answered: scaled to what there is.
        let told_documents: u64 = told.values().map(|stats| stats.number_of_documents).sum();
        let scale = |sum: u64| match told_documents {
            0 => 0,
            told => (sum as f64 * documents as f64 / told as f64).round() as u64,
        };
        let sum = |of: fn(&StatsOfNode) -> u64| scale(told.values().map(of).sum());
        let mut fields: BTreeMap<String, u64> = BTreeMap::new();
        for (name, count) in told.values().flat_map(|stats| &stats.field_distribution) {
            if !is_reserved(name) {
                *fields.entry(name.clone()).or_default() += count;
            }
        }
        let raw_size = sum(|stats| stats.raw_document_db_size);
        Ok(IndexStats {
            number_of_documents: documents,
            raw_document_db_size: wanted.size(raw_size),
            avg_document_size: wanted.size(raw_size.checked_div(documents).unwrap_or(0)),
            is_indexing: self.is_indexing(index).await?,
            internal_database_sizes: wanted.show_internal_sizes.then(|| {
                let sizes = internal_sizes(told.values(), |sum| if told_documents == 0 { sum } else { scale(sum) });
                sizes.into_iter().map(|(name, bytes)| (name, wanted.size(bytes))).collect()
            }),
            number_of_embeddings: sum(|stats| stats.number_of_embeddings),
            number_of_embedded_documents: sum(|stats| stats.number_of_embedded_documents),
            field_distribution: fields.into_iter().map(|(name, count)| (name, scale(count))).collect(),
        })
    }

    async fn told_by_nodes(&self, index: &Index, wanted: StatsQuery) -> BTreeMap<NodeId, StatsOfNode> {
        let stale = self.stale.of(&index.physical);
        let nodes = self.nodes();
        let live = nodes.values().filter(|node| {
            let id = &node.member.id;
            node.health.state().is_live()
                && !index.behind.contains_key(id)
                && !stale.iter().any(|(_, stale_node)| stale_node == id)
        });
        let internal = if wanted.show_internal_sizes { "?showInternalDatabaseSizes=true" } else { "" };
        let path = format!("/indexes/{}/stats{internal}", index.physical);
        let calls = live.map(|node| async {
            let stats = node.read(Call::get("stats", path.clone(), self.read_timeout())).await.ok()?;
            Some((node.member.id.clone(), stats))
        });
        join_all(calls).await.into_iter().flatten().collect()
    }

    async fn is_indexing(&self, index: &Index) -> Result<bool, Error> {
        let query = TaskQuery {
            statuses: Some([TaskStatus::Processing].into()),
            index_uids: Some([index.uid.clone()].into()),
            limit: 1,
            ..TaskQuery::default()
        };
        Ok(self.store.tasks(&query).await?.total > 0)
    }

    /// Of all nodes together: disk space is used by every replica.
    async fn database_sizes(&self) -> (u64, u64) {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Sizes {
            database_size: u64,
            used_database_size: u64,
        }
        let nodes = self.nodes();
        let live = nodes.values().filter(|node| node.health.state().is_live());
        let calls = live.map(|node| node.read(Call::get("stats", "/stats", self.read_timeout())));
        let sizes = join_all(calls).await.into_iter().flatten();
        sizes.fold((0, 0), |sum, one: Sizes| (sum.0 + one.database_size, sum.1 + one.used_database_size))
    }
}

/// The sizes of the parts of an index, the largest first.
fn internal_sizes<'a>(told: impl Iterator<Item = &'a StatsOfNode>, scale: impl Fn(u64) -> u64) -> Vec<(String, u64)> {
    let mut sums: BTreeMap<&String, u64> = BTreeMap::new();
    for (name, size) in told.flat_map(|stats| &stats.internal_database_sizes) {
        *sums.entry(name).or_default() += size;
    }
    let mut sizes: Vec<(String, u64)> = sums.into_iter().map(|(name, sum)| (name.clone(), scale(sum))).collect();
    sizes.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    sizes
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Internal(error.to_string()))
}
