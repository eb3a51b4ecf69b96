//! Forgets finished tasks after `task_registry.retention_s`.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use miroir_cluster::Cluster;

/// Tasks forgotten in one step: short enough not to hold up writers.
const STEP: usize = 1000;
const EVERY: Duration = Duration::from_secs(60);

/// Prune for ever.
pub async fn prune_tasks(cluster: Arc<Cluster>) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        if !cluster.state.peers.owns("task pruning") {
            continue;
        }
        let finished_before = OffsetDateTime::now_utc() - cluster.state.config.task_registry.retention;
        loop {
            match cluster.state.store.prune_tasks(finished_before, STEP).await {
                Ok(pruned) if pruned as usize == STEP => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "old tasks could not be pruned; trying again later");
                    break;
                }
            }
        }
    }
}
