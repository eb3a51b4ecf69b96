//! `/tasks`.

use std::collections::BTreeSet;
use std::str::FromStr;

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use miroir_core::auth::Grant;
use miroir_core::error::Code;
use miroir_core::id::{IndexUid, TaskUid};
use miroir_core::task::{Task, TaskPage, TaskQuery};

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime};

use super::error::Failure;
use super::{Shared, json};

pub async fn list(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let pairs: Vec<(String, String)> =
        form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes()).into_owned().collect();
    let query = read_query(&pairs)?;
    let limit = query.limit;
    let page = if grant.allows_all() {
        cluster.store.tasks(&query).await.map_err(crate::cluster::Error::from)?
    } else {
        // As one server does it: the page is cut first, one longer, and what may not be seen is taken out of it.
        let longer = TaskQuery { limit: limit.saturating_add(1), ..query };
        let page = cluster.store.tasks(&longer).await.map_err(crate::cluster::Error::from)?;
        visible(page, limit, &grant)
    };
    Ok(json(StatusCode::OK, page.view(limit)))
}

/// The tasks of a page that may be seen. The total stays that of all tasks.
fn visible(page: TaskPage, limit: usize, grant: &Grant) -> TaskPage {
    let mut tasks: Vec<Task> = page.tasks.into_iter().filter(|task| may_see(grant, task)).collect();
    let next = if tasks.len() > limit { tasks.pop().map(|task| task.uid) } else { None };
    TaskPage { tasks, total: page.total, next }
}

/// Whether a task may be seen.
fn may_see(grant: &Grant, task: &Task) -> bool {
    grant.sees_task_of(task.index_uid.as_ref().map(IndexUid::as_str))
}

pub async fn get(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    Path(uid): Path<String>,
) -> Result<Response, Failure> {
    let uid = uid.parse().map_err(|_| {
        let message = format!("Invalid value in parameter `uid`: could not parse `{uid}` as a positive integer");
        Failure::new(Code::InvalidTaskUids, message)
    })?;
    let task = find(&cluster, TaskUid(uid)).await?;
    if !may_see(&grant, &task) {
        return Err(not_found(task.uid));
    }
    Ok(json(StatusCode::OK, task.view()))
}

/// A task by number.
pub async fn find(cluster: &Shared, uid: TaskUid) -> Result<Task, Failure> {
    let found = cluster.store.task(uid).await.map_err(crate::cluster::Error::from)?;
    found.ok_or_else(|| not_found(uid))
}

fn not_found(uid: TaskUid) -> Failure {
    Failure::new(Code::TaskNotFound, format!("Task `{uid}` not found."))
}

/// The parameters of a listing, as Meilisearch reads them: comma lists, `*` for no filter, names in any case.
fn read_query(pairs: &[(String, String)]) -> Result<TaskQuery, Failure> {
    let mut query = TaskQuery::default();
    for (name, value) in pairs {
        match name.as_str() {
            "limit" => query.limit = number(name, value, Code::InvalidTaskLimit)?,
            "from" => query.from = Some(TaskUid(number(name, value, Code::InvalidTaskFrom)?)),
            "reverse" => query.reverse = number(name, value, Code::InvalidTaskReverse)?,
            "uids" => query.uids = uids(name, value, Code::InvalidTaskUids)?,
            "batchUids" => query.batch_uids = uids(name, value, Code::InvalidBatchUids)?,
            "canceledBy" => query.canceled_by = uids(name, value, Code::InvalidTaskCanceledBy)?,
            "statuses" => query.statuses = set(name, value, Code::InvalidTaskStatuses)?,
            "types" => query.kinds = set(name, value, Code::InvalidTaskTypes)?,
            "indexUids" => query.index_uids = set(name, value, Code::InvalidIndexUid)?,
            "beforeEnqueuedAt" => query.enqueued.before = Some(date(name, value, Code::InvalidTaskBeforeEnqueuedAt)?),
            "afterEnqueuedAt" => query.enqueued.after = Some(date(name, value, Code::InvalidTaskAfterEnqueuedAt)?),
            "beforeStartedAt" => query.started.before = Some(date(name, value, Code::InvalidTaskBeforeStartedAt)?),
            "afterStartedAt" => query.started.after = Some(date(name, value, Code::InvalidTaskAfterStartedAt)?),
            "beforeFinishedAt" => query.finished.before = Some(date(name, value, Code::InvalidTaskBeforeFinishedAt)?),
            "afterFinishedAt" => query.finished.after = Some(date(name, value, Code::InvalidTaskAfterFinishedAt)?),
            unknown => {
                let message = format!("Unknown parameter `{unknown}`: expected one of {PARAMETERS}");
                return Err(Failure::new(Code::BadRequest, message));
            }
        }
    }
    Ok(query)
}

const PARAMETERS: &str = "`limit`, `from`, `reverse`, `batchUids`, `uids`, `canceledBy`, `types`, `statuses`, `indexUids`, `afterEnqueuedAt`, `beforeEnqueuedAt`, `afterStartedAt`, `beforeStartedAt`, `afterFinishedAt`, `beforeFinishedAt`";

fn invalid(name: &str, code: Code, why: impl std::fmt::Display) -> Failure {
    Failure::new(code, format!("Invalid value in parameter `{name}`: {why}"))
}

fn number<T: FromStr>(name: &str, value: &str, code: Code) -> Result<T, Failure> {
    value.parse().map_err(|_| invalid(name, code, format!("could not parse `{value}` as a positive integer")))
}

fn set<T: FromStr<Err: std::fmt::Display> + Ord>(
    name: &str,
    value: &str,
    code: Code,
) -> Result<Option<BTreeSet<T>>, Failure> {
    if value == "*" {
        return Ok(None);
    }
    let parse = |part: &str| part.parse().map_err(|error| invalid(name, code, error));
    value.split(',').map(parse).collect::<Result<_, _>>().map(Some)
}

fn uids(name: &str, value: &str, code: Code) -> Result<Option<BTreeSet<TaskUid>>, Failure> {
    if value == "*" {
        return Ok(None);
    }
    let parse = |part: &str| {
        let why = || format!("could not parse `{part}` as a positive integer");
        part.parse().map(TaskUid).map_err(|_| invalid(name, code, why()))
    };
    value.split(',').map(parse).collect::<Result<_, _>>().map(Some)
}

/// RFC 3339, or a bare date: then `after` means after that day.
fn date(name: &str, value: &str, code: Code) -> Result<OffsetDateTime, Failure> {
    if let Ok(at) = OffsetDateTime::parse(value, &Rfc3339) {
        return Ok(at);
    }
    let day = Date::parse(value, format_description!("[year]-[month]-[day]")).map_err(|_| {
        let why =
            format!("`{value}` is an invalid date-time. It should follow the YYYY-MM-DD or RFC 3339 date-time format.");
        invalid(name, code, why)
    })?;
    let start = day.midnight().assume_utc();
    Ok(if name.starts_with("after") { start + Duration::days(1) - Duration::nanoseconds(1) } else { start })
}
