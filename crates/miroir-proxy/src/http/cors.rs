//! What pages of other origins may do: everything, as with one server. Keys are what protects it, not the browser.
//!
//! Invariant: every answer to a client passes here last, refusals and answers to unknown paths included, so that a page can
//! read why it was refused. Nothing under `/_miroir/` is for pages.

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use miroir_telemetry::REQUEST_ID;

const EVERYBODY: HeaderValue = HeaderValue::from_static("*");
const METHODS: [Method; 9] = [
    Method::CONNECT,
    Method::DELETE,
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::POST,
    Method::PUT,
    Method::TRACE,
];
const METHOD_NAMES: HeaderValue =
    HeaderValue::from_static("CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE");
/// A day.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("86400");
const VARIES_BY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

/// Paths that are for operators alone.
fn is_for_operators(path: &str) -> bool {
    path == "/_miroir" || path.starts_with("/_miroir/")
}

/// Answers preflights, and says with every other answer that any page may read it.
pub async fn shared_with_pages<Fut: Future<Output = Response>>(
    request: Request,
    next: impl FnOnce(Request) -> Fut,
) -> Response {
    if is_for_operators(request.uri().path()) {
        return next(request).await;
    }
    match preflight(&request) {
        Some(Ok(())) => return allowed(request.headers()),
        Some(Err(refusal)) => return refusal.into_response(),
        None => {}
    }
    let from_page = request.headers().contains_key(ORIGIN);
    let mut response = next(request).await;
    let headers = response.headers_mut();
    if from_page {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, EVERYBODY);
        if let Some(exposed) = exposed(headers) {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }
    vary(headers);
    response
}

/// Whether a browser asks what it may do; an error when it asks for what nobody may.
fn preflight(request: &Request) -> Option<Result<(), Response>> {
    if request.method() != Method::OPTIONS {
        return None;
    }
    let wanted = request.headers().get(ACCESS_CONTROL_REQUEST_METHOD)?;
    let wanted = Method::from_bytes(wanted.as_bytes()).ok()?;
    if METHODS.contains(&wanted) {
        return Some(Ok(()));
    }
    let mut refusal = (StatusCode::BAD_REQUEST, "Requested method is not allowed").into_response();
    refusal.headers_mut().remove(CONTENT_TYPE);
    Some(Err(refusal))
}

fn allowed(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, EVERYBODY);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHOD_NAMES);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
    if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    vary(headers);
    response
}

/// The names of Miroir's own headers among these, whichever they are: a page sees no others but the common ones.
fn exposed(headers: &HeaderMap) -> Option<HeaderValue> {
    let ours = |name: &&str| name.starts_with("x-miroir-") || *name == REQUEST_ID.as_str();
    let mut names: Vec<&str> = headers.keys().map(|name| name.as_str()).filter(ours).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { None } else { HeaderValue::try_from(names.join(", ")).ok() }
}

fn vary(headers: &mut HeaderMap) {
    let before = headers.get(VARY).and_then(|value| value.to_str().ok());
    let value = match before {
        None => HeaderValue::from_static(VARIES_BY),
        Some(before) => {
            HeaderValue::try_from(format!("{before}, {VARIES_BY}")).unwrap_or(HeaderValue::from_static(VARIES_BY))
        }
    };
    headers.insert(VARY, value);
}
