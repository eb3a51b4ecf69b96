//! Who may call. Clients show the master key, an API key or a tenant token, operators the admin key; nodes only ever see
//! their own key.

use axum::RequestExt;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use miroir_core::access::rights::{self, Access, Indexes};
use miroir_core::access::{Action, Grant, Refusal, authorize, bearer};
use miroir_core::base::error::Code;
use miroir_core::config::{AdminAccess, Secret};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

use super::Shared;
use super::error::Failure;
use super::named::Named;

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
        Access::Needs(_, Indexes::InPath) => Some(request.extract_parts_with_state::<Named, _>(cluster).await?.0),
        Access::Needs(_, Indexes::ByHandler | Indexes::Global) | Access::Open => None,
    };
    let shown = bearer(request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes))?;
    Ok(granted(cluster, shown, access, index.as_deref()).await?)
}

/// What memory says, unless that is no: a key that another instance made a moment ago works here as well.
async fn granted(
    cluster: &Shared,
    shown: Option<&str>,
    access: &Access,
    index: Option<&str>,
) -> Result<Grant, Refusal> {
    let ask = || authorize(&cluster.state.keys.registry(), shown, access, index, OffsetDateTime::now_utc());
    match ask() {
        Err(refusal) if refusal.may_be_outdated() && cluster.state.catch_up().await => ask(),
        granted => granted,
    }
}

/// What a route answers that was added to the router and not to the table.
const UNLISTED: &str = "Nobody may use this route: it is not in the table of rights.";

/// Admin routes: the admin key as bearer or in `X-Admin-Key`. Where nobody may use the admin API they are not there.
pub async fn admin(State(cluster): State<Shared>, request: Request, next: Next) -> Response {
    match &cluster.state.config.admin.access {
        AdminAccess::Everybody => next.run(request).await,
        AdminAccess::Key(key) if shows(request.headers(), key) => next.run(request).await,
        AdminAccess::Key(_) => Failure::new(Code::MiroirInvalidAuth, NEEDS_ADMIN_KEY).into_response(),
        AdminAccess::Disabled | AdminAccess::Keyless => StatusCode::NOT_FOUND.into_response(),
    }
}

const NEEDS_ADMIN_KEY: &str =
    "The admin API needs the admin key, as `Authorization: Bearer <key>` or `X-Admin-Key: <key>`.";

/// Metrics name indexes and nodes: whoever has the admin key, or a key of a client that may read metrics.
pub async fn metrics(State(cluster): State<Shared>, request: Request, next: Next) -> Response {
    let access = &cluster.state.config.admin.access;
    match access {
        AdminAccess::Everybody => return next.run(request).await,
        AdminAccess::Disabled => return StatusCode::NOT_FOUND.into_response(),
        AdminAccess::Key(key) if shows(request.headers(), key) => return next.run(request).await,
        AdminAccess::Key(_) | AdminAccess::Keyless => {}
    }
    // Without a master key clients have no keys, and every one of them might do everything.
    let has_keys = cluster.state.keys.registry().has_master_key();
    let needs = Access::Needs(&[Action::MetricsGet], Indexes::Global);
    let shown =
        bearer(request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes)).map(|shown| shown.map(str::to_owned));
    let granted = match shown {
        Ok(Some(shown)) if has_keys => granted(&cluster, Some(&shown), &needs, None).await.is_ok(),
        Ok(_) | Err(_) => false,
    };
    if granted {
        next.run(request).await
    } else {
        Failure::new(Code::MiroirInvalidAuth, NEEDS_METRICS_KEY).into_response()
    }
}

const NEEDS_METRICS_KEY: &str = "Metrics need the admin key, or an API key with the action `metrics.get` on all indexes, as `Authorization: Bearer <key>`.";

fn shows(headers: &HeaderMap, key: &Secret) -> bool {
    let shown = headers.get("x-admin-key").and_then(|value| value.to_str().ok()).or_else(|| shown_as_bearer(headers));
    shown.is_some_and(|shown| same(shown, key))
}

fn shown_as_bearer(headers: &HeaderMap) -> Option<&str> {
    bearer(headers.get(AUTHORIZATION).map(HeaderValue::as_bytes)).ok().flatten()
}

/// Takes the same time wherever the first difference is.
fn same(shown: &str, key: &Secret) -> bool {
    shown.as_bytes().ct_eq(key.expose().as_bytes()).into()
}
