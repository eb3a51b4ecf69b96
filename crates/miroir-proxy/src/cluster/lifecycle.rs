//! Indexes come and go: the catalog first, the nodes after.

use std::sync::Arc;

use http::Method;
use miroir_core::error::{Code, ErrorBody};
use miroir_core::id::{IndexUid, ShardId};
use miroir_core::settings::{Settings, initial};
use miroir_core::task::{Effects, TaskKind};
use serde_json::json;
use time::OffsetDateTime;

use super::search::all_shards;
use super::write::{Accepted, Change, Step, raw};
use super::{Cluster, Error, Index};
use crate::node::Call;

impl Cluster {
    /// `POST /indexes`.
    ///
    /// # Errors
    /// As [`Cluster::change`]. A uid that is taken is a task that fails.
    pub async fn create_index(&self, uid: &IndexUid, primary_key: Option<String>) -> Result<Accepted, Error> {
        let _turn = self.lanes.turn(uid).await;
        let mut change = Change {
            uid: uid.clone(),
            kind: TaskKind::IndexCreation,
            details: raw(&json!({ "primaryKey": primary_key })),
            effects: Effects { creates_index: true, ..Effects::default() },
            doomed: None,
            touched: Vec::new(),
            parts: Vec::new(),
        };
        let (index, creation) = self.index_for_write(uid, primary_key).await?;
        let Some(steps) = creation else {
            let taken = format!("Index `{uid}` already exists.");
            change.doomed = Some(ErrorBody::new(Code::IndexAlreadyExists, taken));
            change.effects = Effects::default();
            return self.conclude_at_once(change).await;
        };
        let topology = self.ensure_placement(index.shards).await?;
        change.touched = all_shards(&index);
        change.parts = self.on_every_node(&topology, &steps);
        let result = self.change(&index, change).await;
        if result.is_err() {
            // Not acknowledged: undo, so that the name is free again.
            self.forget_index(&index).await?;
            self.delete_on_nodes(&index).await;
        }
        result
    }

    /// The index to write to; when there is none yet, it is entered into the catalog and the steps that make it on a
    /// node come with it. The caller holds the index's turn.
    pub(super) async fn index_for_write(
        &self,
        uid: &IndexUid,
        primary_key: Option<String>,
    ) -> Result<(Arc<Index>, Option<Vec<Step>>), Error> {
        if let Some(index) = self.catalog.get(uid) {
            return Ok((index, None));
        }
        if !self.nodes.values().any(|node| node.health.state().is_live()) {
            let shards = (0..self.config.shards.get()).map(ShardId).collect();
            return Err(Error::NoQuorum { shards });
        }
        let now = OffsetDateTime::now_utc();
        let index = Index {
            uid: uid.clone(),
            physical: uid.clone(),
            primary_key,
            shards: self.config.shards,
            created_at: now,
            updated_at: now,
            ready: false,
            settings: Settings::default(),
        };
        self.ensure_placement(index.shards).await?;
        self.catalog.insert(index.clone()).await?;
        let steps = self.creation_steps(&index);
        Ok((Arc::new(index), Some(steps)))
    }

    fn creation_steps(&self, index: &Index) -> Vec<Step> {
        let timeout = self.write_timeout();
        let body = json!({ "uid": index.physical, "primaryKey": index.primary_key }).to_string();
        let create = Call::json("create_index", Method::POST, "/indexes", body.into_bytes(), timeout);
        let overlay = initial(index.shards, self.config.facets.node_multiplier).to_string();
        let path = format!("/indexes/{}/settings", index.physical);
        let settings = Call::json("settings", Method::PATCH, path, overlay.into_bytes(), timeout);
        [create, settings].into_iter().map(|call| Step { call, shards: Vec::new() }).collect()
    }

