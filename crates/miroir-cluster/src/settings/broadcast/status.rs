//! What operators see of an index's settings.

use miroir_api::{
    Broadcast, BroadcastPhase, NodeSettings, RepairOutcome, RepairedNode, SettingsRepair, SettingsStatus,
};
use miroir_core::base::id::NodeId;
use miroir_core::settings::Fingerprint;
use miroir_core::settings::broadcast::{LineChange, Phase, Stage};
use miroir_work::led;

use super::Broadcasting;
use super::repair::Repaired;
use crate::clock::rfc3339;
use crate::{Error, Index, SharedSettings};

impl SharedSettings {
    /// Where a change of the settings stands, and what each node holds.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn settings_status(&self, index: &Index) -> Result<SettingsStatus, Error> {
        let line = led::find::<Broadcasting>(&*self.state.store, Some(index.physical.as_str())).await?;
        let line = line.map(|(operation, _)| (operation.started_at, operation.record));
        let change = line.as_ref().and_then(|(_, line)| line.current.as_ref());
        let committed = index.settings.on_nodes(index.shards, self.state.config.facets.node_multiplier);
        let broadcast = line.as_ref().map(|(since, line)| Broadcast {
            phase: change.map_or(BroadcastPhase::Waiting, phase),
            fingerprint: change.map(|change| change.record.fingerprint().to_string()),
            version: change.map(|change| change.record.version()),
            waiting: line.queue.len() as u64,
            since: rfc3339(*since),
        });
        Ok(SettingsStatus {
            index: index.uid.to_string(),
            version: index.settings_version,
            fingerprint: committed.as_ref().map(|settings| Fingerprint::of(settings).to_string()),
            broadcast,
            frozen: frozen(index),
            nodes: self.state.nodes().keys().map(|node| self.node_status(index, node, change)).collect(),
        })
    }

    fn node_status(&self, index: &Index, node: &NodeId, change: Option<&LineChange>) -> NodeSettings {
        let part = change.and_then(|change| change.record.parts().get(node));
        let (task, error) = match part.map(|part| &part.stage) {
            Some(Stage::Accepted { task }) => (Some(*task), None),
            Some(Stage::Rejected { error }) => (None, Some(error.message.clone())),
            Some(
                Stage::Due { .. } | Stage::Applied { .. } | Stage::Verified | Stage::LeftBehind | Stage::Unrepairable,
            )
            | None => (None, None),
        };
        NodeSettings {
            node: node.to_string(),
            live: self.state.is_live(node),
            version: index.settings_version_on(node),
            current: !index.lagging.contains_key(node),
            stage: part.map(|part| stage(&part.stage)),
            task,
            attempts: part.map(|part| part.attempts),
            fingerprint: part.and_then(|part| part.fingerprint.as_ref()).map(Fingerprint::to_string),
            error,
        }
    }
}

/// What came of a repair, and how the index stands after it.
pub fn repair_view<'a>(
    index: &Index,
    repaired: impl IntoIterator<Item = (&'a NodeId, &'a Repaired)>,
) -> SettingsRepair {
    let node = |(node, repaired): (&NodeId, &Repaired)| {
        let (outcome, error) = match repaired {
            Repaired::Done => (RepairOutcome::Repaired, None),
            Repaired::Unreachable => (RepairOutcome::Unreachable, None),
            Repaired::Overtaken => (RepairOutcome::Overtaken, None),
            Repaired::UnderWay => (RepairOutcome::UnderWay, None),
            Repaired::Failed { error } => (RepairOutcome::Failed, Some(error.clone())),
        };
        RepairedNode { node: node.to_string(), outcome, error }
    };
    SettingsRepair {
        index: index.uid.to_string(),
        version: index.settings_version,
        frozen: frozen(index),
        nodes: repaired.into_iter().map(node).collect(),
    }
}

fn frozen(index: &Index) -> Vec<String> {
    index.frozen.iter().map(NodeId::to_string).collect()
}

fn phase(change: &LineChange) -> BroadcastPhase {
    match change.record.phase() {
        _ if change.reserved_until.is_some() => BroadcastPhase::Propose,
        Phase::Propose => BroadcastPhase::Propose,
        Phase::Verify => BroadcastPhase::Verify,
        Phase::Commit => BroadcastPhase::Commit,
        Phase::GoingBack => BroadcastPhase::GoingBack,
    }
}

fn stage(stage: &Stage) -> miroir_api::Stage {
    match stage {
        Stage::Due { .. } => miroir_api::Stage::Due,
        Stage::Accepted { .. } => miroir_api::Stage::Told,
        Stage::Applied { .. } => miroir_api::Stage::Applied,
        Stage::Verified => miroir_api::Stage::Verified,
        Stage::LeftBehind => miroir_api::Stage::LeftBehind,
        Stage::Rejected { .. } => miroir_api::Stage::Rejected,
        Stage::Unrepairable => miroir_api::Stage::Unrepairable,
    }
}
