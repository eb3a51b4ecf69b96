//! How far the healing is, for operators: what the instances that lead it have saved.

use std::collections::BTreeMap;

use miroir_core::id::NodeId;
use miroir_core::mirror::Stage;
use miroir_store::StoreError;
use miroir_work::led;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::Cluster;
use super::super::clock::now_ms;
use super::machine::{HealRecord, Healing, Saved};

/// The healing of a node.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealingNode {
    /// Replicas that were healed since it was begun.
    pub healed: u64,
    /// Replicas at work, or to be tried again.
    pub mirrors: Vec<Value>,
}

impl Cluster {
    /// The healing of every node that is being healed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn healing(&self) -> Result<BTreeMap<NodeId, HealingNode>, StoreError> {
        let mut found = BTreeMap::new();
        for node in self.nodes().keys() {
            if let Some((operation, _)) = led::find::<Healing>(&*self.store, Some(node.as_str())).await? {
                found.insert(node.clone(), shown(&operation.record));
            }
        }
        Ok(found)
    }
}

fn shown(record: &HealRecord) -> HealingNode {
    HealingNode { healed: record.healed, mirrors: record.mirrors.iter().map(mirror).collect() }
}

fn mirror(saved: &Saved) -> Value {
    let now = now_ms();
    let record = &saved.mirror;
    let (done, total) = record.done();
    let stage = match &record.stage {
        _ if saved.not_before > now => "waiting",
        Stage::Begin => "starting",
        Stage::Copy(..) => "copying",
        Stage::Compare(_) => "comparing",
    };
    json!({
        "index": record.subject.index,
        "shard": record.subject.shard,
        "stage": stage,
        "done": done,
        "total": total,
        "copied": record.progress.copied,
        "deleted": record.progress.deleted,
        "bytes": record.progress.bytes,
        "rounds": record.progress.rounds,
        "fences": record.progress.pauses,
        "secondsLeft": record.estimate(now).map(|left| left.as_secs()),
        "failures": saved.failures,
        "error": saved.error,
    })
}
