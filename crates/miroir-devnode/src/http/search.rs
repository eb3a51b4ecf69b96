//! `/search`, `/facet-search`, `/similar` and `/multi-search`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::IntoResponse;
use http::header;
use serde_json::{Map, Value, json};

use super::{Answer, App, Shared, ok, request};
use crate::engine::check_uid;
use crate::error::{ApiError, ApiResult};
use crate::fields::Fields;
use crate::search::federated::{self, FederatedQuery, Federation};
use crate::search::query::{FromText, SEARCH_TEXT, SearchQuery, from_text, gather_hybrid};
use crate::search::run;

/// Most queries in one multi-search.
const MAX_QUERIES: usize = 1000;

/// `POST /search`
pub async fn by_body(State(app): Shared, Path(uid): Path<String>, request: Request) -> Answer {
    check_uid(&uid)?;
    search(&app, uid, request::json_object(request).await?).await
}

/// `GET /search`
pub async fn by_query(State(app): Shared, Path(uid): Path<String>, RawQuery(query): RawQuery) -> Answer {
    check_uid(&uid)?;
    let mut map = from_text(request::query_pairs(query.as_deref()), SEARCH_TEXT);
    gather_hybrid(&mut map);
    search(&app, uid, Fields::new(map)).await
}

async fn search(app: &Arc<App>, uid: String, mut fields: Fields) -> Answer {
    let query = SearchQuery::read(&mut fields)?;
    fields.finish()?;
    let body = app.search(move |engine| {
        let answer = run::search(engine, &uid, &query)?;
        serde_json::to_vec(&answer).map_err(|error| ApiError::internal(error.to_string()))
    });
    let body = Body::from(body.await?);
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// `POST /facet-search`. Members that it does not know are ignored, so that a search request can be sent as it is.
pub async fn facets(State(app): Shared, Path(uid): Path<String>, request: Request) -> Answer {
    check_uid(&uid)?;
    let mut fields = request::json_object(request).await?;
    let name: Option<String> = fields.take("facetName", "invalid_facet_search_facet_name")?;
    let name = name.ok_or_else(|| ApiError::new("missing_facet_search_facet_name", "Missing field `facetName`"))?;
    let facet_query: Option<String> = fields.optional("facetQuery", "invalid_facet_search_query")?;
    let query = SearchQuery::read(&mut fields)?;
    let find = move |engine: &_| run::facet_search(engine, &uid, &name, facet_query.as_deref(), &query);
    ok(&app.search(find).await?)
}

/// `POST /multi-search`
pub async fn multi(State(app): Shared, request: Request) -> Answer {
    let mut fields = request::json_object(request).await?;
    let queries: Option<Vec<Value>> = fields.take("queries", "bad_request")?;
    let federation: Option<Value> = fields.optional("federation", "invalid_multi_search_federated")?;
    fields.finish()?;
    let queries = queries.ok_or_else(|| ApiError::new("bad_request", "Missing field `queries`"))?;
    if queries.len() > MAX_QUERIES {
        let message = format!("A multi-search may hold at most {MAX_QUERIES} queries.");
        return Err(ApiError::new("bad_request", message));
    }
    let mut read = Vec::with_capacity(queries.len());
    for (position, query) in queries.into_iter().enumerate() {
        read.push(multi_query(query).map_err(|error| inside(position, error))?);
    }
    match federation {
        Some(federation) => federated(&app, read, Federation::read(federation)?).await,
        None => side_by_side(&app, read).await,
    }
}

async fn side_by_side(app: &Arc<App>, queries: Vec<MultiQuery>) -> Answer {
    let mut results = Vec::with_capacity(queries.len());
    for (position, MultiQuery { uid, query, options, .. }) in queries.into_iter().enumerate() {
        if options.is_some() {
            let error = ApiError::new(
                "invalid_multi_search_federation_options",
                "Using `federationOptions` is not allowed in a non-federated search.\n - Hint: remove `federationOptions` from the query or add `federation` to the request.",
            );
            return Err(inside(position, error));
        }
        let result = app.search(move |engine| {
            let mut result = Map::new();
            result.insert("indexUid".to_owned(), json!(uid));
            result.extend(run::search(engine, &uid, &query)?);
            Ok(Value::Object(result))
        });
        results.push(result.await.map_err(|error| inside(position, error))?);
    }
    ok(&json!({"results": results}))
}

async fn federated(app: &Arc<App>, queries: Vec<MultiQuery>, federation: Federation) -> Answer {
    let mut asked = Vec::with_capacity(queries.len());
    for (position, MultiQuery { uid, query, options, alone }) in queries.into_iter().enumerate() {
        if let Some((code, what)) = alone {
            let error = ApiError::new(code, format!("Using {what} is not allowed in federated queries."));
            return Err(inside(position, error));
        }
        let weight = options.map_or(Ok(1.0), weight).map_err(|error| inside(position, error))?;
        asked.push(FederatedQuery { uid, query, weight });
    }
    let found = app.search(move |engine| Ok(federated::search(engine, asked, &federation))).await?;
    match found {
        Ok(answer) => ok(&answer),
        Err((error, Some(position))) => Err(inside(position, error)),
        Err((error, None)) => Err(error),
    }
}

/// One query of a multi-search.
struct MultiQuery {
    uid: String,
    query: SearchQuery,
    options: Option<Value>,
    /// What only a query by itself may have: its error code in a federation, and its name.
    alone: Option<(&'static str, &'static str)>,
}

fn weight(options: Value) -> ApiResult<f64> {
    let mut fields = Fields::parse(options.to_string().as_bytes())?;
    let weight = fields.or("weight", "invalid_multi_search_weight", 1.0)?;
    for (name, code) in
        [("remote", "invalid_multi_search_remote"), ("queryPosition", "invalid_multi_search_query_position")]
    {
        if fields.optional::<Value>(name, code)?.is_some() {
            let message = format!("Using `{name}` requires enabling the `network` experimental feature.");
            return Err(ApiError::new("feature_not_enabled", message));
        }
    }
    fields.finish()?;
    if weight < 0.0 {
        let message =
            "Invalid value at `.weight`: the value of `weight` is invalid, expected a positive float (>= 0.0).";
        return Err(ApiError::new("invalid_multi_search_weight", message));
    }
    Ok(weight)
}

fn multi_query(query: Value) -> ApiResult<MultiQuery> {
    let Value::Object(mut members) = query else {
        return Err(ApiError::new("bad_request", "Invalid value type at `.queries`: expected an object"));
    };
    // Other than in a search by itself, null is as good as absent.
    for name in ["offset", "limit"] {
        if members.get(name).is_some_and(Value::is_null) {
            members.remove(name);
        }
    }
    let given = |name: &str| members.get(name).is_some_and(|value| !value.is_null());
    let alone = if ["offset", "limit", "page", "hitsPerPage"].into_iter().any(given) {
        Some(("invalid_multi_search_query_pagination", "pagination options"))
    } else if members.get("facets").and_then(Value::as_array).is_some_and(|facets| !facets.is_empty()) {
        Some(("invalid_multi_search_query_facets", "facets"))
    } else {
        None
    };
    let mut fields = Fields::new(members);
    let uid: Option<String> = fields.take("indexUid", "invalid_index_uid")?;
    let uid = uid.ok_or_else(|| ApiError::new("missing_index_uid", "Missing field `indexUid`"))?;
    check_uid(&uid)?;
    let options = fields.optional::<Value>("federationOptions", "invalid_multi_search_federation_options")?;
    let query = SearchQuery::read(&mut fields)?;
    fields.finish()?;
    Ok(MultiQuery { uid, query, options, alone })
}

/// `POST /similar`
pub async fn similar_by_body(State(app): Shared, Path(uid): Path<String>, request: Request) -> Answer {
    check_uid(&uid)?;
    similar(&app, uid, request::json_object(request).await?).await
}

/// `GET /similar`
pub async fn similar_by_query(State(app): Shared, Path(uid): Path<String>, RawQuery(query): RawQuery) -> Answer {
    check_uid(&uid)?;
    let texts = [SEARCH_TEXT, &[("id", FromText::Text), ("embedder", FromText::Text)]].concat();
    similar(&app, uid, Fields::new(from_text(request::query_pairs(query.as_deref()), &texts))).await
}

async fn similar(app: &Arc<App>, uid: String, mut fields: Fields) -> Answer {
    let missing = |name: &str| ApiError::new("bad_request", format!("Missing field `{name}`"));
    let id: Option<Value> = fields.take("id", "invalid_similar_id")?;
    let id = similar_id(id.ok_or_else(|| missing("id"))?)?;
    let embedder: Option<String> = fields.take("embedder", "invalid_similar_embedder")?;
    let embedder = embedder.ok_or_else(|| missing("embedder"))?;
    let query = SearchQuery::similar(&mut fields)?;
    fields.finish()?;
    let found = app.search(move |engine| run::similar(engine, &uid, &id, &embedder, &query));
    ok(&found.await?)
}

fn similar_id(id: Value) -> ApiResult<String> {
    let text = match &id {
        Value::String(text) => text.clone(),
        Value::Number(number) if !number.is_f64() => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => String::new(),
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if text.is_empty() || text.len() > 511 || !text.bytes().all(valid) {
        let message = format!("Invalid value at `.id`: Document identifier `{id}` is invalid.");
        return Err(ApiError::new("invalid_similar_id", message));
    }
    Ok(text)
}

/// An error of one query is the client's error about the whole request.
fn inside(position: usize, error: ApiError) -> ApiError {
    let mut error = error.prefixed(&format!("Inside `.queries[{position}]`: "));
    if error.status < 500 {
        error.status = 400;
    }
    error
}
