//! HTTP in: the routes that clients and operators use. Handlers are thin: read the request, call the cluster, answer.

pub(crate) mod admin;
mod allow;
mod anti_entropy;
mod arriving;
mod auth;
mod body;
mod compression;
mod cors;
mod documents;
mod dynamic_search_rules;
mod editions;
mod error;
mod experimental_features;
mod healing;
mod indexes;
mod inflate;
mod keys;
mod layers;
mod membership;
mod named;
mod object;
mod observe;
mod openapi;
mod page;
mod render_template;
mod search;
mod server_info;
mod settings;
mod settings_admin;
mod swap_indexes;
mod tasks;
mod unsupported;
mod versions;
mod webhooks;
mod work;

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use miroir_core::base::id::IndexUid;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use error::Failure;
use miroir_cluster::{Answer, Cluster, Error};
use named::Named;

/// What handlers share.
pub type Shared = Arc<Cluster>;

/// `X-Miroir-Degraded`.
const DEGRADED: HeaderName = HeaderName::from_static("x-miroir-degraded");

/// Routes of clients behind the table of rights, and a list of their paths, which a test holds to the table.
struct ClientRoutes {
    cluster: Shared,
    router: Router<Shared>,
    paths: Vec<&'static str>,
}

impl ClientRoutes {
    fn new(cluster: Shared) -> Self {
        Self { cluster, router: Router::new(), paths: Vec::new() }
    }

    fn route(mut self, path: &'static str, methods: MethodRouter<Shared>) -> Self {
        self.paths.push(path);
        // Around each method that there is: another one is 405 to everybody, as another path is 404.
        let methods = methods.route_layer(from_fn_with_state(self.cluster.clone(), auth::client));
        self.router = self.router.route(path, methods);
        self
    }
}

/// What clients need a key for, as `miroir_core::access::rights` says.
fn client_routes(cluster: Shared) -> ClientRoutes {
    ClientRoutes::new(cluster)
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
        .route("/indexes/{uid}/documents/edit", post(editions::edit))
        .route("/indexes/{uid}/compact", post(indexes::compact))
        .route("/indexes/{uid}/documents/{id}", get(documents::get).delete(documents::delete))
        .route("/indexes/{uid}/settings", get(settings::all).patch(settings::update).delete(settings::reset))
        .route(
            "/indexes/{uid}/settings/{name}",
            get(settings::one)
                .put(settings::put_one)
                .patch(settings::patch_one)
                .delete(settings::reset_one)
                .fallback(settings::no_method),
        )
        .route("/swap-indexes", post(swap_indexes::swap))
        .route("/batches", get(tasks::batches))
        .route("/batches/{uid}", get(tasks::batch))
        .route("/tasks", get(tasks::list).delete(tasks::delete))
        .route("/tasks/cancel", post(tasks::cancel))
        .route("/tasks/{uid}", get(tasks::get))
        .route("/tasks/compact", post(unsupported::compact_tasks))
        .route("/tasks/{uid}/documents", get(unsupported::task_documents))
        .route("/keys", get(keys::list).post(keys::create))
        .route("/keys/{key}", get(keys::get).patch(keys::update).delete(keys::delete))
        .route("/experimental-features", get(experimental_features::get).patch(experimental_features::update))
        .route("/dynamic-search-rules", post(dynamic_search_rules::list).delete(dynamic_search_rules::clear))
        .route(
            "/dynamic-search-rules/{uid}",
            get(dynamic_search_rules::get).patch(dynamic_search_rules::update).delete(dynamic_search_rules::delete),
        )
        .route("/render-template", post(render_template::render))
        .route("/webhooks", get(webhooks::list).post(webhooks::create))
        .route("/webhooks/{uuid}", get(webhooks::get).patch(webhooks::update).delete(webhooks::delete))
}

/// The endpoint of clients: a contents page.
fn router(cluster: Shared) -> Router {
    let client = unsupported_routes(client_routes(cluster.clone())).router;
    let open = Router::new()
        .route("/", get(server_info::running))
        .route("/health", get(server_info::health))
        .merge(open_admin_routes());
    let routes = match cluster.state.config.admin.listen {
        None => client.merge(admin_routes(&cluster)),
        Some(_) => client,
    };
    within_bounds(routes.merge(open), cluster)
}

/// The endpoint of operators, where it has a port of its own.
fn admin_router(cluster: Shared) -> Router {
    let routes = admin_routes(&cluster).merge(open_admin_routes());
    within_bounds(routes, cluster)
}

