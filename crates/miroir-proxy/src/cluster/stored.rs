//! Which documents are stored.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use http::Method;
use miroir_core::document::id_text;
use miroir_core::hash::shard_of;
use miroir_core::id::{NodeId, ShardId};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Cluster, Error, Index};
use crate::node::Call;

/// Ids in one request.
const AT_ONCE: usize = 1000;

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

impl Cluster {
    /// Those of these documents that the index holds.
    ///
    /// # Errors
    /// [`Error::ShardUnavailable`] when no fresh replica of a shard answers.
    pub(super) async fn stored(
        &self,
        index: &Index,
        ids: impl Iterator<Item = &str>,
    ) -> Result<BTreeSet<String>, Error> {
        let Some(key) = index.key() else { return Ok(BTreeSet::new()) };
        let mut open: BTreeMap<ShardId, Vec<&str>> = BTreeMap::new();
        for id in ids {
            open.entry(shard_of(id.as_bytes(), index.shards)).or_default().push(id);
        }
        let mut found = BTreeSet::new();
        let mut silent: BTreeSet<NodeId> = BTreeSet::new();
        while !open.is_empty() {
            let mut by_node: BTreeMap<NodeId, Vec<ShardId>> = BTreeMap::new();
            for shard in open.keys() {
                let node = self.fresh_nodes(index, *shard).into_iter().find(|node| !silent.contains(node));
                let node = node.ok_or_else(|| Error::ShardUnavailable { shards: [*shard].into() })?;
                by_node.entry(node).or_default().push(*shard);
            }
            let asked = join_all(by_node.into_iter().map(|(node, shards)| {
                let ids: Vec<&str> = shards.iter().filter_map(|shard| open.get(shard)).flatten().copied().collect();
                async move { (self.stored_on(&node, index, key, &ids).await, node, shards) }
            }));
            for (held, node, shards) in asked.await {
                match held {
                    Ok(held) => {
                        found.extend(held);
                        open.retain(|shard, _| !shards.contains(shard));
                    }
                    Err(error) => {
                        tracing::debug!(%node, %error, "a node does not tell of documents");
                        silent.insert(node);
                    }
                }
            }
        }
        Ok(found)
    }

    async fn stored_on(&self, node: &NodeId, index: &Index, key: &str, ids: &[&str]) -> Result<Vec<String>, Error> {
        let unknown = || Error::Answer { node: node.to_string(), why: "it is not a member".into() };
        let known = self.node(node).ok_or_else(unknown)?;
        let mut found = Vec::new();
        for ids in ids.chunks(AT_ONCE) {
            let body = json!({ "ids": ids, "fields": [key], "limit": ids.len() }).to_string().into_bytes();
            let path = format!("/indexes/{}/documents/fetch", index.physical);
            let call = Call::json("documents", Method::POST, path, body, self.read_timeout());
            let unreadable = |why: String| Error::Answer { node: node.to_string(), why };
            let reply = known.ask(call).await.map_err(|error| unreadable(error.to_string()))?;
            let page: Page<'_> = serde_json::from_slice(&reply.body).map_err(|error| unreadable(error.to_string()))?;
            found.extend(page.results.iter().filter_map(|raw| id_text(raw.get().as_bytes(), key).ok().flatten()));
        }
        Ok(found)
    }
}
