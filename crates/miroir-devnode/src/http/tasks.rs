//! `/tasks`.

use std::collections::BTreeSet;

use axum::extract::{Path, RawQuery, State};
use serde_json::{Value, json};

use super::{Answer, Shared, blocking, ok, request};
use crate::engine::check_uid;
use crate::error::{ApiError, ApiResult};
use crate::fields::Fields;
use crate::search::query::FromText;
use crate::task::queue::TaskFilter;
use crate::task::{Kind, Status};

/// Names that Meilisearch knows and this node never uses: asking for them finds nothing.
const OTHER_KINDS: [&str; 7] = [
    "documentEdition",
    "taskDeletion",
    "dumpCreation",
    "snapshotCreation",
    "export",
    "upgradeDatabase",
    "indexCompaction",
];

/// `GET /tasks/{uid}`
pub async fn one(State(app): Shared, Path(uid): Path<String>) -> Answer {
    let number: u32 = uid.parse().map_err(|_| {
        ApiError::new(
            "invalid_task_uids",
            format!("Task uid `{uid}` is invalid. It should only contain numeric characters."),
        )
    })?;
    let task = blocking(move || app.queue.task(number)).await?;
    let task = task.ok_or_else(|| ApiError::new("task_not_found", format!("Task `{number}` not found.")))?;
    ok(&task.view())
}

/// `GET /tasks`
pub async fn list(State(app): Shared, RawQuery(query): RawQuery) -> Answer {
    let table = [
        ("limit", FromText::Scalar),
        ("from", FromText::Scalar),
        ("reverse", FromText::Scalar),
        ("uids", FromText::List),
        ("statuses", FromText::List),
        ("types", FromText::List),
        ("indexUids", FromText::List),
    ];
    let mut query = request::query(query.as_deref(), &table);
    let limit: u32 = query.or("limit", "invalid_task_limit", 20)?;
    let from: Option<u32> = query.take("from", "invalid_task_from")?;
    let reverse: bool = query.or("reverse", "invalid_task_reverse", false)?;
    let filter = read_filter(&mut query)?;
    query.finish()?;
    let page = blocking(move || app.queue.page(&filter, limit as usize, from, reverse)).await?;
    ok(&json!({
        "results": page.tasks.iter().map(crate::task::Task::view).collect::<Vec<Value>>(),
        "total": page.total,
        "limit": limit,
        "from": page.tasks.first().map(|task| task.uid),
        "next": page.next,
    }))
}

/// `POST /tasks/cancel`: by number only, which is all that is asked of a node.
pub async fn cancel(State(app): Shared, RawQuery(query): RawQuery) -> Answer {
    let filter = format!("?{}", query.as_deref().unwrap_or_default());
    let mut fields = request::query(query.as_deref(), &[("uids", FromText::List)]);
    let uids = read_uids(&mut fields)?;
    fields.finish()?;
    let uids = uids.ok_or_else(|| {
        ApiError::new("missing_task_filters", "Query parameters to filter the tasks to cancel are missing.")
    })?;
    let task = blocking(move || app.queue.cancel(&uids, filter)).await?;
    let mut summary = task.summary();
    summary["status"] = "enqueued".into();
    ok(&summary)
}

fn read_uids(query: &mut Fields) -> ApiResult<Option<BTreeSet<u32>>> {
    let uids = names(query, "uids", "invalid_task_uids")?.map(|uids| {
        let number = |uid: String| {
            uid.trim().parse().map_err(|_| {
                ApiError::new(
                    "invalid_task_uids",
                    format!("Invalid value in parameter `uids`: could not parse `{uid}` as a positive integer"),
                )
            })
        };
        uids.into_iter().map(number).collect::<ApiResult<_>>()
    });
    uids.transpose()
}

fn read_filter(query: &mut Fields) -> ApiResult<TaskFilter> {
    let uids = read_uids(query)?;
    let statuses = names(query, "statuses", "invalid_task_statuses")?
        .map(|statuses| known(statuses, "statuses", "invalid_task_statuses", &Status::ALL, Status::name, &[]));
    let kinds = names(query, "types", "invalid_task_types")?
        .map(|kinds| known(kinds, "types", "invalid_task_types", &Kind::ALL, Kind::name, &OTHER_KINDS));
    let index_uids = names(query, "indexUids", "invalid_index_uid")?;
    for uid in index_uids.iter().flatten() {
        check_uid(uid)?;
    }
    Ok(TaskFilter { uids, statuses: statuses.transpose()?, kinds: kinds.transpose()?, index_uids })
}

/// A list parameter; `*` is no condition.
fn names(query: &mut Fields, name: &'static str, code: &str) -> ApiResult<Option<Vec<String>>> {
    let names: Option<Vec<String>> = query.take(name, code)?;
    Ok(names.filter(|names| !names.iter().any(|name| name == "*")))
}

/// Looks names up, whatever their case.
fn known<T: Copy>(
    names: Vec<String>,
    parameter: &str,
    code: &str,
    all: &[T],
    name_of: impl Fn(T) -> &'static str,
    unused: &[&str],
) -> ApiResult<Vec<T>> {
    let mut found = Vec::new();
    for name in names {
        let same = |known: &str| known.eq_ignore_ascii_case(&name);
        match all.iter().find(|item| same(name_of(**item))) {
            Some(item) => found.push(*item),
            None if unused.iter().any(|known| same(known)) => {}
            None => {
                let accepted: Vec<_> = all.iter().map(|item| format!("`{}`", name_of(*item))).collect();
                return Err(ApiError::new(
                    code,
                    format!(
                        "Invalid value in parameter `{parameter}`: `{name}` is not a valid value. Available values are {}.",
                        accepted.join(", ")
                    ),
                ));
            }
        }
    }
    Ok(found)
}
