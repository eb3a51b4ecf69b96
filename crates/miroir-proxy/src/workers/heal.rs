//! Healing is begun wherever a live node has something to heal.

use std::sync::Arc;

use miroir_store::{Change, Table};
use tokio::time::{MissedTickBehavior, interval};

use miroir_cluster::Cluster;

/// Look for what there is to heal, for ever: as often as nodes are checked, when replicas become stale, and when a node
/// is back.
pub async fn begin_healing(cluster: Arc<Cluster>) {
    let mut changes = cluster.state.store.watch();
    let mut ticks = interval(cluster.state.config.health.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = cluster.state.healable.notified() => {}
            change = changes.next() => match change {
                Some(Change::Record { table: Table::StaleReplicas, .. } | Change::Everything) => {}
                Some(_) => continue,
                None => return,
            },
        }
        if let Err(error) = cluster.replicas.begin_healing().await {
            tracing::debug!(%error, "healing could not be begun; trying again later");
        }
    }
}
