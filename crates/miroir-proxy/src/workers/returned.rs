//! What a node missed while it was away and that is not a matter of shards: deletions of indexes, and
//! experimental features.

use std::sync::Arc;

use miroir_cluster::Cluster;

/// Look at all live nodes for ever. A node that misses nothing costs nothing.
pub async fn catch_up_nodes(cluster: Arc<Cluster>) {
    let mut ticks = tokio::time::interval(cluster.state.config.health.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Each is one instance's business.
        for node in cluster.state.nodes().values().filter(|node| cluster.state.peers.owns(node.member.id.as_str())) {
            let mut caught_up = cluster.settings.catch_up_features(node).await;
            if node.health.state().is_live() {
                caught_up = caught_up.and(cluster.writes.sweep_tombstones(node).await);
            }
            if let Err(error) = caught_up {
                tracing::warn!(node = %node.member.id, %error, "a node could not be caught up; trying again later");
            }
        }
    }
}
