//! `/search`, `/facet-search` and `/multi-search`.

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
use crate::search::query::{SEARCH_TEXT, SearchQuery, from_text, gather_hybrid};
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
    if federation.is_some() {
        return Err(ApiError::new(
            "not_implemented",
            "This node does not offer federated search: send the queries without `federation`.",
        ));
    }
    let queries = queries.ok_or_else(|| ApiError::new("bad_request", "Missing field `queries`"))?;
    if queries.len() > MAX_QUERIES {
        let message = format!("A multi-search may hold at most {MAX_QUERIES} queries.");
        return Err(ApiError::new("bad_request", message));
    }
    let mut read = Vec::with_capacity(queries.len());
    for (position, query) in queries.into_iter().enumerate() {
        read.push(multi_query(query).map_err(|error| inside(position, error))?);
    }
    let mut results = Vec::with_capacity(read.len());
    for (position, (uid, query)) in read.into_iter().enumerate() {
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

fn multi_query(query: Value) -> ApiResult<(String, SearchQuery)> {
    let mut fields = Fields::parse(query.to_string().as_bytes())?;
    let uid: Option<String> = fields.take("indexUid", "invalid_index_uid")?;
    let uid = uid.ok_or_else(|| ApiError::new("missing_index_uid", "Missing field `indexUid`"))?;
    check_uid(&uid)?;
    if fields.optional::<Value>("federationOptions", "invalid_multi_search_federation_options")?.is_some() {
        return Err(ApiError::new(
            "invalid_multi_search_federation_options",
            "Using `federationOptions` is not allowed in a non-federated search.",
        ));
    }
    let query = SearchQuery::read(&mut fields)?;
    fields.finish()?;
    Ok((uid, query))
}

/// An error of one query is the client's error about the whole request.
fn inside(position: usize, error: ApiError) -> ApiError {
    let mut error = error.prefixed(&format!("Inside `.queries[{position}]`: "));
    if error.status < 500 {
        error.status = 400;
    }
    error
}
