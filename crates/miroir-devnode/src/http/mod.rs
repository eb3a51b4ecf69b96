//! The REST API: one file per resource, each handler an extract, a call, an answer.

mod documents;
mod features;
mod indexes;
mod payload;
mod request;
mod rules;
mod search;
mod settings;
mod tasks;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use http::{StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::engine::Engine;
use crate::engine::settings::{SETTINGS, Verb};
use crate::error::{ApiError, ApiResult};
use crate::task::queue::Queue;
use crate::task::{Content, worker};

/// The Meilisearch version whose engine a node runs.
pub const ENGINE_VERSION: &str = "1.15.1";

/// Largest body, encoded and decoded, in bytes.
pub const MAX_BODY_BYTES: usize = 100_000_000;

/// Searches that may wait for their turn; more are refused.
const MAX_WAITING_SEARCHES: usize = 1000;

/// Bodies of up to [`MAX_BODY_BYTES`] taken in at the same time.
const MAX_UPLOADS: usize = 8;

/// What every handler shares.
pub struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) queue: Arc<Queue>,
    payloads: PathBuf,
    features: PathBuf,
    master_key: Option<String>,
    searches: Semaphore,
    waiting: AtomicUsize,
    uploads: Semaphore,
}

impl App {
    /// The API over `engine` and `queue`.
    pub fn new(engine: Arc<Engine>, queue: Arc<Queue>, payloads: PathBuf, master_key: Option<String>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
        Self {
            engine,
            queue,
            features: payloads.with_file_name("features.json"),
            payloads,
            master_key,
            searches: Semaphore::new(cores.max(2)),
            waiting: AtomicUsize::new(0),
            uploads: Semaphore::new(MAX_UPLOADS),
        }
    }

    /// Runs `work` where it may block, one of a bounded number at a time.
    async fn search<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Engine) -> ApiResult<T> + Send + 'static,
    ) -> ApiResult<T> {
        let waiting = Waiting::enter(&self.waiting)?;
        let permit = self.searches.acquire().await.map_err(closed)?;
        drop(waiting);
        let app = self.clone();
        let result = blocking(move || work(&app.engine)).await;
        drop(permit);
        result
    }

    /// Accepts a task and answers 202 with its summary.
    async fn enqueue(self: &Arc<Self>, index: Option<String>, content: Content) -> Answer {
        let app = self.clone();
        let task = blocking(move || app.queue.enqueue(index, content)).await?;
        Ok(json_response(StatusCode::ACCEPTED, &task.summary()))
    }
}

/// One search that waits for its turn.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize) -> ApiResult<Self> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let this = Self(waiting);
        if before < MAX_WAITING_SEARCHES {
            return Ok(this);
        }
        Err(ApiError::new(
            "too_many_search_requests",
            format!("Too many search requests running at the same time: {before}. Retry after 10s."),
        ))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a handler returns.
type Answer = ApiResult<Response>;

/// The application, as handlers receive it.
type Shared = State<Arc<App>>;

fn closed(_: tokio::sync::AcquireError) -> ApiError {
    ApiError::internal("the node is stopping")
}

/// Runs `work` where it may block. A panic inside becomes an internal error.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> ApiResult<T> + Send + 'static) -> ApiResult<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => Err(ApiError::internal(worker::panic_text(panic.as_ref()))),
            Err(_) => Err(ApiError::internal("the node is stopping")),
        },
    }
}

fn json_response(status: StatusCode, value: &Value) -> Response {
    let body = serde_json::to_vec(value).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}

/// A 200 answer.
fn ok(value: &Value) -> Answer {
    Ok(json_response(StatusCode::OK, value))
}

/// The table of routes.
pub fn router(app: Arc<App>) -> Router {
    let mut router = Router::new()
        .route("/health", get(health))
        .route("/version", get(version))
        .route("/stats", get(indexes::all_stats))
        .route("/indexes", get(indexes::list).post(indexes::create))
        .route("/indexes/{uid}", get(indexes::one).patch(indexes::update).delete(indexes::remove))
        .route("/indexes/{uid}/stats", get(indexes::stats))
        .route("/swap-indexes", post(indexes::swap))
        .route(
            "/indexes/{uid}/documents",
            get(documents::list).post(documents::replace).put(documents::merge).delete(documents::delete_all),
        )
        .route("/indexes/{uid}/documents/fetch", post(documents::fetch))
        .route("/indexes/{uid}/documents/delete-batch", post(documents::delete_batch))
        .route("/indexes/{uid}/documents/delete", post(documents::delete_by_filter))
        .route("/indexes/{uid}/documents/{id}", get(documents::one).delete(documents::delete_one))
        .route("/indexes/{uid}/search", post(search::by_body).get(search::by_query))
        .route("/indexes/{uid}/facet-search", post(search::facets))
        .route("/indexes/{uid}/similar", post(search::similar_by_body).get(search::similar_by_query))
        .route("/indexes/{uid}/fields", post(indexes::fields))
        .route("/indexes/{uid}/compact", post(indexes::compact))
        .route("/multi-search", post(search::multi))
        .route("/experimental-features", get(features::all).patch(features::change))
        .route("/dynamic-search-rules", post(rules::list).delete(rules::clear))
        .route("/dynamic-search-rules/{uid}", axum::routing::patch(rules::change).delete(rules::remove))
        .route("/tasks", get(tasks::list))
        .route("/tasks/cancel", post(tasks::cancel))
        .route("/tasks/{uid}", get(tasks::one))
        .route("/indexes/{uid}/settings", get(settings::all).patch(settings::change_all).delete(settings::reset_all));
    for setting in SETTINGS {
        let path = format!("/indexes/{{uid}}/settings/{}", setting.route);
        let change = move |state: Shared, path, request| settings::change(state, path, request, setting);
        let methods = get(move |state: Shared, path| settings::one(state, path, setting))
            .merge(delete(move |state: Shared, path| settings::reset(state, path, setting)));
        let methods = match setting.verb {
            Verb::Put => methods.put(change),
            Verb::Patch => methods.patch(change),
        };
        router = router.route(&path, methods);
    }
    let router = router.layer(axum::middleware::from_fn_with_state(app.clone(), authenticate)).with_state(app);
    // Before routing: slashes too many make no difference.
    Router::new().fallback_service(router).layer(axum::middleware::from_fn(normalise_path))
}

async fn normalise_path(mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path.len() > 1 && (path.ends_with('/') || path.contains("//")) {
        let clean = path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        if let Ok(uri) = format!("/{clean}{query}").parse() {
            *request.uri_mut() = uri;
        }
    }
    next.run(request).await
}

/// Checks the master key. `/health` is open to everyone, and so is everything when the node has no key.
async fn authenticate(State(app): Shared, request: Request, next: Next) -> Response {
    let Some(key) = &app.master_key else { return next.run(request).await };
    if request.uri().path() == "/health" {
        return next.run(request).await;
    }
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    match given {
        Some(given) if given == key.as_bytes() => next.run(request).await,
        Some(_) => ApiError::new("invalid_api_key", "The provided API key is invalid.").into_response(),
        None => ApiError::new(
            "missing_authorization_header",
            "The Authorization header is missing. It must use the bearer authorization method.",
        )
        .into_response(),
    }
}

/// A scheme without a key is a wrong key, not a missing one.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    if value == b"Bearer" { Some(b"") } else { value.strip_prefix(b"Bearer ") }
}

async fn health() -> Answer {
    ok(&json!({"status": "available"}))
}

async fn version() -> Answer {
    ok(&json!({"commitSha": "unknown", "commitDate": "unknown", "pkgVersion": ENGINE_VERSION}))
}
