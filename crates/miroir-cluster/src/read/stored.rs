//! Documents that are stored, by their ids: our own work asks for them so, and not by a filter of many values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::Method;
use miroir_core::base::hash::shard_of;
use miroir_core::base::id::ShardId;
use miroir_core::base::inert::shard_filter;
use miroir_core::base::json;
use miroir_core::document::id_text;
use miroir_node::Call;
use serde_json::json;

use crate::read::scatter::Gathered;
use crate::read::versions::Reading;
use crate::{Error, Index, Reads};

/// Ids asked for in one request.
const AT_ONCE: usize = 1000;

impl Reads {
    /// Those of these documents that the index holds.
    ///
    /// # Errors
    /// [`Error::ShardUnavailable`] when no fresh replica of a shard answers.
    pub(crate) async fn stored(&self, index: Arc<Index>, ids: &[&str]) -> Result<BTreeSet<String>, Error> {
        let index = Reading::of(index);
        let Some(key) = index.key() else { return Ok(BTreeSet::new()) };
        let mut found = BTreeSet::new();
        for ids in ids.chunks(AT_ONCE) {
            found.extend(ids_of(&self.gather_by_id(&index, ids, Some(key)).await?, key)?);
        }
        Ok(found)
    }

    /// The documents of these ids, whole or this field of them.
    ///
    /// # Errors
    /// As [`Reads::gather`].
    pub(crate) async fn gather_by_id(
        &self,
        index: &Reading,
        ids: &[&str],
        field: Option<&str>,
    ) -> Result<Gathered, Error> {
        let mut by_shard: BTreeMap<ShardId, Vec<&str>> = BTreeMap::new();
        for id in ids {
            by_shard.entry(shard_of(id.as_bytes(), index.shards)).or_default().push(id);
        }
        let shards: Vec<ShardId> = by_shard.keys().copied().collect();
        let (path, timeout) = (format!("/indexes/{}/documents/fetch", index.physical), self.state.read_timeout());
        let call = |shards: &[ShardId]| {
            let ids: Vec<&&str> = shards.iter().filter_map(|shard| by_shard.get(shard)).flatten().collect();
            let mut body = json!({ "limit": ids.len(), "ids": ids, "filter": [shard_filter(shards)] });
            if let Some((field, body)) = field.zip(body.as_object_mut()) {
                body.insert("fields".into(), json!([field]));
            }
            Call::json("documents", Method::POST, path.clone(), body.to_string().into_bytes(), timeout)
        };
        self.gather(index, &shards, 0, |assignment, _| call(&assignment.shards)).await
    }
}

/// The ids of the documents in these answers, if no shard is missing.
///
/// # Errors
/// [`Error::ShardUnavailable`]; [`Error::Answer`] when an answer is no page of documents.
pub(crate) fn ids_of(gathered: &Gathered, key: &str) -> Result<Vec<String>, Error> {
    if !gathered.degraded.shards.is_empty() {
        return Err(Error::ShardUnavailable { shards: gathered.degraded.shards.clone() });
    }
    let mut ids = Vec::new();
    for part in &gathered.parts {
        for raw in documents_of(part.assignment.node.as_str(), &part.reply.body)? {
            ids.extend(id_text(raw, key).ok().flatten());
        }
    }
    Ok(ids)
}

/// The raw documents of a node's page.
///
/// # Errors
/// [`Error::Answer`] when it is none.
pub(crate) fn documents_of<'a>(node: &str, body: &'a [u8]) -> Result<Vec<&'a [u8]>, Error> {
    let malformed = || Error::Answer { node: node.into(), why: "not a page of documents".into() };
    let results = json::get(body, "results").ok().flatten().ok_or_else(malformed)?;
    json::elements(results).map_err(|_| malformed())?.collect::<Result<_, _>>().map_err(|_| malformed())
}
