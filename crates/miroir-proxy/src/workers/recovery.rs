//! Nodes that have returned are looked at, and all nodes once after the start.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use miroir_core::base::id::NodeId;
use tokio::time::{MissedTickBehavior, interval, sleep};

use miroir_cluster::{Cluster, Error};
use miroir_node::Node;

/// Before a node is looked at again that could not be looked at.
const AGAIN: Duration = Duration::from_secs(1);

/// Whether a node was looked at; or it serves meanwhile.
type Look = BoxFuture<'static, (NodeId, Result<bool, Error>)>;

/// Look at nodes for ever.
pub async fn examine_nodes(cluster: Arc<Cluster>) {
    let mut ticks = interval(cluster.state.config.health.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut probes: FuturesUnordered<Look> = FuturesUnordered::new();
    let (mut probing, mut known) = (BTreeSet::new(), BTreeSet::new());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = cluster.state.returned.notified() => {}
            Some((node, probed)) = probes.next(), if !probes.is_empty() => {
                probing.remove(&node);
                match probed {
                    Ok(true) => _ = known.insert(node),
                    Ok(false) => _ = known.remove(&node),
                    Err(error) => tracing::warn!(%node, %error, "a node could not be looked at; trying again"),
                }
            }
        }
        for node in cluster.state.nodes().values() {
            let id = &node.member.id;
            let returned = node.health.returned().is_some();
            // One that has failed and returned is readmitted instead.
            let first = !known.contains(id) && node.health.is_confirmed() && node.health.state().is_live();
            if (returned || first) && probing.insert(id.clone()) {
                probes.push(Box::pin(probe(cluster.clone(), node.clone(), returned)));
            }
        }
    }
}

async fn probe(cluster: Arc<Cluster>, node: Arc<Node>, returned: bool) -> (NodeId, Result<bool, Error>) {
    let probed = match returned {
        true => cluster.replicas.readmit(&node).await,
        false => cluster.replicas.probe_serving(&node).await.map(|()| true),
    };
    if probed.is_err() {
        sleep(AGAIN).await;
    }
    (node.member.id.clone(), probed)
}
