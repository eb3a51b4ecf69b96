//! What a path allows, said with every 405 as one server says it: the router knows of methods that a client has not.

use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use axum::http::header::{ALLOW, HeaderValue};
use axum::response::Response;
use miroir_core::access::rights;
use miroir_core::settings::{Verb, sub_setting};

/// Adds the header `Allow` to a 405 of a client's route.
pub async fn with_allow_header<Fut: Future<Output = Response>>(
    request: Request,
    next: impl FnOnce(Request) -> Fut,
) -> Response {
    let template = request.extensions().get::<MatchedPath>().cloned();
    let path = request.uri().path().to_owned();
    let mut response = next(request).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let methods = allowed(template.as_ref().map_or("", MatchedPath::as_str), &path);
        if let Some(value) = HeaderValue::try_from(methods.join(", ")).ok().filter(|_| !methods.is_empty()) {
            response.headers_mut().insert(ALLOW, value);
        }
    }
    response
}

/// Removes the header `Allow` that the router adds where the path leads nowhere. Stands around the router: a layer
/// within a route is passed before the router adds the header.
pub fn without_allow_header(response: &mut Response) {
    if response.status() == StatusCode::NOT_FOUND {
        response.headers_mut().remove(ALLOW);
    }
}

fn allowed(template: &str, path: &str) -> Vec<&'static str> {
    // Each setting is changed by one of two methods.
    let setting = path.rsplit('/').next().filter(|_| template.ends_with("/settings/{name}")).and_then(sub_setting);
    let other = setting.map(|setting| match setting.verb {
        Verb::Put => "PATCH",
        Verb::Patch => "PUT",
    });
    rights::methods(template).filter(|method| other != Some(*method)).collect()
}
