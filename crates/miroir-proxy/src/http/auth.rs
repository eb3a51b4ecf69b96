//! Who may call. Clients show the master key, an API key or a tenant token, operators the admin key; nodes only ever see
//! their own key.

use axum::RequestExt;
use axum::extract::{MatchedPath, Path, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use miroir_core::auth::rights::{self, Access, Indexes};
use miroir_core::auth::{Grant, authorize, bearer};
use miroir_core::config::Secret;
use miroir_core::error::Code;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

use super::Shared;
use super::error::Failure;

/// Client routes: what the table of rights asks for, with Meilisearch's own refusals. Handlers find what may be seen as a
/// [`Grant`] among the extensions.
pub async fn client(State(cluster): State<Shared>, mut request: Request, next: Next) -> Response {
    if request.method() == Method::HEAD {
        // The router would answer it as a GET.
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    match let_in(&cluster, &mut request).await {
        Ok(grant) => {
            request.extensions_mut().insert(grant);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn let_in(cluster: &Shared, request: &mut Request) -> Result<Grant, Failure> {
    let template = request.extensions().get::<MatchedPath>().cloned();
    let template = template.as_ref().map_or("", MatchedPath::as_str);
    let Some(access) = rights::access(request.method().as_str(), template) else {
        tracing::error!(method = %request.method(), template, "a route is not in the table of rights");
        return Err(Failure::new(Code::Internal, UNLISTED));
    };
    let index = match access {
        Access::Needs(_, Indexes::InPath) => Some(first_parameter(request).await?),
        Access::Needs(_, Indexes::ByHandler | Indexes::Global) | Access::Open => None,
    };
    let header = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let ring = cluster.keys.ring();
    let granted =
        bearer(header).and_then(|shown| authorize(&ring, shown, access, index.as_deref(), OffsetDateTime::now_utc()));
    granted.map_err(Failure::from)
}

/// What a route answers that was added to the router and not to the table.
const UNLISTED: &str = "Nobody may use this route: it is not in the table of rights.";

/// Decoded just as handlers see it.
async fn first_parameter(request: &mut Request) -> Result<String, Failure> {
    let parameters = request.extract_parts::<Path<Vec<(String, String)>>>().await;
    let first = parameters.ok().and_then(|Path(parameters)| parameters.into_iter().next());
    first.map(|(_, value)| value).ok_or_else(|| Failure::new(Code::BadRequest, "The path is not UTF-8."))
}

/// Admin routes: the admin key as bearer or in `X-Admin-Key`.
pub async fn admin(State(cluster): State<Shared>, request: Request, next: Next) -> Response {
    let Some(key) = &cluster.config.admin.api_key else { return next.run(request).await };
    let headers = request.headers();
    let shown = headers.get("x-admin-key").and_then(|value| value.to_str().ok()).or_else(|| shown_as_bearer(headers));
    if shown.is_some_and(|shown| same(shown, key)) {
        return next.run(request).await;
    }
    let message = "The admin API needs the admin key, as `Authorization: Bearer <key>` or `X-Admin-Key: <key>`.";
    Failure::new(Code::MiroirInvalidAuth, message).into_response()
}

fn shown_as_bearer(headers: &HeaderMap) -> Option<&str> {
    bearer(headers.get(AUTHORIZATION).map(HeaderValue::as_bytes)).ok().flatten()
}

/// Takes the same time wherever the first difference is.
fn same(shown: &str, key: &Secret) -> bool {
    shown.as_bytes().ct_eq(key.expose().as_bytes()).into()
}
