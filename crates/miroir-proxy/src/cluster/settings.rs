//! Settings as clients see them; those of new indexes are read back from the nodes. Changes are broadcasts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use miroir_core::id::{IndexUid, NodeId};
use miroir_core::settings::broadcast::SettingsRequest;
use miroir_core::settings::{Settings, holds, strip};
use serde_json::{Value, json};

use super::write::Accepted;
use super::{Cluster, Error, Index, Writer};
use crate::node::Call;

impl Writer {
    /// Every settings route that changes something: `patch` is what `PATCH /settings` would take. An unknown index comes
    /// into being if the client may create it; if not, that is a task that fails.
    ///
    /// # Errors
    /// As [`Writer::change_settings`].
    pub async fn update_settings(&self, uid: &IndexUid, patch: Value, may_create: bool) -> Result<Accepted, Error> {
        self.change_settings(uid, SettingsRequest::Patch(patch), may_create).await
    }

    /// `DELETE /settings` and its parts: one setting, or everything, back to its default. That does not create an index:
    /// an unknown one is a task that fails.
    ///
    /// # Errors
    /// As [`Writer::change_settings`].
    pub async fn reset_settings(&self, uid: &IndexUid, key: Option<&str>) -> Result<Accepted, Error> {
        let known = self.catalog.get(uid).is_some();
        let request = match key {
            Some(key) if known => SettingsRequest::Patch(json!({ key: null })),
            Some(_) | None => SettingsRequest::Reset,
        };
        self.change_settings(uid, request, false).await
    }
}

impl Cluster {
    /// Read the settings of a new index back from the nodes that made it, and take what they agree on for its settings.
    /// A node that reads back something else, or nothing, is not to be read from.
    ///
    /// Returns false when no node could be asked: try again later.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(super) async fn adopt_settings(&self, index: &Index, nodes: &[NodeId]) -> Result<bool, Error> {
        let mut read: Vec<(NodeId, Value)> = Vec::new();
        for id in nodes {
            let Some(node) = self.node(id) else { continue };
            let path = format!("/indexes/{}/settings", index.physical);
            match node.read(Call::get("settings", path, self.read_timeout())).await {
                Ok(settings) => read.push((id.clone(), settings)),
                Err(error) => tracing::warn!(node = %id, %error, "settings cannot be read back"),
            }
        }
        let Some(agreed) = most_common(&read) else { return Ok(false) };
        let agreeing: BTreeSet<NodeId> =
            read.iter().filter(|(_, settings)| holds(&agreed, settings)).map(|(node, _)| node.clone()).collect();
        let settings = strip(agreed, &index.settings.kept(None));
        self.catalog
            .update(&index.physical, |index| {
                for node in self.nodes().keys().filter(|node| !agreeing.contains(*node)) {
                    index.lagging.entry(node.clone()).or_insert(index.settings_version);
                }
                index.lagging.retain(|node, _| !agreeing.contains(node));
                index.settings.clone_from(&settings);
                index.updated_at = time::OffsetDateTime::now_utc();
            })
            .await?;
        Ok(true)
    }

    /// The settings of an index as clients see them.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`].
    pub async fn settings(&self, uid: &IndexUid) -> Result<Settings, Error> {
        Ok(self.fresh_index(uid).await?.settings.clone())
    }

    /// An index as it is now, whoever changed it last; while the store is away, as memory has it.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`].
    pub async fn fresh_index(&self, uid: &IndexUid) -> Result<Arc<Index>, Error> {
        self.catch_up().await;
        self.index(uid)
    }
}

/// What most nodes read back; with a tie, the first.
fn most_common(read: &[(NodeId, Value)]) -> Option<Value> {
    let mut counts: BTreeMap<String, (usize, &Value)> = BTreeMap::new();
    for (_, value) in read {
        counts.entry(value.to_string()).or_insert((0, value)).0 += 1;
    }
    let most = counts.values().map(|(count, _)| *count).max()?;
    read.iter()
        .map(|(_, value)| value)
        .find(|value| counts.get(&value.to_string()).is_some_and(|c| c.0 == most))
        .cloned()
}
