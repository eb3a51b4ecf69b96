//! `/experimental-features`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::Value;

use super::error::Failure;
use super::observe::undertaken;
use super::{Shared, body, json};

pub async fn get(State(cluster): State<Shared>) -> Response {
    json(StatusCode::OK, cluster.features().view().to_string())
}

pub async fn update(State(cluster): State<Shared>, headers: HeaderMap, body: Body) -> Result<Response, Failure> {
    let body = body::json(&headers, body).await?;
    let patch: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let features = undertaken(&cluster, move |writer| async move { writer.change_features(&patch).await }).await?;
    Ok(json(StatusCode::OK, features.view().to_string()))
}
