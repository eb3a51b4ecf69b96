//! `/experimental-features`: remembered and shown. Nothing of this node depends on them; what would need an engine that
//! this node does not have is refused.

use std::path::Path;

use axum::extract::{Request, State};
use serde_json::{Map, Value};

use super::{Answer, App, Shared, blocking, ok, request};
use crate::error::{ApiError, ApiResult};

const FEATURES: [&str; 15] = [
    "metrics",
    "logsRoute",
    "editDocumentsByFunction",
    "containsFilter",
    "dynamicSearchRules",
    "network",
    "getTaskDocumentsRoute",
    "taskQueueCompactionRoute",
    "compositeEmbedders",
    "chatCompletions",
    "multimodal",
    "foreignKeys",
    "disableDocumentsFetchQueue",
    "legacySearch",
    "renderRoute",
];

/// The engine is built without the interpreter of functions.
const MISSING: [&str; 1] = ["editDocumentsByFunction"];

/// `GET /experimental-features`
pub async fn all(State(app): Shared) -> Answer {
    ok(&Value::Object(blocking(move || Ok(load(&app.features))).await?))
}

/// `PATCH /experimental-features`
pub async fn change(State(app): Shared, request: Request) -> Answer {
    let patch = match request::json(request).await? {
        Value::Object(patch) => patch,
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            let message = format!("Invalid value type: expected an object, but found: `{other}`");
            return Err(ApiError::new("bad_request", message));
        }
    };
    ok(&Value::Object(blocking(move || apply(&app, &patch)).await?))
}

fn apply(app: &App, patch: &Map<String, Value>) -> ApiResult<Map<String, Value>> {
    let mut features = load(&app.features);
    for (name, value) in patch {
        if !FEATURES.contains(&name.as_str()) || !(value.is_boolean() || value.is_null()) {
            return Err(ApiError::new("bad_request", format!("Unknown field `{name}`, or not a boolean: `{value}`")));
        }
        if MISSING.contains(&name.as_str()) && value == &Value::Bool(true) {
            return Err(ApiError::new("not_implemented", format!("This node does not have `{name}`.")));
        }
        if value.is_boolean() {
            features.insert(name.clone(), value.clone());
        }
    }
    std::fs::write(&app.features, Value::Object(features.clone()).to_string())?;
    Ok(features)
}

/// A file that is not there, or not ours, is all off.
fn load(file: &Path) -> Map<String, Value> {
    let known: Value = std::fs::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    FEATURES.iter().map(|name| ((*name).to_owned(), Value::Bool(known[*name] == Value::Bool(true)))).collect()
}
