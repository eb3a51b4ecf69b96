//! `/experimental-features`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use super::body::Payload;
use super::error::Failure;
use super::observe::undertaken;
use super::{Shared, json};

pub async fn get(State(cluster): State<Shared>) -> Response {
    json(StatusCode::OK, cluster.state.fresh_features().await.view().to_string())
}

pub async fn update(State(cluster): State<Shared>, mut payload: Payload) -> Result<Response, Failure> {
    let body = payload.json().await?;
    let patch: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let features =
        undertaken(
            &cluster,
            move |cluster, writer| async move { cluster.settings.change_features(&writer, &patch).await },
        )
        .await?;
    Ok(json(StatusCode::OK, features.view().to_string()))
}
