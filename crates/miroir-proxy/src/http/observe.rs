//! Around every request: a log line, metrics, and bounds in number, bytes and time.

use std::sync::Arc;
use std::time::Instant;

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use miroir_cluster::{Cluster, Error, Writer};
use miroir_core::base::error::Code;
use miroir_node::deadline;
use miroir_telemetry::{Metrics, REQUEST_ID, RequestId, RequestLabels};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use super::Shared;
use super::arriving::{self, Charge, Clock, Pace};
use super::error::Failure;
use crate::serve::{Held, Seat};

/// Answers of so many bytes are given whatever else is in flight: refusals, and what has been acknowledged.
const SMALL_ANSWER: u64 = 64 * 1024;

/// Counts a request as in flight while it lives, also when the client goes away.
struct InFlight(Metrics);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.request_leaves();
    }
}

/// The method as metrics and logs name it: one that nothing here answers to is a client's invention.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Gives the request a name, the client's if it gave one, and says it in the answer.
pub async fn named<Fut: Future<Output = Response>>(request: Request, next: impl FnOnce(Request) -> Fut) -> Response {
    let id = RequestId::given(request.headers().get(REQUEST_ID));
    let name = id.header();
    let mut response = id.scope(next(request)).await;
    if let Some(name) = name {
        response.headers_mut().insert(REQUEST_ID, name);
    }
    response
}

/// Metrics and the request's span.
pub async fn measured<Fut: Future<Output = Response>>(
    cluster: &Cluster,
    request: Request,
    next: impl FnOnce(Request) -> Fut,
) -> Response {
    let start = Instant::now();
    cluster.state.metrics.request_begins();
    let in_flight = InFlight(cluster.state.metrics.clone());
    let method = method_label(request.method());
    // Routes only: paths that exist nowhere are one label.
    let path_template =
        request.extensions().get::<MatchedPath>().map_or_else(|| "(none)".to_owned(), |path| path.as_str().to_owned());
    let id = RequestId::current();
    let id = id.as_ref().map_or("", RequestId::as_str);
    // Whatever is logged for the sake of a request tells its name, at every level.
    let span = tracing::error_span!("request", id, method, path = path_template);
    let response = next(request).instrument(span.clone()).await;
    drop(in_flight);
    let status = response.status().as_u16();
    let elapsed = start.elapsed();
    span.in_scope(|| tracing::debug!(status, elapsed_ms = elapsed.as_secs_f64() * 1000.0, "answered"));
    cluster.state.metrics.request_answered(RequestLabels { method, path_template, status }, elapsed);
    response
}

tokio::task_local! {
    /// The request's place among those at one time, and among the bytes of bodies.
    static KEPT: (Option<Arc<OwnedSemaphorePermit>>, Charge);
}

/// Make a change that a request asks for. It goes on when the request is over, and keeps the request's places until then.
pub async fn undertaken<T, F>(cluster: &Shared, change: impl FnOnce(Shared, Writer) -> F) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let kept = KEPT.try_with(Clone::clone).ok();
    cluster.writes.undertake(kept, |writer| change(cluster.clone(), writer)).await
}

/// What a request has to get before it is handled. Those of operators have room of their own, and whoever asks whether the
/// instance lives needs none: that is answered from memory.
fn room(cluster: &Cluster, path: &str) -> Result<Option<OwnedSemaphorePermit>, Failure> {
    let (requests, setting) = match path {
        "/health" | "/_miroir/ready" => return Ok(None),
        _ if path.starts_with("/_miroir/") => (&cluster.state.admin_requests, "admin.max_concurrent_requests"),
        _ => (&cluster.state.requests, "server.max_concurrent_requests"),
    };
    let permit = requests.clone().try_acquire_owned();
    permit.map(Some).map_err(|_| Failure::overloaded(format!("Too many requests are in flight ({setting}).")))
}

/// So many requests at a time, each within `server.request_timeout_ms`, and so many bytes of bodies and answers. What a
/// request gets it keeps until its answer has been sent, and the change that it asked for is through.
pub async fn bounded<Fut: Future<Output = Response>>(
    cluster: &Cluster,
    mut request: Request,
    next: impl FnOnce(Request) -> Fut,
) -> Response {
    let permit = match room(cluster, request.uri().path()) {
        Ok(permit) => permit.map(Arc::new),
        Err(refusal) => return refusal.into_response(),
    };
    if let Some(seat) = request.extensions().get::<Seat>().filter(|_| permit.is_some()) {
        seat.keep();
    }
    let server = &cluster.state.config.server;
    let (charge, clock) = (Charge::new(&cluster.state.bodies), Clock::start(server.request_timeout));
    let pace = Pace { pause: server.body_timeout, rate: server.min_body_bytes_per_s };
    request.extensions_mut().insert(charge.clone());
    let request = request.map(|body| arriving::watched(body, charge.clone(), clock.clone(), pace));
    let left = {
        let clock = clock.clone();
        move || clock.left()
    };
    let handled = KEPT.scope((permit.clone(), charge), next(request));
    let mut response = tokio::select! {
        biased;
        response = deadline::within(server.request_timeout, left, handled) => response,
        () = clock.runs_out() => {
            let limit = server.request_timeout;
            Failure::overloaded(format!("The request was not done within {limit:?}.")).into_response()
        }
    };
    let mut reserved = cluster.state.replies.reserve();
    let bytes = response.body().size_hint().lower();
    if bytes <= SMALL_ANSWER {
        reserved.grow_anyway(bytes);
    } else if let Err(spent) = reserved.grow(bytes) {
        response = Failure::from(miroir_cluster::Error::from(spent)).into_response();
    }
    Held::by(&mut response, (permit, reserved));
    response
}

/// A bug in a handler is one failed request, not a lost connection.
pub async fn caught<Fut: Future<Output = Response>>(request: Request, next: impl FnOnce(Request) -> Fut) -> Response {
    let handled = std::panic::AssertUnwindSafe(next(request)).catch_unwind().await;
    handled.unwrap_or_else(|_| Failure::new(Code::Internal, "An internal error has occurred.").into_response())
}
