//! HTTP in: the routes that clients and operators use. Handlers are thin: read the request, call the cluster, answer.

pub(crate) mod admin;
mod auth;
mod body;
mod documents;
mod error;
mod indexes;
mod observe;
mod search;
mod server_info;
mod settings;
mod tasks;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use miroir_core::id::IndexUid;

use crate::cluster::{Answer, Cluster};
use error::Failure;

/// What handlers share.
pub type Shared = Arc<Cluster>;

/// `X-Miroir-Degraded`.
const DEGRADED: HeaderName = HeaderName::from_static("x-miroir-degraded");

/// The client's endpoint: a contents page.
fn router(cluster: Shared) -> Router {
    let client = Router::new()
        .route("/version", get(server_info::version))
        .route("/stats", get(server_info::stats))
        .route("/multi-search", post(search::multi))
        .route("/indexes", get(indexes::list).post(indexes::create))
        .route("/indexes/{uid}", get(indexes::get).patch(indexes::update).delete(indexes::delete))
        .route("/indexes/{uid}/stats", get(indexes::stats))
        .route("/indexes/{uid}/search", get(search::get).post(search::post))
        .route("/indexes/{uid}/facet-search", post(search::facets))
        .route("/indexes/{uid}/similar", get(search::similar_by_query).post(search::similar_by_body))
        .route("/indexes/{uid}/fields", post(indexes::fields))
        .route(
            "/indexes/{uid}/documents",
            get(documents::list).post(documents::replace).put(documents::merge).delete(documents::clear),
        )
        .route("/indexes/{uid}/documents/fetch", post(documents::fetch))
        .route("/indexes/{uid}/documents/delete", post(documents::delete_by_filter))
        .route("/indexes/{uid}/documents/delete-batch", post(documents::delete_batch))
        .route("/indexes/{uid}/documents/{id}", get(documents::get).delete(documents::delete))
        .route("/indexes/{uid}/settings", get(settings::all).patch(settings::update).delete(settings::reset))
        .route(
            "/indexes/{uid}/settings/{name}",
            get(settings::one).put(settings::put_one).patch(settings::patch_one).delete(settings::reset_one),
        )
        .route("/tasks", get(tasks::list))
        .route("/tasks/{uid}", get(tasks::get))
        // Only where a route and its method exist: anything else is 404 or 405 to everybody.
        .route_layer(from_fn_with_state(cluster.clone(), auth::client));
    let admin = Router::new()
        .route("/_miroir/topology", get(admin::topology))
        .route("/_miroir/shards", get(admin::shards))
        .route("/_miroir/stale", get(admin::stale))
        .route("/_miroir/version", get(admin::version))
        .route("/_miroir/tasks/{uid}", get(admin::task))
        .route_layer(from_fn_with_state(cluster.clone(), auth::admin));
    let open = Router::new()
        .route("/health", get(server_info::health))
        .route("/_miroir/ready", get(admin::ready))
        .route("/_miroir/metrics", get(admin::metrics));
    // An axum router answers the methods of other routes of a path with 405 and an empty body, as Meilisearch does.
    let routes = if cluster.config.admin.enabled { client.merge(admin) } else { client };
    routes
        .merge(open)
        .layer(from_fn_with_state(cluster.clone(), observe::bounded))
        .layer(from_fn_with_state(cluster.clone(), observe::measured))
        .layer(from_fn(observe::caught))
        .layer(DefaultBodyLimit::disable())
        .with_state(cluster)
}

/// The endpoint as it is served: slashes too many make no difference, as with Meilisearch. This stands before routing.
pub fn endpoint(cluster: Shared) -> Router {
    Router::new().fallback_service(router(cluster)).layer(from_fn(normalise_path))
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

/// A JSON answer of any status.
fn json(status: StatusCode, body: impl Into<axum::body::Bytes>) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.into()).into_response()
}

/// An answer of the cluster, with what was missing when it was made.
fn answered(status: StatusCode, answer: Answer) -> Response {
    let mut response = json(status, answer.body);
    if let Some(degraded) = answer.degraded.header().and_then(|text| HeaderValue::try_from(text).ok()) {
        response.headers_mut().insert(DEGRADED, degraded);
    }
    response
}

/// The index uid of a path.
fn index_uid(text: &str) -> Result<IndexUid, Failure> {
    text.parse().map_err(Failure::from)
}
