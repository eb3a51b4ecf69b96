//! Settings: sent to every node with the overlay, read back, committed to the catalog.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use miroir_core::id::{IndexUid, NodeId};
use miroir_core::settings::{GATED, Settings, details, holds, reset, strip};
use miroir_core::task::{Effects, TaskKind};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::lanes::Turn;
use super::search::all_shards;
use super::write::{Accepted, Change, Step, raw};
use super::{Cluster, Error, Index};
use crate::node::Call;

impl Cluster {
    /// Every settings route that changes something: `patch` is what `PATCH /settings` would take. An unknown index comes
    /// into being if the client may create it; if not, that is a task that fails.
    ///
    /// # Errors
    /// As [`Cluster::change`]; settings that the overlay cannot carry are refused.
    pub async fn update_settings(&self, uid: &IndexUid, patch: Value, may_create: bool) -> Result<Accepted, Error> {
        let turn = self.turn(uid).await?;
        let known = self.catalog.get(uid);
        let (shards, current) = match &known {
            Some(index) => (index.shards, index.settings.clone()),
            None => (self.config.shards, Settings::default()),
        };
        let for_nodes = current
            .overlay(&patch, shards, self.config.facets.node_multiplier)
            .map_err(|error| Error::Invalid(error.body()))?;
        if known.is_none() && !may_create {
            return self.decline_settings(&turn, uid, raw(&details(&patch))).await;
        }
        let (index, creation) = self.index_for_write(&turn, uid, None).await?;
        let raw_patch = serde_json::value::to_raw_value(&patch).map_err(|e| Error::Internal(e.to_string()))?;
        self.send_settings(&turn, &index, creation, raw_patch, &for_nodes).await
    }

    /// `DELETE /settings` and its parts: one setting, or everything, back to its default.
    ///
    /// # Errors
    /// As [`Cluster::change`]; resetting does not create an index: an unknown one is a task that fails.
    pub async fn reset_settings(&self, uid: &IndexUid, key: Option<&str>) -> Result<Accepted, Error> {
        let turn = self.turn(uid).await?;
        let Some(index) = self.catalog.get(uid) else {
            return self.decline_settings(&turn, uid, None).await;
        };
        let patch = match key {
            Some(key) => json!({ key: null }),
            None => reset(&index.settings),
        };
        let for_nodes = index
            .settings
            .overlay(&patch, index.shards, self.config.facets.node_multiplier)
            .map_err(|error| Error::Invalid(error.body()))?;
        let mut shown = patch;
        if let (None, Some(all)) = (key, shown.as_object_mut()) {
            // Whether or not nodes know them now, they are at their defaults.
            for gated in GATED {
                all.entry(gated.key).or_insert(Value::Null);
            }
        }
        let shown = serde_json::value::to_raw_value(&shown).map_err(|e| Error::Internal(e.to_string()))?;
        self.send_settings(&turn, &index, None, shown, &for_nodes).await
    }

    /// The index does not exist and must not come into being: a task that fails.
    async fn decline_settings(
        &self,
        turn: &Turn,
        uid: &IndexUid,
        details: Option<Box<RawValue>>,
    ) -> Result<Accepted, Error> {
        let change = Change::new(turn, uid, TaskKind::SettingsUpdate).without_index();
        self.conclude_at_once(Change { details, ..change }).await
    }

    async fn send_settings(
        &self,
        turn: &Turn,
        index: &Index,
        creation: Option<Vec<Step>>,
        patch: Box<RawValue>,
        for_nodes: &Value,
    ) -> Result<Accepted, Error> {
        let path = format!("/indexes/{}/settings", index.physical);
        let body = for_nodes.to_string().into_bytes();
        let call = Call::json("settings", Method::PATCH, path, body, self.write_timeout());
        let creates_index = creation.is_some();
        let mut steps = creation.unwrap_or_default();
        steps.push(Step { call, shards: Vec::new() });
        let shown = serde_json::from_str(patch.get()).ok().and_then(|patch| raw(&details(&patch)));
        let topology = self.ensure_placement(index.shards).await?;
        let change = Change {
            details: shown,
            effects: Effects { creates_index, settings: Some(patch), ..Effects::default() },
            touched: all_shards(index),
            parts: self.on_every_node(&topology, &steps),
            ..Change::new(turn, &index.uid, TaskKind::SettingsUpdate)
        };
        let result = self.change(index, change).await;
        if result.is_err() && creates_index {
            self.forget_index(index, turn.fence()).await?;
        }
        result
    }

    /// Read the settings back from the nodes that applied them and commit what they agree on. A node that reads back
    /// something else, or nothing, is not to be read from.
    ///
    /// Returns false when no node could be asked: try again later.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(super) async fn commit_settings(
        &self,
        index: &Index,
        nodes: &[NodeId],
        patch: Option<&RawValue>,
    ) -> Result<bool, Error> {
        let mut read: Vec<(NodeId, Value)> = Vec::new();
        for id in nodes {
            let Some(node) = self.node(id) else { continue };
            let path = format!("/indexes/{}/settings", index.physical);
            match node.call(Call::get("settings", path, self.read_timeout())).await {
                Ok(reply) if reply.status == 200 => match serde_json::from_slice(&reply.body) {
                    Ok(value) => read.push((id.clone(), value)),
                    Err(error) => tracing::warn!(node = %id, %error, "settings cannot be read back"),
                },
                Ok(reply) => tracing::warn!(node = %id, status = reply.status, "settings cannot be read back"),
                Err(error) => tracing::warn!(node = %id, %error, "settings cannot be read back"),
            }
        }
        let Some(agreed) = most_common(&read) else { return Ok(false) };
        let agreeing: BTreeSet<NodeId> =
            read.iter().filter(|(_, settings)| holds(&agreed, settings)).map(|(node, _)| node.clone()).collect();
        let patch: Option<Value> = patch.and_then(|patch| serde_json::from_str(patch.get()).ok());
        let kept = index.settings.kept(patch.as_ref());
        let committed = strip(agreed, &kept);
        self.catalog
            .update(&index.physical, |index| {
                for node in self.nodes.keys().filter(|node| !agreeing.contains(*node)) {
                    index.behind.entry(node.clone()).or_insert(index.settings_version);
                }
                index.behind.retain(|node, _| !agreeing.contains(node));
                index.settings.clone_from(&committed);
                index.settings_version += u64::from(patch.is_some());
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
        Ok(self.find_index(uid).await?.settings.clone())
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
