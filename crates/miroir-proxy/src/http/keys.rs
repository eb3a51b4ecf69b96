//! `/keys`.

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use miroir_cluster::Error;
use miroir_core::access::{Key, KeyRegistry, patch_key, read_key};
use miroir_core::base::error::Code;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::body::Payload;
use super::error::Failure;
use super::observe::undertaken;
use super::page::{Page, PageCodes};
use super::{Shared, body, json};

pub async fn list(State(cluster): State<Shared>, RawQuery(query): RawQuery) -> Result<Response, Failure> {
    let codes = PageCodes { offset: Code::InvalidApiKeyOffset, limit: Code::InvalidApiKeyLimit };
    let Page { offset, limit } = Page::read(query.as_deref().unwrap_or_default(), codes)?;
    cluster.state.catch_up().await;
    let registry = cluster.state.keys.registry();
    let views: Vec<String> =
        registry.listed().into_iter().skip(offset).take(limit).filter_map(|key| view(&registry, key)).collect();
    let (results, total) = (views.join(","), registry.len());
    let page = format!(r#"{{"results":[{results}],"offset":{offset},"limit":{limit},"total":{total}}}"#);
    Ok(json(StatusCode::OK, page))
}

pub async fn create(State(cluster): State<Shared>, mut payload: Payload) -> Result<Response, Failure> {
    let body = read(&mut payload).await?;
    let key = read_key(&body, OffsetDateTime::now_utc(), Uuid::new_v4()).map_err(Error::Invalid)?;
    let key = undertaken(&cluster, move |_, writer| async move { writer.create_key(key).await }).await?;
    Ok(shown(&cluster, StatusCode::CREATED, &key))
}

pub async fn get(State(cluster): State<Shared>, Path(key): Path<String>) -> Result<Response, Failure> {
    let key = cluster.state.find_key(&key).await?;
    Ok(shown(&cluster, StatusCode::OK, &key))
}

pub async fn update(
    State(cluster): State<Shared>,
    Path(key): Path<String>,
    mut payload: Payload,
) -> Result<Response, Failure> {
    let body = read(&mut payload).await?;
    let now = OffsetDateTime::now_utc();
    // What is wrong with the body is said before the key is looked for.
    let nobody = &Key::defaults(now, [Uuid::nil(); 4])[0];
    patch_key(nobody, &body, now).map_err(Error::Invalid)?;
    cluster.state.find_key(&key).await?;
    let change = move |key: &Key| patch_key(key, &body, now);
    let key = undertaken(&cluster, move |_, writer| async move { writer.update_key(&key, change).await }).await?;
    Ok(shown(&cluster, StatusCode::OK, &key))
}

pub async fn delete(State(cluster): State<Shared>, Path(key): Path<String>) -> Result<Response, Failure> {
    cluster.state.find_key(&key).await?;
    undertaken(&cluster, move |_, writer| async move { writer.delete_key(&key).await }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn read(payload: &mut Payload) -> Result<Value, Failure> {
    let body = payload.json().await?;
    serde_json::from_slice(&body).map_err(|error| body::malformed(&error))
}

fn shown(cluster: &Shared, status: StatusCode, key: &Key) -> Response {
    json(status, view(&cluster.state.keys.registry(), key).unwrap_or_default())
}

/// Without a master key there is nothing to be seen, and nobody gets here.
fn view(registry: &KeyRegistry, key: &Key) -> Option<String> {
    registry.value_of(key.uid).map(|value| key.view(&value))
}
