//! `/indexes`.

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use miroir_cluster::Index;
use miroir_core::access::{Grant, Refusal};
use miroir_core::base::error::Code;
use miroir_core::base::id::IndexUid;
use miroir_core::base::json::described;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::body::Payload;
use super::error::Failure;
use super::observe::undertaken;
use super::page::{Page, PageCodes};
use super::versions::AtLeast;
use super::{Shared, answered, index_uid, json};

pub async fn list(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let codes = PageCodes { offset: Code::InvalidIndexOffset, limit: Code::InvalidIndexLimit };
    let Page { offset, limit } = Page::read(query.as_deref().unwrap_or_default(), codes)?;
    let indexes: Vec<_> =
        cluster.state.indexes().into_iter().filter(|index| grant.allows(index.uid.as_str())).collect();
    let results: Vec<Value> = indexes.iter().skip(offset).take(limit).map(|index| view(index)).collect();
    let page = json!({ "results": results, "offset": offset, "limit": limit, "total": indexes.len() });
    Ok(json(StatusCode::OK, page.to_string()))
}

pub async fn get(State(cluster): State<Shared>, Path(uid): Path<String>) -> Result<Response, Failure> {
    let index = cluster.state.find_index(&index_uid(&uid)?).await?;
    Ok(json(StatusCode::OK, view(&index).to_string()))
}

fn view(index: &Index) -> Value {
    let text = |at: OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
    json!({
        "uid": index.uid,
        "createdAt": text(index.created_at),
        "updatedAt": text(index.updated_at),
        "primaryKey": index.primary_key,
    })
}

pub async fn create(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    mut payload: Payload,
) -> Result<Response, Failure> {
    let body = payload.json().await?;
    let object = members(&body, &["uid", "primaryKey"])?;
    let uid = match object.get("uid") {
        Some(Value::String(uid)) => uid.clone(),
        None => return Err(Failure::new(Code::MissingIndexUid, "Missing field `uid`")),
        Some(other) => {
            let message = format!("Invalid value type at `.uid`: expected a string, but found {}", described(other));
            return Err(Failure::new(Code::InvalidIndexUid, message));
        }
    };
    let uid: IndexUid = uid
        .parse()
        .map_err(|error| Failure::new(Code::InvalidIndexUid, format!("Invalid value at `.uid`: {error}")))?;
    let primary_key = primary_key(&object)?;
    if !grant.may_create(uid.as_str()) {
        return Err(Refusal::InvalidKey.into());
    }
    Ok(answered(
        StatusCode::ACCEPTED,
        undertaken(&cluster, move |_, writer| async move { writer.create_index(&uid, primary_key).await }).await?,
    ))
}

pub async fn update(
    State(cluster): State<Shared>,
    Path(uid): Path<String>,
    mut payload: Payload,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let body = payload.json().await?;
    let object = members(&body, &["primaryKey", "uid"])?;
    let new_uid = match object.get("uid") {
        None | Some(Value::Null) => None,
        // Said without its place, as one server does here.
        Some(Value::String(new)) => Some(index_uid(new)?),
        Some(other) => {
            let message = format!("Invalid value type at `.uid`: expected a string, but found {}", described(other));
            return Err(Failure::new(Code::InvalidIndexUid, message));
        }
    };
    let primary_key = primary_key(&object)?;
    Ok(answered(
        StatusCode::ACCEPTED,
        undertaken(&cluster, move |_, writer| async move { writer.update_index(&uid, primary_key, new_uid).await })
            .await?,
    ))
}

pub async fn delete(State(cluster): State<Shared>, Path(uid): Path<String>) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    Ok(answered(
        StatusCode::ACCEPTED,
        undertaken(&cluster, move |_, writer| async move { writer.delete_index(&uid).await }).await?,
    ))
}

pub async fn stats(
    State(cluster): State<Shared>,
    Path(uid): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    Ok(answered(StatusCode::OK, cluster.reads.index_stats(&uid, &query.unwrap_or_default()).await?))
}

pub async fn fields(
    State(cluster): State<Shared>,
    AtLeast(floor): AtLeast,
    Path(uid): Path<String>,
    mut payload: Payload,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let body = payload.json().await?;
    Ok(answered(StatusCode::OK, cluster.reads.fields(&uid, body, floor?).await?))
}

pub(super) fn members(body: &[u8], known: &[&str]) -> Result<Map<String, Value>, Failure> {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let Value::Object(object) = value else {
        let message = format!("Invalid value type: expected an object, but found {}", described(&value));
        return Err(Failure::new(Code::BadRequest, message));
    };
    if let Some(unknown) = object.keys().find(|key| !known.contains(&key.as_str())) {
        let expected = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let message = format!("Unknown field `{unknown}`: expected one of {expected}");
        return Err(Failure::new(Code::BadRequest, message));
    }
    Ok(object)
}

fn primary_key(object: &Map<String, Value>) -> Result<Option<String>, Failure> {
    match object.get("primaryKey") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(key)) => Ok(Some(key.clone())),
        Some(other) => {
            let message =
                format!("Invalid value type at `.primaryKey`: expected a string, but found {}", described(other));
            Err(Failure::new(Code::InvalidIndexPrimaryKey, message))
        }
    }
}

pub async fn compact(State(cluster): State<Shared>, Path(uid): Path<String>) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    Ok(answered(
        StatusCode::ACCEPTED,
        undertaken(&cluster, move |_, writer| async move { writer.compact_index(&uid).await }).await?,
    ))
}
