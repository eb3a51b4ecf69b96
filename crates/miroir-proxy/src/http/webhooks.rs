//! `/webhooks`.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use miroir_cluster::Error;
use miroir_core::write::webhook::{WebhookError, WebhookPatch};
use serde_json::Value;
use uuid::Uuid;

use super::body::Payload;
use super::error::Failure;
use super::observe::undertaken;
use super::{Shared, json};

pub async fn list(State(cluster): State<Shared>) -> Response {
    cluster.state.catch_up().await;
    json(StatusCode::OK, cluster.state.webhooks().to_string())
}

pub async fn get(State(cluster): State<Shared>, Path(id): Path<String>) -> Result<Response, Failure> {
    let id = uuid(&id)?;
    cluster.state.catch_up().await;
    Ok(json(StatusCode::OK, cluster.state.webhook(id)?.to_string()))
}

pub async fn create(State(cluster): State<Shared>, mut payload: Payload) -> Result<Response, Failure> {
    let patch = patch(&mut payload).await?;
    let created =
        undertaken(&cluster, move |cluster, writer| async move { cluster.tasks.create_webhook(&writer, patch).await });
    Ok(json(StatusCode::CREATED, created.await?.to_string()))
}

pub async fn update(
    State(cluster): State<Shared>,
    Path(id): Path<String>,
    mut payload: Payload,
) -> Result<Response, Failure> {
    // The body is read first, as with one server.
    let patch = patch(&mut payload).await?;
    let id = uuid(&id)?;
    let changed =
        undertaken(
            &cluster,
            move |cluster, writer| async move { cluster.tasks.change_webhook(&writer, id, patch).await },
        );
    Ok(json(StatusCode::OK, changed.await?.to_string()))
}

pub async fn delete(State(cluster): State<Shared>, Path(id): Path<String>) -> Result<Response, Failure> {
    let id = uuid(&id)?;
    undertaken(&cluster, move |cluster, writer| async move { cluster.tasks.delete_webhook(&writer, id).await }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn patch(payload: &mut Payload) -> Result<WebhookPatch, Failure> {
    let body = payload.json().await?;
    let value: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    WebhookPatch::read(&value).map_err(failure)
}

fn uuid(text: &str) -> Result<Uuid, Failure> {
    text.parse().map_err(|error: uuid::Error| failure(WebhookError::InvalidUuid(error.to_string())))
}

fn failure(error: WebhookError) -> Failure {
    Error::Invalid(error.body()).into()
}
