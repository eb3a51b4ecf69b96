//! `/indexes/{uid}/search`.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use miroir_core::auth::Grant;

use super::error::Failure;
use super::{Shared, answered, body, index_uid};

pub async fn post(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let body = body::request(&headers, body).await?;
    body::must_be_json(&headers, &body)?;
    let rule = grant.rule_for(uid.as_str());
    Ok(answered(StatusCode::OK, cluster.search_body(&uid, body, rule.as_deref()).await?))
}

pub async fn get(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    Path(uid): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let (query, rule) = (query.unwrap_or_default(), grant.rule_for(uid.as_str()));
    Ok(answered(StatusCode::OK, cluster.search_query(&uid, &query, rule.as_deref()).await?))
}
