//! Repairing: nodes that do not hold the committed settings are brought to them, at an operator's word.
//!
//! Invariant: a node is at the committed version again only after it has read back what was committed then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures_util::future::join_all;
use miroir_core::id::NodeId;
use miroir_core::settings::{broadcast::Sent, holds, towards};
use miroir_store::Batch;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::{Cluster, Error, Index};
use super::sent;
use crate::node::{Call, Node};

/// Between two looks at a node's task.
const LOOK: std::time::Duration = std::time::Duration::from_millis(50);

/// What came of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Repaired {
    /// It has read back the committed settings.
    #[serde(rename = "repaired")]
    Done,
    /// It does not answer; it is brought up to date when it is back.
    Unreachable,
    /// It has no such index.
    NoIndex,
    /// A change of settings is under way, or was committed meanwhile: it decides what the node is to hold.
    Overtaken,
    /// It does not hold the settings although it was told them.
    Failed {
        /// Why.
        error: String,
    },
}

#[derive(Deserialize)]
struct TaskOfNode {
    status: miroir_core::task::TaskStatus,
    error: Option<miroir_core::error::ErrorBody>,
}

impl Cluster {
    /// Bring every node that is behind, or because of which the index is frozen, to the committed settings. Nodes that
    /// need nothing are not named.
    ///
    /// # Errors
    /// [`Error::Store`]; what a node does wrong is said of the node.
    pub async fn repair_settings(&self, index: &Index) -> Result<BTreeMap<NodeId, Repaired>, Error> {
        let nodes: BTreeSet<NodeId> = index.behind.keys().chain(&index.frozen).cloned().collect();
        let repaired = join_all(nodes.iter().map(|node| self.repair_node(index, node))).await;
        nodes.into_iter().zip(repaired).map(|(node, repaired)| Ok((node, repaired?))).collect()
    }

    async fn repair_node(&self, index: &Index, id: &NodeId) -> Result<Repaired, Error> {
        let committed = index.settings.on_nodes(index.shards, self.config.facets.node_multiplier);
        let (Some(node), Some(committed)) = (self.node(id).filter(|node| node.health.state().is_live()), committed)
        else {
            return Ok(Repaired::Unreachable);
        };
        let mut why = String::new();
        for _ in 0..=self.config.settings_broadcast.max_repair_retries {
            if index.changing {
                return Ok(Repaired::Overtaken);
            }
            let read = match self.read_settings(node, index).await {
                Ok(Some(read)) => read,
                Ok(None) => return Ok(Repaired::NoIndex),
                Err(error) => {
                    why = error;
                    continue;
                }
            };
            if holds(&committed, &read) {
                return self.record_repaired(index, id).await;
            }
            let patch = towards(&committed, &read, &index.secrets);
            if let Err(error) = self.apply(node, index, &patch).await? {
                why = error;
            } else {
                why = "It holds other settings than it was told.".into();
            }
        }
        Ok(Repaired::Failed { error: why })
    }

    async fn read_settings(&self, node: &Node, index: &Index) -> Result<Option<Value>, String> {
        let path = format!("/indexes/{}/settings", index.physical);
        match node.call(Call::get("settings", path, self.read_timeout())).await {
            Ok(reply) if reply.status == 200 => {
                serde_json::from_slice(&reply.body).map(Some).map_err(|error| error.to_string())
            }
            Ok(reply) if reply.status == 404 => Ok(None),
            Ok(reply) => Err(format!("It answered {} instead of its settings.", reply.status)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Tell the node, and wait for its task as long as a node may keep silent.
    async fn apply(&self, node: &Node, index: &Index, patch: &Value) -> Result<Result<(), String>, Error> {
        let turn = self.turn(&index.uid).await?;
        let now = self.catalog.by_physical(&index.physical);
        if now.is_none_or(|now| now.created_at != index.created_at || now.changing) {
            return Ok(Err("The index has changed meanwhile.".into()));
        }
        let answer = sent(node.call(self.settings_call(index, patch)).await);
        drop(turn);
        let task = match answer {
            Sent::Accepted(task) => task,
            Sent::Refused(error) => return Ok(Err(error.message)),
            Sent::Lost => return Ok(Err("It was told and gave no answer.".into())),
        };
        let begun = Instant::now();
        while begun.elapsed() < self.config.settings_broadcast.verify_timeout {
            let call = Call::get("tasks", format!("/tasks/{task}"), self.read_timeout());
            if let Ok(reply) = node.call(call).await
                && let Ok(told) = serde_json::from_slice::<TaskOfNode>(&reply.body)
                && told.status.is_final()
            {
                return Ok(told.error.map_or(Ok(()), |error| Err(error.message)));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(Err("It has not applied them yet.".into()))
    }

    async fn record_repaired(&self, index: &Index, node: &NodeId) -> Result<Repaired, Error> {
        let at = |now: &Index| now.settings_version == index.settings_version && !now.changing;
        let write = |now: &mut Index| {
            if at(now) {
                now.behind.remove(node);
                now.frozen.remove(node);
            }
        };
        self.catalog.amend(&index.physical, index.created_at, write, Batch::default()).await?;
        let now = self.catalog.by_physical(&index.physical).filter(|now| at(now));
        Ok(if now.is_some() { Repaired::Done } else { Repaired::Overtaken })
    }
}
