//! `/tasks` and `/batches`.

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use miroir_core::auth::Grant;
use miroir_core::error::Code;
use miroir_core::id::{IndexUid, TaskUid};
use miroir_core::task::{Task, TaskPage, TaskQuery};

use super::error::Failure;
use super::{Shared, answered, json};
use crate::cluster::Error;

pub async fn list(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let query = listing(query)?;
    let page = page(&cluster, &grant, &query).await?;
    cluster.catch_up_with(&page.tasks).await?;
    Ok(json(StatusCode::OK, page.view(query.limit)))
}

/// What may be seen of a page. As one server does it: the page is cut first, one longer, and what may not be seen is
/// taken out of it; the total stays that of all tasks.
async fn page(cluster: &Shared, grant: &Grant, query: &TaskQuery) -> Result<TaskPage, Failure> {
    if grant.allows_all() {
        return Ok(cluster.store.tasks(query).await.map_err(Error::from)?);
    }
    let longer = TaskQuery { limit: query.limit.saturating_add(1), ..query.clone() };
    let page = cluster.store.tasks(&longer).await.map_err(Error::from)?;
    let mut tasks: Vec<Task> = page.tasks.into_iter().filter(|task| may_see(grant, task)).collect();
    let next = if tasks.len() > query.limit { tasks.pop().map(|task| task.uid) } else { None };
    Ok(TaskPage { tasks, total: page.total, next })
}

fn may_see(grant: &Grant, task: &Task) -> bool {
    grant.sees_task_of(task.index_uid.as_ref().map(IndexUid::as_str))
}

pub async fn get(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    Path(uid): Path<String>,
) -> Result<Response, Failure> {
    let uid = number("Task", &uid, Code::InvalidTaskUids)?;
    Ok(json(StatusCode::OK, find(&cluster, &grant, uid).await?.view()))
}

pub async fn batches(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let query = TaskQuery { begun: true, ..listing(query)? };
    let page = page(&cluster, &grant, &query).await?;
    cluster.catch_up_with(&page.tasks).await?;
    Ok(json(StatusCode::OK, page.batches_view(query.limit)))
}

pub async fn batch(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    Path(uid): Path<String>,
) -> Result<Response, Failure> {
    let uid = number("Batch", &uid, Code::InvalidBatchUids)?;
    let found = seen(&cluster, &grant, uid).await?;
    let view = found.and_then(|task| task.batch_view());
    let view = view.ok_or_else(|| Failure::new(Code::BatchNotFound, format!("Batch `{uid}` not found.")))?;
    Ok(json(StatusCode::OK, view))
}

pub async fn cancel(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let text = query.unwrap_or_default();
    let query = within(&cluster, &grant, selection(&text, "cancel")?);
    Ok(answered(StatusCode::OK, cluster.cancel_tasks(&query, &format!("?{text}")).await?))
}

pub async fn delete(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let text = query.unwrap_or_default();
    let query = within(&cluster, &grant, selection(&text, "delete")?);
    Ok(answered(StatusCode::OK, cluster.delete_tasks(&query, &format!("?{text}")).await?))
}

/// The selection, narrowed to tasks of indexes that may be touched.
fn within(cluster: &Shared, grant: &Grant, query: TaskQuery) -> TaskQuery {
    if grant.allows_all() {
        return query;
    }
    let allowed = |uid: &IndexUid| grant.allows(uid.as_str());
    let index_uids = match query.index_uids {
        Some(asked) => asked.into_iter().filter(allowed).collect(),
        None => cluster.indexes().iter().map(|index| index.uid.clone()).filter(allowed).collect(),
    };
    TaskQuery { index_uids: Some(index_uids), ..query }
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

/// A task by number, when it may be seen.
pub async fn find(cluster: &Shared, grant: &Grant, uid: TaskUid) -> Result<Task, Failure> {
    let found = seen(cluster, grant, uid).await?;
    found.ok_or_else(|| Failure::new(Code::TaskNotFound, format!("Task `{uid}` not found.")))
}

async fn seen(cluster: &Shared, grant: &Grant, uid: TaskUid) -> Result<Option<Task>, Failure> {
    let found = cluster.store.task(uid).await.map_err(Error::from)?;
    let found = found.filter(|task| may_see(grant, task));
    cluster.catch_up_with(found.as_slice()).await?;
    Ok(found)
}
