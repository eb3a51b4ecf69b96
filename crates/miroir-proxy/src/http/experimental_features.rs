//! `/experimental-features`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::Value;

use super::error::Failure;
use super::{Shared, body, json};

pub async fn get(State(cluster): State<Shared>) -> Response {
    json(StatusCode::OK, cluster.features().view().to_string())
}

pub async fn update(State(cluster): State<Shared>, headers: HeaderMap, body: Body) -> Result<Response, Failure> {
    let body = body::json(&headers, body).await?;
    let patch: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(json(StatusCode::OK, cluster.change_features(&patch).await?.view().to_string()))
}
