//! `/indexes/{uid}/settings` and one route for each setting below it.

use axum::extract::{Path, Request, State};
use serde_json::{Map, Value};

use super::{Answer, Shared, blocking, ok, request};
use crate::engine::check_uid;
use crate::engine::settings::{self, Setting};
use crate::error::{ApiError, ApiResult};
use crate::task::Content;

/// `GET /settings`
pub async fn all(State(app): Shared, Path(uid): Path<String>) -> Answer {
    check_uid(&uid)?;
    let read = move || {
        let index = app.engine.index(&uid)?;
        let rtxn = index.read_txn()?;
        settings::read_all(&index, &rtxn).map(Value::Object)
    };
    ok(&blocking(read).await?)
}

/// `GET` of one setting.
pub async fn one(State(app): Shared, Path(uid): Path<String>, setting: &'static Setting) -> Answer {
    check_uid(&uid)?;
    let read = move || {
        let index = app.engine.index(&uid)?;
        let rtxn = index.read_txn()?;
        setting.read(&index, &rtxn)
    };
    ok(&blocking(read).await?)
}

/// `PATCH /settings`
pub async fn change_all(State(app): Shared, Path(uid): Path<String>, request: Request) -> Answer {
    let settings = match request::json(request).await? {
        Value::Object(settings) => settings,
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            let message = format!("Invalid value type: expected an object, but found: `{other}`");
            return Err(ApiError::new("bad_request", message));
        }
    };
    settings::check(&settings)?;
    // The body comes first: Miroir has settings judged by naming no index.
    check_uid(&uid)?;
    app.enqueue(Some(uid), Content::Settings { settings, creates_index: true }).await
}

/// `DELETE /settings`
pub async fn reset_all(State(app): Shared, Path(uid): Path<String>) -> Answer {
    check_uid(&uid)?;
    let mut settings = settings::all_reset();
    // A server names the settings of its experimental features, too.
    settings.extend(["foreignKeys", "chat"].map(|name| (name.to_owned(), Value::Null)));
    app.enqueue(Some(uid), Content::Settings { settings, creates_index: false }).await
}

/// `PUT` or `PATCH` of one setting.
pub async fn change(
    State(app): Shared,
    Path(uid): Path<String>,
    request: Request,
    setting: &'static Setting,
) -> Answer {
    let value = request::json(request).await?;
    let settings = single(setting, value)?;
    check_uid(&uid)?;
    app.enqueue(Some(uid), Content::Settings { settings, creates_index: true }).await
}

/// `DELETE` of one setting.
pub async fn reset(State(app): Shared, Path(uid): Path<String>, setting: &'static Setting) -> Answer {
    check_uid(&uid)?;
    let settings = single(setting, Value::Null)?;
    app.enqueue(Some(uid), Content::Settings { settings, creates_index: false }).await
}

fn single(setting: &Setting, value: Value) -> ApiResult<Map<String, Value>> {
    setting.check(value.clone())?;
    Ok([(setting.name.to_owned(), value)].into_iter().collect())
}
