//! What operators see of an index's settings.

use miroir_core::id::NodeId;
use miroir_core::settings::Fingerprint;
use miroir_core::settings::broadcast::{LineChange, Phase, Stage};
use miroir_work::led;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::super::{Cluster, Error, Index};
use super::Broadcasting;

impl Cluster {
    /// Where a change of the settings stands, and what each node holds.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn settings_status(&self, index: &Index) -> Result<Value, Error> {
        let line = led::find::<Broadcasting>(&*self.store, Some(index.physical.as_str())).await?;
        let line = line.map(|(operation, _)| (operation.started_at, operation.record));
        let change = line.as_ref().and_then(|(_, line)| line.current.as_ref());
        let committed = index.settings.on_nodes(index.shards, self.config.facets.node_multiplier);
        let nodes: Vec<Value> = self.nodes().keys().map(|node| self.node_status(index, node, change)).collect();
        let broadcast = line.as_ref().map(|(since, line)| {
            json!({
                "phase": change.map_or("waiting", phase),
                "fingerprint": change.map(|change| change.record.fingerprint()),
                "version": change.map(|change| change.record.version()),
                "waiting": line.queue.len(),
                "since": since.format(&Rfc3339).unwrap_or_default(),
            })
        });
        Ok(json!({
            "index": index.uid,
            "version": index.settings_version,
            "fingerprint": committed.as_ref().map(Fingerprint::of),
            "broadcast": broadcast,
            "frozen": index.frozen,
            "nodes": nodes,
        }))
    }

    fn node_status(&self, index: &Index, node: &NodeId, change: Option<&LineChange>) -> Value {
        let part = change.and_then(|change| change.record.parts().get(node));
        let (stage, task, error) = part.map_or((None, None, None), |part| stage(&part.stage));
        json!({
            "node": node,
            "live": self.is_live(node),
            "version": index.settings_version_on(node),
            "current": !index.lagging.contains_key(node),
            "stage": stage,
            "task": task,
            "attempts": part.map(|part| part.attempts),
            "fingerprint": part.and_then(|part| part.fingerprint.as_ref()),
            "error": error,
        })
    }
}

fn phase(change: &LineChange) -> &'static str {
    match change.record.phase() {
        _ if change.reserved_until.is_some() => "propose",
        Phase::Propose => "propose",
        Phase::Verify => "verify",
        Phase::Commit => "commit",
        Phase::GoingBack => "goingBack",
    }
}

fn stage(stage: &Stage) -> (Option<&'static str>, Option<u64>, Option<&str>) {
    match stage {
        Stage::Due { .. } => (Some("due"), None, None),
        Stage::Accepted { task } => (Some("told"), Some(*task), None),
        Stage::Applied { .. } => (Some("applied"), None, None),
        Stage::Verified => (Some("verified"), None, None),
        Stage::LeftBehind => (Some("leftBehind"), None, None),
        Stage::Rejected { error } => (Some("rejected"), None, Some(error.message.as_str())),
        Stage::Unrepairable => (Some("unrepairable"), None, None),
    }
}
