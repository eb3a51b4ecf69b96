//! Write lanes: the changes of one index reach all its replicas in one order.
//!
//! Two writes that are sent at the same time would otherwise reach two replicas in different orders and leave them
//! different for ever. A lane is a queue, held only while a change is handed to the nodes' own task queues.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use miroir_core::id::IndexUid;
use tokio::sync::OwnedMutexGuard;

/// One lane per index that is being written.
#[derive(Default)]
pub struct Lanes(Mutex<HashMap<IndexUid, Arc<tokio::sync::Mutex<()>>>>);

/// The right to change an index; the next in the lane proceeds when it is dropped.
pub struct Turn {
    _lane: OwnedMutexGuard<()>,
}

impl Lanes {
    /// Wait for the turn, first come first served.
    pub async fn turn(&self, index: &IndexUid) -> Turn {
        let lane = {
            let mut lanes = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            // Lanes that nobody holds or waits for are forgotten, so that the map stays as small as the traffic.
            if lanes.len() > 1000 {
                lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
            }
            lanes.entry(index.clone()).or_default().clone()
        };
        Turn { _lane: lane.lock_owned().await }
    }

    /// Wait for the turns of several indexes. Everybody takes them in one order, so that nobody waits for ever.
    pub async fn turns<'a>(&self, indexes: impl IntoIterator<Item = &'a IndexUid>) -> Vec<Turn> {
        let indexes: BTreeSet<&IndexUid> = indexes.into_iter().collect();
        let mut turns = Vec::with_capacity(indexes.len());
        for index in indexes {
            turns.push(self.turn(index).await);
        }
        turns
    }
}
