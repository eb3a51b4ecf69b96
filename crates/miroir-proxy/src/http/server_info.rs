//! `/health`, `/version`, `/stats`.

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use miroir_core::access::Grant;
use serde_json::json;

use super::error::Failure;
use super::{Shared, answered, json};

pub async fn health() -> Response {
    json(StatusCode::OK, r#"{"status":"available"}"#)
}

pub async fn running() -> Response {
    json(StatusCode::OK, r#"{"status":"Meilisearch is running"}"#)
}

/// The Meilisearch that the nodes run: clients choose their behaviour by it.
pub async fn version(State(cluster): State<Shared>) -> Response {
    let mut versions: Vec<String> =
        cluster.state.nodes().values().filter_map(|node| node.health.report().version).collect();
    versions.sort();
    let version = versions.first().map_or("unknown", String::as_str);
    let body = json!({ "commitSha": "unknown", "commitDate": "unknown", "pkgVersion": version });
    json(StatusCode::OK, body.to_string())
}

pub async fn stats(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    Ok(answered(StatusCode::OK, cluster.reads.stats(&grant, &query.unwrap_or_default()).await?))
}
