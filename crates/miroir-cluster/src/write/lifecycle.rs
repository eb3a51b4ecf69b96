//! Indexes come and go.
//!
//! Invariant: an index that is made by a write is entered into the catalog by the same commit that registers the write's
//! task. Before that only its name on the nodes is known, as one that is about to come into being: whatever ends the write
//! early leaves nothing for clients to stumble over. An index that is deleted leaves the catalog before nodes are told.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Method;
use miroir_core::base::id::{IndexUid, NodeId, ShardId};
use miroir_core::settings::initial;
use miroir_core::write::task::TaskKind;
use miroir_node::{Call, Node};
use miroir_store::{Batch, Fence};
use serde_json::json;
use time::OffsetDateTime;

use crate::state::catalog::all_shards;
use crate::state::index_lock::IndexGuard;
use crate::state::tombstones::Claim;
use crate::write::erase::Erasing;
use crate::write::fan_out::{Accepted, Change, raw};
use crate::write::parts::Step;
use crate::{Error, Index, Writer, Writes};

/// The most of a client's uid in a name of ours: what is added is much shorter than what is left.
const MAX_STEM: usize = 400;
/// Names tried for a new index. Each that is taken, somebody else was faster.
const ATTEMPTS: usize = 8;
/// How many times the time that a node has to answer the name of a new index is kept for it: for more requests than a
/// write is made of.
const CLAIMED_FOR: u32 = 20;

/// An index that comes into being with a change.
pub struct Birth {
    /// As the catalog will have it.
    pub index: Arc<Index>,
    /// Its name on the nodes.
    pub claim: Claim,
}

impl Writer {
    /// `POST /indexes`.
    ///
    /// # Errors
    /// As `Writer::change`. A uid that is taken is a task that fails when all that was asked for before has ended.
    pub async fn create_index(&self, uid: &IndexUid, primary_key: Option<String>) -> Result<Accepted, Error> {
        let guard = self.lock_index(uid).await?;
        let mut change = Change {
            details: raw(&json!({ "primaryKey": primary_key })),
            ..Change::new(&guard, uid, TaskKind::IndexCreation)
        };
        if let Some(index) = self.state.catalog.get(uid) {
            change.effects.creates_index = true;
            change.effects.primary_key = primary_key;
            return self.wait_in_queue(change, &index).await;
        }
        let birth = self.conceive(&guard, uid, primary_key).await?;
        let index = birth.index.clone();
        let topology = self.state.ensure_placement(index.shards).await?;
        change.parts = self.on_every_node(&topology, &self.creation_steps(&index));
        change.give_birth(birth);
        self.change(&topology, &index, change).await
    }

    /// Find a name on the nodes for an index that does not exist, and claim it. The caller holds the index write lock,
    /// and has the index entered into the catalog together with its change ([`Change::birth`]).
    ///
    /// # Errors
    /// [`Error::NoQuorum`] when the nodes that answer are too few for any write to hold; [`Error::Store`].
    pub(crate) async fn conceive(
        &self,
        guard: &IndexGuard,
        uid: &IndexUid,
        primary_key: Option<String>,
    ) -> Result<Birth, Error> {
        let mut index = self.new_index(uid, primary_key).await?;
        let topology = self.state.ensure_placement(index.shards).await?;
        // What cannot hold is not begun: nodes are not filled with indexes that nobody will have.
        let shards = all_shards(&index);
        self.judge(self.weigh_if(&topology, &index, &shards, |node| self.state.is_live(node))?)?;
        for _ in 0..ATTEMPTS {
            let nodes: BTreeSet<NodeId> = self.state.nodes().keys().cloned().collect();
            let until = OffsetDateTime::now_utc() + self.state.write_timeout() * CLAIMED_FOR;
            if let Some(claim) = self.state.tombstones.claim(&index.physical, nodes, until, Some(guard.fence())).await?
            {
                return Ok(Birth { index: Arc::new(index), claim });
            }
            index.physical = self.free_physical(uid);
        }
        Err(Error::Overloaded("names of new indexes"))
    }

    /// `DELETE /indexes/{uid}`. A node that is down is told when it is back.
    ///
    /// # Errors
    /// As `Writer::change`. An unknown index is a task that fails.
    pub async fn delete_index(&self, uid: &IndexUid) -> Result<Accepted, Error> {
        let guard = self.lock_index(uid).await?;
        let mut change = Change {
            details: raw(&json!({ "deletedDocuments": null })),
            ..Change::new(&guard, uid, TaskKind::IndexDeletion)
        };
        let Some(index) = self.state.catalog.get(uid) else {
            change.details = raw(&json!({ "deletedDocuments": 0 }));
            return self.conclude_at_once(change.without_index()).await;
        };
        if !self.state.nodes().values().any(|node| node.health.state().is_live()) {
            return Err(Error::NoQuorum { shards: all_shards(&index).into_iter().collect() });
        }
        let count = self.reads.count_documents(&index).await.map_or(0, |(count, _)| count);
        change.effects.details = raw(&json!({ "deletedDocuments": count }));
        let _in_hand = self.state.tombstones.take_in_hand(&index.physical);
        self.forget_index(&index, guard.fence()).await?;
        let topology = self.state.ensure_placement(index.shards).await?;
        change.parts = self.on_every_node(&topology, &[self.deletion_step(&index.physical)]);
        let (accepted, told) = self.change_on(&topology, &index, change).await?;
        self.state.tombstones.deleted_on(&index.physical, &told).await?;
        Ok(accepted)
    }
}

