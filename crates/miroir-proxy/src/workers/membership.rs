//! The membership: what operators see of its changes, and nodes that stay away.

use std::sync::Arc;

use miroir_cluster::{Cluster, Replacing};

/// Look for ever.
pub async fn watch_membership(cluster: Arc<Cluster>) {
    let mut ticks = tokio::time::interval(cluster.state.config.health.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut replacing = Replacing::default();
    loop {
        ticks.tick().await;
        match cluster.membership.is_rebalancing().await {
            Ok(under_way) => cluster.state.metrics.rebalancing(under_way),
            Err(error) => tracing::debug!(%error, "nobody can tell whether a change of the cluster is under way"),
        }
        replacing.look(&cluster.membership).await;
    }
}
