//! Health checks: every node, every `health.interval_ms`.
//!
//! A node that is silent keeps nobody waiting but itself: each is checked apart from the others, over connections that
//! clients have no part in, and what operators see is told at every turn.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use miroir_cluster::Cluster;
use miroir_core::base::id::NodeId;
use miroir_node::{Call, Node, NodeState};
use tokio::time::{MissedTickBehavior, interval};

use crate::http::admin::replicas_on;

/// Check all nodes for ever; the first round begins at once.
pub async fn watch_health(cluster: Arc<Cluster>) {
    let mut ticks = interval(cluster.state.config.health.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut checks, mut checking) = (FuturesUnordered::new(), BTreeSet::new());
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                for (id, node) in cluster.state.nodes().iter() {
                    if checking.insert(id.clone()) {
                        checks.push(checked(&cluster, id.clone(), node.clone()));
                    }
                }
                tell(&cluster);
            }
            Some(id) = checks.next(), if !checks.is_empty() => {
                checking.remove(&id);
                tell_of_nodes(&cluster);
            }
        }
    }
}

async fn checked(cluster: &Cluster, id: NodeId, node: Arc<Node>) -> NodeId {
    check(cluster, &node).await;
    id
}

fn tell_of_nodes(cluster: &Arc<Cluster>) {
    let topology = cluster.state.topology();
    for node in cluster.state.nodes().values() {
        let live = node.health.state().is_live();
        cluster.state.metrics.node_state(&node.member.id, live, replicas_on(&topology, node, cluster));
    }
}

fn tell(cluster: &Arc<Cluster>) {
    tell_of_nodes(cluster);
    let indexes = cluster.state.indexes();
    let frozen = indexes.iter().filter(|index| !index.frozen.is_empty()).count();
    cluster.state.metrics.settings(frozen, indexes.iter().map(|index| (index.uid.as_str(), index.settings_version)));
    cluster.state.metrics.owned_shards(cluster.state.owned_shards());
    let shards = f64::from(cluster.state.config.shards.get());
    let covered = (1.0 - cluster.state.uncovered_shards() as f64 / shards).max(0.0);
    cluster.state.metrics.coverage(covered, cluster.state.count_stale_replicas());
}

async fn check(cluster: &Cluster, node: &Node) {
    let timeout = cluster.state.config.health.timeout;
    let changed = match node.call(Call::get("health", "/health", timeout).checking()).await {
        Ok(reply) if reply.status == 200 => {
            look_for_forgotten_tasks(cluster, node).await;
            let changed = node.health.check_passed(cluster.state.has_stale_replicas(&node.member.id));
            if changed == Some(NodeState::Returning) {
                cluster.state.returned.notify_one();
            }
            if changed.is_some() || node.health.report().version.is_none() {
                read_version(cluster, node).await;
            }
            changed
        }
        Ok(reply) => node.health.check_failed(&format!("GET /health answered {}", reply.status)),
        // A connect failure has been counted with the request.
        Err(error) if error.is_connect() => None,
        Err(error) => node.health.check_failed(&error.to_string()),
    };
    if let Some(state) = changed {
        let (id, report) = (&node.member.id, node.health.report());
        match state {
            NodeState::Failed => tracing::warn!(node = %id, last_error = report.last_error, "a node has failed"),
            NodeState::Healthy => tracing::info!(node = %id, "a node is healthy"),
            NodeState::Degraded | NodeState::Returning | NodeState::Recovering => {
                tracing::info!(node = %id, state = state.name(), last_error = report.last_error, "node state");
            }
        }
    }
}

/// A node whose tasks are fewer than they were came back with another disk.
async fn look_for_forgotten_tasks(cluster: &Cluster, node: &Node) {
    let before = node.newest_task();
    match node.ask_newest_task(cluster.state.config.health.timeout).await {
        Ok(newest) if node.health.state().is_live() => node.has_newest(newest, before),
        Ok(_) => {}
        Err(error) => tracing::debug!(node = %node.member.id, %error, "a node does not tell its newest task"),
    }
}

async fn read_version(cluster: &Cluster, node: &Node) {
    match node.version(cluster.state.config.health.timeout).await {
        Ok(version) => node.health.set_version(version),
        Err(error) if error.is_about_the_key() => {
            tracing::error!(node = %node.member.id, "the node does not accept node_master_key");
        }
        Err(error) => tracing::debug!(node = %node.member.id, %error, "a node does not tell its version"),
    }
}