impl Writes {
    /// An index that can come into being; the catalog does not have it yet.
    pub(crate) async fn new_index(&self, uid: &IndexUid, primary_key: Option<String>) -> Result<Index, Error> {
        if !self.state.nodes().values().any(|node| node.health.state().is_live()) {
            let shards = (0..self.state.config.shards.get()).map(ShardId).collect();
            return Err(Error::NoQuorum { shards });
        }
        let index = Index::new(uid.clone(), self.free_physical(uid), primary_key, self.state.config.shards);
        self.state.ensure_placement(index.shards).await?;
        Ok(index)
    }

    /// An index is made on a node, without any settings.
    pub(crate) fn creation_call(&self, index: &Index) -> Call {
        // A key that is still on its way comes with documents, if it comes.
        let body = json!({ "uid": index.physical, "primaryKey": index.primary_key }).to_string();
        Call::json("create_index", Method::POST, "/indexes", body.into_bytes(), self.state.write_timeout())
    }

    /// What makes an index on a node. A node that has it already takes no harm from it.
    pub(crate) fn creation_steps(&self, index: &Index) -> Vec<Step> {
        let timeout = self.state.write_timeout();
        let create = self.creation_call(index);
        let overlay = initial(index.shards, self.state.config.facets.node_multiplier).to_string();
        let path = format!("/indexes/{}/settings", index.physical);
        let settings = Call::json("settings", Method::PATCH, path, overlay.into_bytes(), timeout);
        [create, settings].into_iter().map(|call| Step { call, shards: Vec::new() }).collect()
    }

    /// What a new index is called on the nodes: as the client calls it, unless an index of that name is there still,
    /// renamed for clients or deleted while a node was away.
    fn free_physical(&self, uid: &IndexUid) -> IndexUid {
        let taken =
            |name: &IndexUid| self.state.catalog.by_physical(name).is_some() || self.state.tombstones.contains(name);
        if !taken(uid) {
            return uid.clone();
        }
        let stem: String = uid.as_str().chars().take(MAX_STEM).collect();
        let fresh = format!("{stem}-{}", uuid::Uuid::new_v4().simple()).parse();
        // Letters, digits and hyphens, and short enough: always a uid.
        fresh.unwrap_or_else(|_| uid.clone())
    }

    /// Take an index out of the catalog, and what is known of its replicas with it, in one step. Its name has a
    /// tombstone from then on, until every node was told to delete it.
    pub(crate) async fn forget_index(&self, index: &Index, fence: Fence) -> Result<(), Error> {
        self.forget_index_with(index, Batch { fences: vec![fence], ..Batch::default() }).await
    }

    /// As [`Writes::forget_index`], together with the rest of the batch.
    pub(crate) async fn forget_index_with(&self, index: &Index, mut with: Batch) -> Result<(), Error> {
        let physical = &index.physical;
        let members = self.state.nodes().keys().cloned().collect();
        let mut writes = vec![self.state.tombstones.write(physical, &members)?];
        writes.extend(self.state.stale.forgetting(physical));
        let had_stale = writes.len() > 1;
        // The name must not be given away before memory knows that it has a tombstone.
        let _in_hand = self.state.tombstones.take_in_hand(physical);
        writes.append(&mut with.writes);
        writes.push(Self::forgetting_doubts(index));
        with.writes = writes;
        with.forgotten = crate::write::conditional::counters(index);
        let committed = self.state.catalog.remove(physical, with).await?;
        if let Some(Some(version)) = committed.versions.first() {
            self.state.tombstones.apply_committed(physical, members, *version).await;
        }
        if had_stale {
            self.state.stale.refresh(physical).await?;
        }
        Ok(())
    }

    fn deletion_step(&self, physical: &IndexUid) -> Step {
        let path = format!("/indexes/{physical}");
        Step { call: Call::bare("delete_index", Method::DELETE, path, self.state.write_timeout()), shards: Vec::new() }
    }

    /// Tell a node to delete what was deleted without it. What stays behind is tried again later.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn sweep_tombstones(&self, node: &Node) -> Result<(), Error> {
        let left = self.state.tombstones.on(&node.member.id);
        if left.is_empty() {
            return Ok(());
        }
        let Some(erasing) = self.erasing(&node.member.id).await? else { return Ok(()) };
        let swept = self.sweep_these(&erasing, node, &left).await;
        erasing.done().await;
        swept
    }

    async fn sweep_these(&self, erasing: &Erasing<'_>, node: &Node, left: &[IndexUid]) -> Result<(), Error> {
        let told = BTreeSet::from([node.member.id.clone()]);
        for physical in left {
            // Others may have seen to it since, and the name may be another index's by now.
            self.state.tombstones.refresh(physical).await?;
            if !self.state.tombstones.on(&node.member.id).contains(physical)
                || !self.state.tombstones.free(physical).await?
            {
                continue;
            }
            // A record that a crash left behind: the index is in use, or in use again.
            if self.state.catalog.by_physical(physical).is_some() {
                self.state.tombstones.deleted_on(physical, &told).await?;
                continue;
            }
            let gone = match erasing.ask(node, self.deletion_step(physical).call).await {
                Ok(reply) => reply.status == 202 || reply.status == 404,
                Err(error) => {
                    tracing::debug!(node = %node.member.id, %error, index = %physical, "a deleted index stays on a node for now");
                    false
                }
            };
            if gone {
                self.state.tombstones.deleted_on(physical, &told).await?;
            }
        }
        Ok(())
    }
}
