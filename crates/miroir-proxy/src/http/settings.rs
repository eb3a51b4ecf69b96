//! `/indexes/{uid}/settings` and its parts.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use miroir_cluster::Error;
use miroir_core::access::Grant;
use miroir_core::base::error::Code;
use miroir_core::settings::{GATED, SubSetting, Verb, sub_setting, unshown};
use serde_json::{Map, Value};

use super::body::Payload;
use super::error::Failure;
use super::observe::undertaken;
use super::{Shared, answered, index_uid, json};

pub async fn all(State(cluster): State<Shared>, Path(uid): Path<String>) -> Result<Response, Failure> {
    let settings = cluster.state.settings(&index_uid(&uid)?).await?;
    Ok(json(StatusCode::OK, settings.to_json_with(&cluster.state.features())))
}

pub async fn update(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    Path(uid): Path<String>,
    mut payload: Payload,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let patch = read_json(&mut payload).await?;
    if !patch.is_object() {
        let message = "Invalid value type: expected an object of settings";
        return Err(Failure::new(Code::BadRequest, message));
    }
    check_features(&cluster, &patch).await?;
    let may_create = grant.may_create(uid.as_str());
    let updated = undertaken(&cluster, move |cluster, writer| async move {
        cluster.settings.update_settings(&writer, &uid, patch, may_create).await
    });
    Ok(answered(StatusCode::ACCEPTED, updated.await?))
}

pub async fn reset(State(cluster): State<Shared>, Path(uid): Path<String>) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let reset = undertaken(&cluster, move |cluster, writer| async move {
        cluster.settings.reset_settings(&writer, &uid, None).await
    });
    Ok(answered(StatusCode::ACCEPTED, reset.await?))
}

pub async fn one(
    State(cluster): State<Shared>,
    Path((uid, name)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let Some(setting) = sub_setting(&name) else { return Ok(StatusCode::NOT_FOUND.into_response()) };
    let settings = cluster.state.settings(&index_uid(&uid)?).await?;
    let value = settings.get(setting.key).cloned().unwrap_or_else(|| unshown(setting.key));
    Ok(json(StatusCode::OK, value.to_string()))
}

pub async fn put_one(
    cluster: State<Shared>,
    grant: Extension<Grant>,
    path: Path<(String, String)>,
    payload: Payload,
) -> Result<Response, Failure> {
    change_one(cluster, grant, path, payload, Verb::Put).await
}

pub async fn patch_one(
    cluster: State<Shared>,
    grant: Extension<Grant>,
    path: Path<(String, String)>,
    payload: Payload,
) -> Result<Response, Failure> {
    change_one(cluster, grant, path, payload, Verb::Patch).await
}

async fn change_one(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    Path((uid, name)): Path<(String, String)>,
    mut payload: Payload,
    verb: Verb,
) -> Result<Response, Failure> {
    let Some(setting) = sub_setting(&name) else { return Ok(StatusCode::NOT_FOUND.into_response()) };
    if setting.verb != verb {
        return Ok(StatusCode::METHOD_NOT_ALLOWED.into_response());
    }
    let uid = index_uid(&uid)?;
    let patch = only(&setting, read_json(&mut payload).await?);
    check_features(&cluster, &patch).await?;
    let may_create = grant.may_create(uid.as_str());
    let updated = undertaken(&cluster, move |cluster, writer| async move {
        cluster.settings.update_settings(&writer, &uid, patch, may_create).await
    });
    match updated.await {
        Ok(answer) => Ok(answered(StatusCode::ACCEPTED, answer)),
        Err(Error::Refused { status, mut body }) => {
            body.message = relative(&body.message, setting.key);
            Err(Error::Refused { status, body }.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// A refusal of one setting among all, as it reads where that setting alone is the body.
fn relative(message: &str, key: &str) -> String {
    let nested = message.replace(&format!("`.{key}."), "`.").replace(&format!("`.{key}["), "`[");
    nested.replace(&format!(" at `.{key}`"), "").replace(&format!(" inside `.{key}`"), "")
}

/// Other methods: a setting has no such method, and what is no setting is not there.
pub async fn no_method(Path((_, name)): Path<(String, String)>) -> StatusCode {
    if sub_setting(&name).is_some() { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::NOT_FOUND }
}

pub async fn reset_one(
    State(cluster): State<Shared>,
    Path((uid, name)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let Some(setting) = sub_setting(&name) else { return Ok(StatusCode::NOT_FOUND.into_response()) };
    let uid = index_uid(&uid)?;
    let reset = undertaken(&cluster, move |cluster, writer| async move {
        cluster.settings.reset_settings(&writer, &uid, Some(setting.key)).await
    });
    Ok(answered(StatusCode::ACCEPTED, reset.await?))
}

/// A setting behind a feature is set only while that is on; it may be reset at any time.
async fn check_features(cluster: &Shared, patch: &Value) -> Result<(), Failure> {
    for gated in GATED {
        if patch.get(gated.key).is_some_and(|value| !value.is_null()) {
            cluster.state.require(gated.feature, gated.action).await?;
        }
    }
    Ok(())
}

fn only(setting: &SubSetting, value: Value) -> Value {
    Value::Object(Map::from_iter([(setting.key.to_owned(), value)]))
}

async fn read_json(payload: &mut Payload) -> Result<Value, Failure> {
    let body: Bytes = payload.json().await?;
    serde_json::from_slice(&body).map_err(|error| Failure::new(Code::MalformedPayload, error.to_string()))
}
