//! What every request passes on its way to a handler, and every answer on its way back.
//!
//! Each layer is a function that is given what comes after it, so that all of them are one future: a layer of the router for
//! each of them would be an allocation for each, and one more for all those within it.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::{Shared, allow, compression, cors, observe};

/// From the outside: slashes too many make no difference, as with Meilisearch; answers are compressed; pages of any origin may
/// read them all; every request has a name.
pub async fn before_routing(State(cluster): State<Shared>, mut request: Request, next: Next) -> Response {
    normalise_path(&mut request);
    let route = |request| async move {
        let mut response = next.run(request).await;
        allow::without_allow_header(&mut response);
        response
    };
    let name = |request| observe::named(request, route);
    let share = |request| cors::shared_with_pages(request, name);
    compression::compressed(&cluster, request, share).await
}

/// Within the router, where the path is known. From the outside: a panic is one answer; requests are measured, and bounded in
/// number, bytes and time; a 405 says what is allowed.
pub async fn around_routes(State(cluster): State<Shared>, request: Request, next: Next) -> Response {
    let allow = |request| allow::with_allow_header(request, |request| next.run(request));
    let bound = |request| observe::bounded(&cluster, request, allow);
    let measure = |request| observe::measured(&cluster, request, bound);
    observe::caught(request, measure).await
}

fn normalise_path(request: &mut Request) {
    let path = request.uri().path();
    if path.len() > 1 && (path.ends_with('/') || path.contains("//")) {
        let clean = path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        if let Ok(uri) = format!("/{clean}{query}").parse() {
            *request.uri_mut() = uri;
        }
    }
}
