//! Changes of settings: told to every node, verified on every node, committed once.
//!
//! What comes next is decided by `core::settings::broadcast`. Here a change is begun by whoever is asked for it (`begin`),
//! or put into the line behind another one (`queue`), and driven from there by one instance (`machine`): it asks nodes
//! (`observe`), tells them (`act`) and writes down how the change ends (`conclude`).

mod act;
mod begin;
mod conclude;
mod machine;
mod observe;
mod queue;
mod repair;
mod status;

pub use status::repair_view;
mod trace;

pub use machine::Broadcasting;

use miroir_core::id::IndexUid;
use miroir_core::settings::Checks;
use miroir_core::settings::broadcast::{Line, PatchResponse, Phase, Policy, Proposal, SettingsRequest, Strategy};
use miroir_store::{StoreError, Table};
use miroir_work::led;
use tokio::time::Instant;

use super::index_lock::{IndexGuard, patience};
use super::{Cluster, Error, Index, Writer};
use crate::node::{Call, NodeError, Reply};

impl Cluster {
    /// What the configuration says of broadcasts.
    fn broadcast_policy(&self) -> Policy {
        Policy::from(&self.config.settings_broadcast)
    }

    /// How a change is made.
    fn broadcast_strategy(&self) -> Strategy {
        Strategy::from(self.config.settings_broadcast.strategy)
    }

    /// What a client's request means for the nodes, as the index is now.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is about what is ours.
    fn proposal(&self, index: &Index, request: &SettingsRequest) -> Result<Proposal, Error> {
        let patch = request.patch(&index.settings);
        let multiplier = self.config.facets.node_multiplier;
        let for_nodes = index.settings.overlay(&patch, index.shards, multiplier);
        Ok(Proposal {
            patch: for_nodes.map_err(|error| Error::Invalid(error.body()))?,
            kept: index.settings.kept(Some(&patch)),
            base: index.settings.on_nodes(index.shards, multiplier),
            base_version: index.settings_version,
            secrets: index.secrets.clone(),
        })
    }

    /// What nodes check of documents that they get now: by the settings that were committed, and by a change of them that
    /// they were told already.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn checks_of(&self, index: &Index) -> Result<Checks, Error> {
        let line = if index.changing { self.line_of(index).await? } else { None };
        let told = line.and_then(|line| line.current);
        let told = told.filter(|change| change.record.phase() != Phase::GoingBack);
        Ok(index.settings.checks(told.as_ref().map(|change| &change.record.proposal.patch)))
    }

    async fn line_of(&self, index: &Index) -> Result<Option<Line>, Error> {
        let stored = led::stored::<Broadcasting>(&*self.store, Some(index.physical.as_str())).await?;
        Ok(stored.map(|line| line.value.record))
    }

    /// The request that tells a node.
    pub(super) fn settings_call(&self, index: &Index, patch: &serde_json::Value) -> Call {
        let path = format!("/indexes/{}/settings", index.physical);
        Call::json("settings", http::Method::PATCH, path, patch.to_string().into_bytes(), self.write_timeout())
    }
}

impl Writer {
    /// Wait for the write lock of an index until nodes have been told all changes of what may be filtered by that were
    /// asked for before.
    ///
    /// # Errors
    /// As [`Cluster::lock_index`]; [`Error::Overloaded`] when it takes longer than a client waits.
    pub(super) async fn lock_index_behind_settings(&self, uid: &IndexUid) -> Result<IndexGuard, Error> {
        let begun = Instant::now();
        loop {
            let guard = self.lock_index(uid).await?;
            let Some(index) = self.catalog.get(uid) else { return Ok(guard) };
            match self.line_of(&index).await? {
                Some(line) if line.filters_later() => {}
                Some(_) | None => return Ok(guard),
            }
            if begun.elapsed() > patience(&self.config) {
                return Err(Error::Overloaded("changes of the settings of this index that were asked for before"));
            }
            self.stand_back(guard).await;
        }
    }
}

/// What a node's answer means. A refusal is about the change only when the node understood who speaks, and had time.
fn sent(answer: Result<Reply, NodeError>) -> PatchResponse {
    let Ok(reply) = answer else { return PatchResponse::Lost };
    match reply.status {
        202 => reply.task().map_or(PatchResponse::Lost, PatchResponse::Accepted),
        401 | 403 | 408 | 429 => PatchResponse::Lost,
        400..500 => serde_json::from_slice(&reply.body).map_or(PatchResponse::Lost, PatchResponse::Refused),
        _ => PatchResponse::Lost,
    }
}

/// The line is no longer as it was read: somebody was faster.
fn was_overtaken(error: &Error) -> bool {
    matches!(error, Error::Store(StoreError::Conflict { table: Table::Operations, .. }))
}
