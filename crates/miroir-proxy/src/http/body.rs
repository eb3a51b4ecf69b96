//! Reading request bodies within bounds.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::BodyExt;
use miroir_core::error::Code;

use super::Shared;
use super::arriving::{self, Charge};
use super::error::Failure;
use crate::budget::Reserved;
use crate::cluster::Error;
use crate::joined::Joined;

/// Bodies of anything but documents are small.
const MAX_REQUEST_BYTES: u64 = 10 * 1024 * 1024;

/// A body of documents, and what it holds of the budget.
pub async fn documents(
    cluster: &Shared,
    headers: &HeaderMap,
    charge: &Charge,
    body: Body,
) -> Result<(Bytes, Reserved), Error> {
    let limit = cluster.config.server.max_body_bytes.get() as u64;
    let bytes = collect(headers, body, limit).await?;
    Ok((bytes, charge.take()))
}

/// Any other body: JSON, with a JSON `Content-Type`.
pub async fn json(headers: &HeaderMap, body: Body) -> Result<Bytes, Failure> {
    let body = collect(headers, body, MAX_REQUEST_BYTES).await?;
    must_be_json(headers, &body)?;
    Ok(body)
}

/// The same where there need not be one.
pub async fn optional_json(headers: &HeaderMap, body: Body) -> Result<Option<Bytes>, Failure> {
    let body = collect(headers, body, MAX_REQUEST_BYTES).await?;
    if body.is_empty() {
        return Ok(None);
    }
    must_be_json(headers, &body)?;
    Ok(Some(body))
}

/// Counted against the budget by whoever made the body: see [`super::arriving`].
async fn collect(headers: &HeaderMap, mut body: Body, limit: u64) -> Result<Bytes, Error> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(Error::TooLarge { limit });
    }
    let mut joined = Joined::default();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(arriving::failure)?.into_data() else { continue };
        if (joined.len() + piece.len()) as u64 > limit {
            return Err(Error::TooLarge { limit });
        }
        joined.push(piece, announced.unwrap_or(0) as usize);
    }
    Ok(joined.whole())
}

/// In Meilisearch's order of complaints.
fn must_be_json(headers: &HeaderMap, body: &Bytes) -> Result<(), Failure> {
    const ACCEPTED: &str = "`application/json`";
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    match (essence.as_deref(), content_type) {
        (Some("application/json"), _) => {}
        (Some(essence), _) if essence.ends_with("+json") => {}
        (_, Some(given)) => {
            let message = format!(
                "The Content-Type `{given}` is invalid. Accepted values for the Content-Type header are: {ACCEPTED}"
            );
            return Err(Failure::new(Code::InvalidContentType, message));
        }
        (_, None) => {
            let message = format!(
                "A Content-Type header is missing. Accepted values for the Content-Type header are: {ACCEPTED}"
            );
            return Err(Failure::new(Code::MissingContentType, message));
        }
    }
    if body.is_empty() {
        return Err(Failure::new(Code::MissingPayload, "A json payload is missing."));
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(body).map(drop).map_err(|error| malformed(&error))
}

/// What is no JSON, or is beyond what its values can hold.
pub fn malformed(error: &serde_json::Error) -> Failure {
    Failure::new(Code::MalformedPayload, format!("The json payload provided is malformed. `{error}`."))
}
