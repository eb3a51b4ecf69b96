//! `/_miroir`: what operators ask of an instance, and of the cluster as it sees it.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use miroir_api::{ErrorBody, GroupShards, Peers, Placement, Readiness, ReadinessQuery, ShardReplicas, Shards};
use miroir_api::{Topology, TopologyNode, Version};
use miroir_cluster::{StaleReplica, rfc3339};
use miroir_core::base::id::NodeId;
use miroir_core::membership::placement::PlacementKind;
use miroir_core::membership::topology;
use miroir_node::{Node, NodeState};

use super::error::Failure;
use super::openapi::Refused;
use super::{Shared, shown};

/// The nodes, their states and the shape of the cluster
///
/// As the instance that answers sees them.
#[utoipa::path(
    get,
    path = "/_miroir/topology",
    operation_id = "topology",
    tag = "cluster",
    responses((status = 200, description = "The topology.", body = Topology), Refused),
)]
pub async fn topology(State(cluster): State<Shared>) -> Result<Response, Failure> {
    let topology = cluster.state.topology();
    let view = |node: &Arc<Node>| TopologyNode {
        node: node_view(node, replicas_on(&topology, node, &cluster)),
        draining: topology.draining.contains(&node.member.id),
    };
    let nodes = cluster.state.nodes().values().map(view).collect();
    let shape = &topology.shape;
    let placement = match shape.placement {
        PlacementKind::Balanced => Placement::Balanced,
        PlacementKind::Rendezvous => Placement::Rendezvous,
    };
    let answer = Topology {
        epoch: topology.epoch.0,
        shards: cluster.state.config.shards.get(),
        replication_factor: shape.replication_factor.get(),
        replica_groups: u32::try_from(shape.groups().len()).unwrap_or(u32::MAX),
        placement,
        nodes,
        degraded_shards: cluster.state.uncovered_shards() as u64,
        stale_replicas: cluster.state.count_stale_replicas() as u64,
    };
    shown(StatusCode::OK, &answer)
}

/// Shard replicas of new indexes that a node is placed for.
pub fn replicas_on(topology: &topology::Topology, node: &Node, cluster: &Shared) -> usize {
    let id = &node.member.id;
    topology.replicas(cluster.state.config.shards).filter(|(_, holder)| *holder == id).count()
}

pub(super) fn node_view(node: &Node, shard_replicas: usize) -> miroir_api::Node {
    let report = node.health.report();
    let state = match report.state {
        NodeState::Healthy => miroir_api::NodeState::Healthy,
        NodeState::Degraded => miroir_api::NodeState::Degraded,
        NodeState::Failed => miroir_api::NodeState::Failed,
        NodeState::Returning => miroir_api::NodeState::Returning,
        NodeState::Recovering => miroir_api::NodeState::Recovering,
    };
    miroir_api::Node {
        id: node.member.id.to_string(),
        address: node.member.address.clone(),
        replica_group: node.member.group.0,
        state,
        since: rfc3339(report.since),
        last_error: report.last_error,
        version: report.version,
        shard_replicas: shard_replicas as u64,
    }
}

/// Which node holds which shard, and what is stale
///
/// Where the shards of a new index are placed, and the stale replicas of all indexes.
#[utoipa::path(
    get,
    path = "/_miroir/shards",
    operation_id = "shards",
    tag = "cluster",
    responses((status = 200, description = "The shards of every group.", body = Shards), Refused),
)]
pub async fn shards(State(cluster): State<Shared>) -> Result<Response, Failure> {
    let topology = cluster.state.topology();
    let placements = topology.placements(cluster.state.config.shards).into_iter().flatten();
    let groups = placements.map(|(group, placement)| {
        let names = |replicas: &[NodeId]| replicas.iter().map(NodeId::to_string).collect();
        let shards = placement.shards();
        let shards = shards.map(|(shard, replicas)| ShardReplicas { shard: shard.0, replicas: names(replicas) });
        GroupShards { id: group.0, shards: shards.collect() }
    });
    let groups = groups.collect();
    let stale = cluster.state.stale_replicas().iter().map(StaleReplica::view).collect();
    shown(StatusCode::OK, &Shards { shards: cluster.state.config.shards.get(), groups, stale })
}

/// The instances that are alive
#[utoipa::path(
    get,
    path = "/_miroir/peers",
    operation_id = "peers",
    tag = "instance",
    responses((status = 200, description = "The instances, the one that answers first.", body = Peers), Refused),
)]
pub async fn peers(State(cluster): State<Shared>) -> Result<Response, Failure> {
    let own = cluster.state.as_peer().view(cluster.state.peers.me(), true);
    let others = cluster.state.peers.others();
    let others = others.iter().map(|(id, peer)| peer.view(id, false));
    shown(StatusCode::OK, &Peers { peers: std::iter::once(own).chain(others).collect() })
}

/// Whether traffic may be sent to this instance
///
/// With `cluster=true` also whether every shard of every index can be answered for. Needs no key.
#[utoipa::path(
    get,
    path = "/_miroir/ready",
    operation_id = "ready",
    tag = "instance",
    params(ReadinessQuery),
    security(()),
    responses(
        (status = 200, description = "It is ready.", body = Readiness),
        (status = 503, description = "It is not, for these reasons.", body = Readiness),
    ),
)]
pub async fn ready(State(cluster): State<Shared>, RawQuery(query): RawQuery) -> Result<Response, Failure> {
    let query = query.unwrap_or_default();
    let of_cluster = form_urlencoded::parse(query.as_bytes()).any(|pair| pair == ("cluster".into(), "true".into()));
    let mut reasons = if of_cluster { cluster.state.not_covered() } else { Vec::new() };
    let of_instance =
        cluster.state.not_ready().into_iter().filter(|reason| !reasons.contains(reason)).collect::<Vec<_>>();
    reasons.extend(of_instance);
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    shown(status, &Readiness { ready, reasons })
}

/// The metrics of this instance
///
/// In the text format of OpenMetrics. Takes the admin key, or the key of a client with the action `metrics.get` on all
/// indexes as bearer.
#[utoipa::path(
    get,
    path = "/_miroir/metrics",
    operation_id = "metrics",
    tag = "instance",
    responses(
        (
            status = 200,
            description = "The metrics.",
            body = String,
            content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        (status = 401, description = "No key was shown that may read metrics (`miroir_invalid_auth`).", body = ErrorBody),
        Refused,
    ),
)]
pub async fn metrics(State(cluster): State<Shared>) -> Response {
    crate::telemetry::exposition(&cluster.state.metrics).into_response()
}

/// The release of this instance
#[utoipa::path(
    get,
    path = "/_miroir/version",
    operation_id = "version",
    tag = "instance",
    responses((status = 200, description = "The release.", body = Version), Refused),
)]
pub async fn version() -> Result<Response, Failure> {
    let commit = option_env!("MIROIR_COMMIT").map(str::to_owned);
    shown(StatusCode::OK, &Version { version: env!("CARGO_PKG_VERSION").to_owned(), commit })
}