    /// `PATCH /indexes/{uid}`: give the index its primary key.
    ///
    /// # Errors
    /// As [`Cluster::change`]. An unknown index is a task that fails.
    pub async fn update_index(&self, uid: &IndexUid, primary_key: Option<String>) -> Result<Accepted, Error> {
        let _turn = self.lanes.turn(uid).await;
        let body = json!({ "primaryKey": primary_key });
        let mut change = Change {
            uid: uid.clone(),
            kind: TaskKind::IndexUpdate,
            details: raw(&body),
            effects: Effects { primary_key: primary_key.clone(), ..Effects::default() },
            doomed: None,
            touched: Vec::new(),
            parts: Vec::new(),
        };
        let Some(index) = self.catalog.get(uid) else {
            change.doomed = Some(ErrorBody::new(Code::IndexNotFound, format!("Index `{uid}` not found.")));
            return self.conclude_at_once(change).await;
        };
        // Nodes without documents of it would accept what the others refuse.
        if self.count_documents(&index).await? > 0 {
            let key = index.primary_key.as_deref().unwrap_or_default();
            let message = format!("Index `{uid}`: Index already has a primary key: `{key}`.");
            change.doomed = Some(ErrorBody::new(Code::IndexPrimaryKeyAlreadyExists, message));
            return self.conclude_at_once(change).await;
        }
        let path = format!("/indexes/{}", index.physical);
        let call = Call::json("update_index", Method::PATCH, path, body.to_string().into_bytes(), self.write_timeout());
        let topology = self.ensure_placement(index.shards).await?;
        change.touched = all_shards(&index);
        change.parts = self.on_every_node(&topology, &[Step { call, shards: Vec::new() }]);
        self.change(&index, change).await
    }

    /// `DELETE /indexes/{uid}`. A node that is down keeps a leftover, which a later index of that name cannot be
    /// mistaken for: the node refuses to create it and is stale for it.
    ///
    /// # Errors
    /// As [`Cluster::change`]. An unknown index is a task that fails.
    pub async fn delete_index(&self, uid: &IndexUid) -> Result<Accepted, Error> {
        let _turn = self.lanes.turn(uid).await;
        let mut change = Change {
            uid: uid.clone(),
            kind: TaskKind::IndexDeletion,
            details: raw(&json!({ "deletedDocuments": null })),
            effects: Effects::default(),
            doomed: None,
            touched: Vec::new(),
            parts: Vec::new(),
        };
        let Some(index) = self.catalog.get(uid) else {
            change.details = raw(&json!({ "deletedDocuments": 0 }));
            change.doomed = Some(ErrorBody::new(Code::IndexNotFound, format!("Index `{uid}` not found.")));
            return self.conclude_at_once(change).await;
        };
        if !self.nodes.values().any(|node| node.health.state().is_live()) {
            return Err(Error::NoQuorum { shards: all_shards(&index).into_iter().collect() });
        }
        let count = self.count_documents(&index).await.unwrap_or(0);
        change.effects.details = raw(&json!({ "deletedDocuments": count }));
        self.forget_index(&index).await?;
        let topology = self.ensure_placement(index.shards).await?;
        change.parts = self.on_every_node(&topology, &[self.deletion_step(&index)]);
        self.change(&index, change).await
    }

    /// Take an index out of the catalog, and what is known of its replicas with it, in one step.
    pub(super) async fn forget_index(&self, index: &Index) -> Result<(), Error> {
        self.catalog.remove(&index.uid, self.stale.forgetting(&index.physical)).await?;
        self.stale.forget(&index.physical);
        Ok(())
    }

    fn deletion_step(&self, index: &Index) -> Step {
        let path = format!("/indexes/{}", index.physical);
        Step { call: Call::bare("delete_index", Method::DELETE, path, self.write_timeout()), shards: Vec::new() }
    }

    /// Best effort: what stays behind is a leftover.
    async fn delete_on_nodes(&self, index: &Index) {
        for node in self.nodes.values().filter(|node| node.health.state().is_live()) {
            if let Err(error) = node.call(self.deletion_step(index).call).await {
                tracing::warn!(node = %node.member.id, %error, index = %index.physical, "a leftover index stays behind");
            }
        }
    }
}
