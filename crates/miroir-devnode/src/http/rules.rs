//! `/dynamic-search-rules`. Bodies are taken as they are: Miroir has checked them.

use axum::extract::{Path, Request, State};
use serde_json::{Value, json};

use super::{Answer, Shared, ok, request};
use crate::error::ApiError;
use crate::task::Content;

/// The index that tasks of rules name.
const INDEX: &str = ".meili_dsr";

/// `POST /dynamic-search-rules`
pub async fn list(State(app): Shared, request: Request) -> Answer {
    let body = request::json(request).await?;
    let number = |name: &str, default: usize| {
        body.get(name).and_then(Value::as_u64).map_or(default, |number| usize::try_from(number).unwrap_or(usize::MAX))
    };
    let (offset, limit) = (number("offset", 0), number("limit", 20));
    let query = body.pointer("/filter/query").and_then(Value::as_str);
    let active = body.pointer("/filter/active").and_then(Value::as_bool);
    let rules = app.engine.rules().list(query, active);
    let page: Vec<&Value> = rules.iter().skip(offset).take(limit).collect();
    ok(&json!({"results": page, "offset": offset, "limit": limit, "total": rules.len()}))
}

/// `PATCH /dynamic-search-rules/{uid}`
pub async fn change(State(app): Shared, Path(uid): Path<String>, request: Request) -> Answer {
    let Value::Object(fields) = request::json(request).await? else {
        return Err(ApiError::new("bad_request", "Invalid value type: expected an object"));
    };
    app.enqueue(Some(INDEX.to_owned()), Content::ChangeRule { uid, fields: Some(fields) }).await
}

/// `DELETE /dynamic-search-rules/{uid}`
pub async fn remove(State(app): Shared, Path(uid): Path<String>) -> Answer {
    app.enqueue(Some(INDEX.to_owned()), Content::ChangeRule { uid, fields: None }).await
}

/// `DELETE /dynamic-search-rules`
pub async fn clear(State(app): Shared) -> Answer {
    app.enqueue(Some(INDEX.to_owned()), Content::ClearRules).await
}
