//! Changes of settings: told to every node, verified on every node, committed once.
//!
//! What comes next is decided by `core::settings::broadcast`. Here a change is begun by whoever is asked for it (`begin`),
//! or put into the line behind another one (`queue`), and driven from there by one instance (`machine`): it asks nodes
//! (`observe`), tells them (`act`) and writes down how the change ends (`conclude`). `status` shows operators where it stands,
//! `repair` brings nodes to what was committed at their word, and `trace` remembers what to tell them of it.

mod act;
mod begin;
mod conclude;
mod machine;
mod observe;
mod queue;
pub(crate) mod repair;
mod status;

mod trace;

pub use machine::Broadcasting;
pub use status::repair_view;

use miroir_core::settings::broadcast::{PatchResponse, Policy, Proposal, SettingsRequest, Strategy};
use miroir_node::{Call, NodeError, Reply};
use miroir_store::{StoreError, Table};

use crate::{Error, Index, SharedSettings};

impl SharedSettings {
    /// What the configuration says of broadcasts.
    fn broadcast_policy(&self) -> Policy {
        Policy::from(&self.state.config.settings_broadcast)
    }

    /// How a change is made.
    fn broadcast_strategy(&self) -> Strategy {
        Strategy::from(self.state.config.settings_broadcast.strategy)
    }

    /// What a client's request means for the nodes, as the index is now.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is about what is ours.
    fn proposal(&self, index: &Index, request: &SettingsRequest) -> Result<Proposal, Error> {
        let patch = request.patch(&index.settings);
        let multiplier = self.state.config.facets.node_multiplier;
        let for_nodes = index.settings.overlay(&patch, index.shards, multiplier);
        Ok(Proposal {
            patch: for_nodes.map_err(|error| Error::Invalid(error.body()))?,
            kept: index.settings.kept(Some(&patch)),
            base: index.settings.on_nodes(index.shards, multiplier),
            base_version: index.settings_version,
            secrets: index.secrets.clone(),
        })
    }

    /// The request that tells a node.
    pub(crate) fn settings_call(&self, index: &Index, patch: &serde_json::Value) -> Call {
        let path = format!("/indexes/{}/settings", index.physical);
        Call::json("settings", http::Method::PATCH, path, patch.to_string().into_bytes(), self.state.write_timeout())
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
