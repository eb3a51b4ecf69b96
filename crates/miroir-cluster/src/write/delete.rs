//! Deletions of documents: by id, by filter, and of all.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use miroir_core::base::hash::shard_of;
use miroir_core::base::id::{IndexUid, NodeId, ShardId};
use miroir_core::document::route_ids;
use miroir_core::membership::topology::Topology;
use miroir_core::write::task::{Effects, TaskKind};
use miroir_node::Call;
use serde_json::json;
use serde_json::value::RawValue;

use crate::read::refusal::Unread;
use crate::state::catalog::all_shards;
use crate::write::fan_out::{Accepted, Change, raw};
use crate::write::parts::{NodePart, Step};
use crate::write::weigh::shards_of;
use crate::{Error, Index, Writer};

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

impl Writer {
    /// Every way to delete documents.
    ///
    /// # Errors
    /// As `Writer::change`; a deletion from an unknown index is a task that fails.
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
        let fails_with = self.reads.check_filter_of_change(filter.as_ref().map(|filter| filter.get().as_bytes()))?;
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
        let Some(index) = self.state.catalog.get(uid) else {
            change.details = details(Some(0));
            return self.conclude_at_once(change.without_index()).await;
        };
        if let Some(body) = fails_with {
            change.details = details(Some(0));
            return self.conclude_at_once(Change { fails_with: Some(body), ..change }).await;
        }
        let timeout = self.state.write_timeout();
        let topology = self.state.ensure_placement(index.shards).await?;
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
            let members = miroir_core::base::json::last_members(body).ok()?;
            let [(name, member)] = members.as_slice() else { return None };
            (name == "filter").then(|| serde_json::from_slice::<Box<RawValue>>(member.value).ok())?
        };
        match read() {
            Some(filter) => Ok(filter),
            None => {
                let unread = Unread::change("delete", Method::POST, "documents/delete", body.clone());
                Err(self.reads.refuse_unread(unread).await)
            }
        }
    }
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
