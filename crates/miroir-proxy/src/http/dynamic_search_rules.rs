//! `/dynamic-search-rules`.

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use miroir_cluster::Error;
use miroir_core::base::id::IndexUid;
use miroir_core::rules::{RuleListing, RulePatch};
use miroir_core::settings::features::Feature;
use serde_json::Value;

use super::body::Payload;
use super::documents::only_custom_metadata;
use super::error::Failure;
use super::observe::undertaken;
use super::{Shared, answered, body, json};

const WRITES: &str = "Using the `/dynamic-search-rules` routes";

pub async fn list(State(cluster): State<Shared>, mut payload: Payload) -> Result<Response, Failure> {
    let listing = RuleListing::read(&value(&mut payload).await?).map_err(Error::Invalid)?;
    require(&cluster, "Calling the `POST /dynamic-search-rules` route").await?;
    cluster.state.catch_up().await;
    Ok(json(StatusCode::OK, cluster.settings.list_rules(&listing).await?.to_string()))
}

pub async fn get(State(cluster): State<Shared>, Path(uid): Path<String>) -> Result<Response, Failure> {
    let uid = match rule_uid(&uid) {
        Ok(uid) => uid,
        Err(refusal) => return Ok(*refusal),
    };
    require(&cluster, "Calling the `GET /dynamic-search-rules/{:ruleUid}` route").await?;
    cluster.state.catch_up().await;
    Ok(json(StatusCode::OK, cluster.state.rule(&uid)?.to_string()))
}

pub async fn update(
    State(cluster): State<Shared>,
    Path(uid): Path<String>,
    RawQuery(query): RawQuery,
    mut payload: Payload,
) -> Result<Response, Failure> {
    let uid = match rule_uid(&uid) {
        Ok(uid) => uid,
        Err(refusal) => return Ok(*refusal),
    };
    let note = only_custom_metadata(query.as_deref().unwrap_or_default())?;
    let patch = RulePatch::read(&value(&mut payload).await?).map_err(Error::Invalid)?;
    require(&cluster, WRITES).await?;
    Ok(answered(
        StatusCode::ACCEPTED,
        undertaken(&cluster, move |cluster, writer| async move {
            cluster.settings.change_rule(&writer, uid, patch, note).await
        })
        .await?,
    ))
}

pub async fn delete(
    State(cluster): State<Shared>,
    Path(uid): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let uid = match rule_uid(&uid) {
        Ok(uid) => uid,
        Err(refusal) => return Ok(*refusal),
    };
    let note = only_custom_metadata(query.as_deref().unwrap_or_default())?;
    require(&cluster, WRITES).await?;
    Ok(answered(
        StatusCode::ACCEPTED,
        undertaken(
            &cluster,
            move |cluster, writer| async move { cluster.settings.delete_rule(&writer, uid, note).await },
        )
        .await?,
    ))
}

pub async fn clear(State(cluster): State<Shared>, RawQuery(query): RawQuery) -> Result<Response, Failure> {
    let note = only_custom_metadata(query.as_deref().unwrap_or_default())?;
    require(&cluster, WRITES).await?;
    Ok(answered(
        StatusCode::ACCEPTED,
        undertaken(&cluster, move |cluster, writer| async move { cluster.settings.clear_rules(&writer, note).await })
            .await?,
    ))
}

async fn require(cluster: &Shared, action: &str) -> Result<(), Failure> {
    Ok(cluster.state.require(Feature::DynamicSearchRules, action).await?)
}

async fn value(payload: &mut Payload) -> Result<Value, Failure> {
    let body = payload.json().await?;
    serde_json::from_slice(&body).map_err(|error| body::malformed(&error))
}

/// A path that names no rule is, as with one server, a page that is not found, in plain text.
fn rule_uid(text: &str) -> Result<IndexUid, Box<Response>> {
    text.parse().map_err(|error: miroir_core::base::id::InvalidIndexUid| {
        Box::new((StatusCode::NOT_FOUND, error.to_string()).into_response())
    })
}
