//! `/indexes/{uid}/search`.

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::error::Failure;
use super::{Shared, answered, body, index_uid};

pub async fn post(
    State(cluster): State<Shared>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let body = body::request(&headers, body).await?;
    body::must_be_json(&headers, &body)?;
    Ok(answered(StatusCode::OK, cluster.search_body(&uid, body).await?))
}

pub async fn get(
    State(cluster): State<Shared>,
    Path(uid): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    Ok(answered(StatusCode::OK, cluster.search_query(&uid, query.as_deref().unwrap_or_default()).await?))
}
