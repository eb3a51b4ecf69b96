//! The settings of new indexes are read back from the nodes that made them.

use std::collections::{BTreeMap, BTreeSet};

use miroir_core::base::id::NodeId;
use miroir_core::settings::{holds, strip};
use miroir_node::Call;
use serde_json::Value;

use crate::{Error, Index, Tasks};

impl Tasks {
    /// Read the settings of a new index back from the nodes that made it, and take what they agree on for its settings.
    /// A node that reads back something else, or nothing, is not to be read from.
    ///
    /// Returns false when no node could be asked: try again later.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) async fn adopt_settings(&self, index: &Index, nodes: &[NodeId]) -> Result<bool, Error> {
        let mut read: Vec<(NodeId, Value)> = Vec::new();
        for id in nodes {
            let Some(node) = self.state.node(id) else { continue };
            let path = format!("/indexes/{}/settings", index.physical);
            match node.read(Call::get("settings", path, self.state.read_timeout())).await {
                Ok(settings) => read.push((id.clone(), settings)),
                Err(error) => tracing::warn!(node = %id, %error, "settings cannot be read back"),
            }
        }
        let Some(agreed) = most_common(&read) else { return Ok(false) };
        let agreeing: BTreeSet<NodeId> =
            read.iter().filter(|(_, settings)| holds(&agreed, settings)).map(|(node, _)| node.clone()).collect();
        let settings = strip(agreed, &index.settings.kept(None));
        self.state
            .catalog
            .update(&index.physical, |index| {
                for node in self.state.nodes().keys().filter(|node| !agreeing.contains(*node)) {
                    index.lagging.entry(node.clone()).or_insert(index.settings_version);
                }
                index.lagging.retain(|node, _| !agreeing.contains(node));
                index.settings.clone_from(&settings);
                index.updated_at = time::OffsetDateTime::now_utc();
            })
            .await?;
        Ok(true)
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
