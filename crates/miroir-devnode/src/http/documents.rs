//! `/indexes/{uid}/documents`.

use axum::extract::{Path, RawQuery, Request, State};
use serde_json::Value;

use super::payload::{self, Format};
use super::{Answer, Shared, blocking, closed, ok, request};
use crate::engine::check_uid;
use crate::error::{ApiError, ApiResult};
use crate::fields::Fields;
use crate::search::documents::{self, DocumentsQuery};
use crate::search::filter;
use crate::search::query::FromText;
use crate::task::{Content, Method};

/// The parameters of reads that are not plain text.
const READ_TEXT: &[(&str, FromText)] = &[
    ("offset", FromText::Scalar),
    ("limit", FromText::Scalar),
    ("fields", FromText::List),
    ("ids", FromText::List),
    ("filter", FromText::Filter),
    ("sort", FromText::Sort),
    ("retrieveVectors", FromText::Scalar),
];

/// `GET /documents`
pub async fn list(State(app): Shared, Path(uid): Path<String>, RawQuery(query): RawQuery) -> Answer {
    check_uid(&uid)?;
    let mut query = documents_query(request::query(query.as_deref(), READ_TEXT))?;
    query.fields = wildcard_is_all(query.fields);
    let page = app.search(move |engine| documents::page(engine, &uid, &query)).await?;
    ok(&page)
}

/// `POST /documents/fetch`
pub async fn fetch(State(app): Shared, Path(uid): Path<String>, request: Request) -> Answer {
    check_uid(&uid)?;
    let query = documents_query(request::json_object(request).await?)?;
    let page = app.search(move |engine| documents::page(engine, &uid, &query)).await?;
    ok(&page)
}

/// `GET /documents/{id}`
pub async fn one(State(app): Shared, Path((uid, id)): Path<(String, String)>, RawQuery(query): RawQuery) -> Answer {
    check_uid(&uid)?;
    let mut query = request::query(query.as_deref(), READ_TEXT);
    let fields = wildcard_is_all(query.optional("fields", "invalid_document_fields")?);
    let vectors = query.or("retrieveVectors", "invalid_document_retrieve_vectors", false)?;
    query.finish()?;
    let find = move |engine: &_| documents::one(engine, &uid, &id, fields.as_deref(), vectors);
    ok(&app.search(find).await?)
}

fn documents_query(mut fields: Fields) -> ApiResult<DocumentsQuery> {
    let query = DocumentsQuery {
        offset: fields.or("offset", "invalid_document_offset", 0)?,
        limit: fields.or("limit", "invalid_document_limit", 20)?,
        fields: fields.optional("fields", "invalid_document_fields")?,
        retrieve_vectors: fields.or("retrieveVectors", "invalid_document_retrieve_vectors", false)?,
        ids: match fields.optional::<Vec<Value>>("ids", "invalid_document_ids")? {
            Some(ids) => Some(ids.into_iter().map(document_id).collect::<ApiResult<_>>()?),
            None => None,
        },
        filter: fields.optional("filter", "invalid_document_filter")?,
        sort: fields.optional("sort", "invalid_document_sort")?,
    };
    fields.finish()?;
    Ok(query)
}

fn document_id(id: Value) -> ApiResult<String> {
    match id {
        Value::String(id) => Ok(id),
        Value::Number(id) if !id.is_f64() => Ok(id.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(ApiError::new(
            "invalid_document_ids",
            format!("Invalid value at `.ids`: `{id}` is neither a string nor an integer"),
        )),
    }
}

fn wildcard_is_all(fields: Option<Vec<String>>) -> Option<Vec<String>> {
    fields.filter(|fields| !fields.iter().any(|field| field == "*"))
}

/// `POST /documents`
pub async fn replace(state: Shared, path: Path<String>, request: Request) -> Answer {
    write(state, path, request, Method::Replace).await
}

/// `PUT /documents`
pub async fn merge(state: Shared, path: Path<String>, request: Request) -> Answer {
    write(state, path, request, Method::Merge).await
}

async fn write(State(app): Shared, Path(uid): Path<String>, request: Request, method: Method) -> Answer {
    check_uid(&uid)?;
    let mut query = request::query(request.uri().query(), &[]);
    let primary_key = query.optional("primaryKey", "invalid_index_primary_key")?;
    query.finish()?;
    let (parts, body) = request.into_parts();
    let accepted = ["application/json", "application/x-ndjson"];
    let format = match request::content_type(&parts.headers, &accepted)?.as_str() {
        "application/x-ndjson" => Format::Ndjson,
        _ => Format::Json,
    };
    let permit = app.uploads.acquire().await.map_err(closed)?;
    let body = request::body(&parts.headers, body).await?;
    let dir = app.payloads.clone();
    let stored = blocking(move || payload::store(&dir, &payload::split(format, &body)?)).await?;
    drop(permit);
    let content = Content::Documents {
        method,
        primary_key,
        payload: stored.name,
        received: stored.documents,
        bytes: stored.bytes,
    };
    app.enqueue(Some(uid), content).await
}

/// `DELETE /documents`
pub async fn delete_all(State(app): Shared, Path(uid): Path<String>) -> Answer {
    check_uid(&uid)?;
    app.enqueue(Some(uid), Content::DeleteAll).await
}

/// `DELETE /documents/{id}`
pub async fn delete_one(State(app): Shared, Path((uid, id)): Path<(String, String)>) -> Answer {
    check_uid(&uid)?;
    app.enqueue(Some(uid), Content::DeleteIds(vec![id])).await
}

/// `POST /documents/delete-batch`
pub async fn delete_batch(State(app): Shared, Path(uid): Path<String>, request: Request) -> Answer {
    check_uid(&uid)?;
    let ids = match request::json(request).await? {
        Value::Array(ids) => ids,
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            return Err(ApiError::new(
                "bad_request",
                format!("Json deserialize error: invalid type: expected a sequence, found `{other}`"),
            ));
        }
    };
    let text = |id: Value| match id {
        Value::String(id) => id,
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    };
    app.enqueue(Some(uid), Content::DeleteIds(ids.into_iter().map(text).collect())).await
}

/// `POST /documents/delete`
pub async fn delete_by_filter(State(app): Shared, Path(uid): Path<String>, request: Request) -> Answer {
    const CODE: &str = "invalid_document_filter";
    // The body is read before the index's name is looked at.
    let mut fields = request::json_object(request).await?;
    let filter: Option<Value> = fields.optional("filter", CODE)?;
    fields.finish()?;
    let Some(filter) = filter else {
        return Err(ApiError::new("missing_document_filter", "Missing field `filter`"));
    };
    check_uid(&uid)?;
    if filter::parse(&filter, CODE)?.is_none() {
        return Err(ApiError::new(CODE, "Sending an empty filter is forbidden."));
    }
    app.enqueue(Some(uid), Content::DeleteByFilter(filter)).await
}
