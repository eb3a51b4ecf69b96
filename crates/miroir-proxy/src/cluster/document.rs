//! Documents by id, and deletions.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use miroir_core::document::id::is_valid;
use miroir_core::document::route_ids;
use miroir_core::hash::shard_of;
use miroir_core::id::{IndexUid, NodeId, ShardId};
use miroir_core::settings::Floor;
use miroir_core::strip;
use miroir_core::task::{Effects, TaskKind};
use miroir_core::topology::Topology;
use serde_json::json;

use super::search::all_shards;
use super::write::{Accepted, Change, NodePart, Step, raw, shards_of};
use super::{Answer, Cluster, Error, Index};
use crate::node::Call;

/// Which documents to delete.
pub enum Deletion {
    /// `DELETE /documents/{id}`.
    One(String),
    /// `POST /documents/delete-batch`: a JSON array of ids.
    Batch(Bytes),
    /// `POST /documents/delete`: `{"filter": ...}`.
    Filter(Bytes),
    /// `DELETE /documents`.
    All,
}

impl Cluster {
    /// `GET /indexes/{uid}/documents/{id}`; `query` is passed on.
    ///
    /// # Errors
    /// As Meilisearch refuses, or when no replica of its shard can be asked.
    pub async fn document(&self, uid: &IndexUid, id: &str, query: &str, floor: Floor) -> Result<Answer, Error> {
        let id_of_path: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
        let original = |physical: &str| {
            let (id, query) = (id_of_path.replace('+', "%20"), with_question_mark(query));
            Call::get("document", format!("/indexes/{physical}/documents/{id}{query}"), self.read_timeout())
        };
        let index = self.index_to_read(uid, floor, original).await?;
        if !is_valid(id.as_bytes()) {
            // No document can have it, and any node says so, or what else is wrong with the request.
            return Err(self.let_a_node_refuse(original(index.physical.as_str())).await);
        }
        let shard = shard_of(id.as_bytes(), index.shards);
        let path = format!("/indexes/{}/documents/{id}{}", index.physical, with_question_mark(query));
        let timeout = self.read_timeout();
        let gathered = self.gather(&index, &[shard], 0, |_, _| Call::get("document", path.clone(), timeout)).await?;
        let part = gathered.parts.first().ok_or_else(|| Error::ShardUnavailable { shards: [shard].into() })?;
        let mut body = Vec::with_capacity(part.reply.body.len());
        strip::document(&part.reply.body, &mut body).map_err(|error| Error::answer(&part.assignment.node, error))?;
        Ok(Answer { body: body.into(), degraded: gathered.degraded })
    }

    /// Every way to delete documents.
    ///
    /// # Errors
    /// As [`Cluster::change`]; a deletion from an unknown index is a task that fails.
    pub async fn delete_documents(
        &self,
        uid: &IndexUid,
        deletion: Deletion,
        custom_metadata: Option<String>,
    ) -> Result<Accepted, Error> {
        let ids = match &deletion {
            // An id that no document can have deletes nothing, as with one server.
            Deletion::One(id) => Some(vec![id.clone()]),
            Deletion::Batch(ids) => Some(route_ids(ids).map_err(|error| Error::Invalid(error.0))?),
            Deletion::Filter(_) | Deletion::All => None,
        };
        let filter = match &deletion {
            Deletion::Filter(body) => Some(self.checked_filter(body).await?),
            Deletion::One(_) | Deletion::Batch(_) | Deletion::All => None,
        };
        let turn = self.turn(uid).await?;
        let details = |deleted: Option<u64>| {
            let deleted = json!(deleted);
            raw(&match (&ids, &filter) {
                (Some(ids), _) => {
                    json!({ "providedIds": ids.len(), "deletedDocuments": deleted, "originalFilter": null })
                }
                (None, Some(filter)) => {
                    json!({ "providedIds": 0, "deletedDocuments": deleted, "originalFilter": filter })
                }
                (None, None) => json!({ "deletedDocuments": deleted }),
            })
        };
        let mut change = Change {
            details: details(None),
            effects: Effects { counts_deletions: true, ..Effects::default() },
            custom_metadata,
            ..Change::new(&turn, uid, TaskKind::DocumentDeletion)
        };
        let Some(index) = self.catalog.get(uid) else {
            change.details = details(Some(0));
            return self.conclude_at_once(change.without_index()).await;
        };
        let timeout = self.write_timeout();
        let topology = self.ensure_placement(index.shards).await?;
        match (&ids, deletion) {
            (Some(ids), _) => delete_ids(&topology, &index, ids, &mut change, timeout)?,
            (None, Deletion::Filter(body)) => {
                let path = format!("/indexes/{}/documents/delete", index.physical);
                let call = Call::json("delete", Method::POST, path, body, timeout);
                change.conditional = true;
                broadcast(&topology, &index, &call, &mut change);
            }
            (None, _) => {
                let path = format!("/indexes/{}/documents", index.physical);
                broadcast(&topology, &index, &Call::bare("delete", Method::DELETE, path, timeout), &mut change);
            }
        }
        if change.parts.is_empty() {
            change.details = details(Some(0));
            return self.conclude_at_once(change).await;
        }
        self.change(&topology, &index, change).await
    }

    /// A filter that a node would refuse at once is refused before anything is queued anywhere. Returns its JSON text.
    async fn checked_filter(&self, body: &Bytes) -> Result<String, Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct FilterBody {
            filter: Box<serde_json::value::RawValue>,
        }
        match serde_json::from_slice::<FilterBody>(body) {
            Ok(body) => Ok(body.filter.get().to_owned()),
            // Sent to an index that cannot exist for long enough to matter: the body is refused before the index is looked at.
            Err(_) => {
                let path = "/indexes/miroir/documents/delete";
                let call = Call::json("delete", Method::POST, path, body.clone(), self.read_timeout());
                Err(self.let_a_node_refuse(call).await)
            }
        }
    }
}

fn with_question_mark(query: &str) -> String {
    if query.is_empty() { String::new() } else { format!("?{query}") }
}

fn delete_ids(
    topology: &Topology,
    index: &Index,
    ids: &[String],
    change: &mut Change,
    timeout: Duration,
) -> Result<(), Error> {
    let mut by_node: BTreeMap<&NodeId, (Vec<&str>, Vec<ShardId>)> = BTreeMap::new();
    for id in ids {
        let shard = shard_of(id.as_bytes(), index.shards);
        change.touched.push(shard);
        for node in topology.writers(index.shards, shard) {
            let (ids, shards) = by_node.entry(node).or_default();
            ids.push(id);
            shards.push(shard);
        }
    }
    change.touched.sort_unstable();
    change.touched.dedup();
    let path = format!("/indexes/{}/documents/delete-batch", index.physical);
    for (node, (ids, mut shards)) in by_node {
        shards.sort_unstable();
        shards.dedup();
        let body = serde_json::to_vec(&ids).map_err(|error| Error::Internal(error.to_string()))?;
        let call = Call::json("delete", Method::POST, path.clone(), body, timeout);
        change.parts.push(NodePart { node: node.clone(), steps: vec![Step { call, shards }] });
    }
    Ok(())
}

/// The same call for every node that takes the writes of a shard.
pub fn broadcast(topology: &Topology, index: &Index, call: &Call, change: &mut Change) {
    change.touched = all_shards(index);
    for member in &topology.shape.members {
        let shards = shards_of(topology, index.shards, &member.id);
        if !shards.is_empty() {
            let steps = vec![Step { call: call.clone(), shards }];
            change.parts.push(NodePart { node: member.id.clone(), steps });
        }
    }
}
