//! How many documents there are.

use std::collections::BTreeMap;

use http::Method;
use miroir_core::base::id::ShardId;
use miroir_core::base::inert::{SHARD_FIELD, decode_shard, shard_filter};
use miroir_node::Call;
use serde::Deserialize;
use serde_json::json;

use super::{Failed, OnNode, Replica};

#[derive(Deserialize)]
struct Total {
    total: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Distribution {
    facet_distribution: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Replica {
    /// How many documents of the shard the node holds.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn count(&self) -> Result<u64, Failed> {
        let body = json!({ "filter": [shard_filter(&[self.shard])], "limit": 0 });
        let call = Call::json(
            "replica_count",
            Method::POST,
            self.on.path("/documents/fetch"),
            body.to_string().into_bytes(),
            self.on.short,
        );
        Ok(self.on.node.read(call).await.map(|told: Total| told.total)?)
    }
}

/// Documents of no shard: nobody wrote them through us.
fn strangers() -> String {
    format!("{SHARD_FIELD} NOT EXISTS")
}

impl OnNode {
    /// How many documents the node holds that are of no shard.
    ///
    /// # Errors
    /// As [`OnNode::counts`].
    pub async fn count_strangers(&self) -> Result<u64, Failed> {
        let body = json!({ "filter": strangers(), "limit": 0 }).to_string().into_bytes();
        let call = Call::json("replica_count", Method::POST, self.path("/documents/fetch"), body, self.short);
        Ok(self.node.read(call).await.map(|told: Total| told.total)?)
    }

    /// The deletion of the documents that are of no shard.
    pub(crate) fn strangers_deletion(&self) -> Call {
        let body = json!({ "filter": strangers() }).to_string().into_bytes();
        Call::json("replica_delete", Method::POST, self.path("/documents/delete"), body, self.long)
    }

    /// How many documents of each shard the node holds, by one request. A shard that is not named has none.
    ///
    /// # Errors
    /// [`Failed::Refused`] where the index is not there, or lacks the settings by which shards are told apart; else
    /// [`Failed`], and nothing is known.
    pub async fn counts(&self) -> Result<BTreeMap<ShardId, u64>, Failed> {
        // Without a filter and without hits: a distinct attribute takes no document out of the counts then.
        let body = json!({ "limit": 0, "facets": [SHARD_FIELD] });
        let call =
            Call::json("replica_count", Method::POST, self.path("/search"), body.to_string().into_bytes(), self.short);
        let told: Distribution = match self.node.read(call).await {
            Ok(told) => told,
            Err(error) if error.is_refusal() => return Err(Failed::Refused(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        let of_shards = told.facet_distribution.into_iter().filter(|(facet, _)| facet == SHARD_FIELD);
        Ok(of_shards.flat_map(|(_, values)| values).filter_map(|(text, n)| Some((decode_shard(&text)?, n))).collect())
    }
}
