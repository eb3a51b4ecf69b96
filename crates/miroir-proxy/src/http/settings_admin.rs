//! `/_miroir/indexes/{uid}/settings`: how a change of settings stands, and what repairs nodes.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::error::Failure;
use super::observe::undertaken;
use super::{Shared, index_uid, json};

pub async fn status(State(cluster): State<Shared>, Path(uid): Path<String>) -> Result<Response, Failure> {
    let index = cluster.fresh_index(&index_uid(&uid)?).await?;
    Ok(json(StatusCode::OK, cluster.settings_status(&index).await?.to_string()))
}

pub async fn repair(State(cluster): State<Shared>, Path(uid): Path<String>) -> Result<Response, Failure> {
    let index = cluster.fresh_index(&index_uid(&uid)?).await?;
    let repaired = undertaken(&cluster, move |writer| async move { writer.repair_settings(&index).await }).await?;
    let nodes: Vec<Value> = repaired
        .iter()
        .map(|(node, outcome)| {
            let outcome = serde_json::to_value(outcome).unwrap_or_default();
            let error = outcome.pointer("/failed/error").cloned();
            let outcome = if outcome.is_object() { "failed".into() } else { outcome };
            json!({ "node": node, "outcome": outcome, "error": error })
        })
        .collect();
    let now = cluster.fresh_index(&index_uid(&uid)?).await?;
    let body = json!({ "index": uid, "version": now.settings_version, "frozen": now.frozen, "nodes": nodes });
    Ok(json(StatusCode::OK, body.to_string()))
}
