//! `/_miroir/stale` and `/_miroir/nodes`: what is stale, and how far its healing is.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::admin::{node_view, replicas_on};
use super::error::Failure;
use super::{Shared, json};
use crate::cluster::Error;

/// The stale replicas, and the mirrors at work.
pub async fn stale(State(cluster): State<Shared>) -> Result<Response, Failure> {
    let healing = cluster.healing().await.map_err(Error::Store)?;
    let healing: Vec<Value> = healing
        .iter()
        .map(|(node, healing)| json!({ "node": node, "healed": healing.healed, "mirrors": healing.mirrors }))
        .collect();
    Ok(json(StatusCode::OK, json!({ "stale": cluster.stale_replicas(), "healing": healing }).to_string()))
}

/// The nodes as this instance sees them; `healing` is none for those that are not healed.
pub async fn nodes(State(cluster): State<Shared>) -> Result<Response, Failure> {
    let healing = cluster.healing().await.map_err(Error::Store)?;
    let topology = cluster.topology();
    let stale = cluster.stale_replicas();
    let view = |node: &std::sync::Arc<crate::node::Node>| {
        let id = &node.member.id;
        let mut view = node_view(node, replicas_on(&topology, node, &cluster));
        view["staleReplicas"] = stale.iter().filter(|replica| replica.node == *id).count().into();
        view["healing"] = json!(healing.get(id));
        view
    };
    let nodes: Vec<Value> = cluster.nodes().values().map(view).collect();
    Ok(json(StatusCode::OK, json!({ "nodes": nodes }).to_string()))
}
