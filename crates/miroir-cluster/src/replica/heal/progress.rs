//! How far the healing is, for operators: what the instances that lead it have saved.

use std::collections::BTreeMap;

use miroir_api::{Mirror, MirrorStage, NodeHealing};
use miroir_core::base::id::NodeId;
use miroir_core::replica::mirror::Stage;
use miroir_store::StoreError;
use miroir_work::led;

use super::machine::{HealRecord, Healing, Saved};
use crate::Replicas;
use crate::clock::now_ms;

impl Replicas {
    /// The healing of every node that is being healed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn healing(&self) -> Result<BTreeMap<NodeId, NodeHealing>, StoreError> {
        let mut found = BTreeMap::new();
        for node in self.state.nodes().keys() {
            if let Some((operation, _)) = led::find::<Healing>(&*self.state.store, Some(node.as_str())).await? {
                found.insert(node.clone(), shown(&operation.record));
            }
        }
        Ok(found)
    }
}

fn shown(record: &HealRecord) -> NodeHealing {
    NodeHealing { healed: record.healed, mirrors: record.mirrors.iter().map(mirror).collect() }
}

fn mirror(saved: &Saved) -> Mirror {
    let now = now_ms();
    let record = &saved.mirror;
    let (done, total) = record.done();
    let stage = match &record.stage {
        _ if saved.not_before > now => MirrorStage::Waiting,
        Stage::Begin => MirrorStage::Starting,
        Stage::Copy(..) => MirrorStage::Copying,
        Stage::Compare(_) => MirrorStage::Comparing,
    };
    let progress = &record.progress;
    Mirror {
        index: record.subject.index.to_string(),
        shard: record.subject.shard.0,
        stage,
        done,
        total,
        copied: progress.copied,
        deleted: progress.deleted,
        bytes: progress.bytes,
        rounds: progress.rounds,
        fences: progress.pauses,
        seconds_left: record.estimate(now).map(|left| left.as_secs()),
        failures: saved.failures,
        error: saved.error.clone(),
    }
}