/// An axum router answers the methods of other routes of a path with 405 and an empty body, as Meilisearch does.
fn within_bounds(routes: Router<Shared>, cluster: Shared) -> Router {
    routes.layer(from_fn_with_state(cluster.clone(), layers::around_routes)).with_state(cluster)
}

/// What operators need a key for. Routes that nobody may use are not there.
fn admin_routes(cluster: &Shared) -> Router<Shared> {
    let metrics = Router::from(metrics_routes()).route_layer(from_fn_with_state(cluster.clone(), auth::metrics));
    if !cluster.state.config.admin.is_served() {
        return metrics;
    }
    let operators = Router::from(operators_routes()).route_layer(from_fn_with_state(cluster.clone(), auth::admin));
    operators.merge(metrics)
}

/// What needs no key of those that are asked of an instance.
fn open_admin_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(admin::ready))
}

/// What a client's key may open as well.
fn metrics_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(admin::metrics))
}

/// What the admin key opens, and nothing else.
fn operators_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(openapi::openapi))
        .routes(routes!(admin::topology))
        .routes(routes!(admin::shards))
        .routes(routes!(healing::stale))
        .routes(routes!(healing::promote))
        .routes(routes!(admin::peers))
        .routes(routes!(anti_entropy::run))
        .routes(routes!(anti_entropy::status))
        .routes(routes!(admin::version))
        .routes(routes!(work::leases))
        .routes(routes!(work::jobs))
        .routes(routes!(work::task))
        .routes(routes!(settings_admin::status))
        .routes(routes!(settings_admin::repair))
        .routes(routes!(healing::nodes, membership::add_node))
        .routes(routes!(membership::remove_node))
        .routes(routes!(membership::drain))
        .routes(routes!(membership::undrain))
        .routes(routes!(membership::add_group))
        .routes(routes!(membership::remove_group))
        .routes(routes!(membership::rebalance))
        .routes(routes!(membership::status))
        .routes(routes!(membership::pause))
        .routes(routes!(membership::resume))
        .routes(routes!(membership::cancel))
}

/// What one server has and a cluster has not.
fn unsupported_routes(routes: ClientRoutes) -> ClientRoutes {
    routes
        .route("/dumps", post(unsupported::dumps))
        .route("/snapshots", post(unsupported::snapshots))
        .route("/export", post(unsupported::export))
        .route("/metrics", get(unsupported::metrics))
        .route("/logs/stream", post(unsupported::change_logs).delete(unsupported::stop_logs))
        .route("/logs/stderr", post(unsupported::change_logs))
        .route("/network", get(unsupported::network).patch(unsupported::change_network))
        .route("/network/control", post(unsupported::control_network))
        .route("/chats", get(unsupported::list_chats))
        .route("/chats/{workspace}", get(unsupported::show_chat).delete(unsupported::delete_chat))
        .route(
            "/chats/{workspace}/settings",
            get(unsupported::chat_settings).patch(unsupported::change_chat_settings).delete(unsupported::chat_settings),
        )
        .route("/chats/{workspace}/chat/completions", post(unsupported::complete_chat))
}

/// The endpoint as it is served.
pub fn endpoint(cluster: Shared) -> Router {
    before_routing(router(cluster.clone()), cluster)
}

/// The endpoint of operators as it is served, where it has a port of its own.
pub fn admin_endpoint(cluster: Shared) -> Router {
    before_routing(admin_router(cluster.clone()), cluster)
}

fn before_routing(routes: Router, cluster: Shared) -> Router {
    Router::new().fallback_service(routes).layer(from_fn_with_state(cluster, layers::before_routing))
}

/// A JSON answer of any status.
fn json(status: StatusCode, body: impl Into<axum::body::Bytes>) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.into()).into_response()
}

/// An answer of the admin API.
///
/// # Errors
/// When it cannot be written as JSON.
fn shown(status: StatusCode, answer: &impl Serialize) -> Result<Response, Failure> {
    let body = serde_json::to_vec(answer).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(json(status, body))
}

/// An answer of the cluster, with what was missing when it was made.
fn answered(status: StatusCode, answer: Answer) -> Response {
    let mut response = json(status, answer.body);
    if let Some(degraded) = answer.degraded.header().and_then(|text| HeaderValue::try_from(text).ok()) {
        response.headers_mut().insert(DEGRADED, degraded);
    }
    versions::tell(&answer.degraded.settings, response.headers_mut());
    response
}

/// The index uid of a path.
fn index_uid(text: &str) -> Result<IndexUid, Failure> {
    text.parse().map_err(Failure::from)
}
