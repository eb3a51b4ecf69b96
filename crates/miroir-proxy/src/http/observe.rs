//! Around every request: a log line, metrics, and bounds in number and time.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use miroir_core::error::Code;
use tracing::Instrument;

use super::Shared;
use super::error::Failure;
use crate::telemetry::{Metrics, RequestLabels};

/// Counts a request as in flight while it lives, also when the client goes away.
struct InFlight(Metrics);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.request_leaves();
    }
}

/// Metrics and the request's span.
pub async fn measured(State(cluster): State<Shared>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    cluster.metrics.request_begins();
    let in_flight = InFlight(cluster.metrics.clone());
    let method = request.method().as_str().to_owned();
    // Routes only: paths that exist nowhere are one label.
    let path_template =
        request.extensions().get::<MatchedPath>().map_or_else(|| "(none)".to_owned(), |path| path.as_str().to_owned());
    let id = uuid::Uuid::now_v7();
    let span = tracing::info_span!("request", %id, method, path = path_template);
    let response = next.run(request).instrument(span.clone()).await;
    drop(in_flight);
    let status = response.status().as_u16();
    let elapsed = start.elapsed();
    span.in_scope(|| tracing::debug!(status, elapsed_ms = elapsed.as_secs_f64() * 1000.0, "answered"));
    cluster.metrics.request_answered(RequestLabels { method, path_template, status }, elapsed);
    response
}

/// At most `server.max_concurrent_requests` at a time, each within `server.request_timeout_ms`.
pub async fn bounded(State(cluster): State<Shared>, request: Request, next: Next) -> Response {
    let Ok(_permit) = cluster.requests.try_acquire() else {
        return Failure::overloaded("Too many requests are in flight (server.max_concurrent_requests).")
            .into_response();
    };
    let limit = cluster.config.server.request_timeout;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::overloaded(format!("The request was not done within {limit:?}.")).into_response(),
    }
}

/// A bug in a handler is one failed request, not a lost connection.
pub async fn caught(request: Request, next: Next) -> Response {
    let handled = std::panic::AssertUnwindSafe(next.run(request)).catch_unwind().await;
    handled.unwrap_or_else(|_| Failure::new(Code::Internal, "An internal error has occurred.").into_response())
}
