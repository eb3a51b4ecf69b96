//! `/indexes/{uid}/search` and what is like it.

use std::num::NonZeroU32;

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use miroir_cluster::{AccessFilter, Error, OverFetch, Similar, Wants};
use miroir_core::access::{Grant, Refusal};
use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::id::IndexUid;
use miroir_core::config::MAX_OVER_FETCH;

use super::body::Payload;
use super::error::Failure;
use super::versions::AtLeast;
use super::{Shared, answered, index_uid};

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

/// Whether queries are to be told of beside their answers; as with one server, `true` or `1`.
const INCLUDE_METADATA: &str = "meili-include-metadata";

fn wants(headers: &HeaderMap) -> Result<Wants, Failure> {
    let included = headers.get(INCLUDE_METADATA).and_then(|value| value.to_str().ok());
    let metadata = included.is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
    Ok(Wants { over_fetch: over_fetch(headers)?, metadata })
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
    mut payload: Payload,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let body = payload.json().await?;
    Ok(answered(
        StatusCode::OK,
        cluster.reads.search_body(&uid, body, rule(&grant, &uid).as_deref(), wants(&headers)?, floor?).await?,
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
    let (query, wants) = (query.unwrap_or_default(), wants(&headers)?);
    Ok(answered(
        StatusCode::OK,
        cluster.reads.search_query(&uid, &query, rule(&grant, &uid).as_deref(), wants, floor?).await?,
    ))
}

pub async fn facets(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    AtLeast(floor): AtLeast,
    Path(uid): Path<String>,
    mut payload: Payload,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let body = payload.json().await?;
    Ok(answered(StatusCode::OK, cluster.reads.facet_search(&uid, body, rule(&grant, &uid).as_deref(), floor?).await?))
}

pub async fn multi(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    AtLeast(floor): AtLeast,
    headers: HeaderMap,
    mut payload: Payload,
) -> Result<Response, Failure> {
    let body = payload.json().await?;
    let rules: AccessFilter<'_> = &|uid| match grant.allows(uid.as_str()) {
        true => Ok(rule(&grant, uid).map(Bytes::from)),
        false => Err(Error::Refused { status: 403, body: foreign_index() }),
    };
    Ok(answered(StatusCode::OK, cluster.reads.multi_search(body, rules, wants(&headers)?, floor?).await?))
}

pub async fn similar_by_body(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    AtLeast(floor): AtLeast,
    Path(uid): Path<String>,
    headers: HeaderMap,
    mut payload: Payload,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let body = payload.json().await?;
    Ok(answered(
        StatusCode::OK,
        cluster
            .reads
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
    Ok(answered(
        StatusCode::OK,
        cluster.reads.similar(&uid, query, rule(&grant, &uid).as_deref(), over_fetch, floor?).await?,
    ))
}
