//! Reading request bodies within bounds.
//!
//! Invariant: what is held of a request's body is counted against the budget of all bodies: what comes of it while it
//! arrives, by whoever made it (see [`super::arriving`]), and what it is decompressed to for as long as its [`Payload`] is
//! there.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::BodyExt;
use miroir_cluster::Error;
use miroir_core::base::error::Code;
use miroir_node::budget::Reserved;
use miroir_node::joined::Joined;

use super::Shared;
use super::arriving::{self, Charge};
use super::error::Failure;
use super::inflate::{Encoding, inflate};

/// The body of a request, not read yet.
pub struct Payload {
    headers: HeaderMap,
    body: Body,
    /// Bytes, after decompression.
    limit: u64,
    charge: Charge,
    /// Of what was decompressed.
    reserved: Option<Reserved>,
}

impl FromRequest<Shared> for Payload {
    type Rejection = Infallible;

    async fn from_request(request: Request, cluster: &Shared) -> Result<Self, Infallible> {
        let (parts, body) = request.into_parts();
        let limit = cluster.state.config.server.max_body_bytes.get() as u64;
        // Whoever bounds the request has made one.
        let charge = parts.extensions.get::<Charge>().cloned().unwrap_or_else(|| Charge::new(&cluster.state.bodies));
        Ok(Self { headers: parts.headers, body, limit, charge, reserved: None })
    }
}

impl Payload {
    /// The headers of the request.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A body of documents, and what it holds of the budget.
    ///
    /// # Errors
    /// As Meilisearch's: 413 when it is too large.
    pub async fn documents(mut self) -> Result<(Bytes, Reserved), Error> {
        let body = self.decoded().await?;
        let reserved = self.reserved.take().unwrap_or_else(|| self.charge.take());
        Ok((body, reserved))
    }

    /// Any other body: JSON, with a JSON `Content-Type`.
    ///
    /// # Errors
    /// As Meilisearch's, in its order of complaints.
    pub async fn json(&mut self) -> Result<Bytes, Failure> {
        must_be_said_to_be_json(&self.headers)?;
        let body = self.collected().await?;
        must_be_json(&body)?;
        Ok(body)
    }

    /// The same where there need not be one.
    ///
    /// # Errors
    /// As [`Payload::json`].
    pub async fn optional_json(&mut self) -> Result<Option<Bytes>, Failure> {
        let body = self.collected().await?;
        if body.is_empty() {
            return Ok(None);
        }
        must_be_said_to_be_json(&self.headers)?;
        must_be_json(&body)?;
        Ok(Some(body))
    }

    /// The body of a route that takes JSON. One server has other words there for a body that is too large, and says that it
    /// was at fault when it knew so from the beginning.
    async fn collected(&mut self) -> Result<Bytes, Failure> {
        let limit = self.limit;
        match announced(&self.headers) {
            Some(length) if length > limit => {
                let text = format!("JSON payload ({length} bytes) is larger than allowed (limit: {limit} bytes).");
                Err(Failure::new(Code::Internal, text))
            }
            Some(_) | None => self.decoded().await.map_err(|error| {
                if matches!(error, Error::TooLarge { .. }) {
                    let text = format!("JSON payload has exceeded limit ({limit} bytes).");
                    return Failure::new(Code::PayloadTooLarge, text);
                }
                error.into()
            }),
        }
    }

    async fn decoded(&mut self) -> Result<Bytes, Error> {
        let body = collect(&self.headers, std::mem::take(&mut self.body), self.limit).await?;
        let Some(encoding) = Encoding::of(&self.headers).filter(|_| !body.is_empty()) else { return Ok(body) };
        let (body, reserved) = inflate(encoding, body, self.limit, self.charge.take()).await?;
        self.reserved = Some(reserved);
        Ok(body)
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

async fn collect(headers: &HeaderMap, mut body: Body, limit: u64) -> Result<Bytes, Error> {
    let announced = announced(headers);
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

/// Any type whose subtype or suffix is `json`, as one server takes it.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    !kind.is_empty() && subtype.rsplit('+').next() == Some("json")
}

fn must_be_said_to_be_json(headers: &HeaderMap) -> Result<(), Failure> {
    const ACCEPTED: &str = "`application/json`";
    let Some(given) = headers.get(CONTENT_TYPE) else {
        let message =
            format!("A Content-Type header is missing. Accepted values for the Content-Type header are: {ACCEPTED}");
        return Err(Failure::new(Code::MissingContentType, message));
    };
    let given = given.to_str().unwrap_or("unknown");
    if is_json(given) {
        return Ok(());
    }
    let message =
        format!("The Content-Type `{given}` is invalid. Accepted values for the Content-Type header are: {ACCEPTED}");
    Err(Failure::new(Code::InvalidContentType, message))
}

fn must_be_json(body: &Bytes) -> Result<(), Failure> {
    if body.is_empty() {
        return Err(Failure::new(Code::MissingPayload, "A json payload is missing."));
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(body).map(drop).map_err(|error| malformed(&error))
}

/// What is no JSON, or is beyond what its values can hold.
pub fn malformed(error: &serde_json::Error) -> Failure {
    Failure::new(Code::MalformedPayload, format!("The json payload provided is malformed. `{error}`."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_by_any_name_that_ends_in_it() {
        for json in ["application/json", "text/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"] {
            assert!(is_json(json), "{json}");
        }
        for other in
            ["", "json", "/json", "application/jsonp", "text/plain", "application/json+xml", "application/x-ndjson"]
        {
            assert!(!is_json(other), "{other}");
        }
    }
}
