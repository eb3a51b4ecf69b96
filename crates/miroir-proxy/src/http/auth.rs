//! Who may call. Clients show the master key, operators the admin key; nodes only ever see their own key.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use miroir_core::config::Secret;
use miroir_core::error::Code;
use subtle::ConstantTimeEq;

use super::Shared;
use super::error::Failure;

/// Client routes: the master key, with Meilisearch's own refusals.
pub async fn client(State(cluster): State<Shared>, request: Request, next: Next) -> Response {
    let Some(key) = &cluster.config.master_key else { return next.run(request).await };
    match bearer(request.headers()) {
        None => Failure::new(
            Code::MissingAuthorizationHeader,
            "The Authorization header is missing. It must use the bearer authorization method.",
        )
        .into_response(),
        Some(shown) if same(shown, key) => next.run(request).await,
        Some(_) => Failure::new(Code::InvalidApiKey, "The provided API key is invalid.").into_response(),
    }
}

/// Admin routes: the admin key as bearer or in `X-Admin-Key`.
pub async fn admin(State(cluster): State<Shared>, request: Request, next: Next) -> Response {
    let Some(key) = &cluster.config.admin.api_key else { return next.run(request).await };
    let headers = request.headers();
    let shown = headers.get("x-admin-key").and_then(|value| value.to_str().ok()).or_else(|| bearer(headers));
    if shown.is_some_and(|shown| same(shown, key)) {
        return next.run(request).await;
    }
    let message = "The admin API needs the admin key, as `Authorization: Bearer <key>` or `X-Admin-Key: <key>`.";
    Failure::new(Code::MiroirInvalidAuth, message).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    // The scheme decides what is missing; a scheme without a key is a wrong key.
    let mut words = headers.get(AUTHORIZATION)?.to_str().ok()?.split(' ');
    (words.next()? == "Bearer").then(|| words.next().unwrap_or_default())
}

/// Takes the same time wherever the first difference is.
fn same(shown: &str, key: &Secret) -> bool {
    shown.as_bytes().ct_eq(key.expose().as_bytes()).into()
}
