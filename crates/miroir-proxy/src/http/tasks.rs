//! `/tasks` and `/batches`.

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use miroir_core::error::Code;
use miroir_core::id::TaskUid;
use miroir_core::task::{Task, TaskQuery};

use super::error::Failure;
use super::{Shared, answered, json};
use crate::cluster::Error;

pub async fn list(State(cluster): State<Shared>, RawQuery(query): RawQuery) -> Result<Response, Failure> {
    let query = listing(query)?;
    let page = cluster.store.tasks(&query).await.map_err(Error::from)?;
    Ok(json(StatusCode::OK, page.view(query.limit)))
}

pub async fn get(State(cluster): State<Shared>, Path(uid): Path<String>) -> Result<Response, Failure> {
    let uid = number("Task", &uid, Code::InvalidTaskUids)?;
    Ok(json(StatusCode::OK, find(&cluster, uid).await?.view()))
}

pub async fn batches(State(cluster): State<Shared>, RawQuery(query): RawQuery) -> Result<Response, Failure> {
    let query = TaskQuery { begun: true, ..listing(query)? };
    let page = cluster.store.tasks(&query).await.map_err(Error::from)?;
    Ok(json(StatusCode::OK, page.batches_view(query.limit)))
}

pub async fn batch(State(cluster): State<Shared>, Path(uid): Path<String>) -> Result<Response, Failure> {
    let uid = number("Batch", &uid, Code::InvalidBatchUids)?;
    let found = cluster.store.task(uid).await.map_err(Error::from)?;
    let view = found.and_then(|task| task.batch_view());
    let view = view.ok_or_else(|| Failure::new(Code::BatchNotFound, format!("Batch `{uid}` not found.")))?;
    Ok(json(StatusCode::OK, view))
}

pub async fn cancel(State(cluster): State<Shared>, RawQuery(query): RawQuery) -> Result<Response, Failure> {
    let text = query.unwrap_or_default();
    let query = selection(&text, "cancel")?;
    Ok(answered(StatusCode::OK, cluster.cancel_tasks(&query, &format!("?{text}")).await?))
}

pub async fn delete(State(cluster): State<Shared>, RawQuery(query): RawQuery) -> Result<Response, Failure> {
    let text = query.unwrap_or_default();
    let query = selection(&text, "delete")?;
    Ok(answered(StatusCode::OK, cluster.delete_tasks(&query, &format!("?{text}")).await?))
}

fn pairs(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn listing(query: Option<String>) -> Result<TaskQuery, Failure> {
    let pairs = pairs(&query.unwrap_or_default());
    let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    TaskQuery::of_listing(pairs).map_err(|error| Error::Invalid(error).into())
}

fn selection(query: &str, verb: &str) -> Result<TaskQuery, Failure> {
    let pairs = pairs(query);
    let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let query = TaskQuery::of_selection(pairs).map_err(Error::Invalid)?;
    query.ok_or_else(|| {
        let message = format!(
            "Query parameters to filter the tasks to {verb} are missing. Available query parameters are: `uids`, `indexUids`, `statuses`, `types`, `canceledBy`, `beforeEnqueuedAt`, `afterEnqueuedAt`, `beforeStartedAt`, `afterStartedAt`, `beforeFinishedAt`, `afterFinishedAt`."
        );
        Failure::new(Code::MissingTaskFilters, message)
    })
}

/// A task or batch number in a path: 32 bits, as clients know them.
pub(super) fn number(what: &str, text: &str, code: Code) -> Result<TaskUid, Failure> {
    let number: Result<u32, _> = text.parse();
    number.map(|number| TaskUid(number.into())).map_err(|_| {
        let message = format!("{what} uid `{text}` is invalid. It should only contain numeric characters.");
        Failure::new(code, message)
    })
}

/// A task by number.
pub async fn find(cluster: &Shared, uid: TaskUid) -> Result<Task, Failure> {
    let found = cluster.store.task(uid).await.map_err(Error::from)?;
    found.ok_or_else(|| Failure::new(Code::TaskNotFound, format!("Task `{uid}` not found.")))
}
