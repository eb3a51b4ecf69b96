//! `/indexes`, `/stats` and `/swap-indexes`.

use std::collections::BTreeSet;

use axum::extract::{Path, RawQuery, Request, State};
use serde_json::{Map, Value, json};

use super::{Answer, App, Shared, blocking, ok, request};
use crate::engine::{Engine, check_uid};
use crate::error::{ApiError, ApiResult};
use crate::fields::Fields;
use crate::search::index_fields::{self, FieldsQuery};
use crate::search::query::FromText;
use crate::task::{Content, rfc3339};

/// `GET /indexes`
pub async fn list(State(app): Shared, RawQuery(query): RawQuery) -> Answer {
    let table = [("offset", FromText::Scalar), ("limit", FromText::Scalar)];
    let mut query = request::query(query.as_deref(), &table);
    let offset: usize = query.or("offset", "invalid_index_offset", 0)?;
    let limit: usize = query.or("limit", "invalid_index_limit", 20)?;
    query.finish()?;
    let page = blocking(move || {
        let all = app.engine.store().indexes()?;
        let results: Vec<Value> =
            all.iter().skip(offset).take(limit).map(|(uid, _)| view(&app.engine, uid)).collect::<ApiResult<_>>()?;
        Ok(json!({"results": results, "offset": offset, "limit": limit, "total": all.len()}))
    });
    ok(&page.await?)
}

/// `GET /indexes/{uid}`
pub async fn one(State(app): Shared, Path(uid): Path<String>) -> Answer {
    check_uid(&uid)?;
    ok(&blocking(move || view(&app.engine, &uid)).await?)
}

fn view(engine: &Engine, uid: &str) -> ApiResult<Value> {
    let index = engine.index(uid)?;
    let rtxn = index.read_txn()?;
    Ok(json!({
        "uid": uid,
        "createdAt": rfc3339(index.created_at(&rtxn)?),
        "updatedAt": rfc3339(index.updated_at(&rtxn)?),
        "primaryKey": index.primary_key(&rtxn)?,
    }))
}

/// `POST /indexes/{uid}/compact`, which a development node does not do.
pub async fn compact() -> Answer {
    Err(ApiError::new("feature_not_enabled", "Compacting an index is nothing that a development node does."))
}

/// `POST /indexes/{uid}/fields`
pub async fn fields(State(app): Shared, Path(uid): Path<String>, request: Request) -> Answer {
    check_uid(&uid)?;
    let mut members = request::json_object(request).await?;
    let query = FieldsQuery::read(&mut members)?;
    members.finish()?;
    ok(&blocking(move || index_fields::page(&app.engine, &uid, &query)).await?)
}

/// `POST /indexes`
pub async fn create(State(app): Shared, request: Request) -> Answer {
    let mut fields = request::json_object(request).await?;
    let uid: Option<String> = fields.take("uid", "invalid_index_uid")?;
    let primary_key = fields.optional("primaryKey", "invalid_index_primary_key")?;
    fields.finish()?;
    let uid = uid.ok_or_else(|| ApiError::new("missing_index_uid", "Missing field `uid`"))?;
    check_uid(&uid)?;
    app.enqueue(Some(uid), Content::CreateIndex { primary_key }).await
}

/// `PATCH /indexes/{uid}`
pub async fn update(State(app): Shared, Path(uid): Path<String>, request: Request) -> Answer {
    check_uid(&uid)?;
    let mut fields = request::json_object(request).await?;
    let primary_key = fields.optional("primaryKey", "invalid_index_primary_key")?;
    if fields.take::<Value>("uid", "immutable_index_uid")?.is_some() {
        return Err(ApiError::new("immutable_index_uid", "Immutable field `uid`: expected one of `primaryKey`"));
    }
    fields.finish()?;
    app.enqueue(Some(uid), Content::UpdateIndex { primary_key }).await
}

/// `DELETE /indexes/{uid}`
pub async fn remove(State(app): Shared, Path(uid): Path<String>) -> Answer {
    check_uid(&uid)?;
    app.enqueue(Some(uid), Content::DeleteIndex).await
}

/// `POST /swap-indexes`
pub async fn swap(State(app): Shared, request: Request) -> Answer {
    let pairs = match request::json(request).await? {
        Value::Array(pairs) => pairs,
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            let message = format!("Invalid value type: expected an array, but found: `{other}`");
            return Err(ApiError::new("bad_request", message));
        }
    };
    let mut seen = BTreeSet::new();
    let mut swaps = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let (left, right) = swap_pair(pair)?;
        for uid in [&left, &right] {
            if !seen.insert(uid.clone()) {
                return Err(ApiError::new(
                    "invalid_swap_duplicate_index_found",
                    format!("Indexes must be declared only once during a swap. `{uid}` was specified several times."),
                ));
            }
        }
        swaps.push((left, right));
    }
    app.enqueue(None, Content::Swap(swaps)).await
}

fn swap_pair(pair: Value) -> ApiResult<(String, String)> {
    const CODE: &str = "invalid_swap_indexes";
    let mut fields = Fields::parse(pair.to_string().as_bytes())?;
    let uids: Option<Vec<String>> = fields.take("indexes", CODE)?;
    fields.finish()?;
    let uids = uids.ok_or_else(|| ApiError::new("missing_swap_indexes", "Missing field `indexes`"))?;
    for uid in &uids {
        check_uid(uid)?;
    }
    <[String; 2]>::try_from(uids).map(Into::into).map_err(|uids| {
        let names: Vec<_> = uids.iter().map(|uid| format!("\"{uid}\"")).collect();
        ApiError::new(
            CODE,
            format!(
                "Two indexes must be given for each swap. The list `[{}]` contains {} indexes.",
                names.join(", "),
                uids.len()
            ),
        )
    })
}

/// `GET /indexes/{uid}/stats`
pub async fn stats(State(app): Shared, Path(uid): Path<String>) -> Answer {
    check_uid(&uid)?;
    ok(&blocking(move || index_stats(&app, &uid)).await?)
}

fn index_stats(app: &App, uid: &str) -> ApiResult<Value> {
    let index = app.engine.index(uid)?;
    let rtxn = index.read_txn()?;
    let documents = index.documents_stats(&rtxn)?.unwrap_or_default();
    let vectors = index.arroy_stats(&rtxn)?;
    Ok(json!({
        "numberOfDocuments": index.number_of_documents(&rtxn)?,
        "rawDocumentDbSize": documents.total_size(),
        "avgDocumentSize": documents.average_value_size(),
        "isIndexing": app.queue.is_indexing(uid),
        "numberOfEmbeddings": vectors.number_of_embeddings,
        "numberOfEmbeddedDocuments": vectors.documents.len(),
        "fieldDistribution": index.field_distribution(&rtxn)?,
    }))
}

/// `GET /stats`
pub async fn all_stats(State(app): Shared) -> Answer {
    let stats = blocking(move || {
        let mut indexes = Map::new();
        let mut last_update = None;
        for (uid, _) in app.engine.store().indexes()? {
            let index = app.engine.index(&uid)?;
            let rtxn = index.read_txn()?;
            last_update = last_update.max(Some(index.updated_at(&rtxn)?));
            drop(rtxn);
            indexes.insert(uid.clone(), index_stats(&app, &uid)?);
        }
        let bytes = app.engine.disk_bytes()?;
        Ok(json!({
            "databaseSize": bytes,
            "usedDatabaseSize": bytes,
            "lastUpdate": last_update.map(rfc3339),
            "indexes": indexes,
        }))
    });
    ok(&stats.await?)
}
