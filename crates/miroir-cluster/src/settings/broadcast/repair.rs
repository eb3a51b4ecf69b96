//! Repairing at an operator's word: nodes that do not hold the committed settings are brought to them now.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use miroir_core::base::id::NodeId;
use tokio::time::timeout;

use crate::{Error, Index, SharedSettings};

/// The share of a request's time within which a repair is waited for.
const OF_REQUEST: f32 = 0.8;

/// What came of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repaired {
    /// It has read back the committed settings.
    Done,
    /// It does not answer; it is brought up to date when it is back.
    Unreachable,
    /// A change of settings is under way: it decides what the node is to hold.
    Overtaken,
    /// It applies them still, and is looked after.
    UnderWay,
    /// It does not hold the settings although it was told them.
    Failed {
        /// What stands against it, for operators.
        error: String,
    },
}

impl SharedSettings {
    /// Bring every node that is lagging, or because of which the index is frozen, to the committed settings, and wait for
    /// as long as `settings_broadcast.verify_timeout_s`, or most of a request's time if that is shorter. Nodes that need
    /// nothing are not named.
    ///
    /// # Errors
    /// [`Error::Store`]; what a node does wrong is said of the node.
    pub async fn repair_settings(&self, index: &Index) -> Result<BTreeMap<NodeId, Repaired>, Error> {
        let nodes: BTreeSet<NodeId> = index.lagging.keys().chain(&index.frozen).cloned().collect();
        let repaired = join_all(nodes.iter().map(|node| self.repair_node(index, node))).await;
        nodes.into_iter().zip(repaired).map(|(node, repaired)| Ok((node, repaired?))).collect()
    }

    async fn repair_node(&self, index: &Index, node: &NodeId) -> Result<Repaired, Error> {
        if !self.state.is_live(node) {
            return Ok(Repaired::Unreachable);
        }
        if index.changing {
            return Ok(Repaired::Overtaken);
        }
        // What is under way when a request ends cannot be told any more.
        let of_request = self.state.config.server.request_timeout.mul_f32(OF_REQUEST);
        let patience = self.state.config.settings_broadcast.verify_timeout.min(of_request);
        match timeout(patience, self.bring_up_to_date(index, node)).await {
            Ok(Ok(())) => Ok(Repaired::Done),
            Ok(Err(Error::NotHeld { why, .. })) => Ok(Repaired::Failed { error: why }),
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => Ok(Repaired::UnderWay),
        }
    }
}
