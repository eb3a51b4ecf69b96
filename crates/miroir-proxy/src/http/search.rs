//! `/indexes/{uid}/search` and what is like it.

use std::num::NonZeroU32;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use miroir_core::auth::{Grant, Refusal};
use miroir_core::config::MAX_OVER_FETCH;
use miroir_core::error::{Code, ErrorBody};
use miroir_core::id::IndexUid;

use super::error::Failure;
use super::versions::AtLeast;
use super::{Shared, answered, body, index_uid};
use crate::cluster::{Error, OverFetch, Rule, Similar};

/// How many times as many hits nodes are asked for where vectors take part.
const OVER_FETCH: &str = "x-miroir-over-fetch";

fn over_fetch(headers: &HeaderMap) -> Result<OverFetch, Failure> {
    let Some(value) = headers.get(OVER_FETCH) else { return Ok(None) };
    let factor = value.to_str().ok().and_then(|text| text.parse::<NonZeroU32>().ok());
    match factor.filter(|factor| factor.get() <= MAX_OVER_FETCH) {
        Some(factor) => Ok(Some(factor)),
        None => {
            let message = format!("`X-Miroir-Over-Fetch` has to be a whole number from 1 to {MAX_OVER_FETCH}.");
            Err(Failure::new(Code::MiroirInvalidHeader, message))
        }
    }
}

/// The filter that confines what this client sees of an index, as raw JSON.
fn rule(grant: &Grant, uid: &IndexUid) -> Option<Vec<u8>> {
    grant.rule_for(uid.as_str()).map(String::into_bytes)
}

fn foreign_index() -> ErrorBody {
    ErrorBody::new(Code::InvalidApiKey, Refusal::InvalidKey.to_string())
}

pub async fn post(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    AtLeast(floor): AtLeast,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let body = body::json(&headers, body).await?;
    Ok(answered(
        StatusCode::OK,
        cluster.search_body(&uid, body, rule(&grant, &uid).as_deref(), over_fetch(&headers)?, floor?).await?,
    ))
}

pub async fn get(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    AtLeast(floor): AtLeast,
    Path(uid): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let (query, over_fetch) = (query.unwrap_or_default(), over_fetch(&headers)?);
    Ok(answered(
        StatusCode::OK,
        cluster.search_query(&uid, &query, rule(&grant, &uid).as_deref(), over_fetch, floor?).await?,
    ))
}

pub async fn facets(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    AtLeast(floor): AtLeast,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let body = body::json(&headers, body).await?;
    Ok(answered(StatusCode::OK, cluster.facet_search(&uid, body, rule(&grant, &uid).as_deref(), floor?).await?))
}

pub async fn multi(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    AtLeast(floor): AtLeast,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let body = body::json(&headers, body).await?;
    let rules: Rule<'_> = &|uid| match grant.allows(uid.as_str()) {
        true => Ok(rule(&grant, uid).map(Bytes::from)),
        false => Err(Error::Refused { status: 403, body: foreign_index() }),
    };
    Ok(answered(StatusCode::OK, cluster.multi_search(body, rules, over_fetch(&headers)?, floor?).await?))
}

pub async fn similar_by_body(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    AtLeast(floor): AtLeast,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let body = body::json(&headers, body).await?;
    Ok(answered(
        StatusCode::OK,
        cluster
            .similar(&uid, Similar::Body(body), rule(&grant, &uid).as_deref(), over_fetch(&headers)?, floor?)
            .await?,
    ))
}

pub async fn similar_by_query(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    AtLeast(floor): AtLeast,
    Path(uid): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let (query, over_fetch) = (Similar::Query(query.unwrap_or_default()), over_fetch(&headers)?);
    Ok(answered(StatusCode::OK, cluster.similar(&uid, query, rule(&grant, &uid).as_deref(), over_fetch, floor?).await?))
}
