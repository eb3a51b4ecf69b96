//! `/_miroir`: what operators ask.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use miroir_core::auth::Grant;
use miroir_core::error::Code;
use miroir_core::id::TaskUid;
use miroir_core::topology::Topology;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::error::Failure;
use super::{Shared, json, tasks};
use crate::cluster::Peer;
use crate::node::Node;

pub async fn topology(State(cluster): State<Shared>) -> Response {
    let topology = cluster.topology();
    let view = |node: &Arc<Node>| {
        let mut view = node_view(node, replicas_on(&topology, node, &cluster));
        view["draining"] = topology.draining.contains(&node.member.id).into();
        view
    };
    let nodes: Vec<Value> = cluster.nodes().values().map(view).collect();
    let shape = &topology.shape;
    let body = json!({
        "epoch": topology.epoch,
        "shards": cluster.config.shards,
        "replicationFactor": shape.replication_factor,
        "replicaGroups": shape.groups().len(),
        "placement": shape.placement,
        "nodes": nodes,
        "degradedShards": cluster.uncovered_shards(),
        "staleReplicas": cluster.count_stale_replicas(),
    });
    json(StatusCode::OK, body.to_string())
}

/// Shard replicas of new indexes that a node is placed for.
pub fn replicas_on(topology: &Topology, node: &Node, cluster: &Shared) -> usize {
    let id = &node.member.id;
    topology.replicas(cluster.config.shards).filter(|(_, holder)| *holder == id).count()
}

pub(super) fn node_view(node: &Node, shard_replicas: usize) -> Value {
    let report = node.health.report();
    json!({
        "id": node.member.id,
        "address": node.member.address,
        "replicaGroup": node.member.group,
        "state": report.state.name(),
        "since": report.since.format(&Rfc3339).unwrap_or_default(),
        "lastError": report.last_error,
        "version": report.version,
        "shardReplicas": shard_replicas,
    })
}

pub async fn shards(State(cluster): State<Shared>) -> Response {
    let topology = cluster.topology();
    let groups = topology.placements(cluster.config.shards).into_iter().flatten().map(|(group, placement)| {
        let shards: Vec<Value> =
            placement.shards().map(|(shard, replicas)| json!({ "shard": shard, "replicas": replicas })).collect();
        json!({ "id": group, "shards": shards })
    });
    let groups: Vec<Value> = groups.collect();
    let body = json!({ "shards": cluster.config.shards, "groups": groups, "stale": cluster.stale_replicas() });
    json(StatusCode::OK, body.to_string())
}

/// The instances that live, this one first.
pub async fn peers(State(cluster): State<Shared>) -> Response {
    let view = |id: &str, peer: &Peer, own: bool| {
        json!({
            "id": id,
            "self": own,
            "address": peer.address,
            "epoch": peer.epoch,
            "version": peer.version,
            "since": peer.since.format(&Rfc3339).unwrap_or_default(),
        })
    };
    let own = view(cluster.peers.me(), &cluster.as_peer(), true);
    let others = cluster.peers.others();
    let others = others.iter().map(|(id, peer)| view(id, peer, false));
    let peers: Vec<Value> = std::iter::once(own).chain(others).collect();
    json(StatusCode::OK, json!({ "peers": peers }).to_string())
}

/// Whether this instance may take traffic; with `cluster=true`, whether all shards of all indexes can be answered for as well.
pub async fn ready(State(cluster): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let of_cluster = form_urlencoded::parse(query.as_bytes()).any(|pair| pair == ("cluster".into(), "true".into()));
    let mut reasons = if of_cluster { cluster.not_covered() } else { Vec::new() };
    let of_instance = cluster.not_ready().into_iter().filter(|reason| !reasons.contains(reason)).collect::<Vec<_>>();
    reasons.extend(of_instance);
    if reasons.is_empty() {
        json(StatusCode::OK, r#"{"ready":true}"#)
    } else {
        json(StatusCode::SERVICE_UNAVAILABLE, json!({ "ready": false, "reasons": reasons }).to_string())
    }
}

pub async fn metrics(State(cluster): State<Shared>) -> Response {
    crate::telemetry::exposition(&cluster.metrics).into_response()
}

pub async fn version() -> Response {
    let body = json!({ "version": env!("CARGO_PKG_VERSION"), "commit": option_env!("MIROIR_COMMIT") });
    json(StatusCode::OK, body.to_string())
}

/// A task with the node tasks it stands for; `mtask-00012` is the same as `12`.
pub async fn task(State(cluster): State<Shared>, Path(text): Path<String>) -> Result<Response, Failure> {
    let uid = TaskUid::parse(&text).ok_or_else(|| {
        let message = format!("`{text}` is not a task: expected a number such as `12` or `mtask-00012`");
        Failure::new(Code::InvalidTaskUids, message)
    })?;
    let task = tasks::find(&cluster, &Grant::everything(), uid).await?;
    let mut view: Value = serde_json::from_str(&task.view()).unwrap_or_default();
    view["nodeTasks"] = task
        .node_tasks
        .iter()
        .map(|t| json!({ "node": t.node, "uid": t.uid, "shards": t.shards, "status": t.status, "error": t.error }))
        .collect();
    Ok(json(StatusCode::OK, view.to_string()))
}
