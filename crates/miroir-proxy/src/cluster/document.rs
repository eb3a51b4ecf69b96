//! Documents by id, and deletions.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use miroir_core::document::id::is_valid;
use miroir_core::document::route_ids;
use miroir_core::error::{Code, ErrorBody};
use miroir_core::hash::shard_of;
use miroir_core::id::{IndexUid, NodeId, ShardId};
use miroir_core::settings::Floor;
use miroir_core::strip;
use miroir_core::task::{Effects, TaskKind};
use miroir_core::text::{SHOWN_VALUE, shown};
use miroir_core::topology::Topology;
use serde_json::json;
use serde_json::value::RawValue;

use super::parts::{NodePart, Step};
use super::refusal::{Original, Unread};
use super::search::all_shards;
use super::weigh::shards_of;
use super::write::{Accepted, Change, raw};
use super::{Answer, Cluster, Error, Index, Writer};
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
        let original = Original::document(&id_of_path.replace('+', "%20"), query);
        let index = self.index_to_read(uid, floor, &original).await?;
        if !is_valid(id.as_bytes()) {
            // No document can have it, and any node says so, or what else is wrong with the request.
            let message = format!("Document `{}` not found.", shown(id, SHOWN_VALUE));
            let missing = Error::Invalid(ErrorBody::new(Code::DocumentNotFound, message));
            return Err(self.reworded(&index, &original, missing).await);
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
}

impl Writer {
    /// Every way to delete documents.
    ///
    /// # Errors
    /// As [`Writer::change`]; a deletion from an unknown index is a task that fails.
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
            Deletion::Filter(body) => Some(self.filter_of(body).await?),
            Deletion::One(_) | Deletion::Batch(_) | Deletion::All => None,
        };
        // What may be filtered by is for the task to find out.
        let fails_with = self.check_filter_of_change(filter.as_ref().map(|filter| filter.get().as_bytes()))?;
        let guard = match &filter {
            Some(_) => self.lock_index_behind_settings(uid).await?,
            None => self.lock_index(uid).await?,
        };
        let details = |deleted: Option<u64>| {
            let deleted = json!(deleted);
            raw(&match (&ids, &filter) {
                (Some(ids), _) => {
                    json!({ "providedIds": ids.len(), "deletedDocuments": deleted, "originalFilter": null })
                }
                (None, Some(filter)) => {
                    json!({ "providedIds": 0, "deletedDocuments": deleted, "originalFilter": filter.get() })
                }
                (None, None) => json!({ "deletedDocuments": deleted }),
            })
        };
        let mut change = Change {
            details: details(None),
            effects: Effects { counts_deletions: true, ..Effects::default() },
            custom_metadata,
            ..Change::new(&guard, uid, TaskKind::DocumentDeletion)
        };
        let Some(index) = self.catalog.get(uid) else {
            change.details = details(Some(0));
            return self.conclude_at_once(change.without_index()).await;
        };
        if let Some(body) = fails_with {
            change.details = details(Some(0));
            return self.conclude_at_once(Change { fails_with: Some(body), ..change }).await;
        }
        let timeout = self.write_timeout();
        let topology = self.ensure_placement(index.shards).await?;
        match (&ids, deletion) {
            (Some(ids), _) => delete_ids(&topology, &index, ids, &mut change, timeout)?,
            (None, Deletion::Filter(_)) => {
                let path = format!("/indexes/{}/documents/delete", index.physical);
                let filter = filter.as_ref().map_or("null", |filter| filter.get());
                let body = format!("{{\"filter\":{filter}}}").into_bytes();
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

    /// The raw filter of `{"filter": ...}`. What is not of this form is refused before anything is queued anywhere, and
    /// nodes are sent what was read and nothing else.
    async fn filter_of(&self, body: &Bytes) -> Result<Box<RawValue>, Error> {
        let read = || {
            let members = miroir_core::json::last_members(body).ok()?;
            let [(name, member)] = members.as_slice() else { return None };
            (name == "filter").then(|| serde_json::from_slice::<Box<RawValue>>(member.value).ok())?
        };
        match read() {
            Some(filter) => Ok(filter),
            None => {
                let unread = Unread::change("delete", Method::POST, "documents/delete", body.clone());
                Err(self.refuse_unread(unread).await)
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
