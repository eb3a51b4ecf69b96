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
use miroir_core::error::Code;

use super::error::Failure;
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
    let (rule, over_fetch) = (grant.rule_for(uid.as_str()), over_fetch(&headers)?);
    Ok(answered(StatusCode::OK, cluster.search_body(&uid, body, rule.as_deref(), over_fetch).await?))
}

pub async fn get(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    Path(uid): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let (query, over_fetch) = (query.unwrap_or_default(), over_fetch(&headers)?);
    let rule = grant.rule_for(uid.as_str());
    Ok(answered(StatusCode::OK, cluster.search_query(&uid, &query, rule.as_deref(), over_fetch).await?))
}

pub async fn facets(
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
    Ok(answered(StatusCode::OK, cluster.facet_search(&uid, body, rule.as_deref().map(str::as_bytes)).await?))
}

pub async fn multi(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let body = body::request(&headers, body).await?;
    body::must_be_json(&headers, &body)?;
    let rule: Rule<'_> = &|uid| match grant.allows(uid.as_str()) {
        true => Ok(grant.rule_for(uid.as_str()).map(Bytes::from)),
        false => Err(Error::Invalid(Refusal::InvalidKey.body())),
    };
    Ok(answered(StatusCode::OK, cluster.multi_search(body, rule, over_fetch(&headers)?).await?))
}

pub async fn similar_by_body(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let body = body::request(&headers, body).await?;
    body::must_be_json(&headers, &body)?;
    similar(&cluster, &grant, &uid, Similar::Body(body), &headers).await
}

pub async fn similar_by_query(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    Path(uid): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    similar(&cluster, &grant, &uid, Similar::Query(query.unwrap_or_default()), &headers).await
}

async fn similar(
    cluster: &Shared,
    grant: &Grant,
    uid: &str,
    asked: Similar,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let uid = index_uid(uid)?;
    let rule = grant.rule_for(uid.as_str());
    let rule = rule.as_deref().map(str::as_bytes);
    Ok(answered(StatusCode::OK, cluster.similar(&uid, asked, rule, over_fetch(headers)?).await?))
}
