//! Reading requests: bodies within bounds, content types, encodings, query strings.

use std::io::Read;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};

use super::{MAX_BODY_BYTES, blocking};
use crate::error::{ApiError, ApiResult};
use crate::fields::{self, Fields};
use crate::search::query::{FromText, from_text};

/// JSON from this size on is not parsed on a thread that serves connections.
const LARGE_JSON_BYTES: usize = 64 << 10;

/// The body, decoded.
///
/// # Errors
/// `payload_too_large`, or `malformed_payload` when it cannot be decoded.
pub async fn body(headers: &HeaderMap, body: Body) -> ApiResult<Bytes> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(too_large());
    }
    let bytes = to_bytes(body, MAX_BODY_BYTES).await.map_err(|error| {
        let limit =
            std::error::Error::source(&error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if limit { too_large() } else { ApiError::new("bad_request", error.to_string()) }
    })?;
    match headers.get(header::CONTENT_ENCODING).map(http::HeaderValue::as_bytes) {
        Some(b"gzip") => blocking(move || decode(MultiGzDecoder::new(bytes.as_ref()))).await,
        Some(b"deflate") => blocking(move || decode(ZlibDecoder::new(bytes.as_ref()))).await,
        Some(_) | None => Ok(bytes),
    }
}

fn decode(decoder: impl Read) -> ApiResult<Bytes> {
    let mut decoded = Vec::new();
    decoder
        .take(MAX_BODY_BYTES as u64 + 1)
        .read_to_end(&mut decoded)
        .map_err(|error| ApiError::new("malformed_payload", error.to_string()))?;
    if decoded.len() > MAX_BODY_BYTES { Err(too_large()) } else { Ok(decoded.into()) }
}

fn too_large() -> ApiError {
    ApiError::new(
        "payload_too_large",
        "The provided payload reached the size limit. The maximum accepted payload size is 95.37 MiB.",
    )
}

/// The content type without its parameters, in lower case.
///
/// # Errors
/// `missing_content_type`, or `invalid_content_type` when it is none of `accepted`.
pub fn content_type(headers: &HeaderMap, accepted: &[&str]) -> ApiResult<String> {
    let list: Vec<_> = accepted.iter().map(|name| format!("`{name}`")).collect();
    let list = list.join(", ");
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Err(ApiError::new(
            "missing_content_type",
            format!("A Content-Type header is missing. Accepted values for the Content-Type header are: {list}"),
        ));
    };
    let value = String::from_utf8_lossy(value.as_bytes());
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if accepted.contains(&essence.as_str()) {
        return Ok(essence);
    }
    Err(ApiError::new(
        "invalid_content_type",
        format!("The Content-Type `{essence}` is invalid. Accepted values for the Content-Type header are: {list}"),
    ))
}

/// A JSON body.
///
/// # Errors
/// As [`content_type`], [`body`] and [`fields::parse_json`].
pub async fn json(request: Request) -> ApiResult<serde_json::Value> {
    parsed(json_bytes(request).await?, fields::parse_json).await
}

/// A JSON body that is an object.
///
/// # Errors
/// As [`content_type`], [`body`] and [`Fields::parse`].
pub async fn json_object(request: Request) -> ApiResult<Fields> {
    parsed(json_bytes(request).await?, Fields::parse).await
}

/// Parses `body`, a large one where it may block.
async fn parsed<T: Send + 'static>(body: Bytes, parse: fn(&[u8]) -> ApiResult<T>) -> ApiResult<T> {
    if body.len() <= LARGE_JSON_BYTES { parse(&body) } else { blocking(move || parse(&body)).await }
}

async fn json_bytes(request: Request) -> ApiResult<Bytes> {
    let (parts, incoming) = request.into_parts();
    content_type(&parts.headers, &["application/json"])?;
    body(&parts.headers, incoming).await
}

/// The query string's parameters as an object's members.
pub fn query(text: Option<&str>, table: &[(&str, FromText)]) -> Fields {
    Fields::new(from_text(query_pairs(text), table))
}

/// The query string's decoded pairs.
pub fn query_pairs(text: Option<&str>) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (percent_decoded(name), percent_decoded(value))
    };
    text.unwrap_or_default().split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// Decodes `%41` and `+`. What is no valid escape stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (*first, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            (byte, _) => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_strings_are_decoded() {
        let pairs = query_pairs(Some("q=a%20b+c&filter=%E2%81%95&x&bad=%zz%4"));
        let expected = [("q", "a b c"), ("filter", "\u{2055}"), ("x", ""), ("bad", "%zz%4")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn content_types_lose_their_parameters() {
        let mut headers = HeaderMap::new();
        assert_eq!(content_type(&headers, &["text/csv"]).unwrap_err().code, "missing_content_type");
        headers.insert(header::CONTENT_TYPE, "Application/JSON; charset=utf-8".parse().unwrap());
        assert_eq!(content_type(&headers, &["application/json"]).unwrap(), "application/json");
        assert_eq!(content_type(&headers, &["text/csv"]).unwrap_err().code, "invalid_content_type");
    }

    #[test]
    fn a_gzip_body_may_not_grow_beyond_the_limit() {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let block = vec![b' '; 1 << 20];
        for _ in 0..100 {
            encoder.write_all(&block).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        let error = decode(MultiGzDecoder::new(bomb.as_slice())).unwrap_err();
        assert_eq!(error.code, "payload_too_large");
    }
}
