//! Tasks out of Redis.

use std::collections::BTreeSet;

use miroir_core::base::id::{IndexUid, TaskUid};
use miroir_core::write::task::{Task, TaskPage, TaskQuery, TimeRange};
use redis::{Value, cmd};
use serde::Serialize;
use time::OffsetDateTime;

use super::failure::Failure;
use super::pool::Pool;
use super::reply::{bytes, is_nil, list, number, text};
use super::row::{MAX_NUMBER, split};
use super::script::{DELETE, PAGE, PRUNE, TASK, UNSETTLED};
use crate::StoreError;
use crate::label::parse;

/// The most tasks that one page may ask the script for.
const LARGEST_PAGE: u64 = 1 << 40;

/// A query as the script takes it.
#[derive(Serialize)]
struct Query {
    #[serde(skip_serializing_if = "Option::is_none")]
    uids: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    canceled_by: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statuses: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kinds: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    indexes: Option<Vec<String>>,
    begun: bool,
    /// Only tasks that are final.
    r#final: bool,
    ranges: [Range; 3],
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<u64>,
    /// Only tasks of lower numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    below: Option<u64>,
    limit: u64,
    reverse: bool,
}

#[derive(Serialize)]
struct Range {
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<(i64, u32)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<(i64, u32)>,
}

impl Query {
    fn new(query: &TaskQuery) -> Self {
        let both = match (&query.uids, &query.batch_uids) {
            (Some(uids), Some(batches)) => Some(numbers(uids.intersection(batches))),
            (Some(uids), None) | (None, Some(uids)) => Some(numbers(uids)),
            (None, None) => None,
        };
        Self {
            uids: both,
            canceled_by: query.canceled_by.as_ref().map(numbers),
            statuses: query.statuses.as_ref().map(|set| set.iter().map(|status| status.name()).collect()),
            kinds: query.kinds.as_ref().map(|set| set.iter().map(|kind| kind.name()).collect()),
            indexes: query
                .index_uids
                .as_ref()
                .map(|set: &BTreeSet<IndexUid>| set.iter().map(IndexUid::to_string).collect()),
            // A task's batch has its number, from when the task has begun.
            begun: query.begun || query.batch_uids.is_some(),
            r#final: false,
            ranges: [query.enqueued, query.started, query.finished].map(Range::new),
            from: query.from.map(|uid| uid.0.min(MAX_NUMBER)),
            below: None,
            limit: (query.limit as u64).min(LARGEST_PAGE),
            reverse: query.reverse,
        }
    }

    fn json(&self) -> Result<String, StoreError> {
        serde_json::to_string(self).map_err(|error| StoreError::Unavailable(std::sync::Arc::new(error)))
    }
}

impl Range {
    fn new(range: TimeRange) -> Self {
        Self { after: range.after.map(split), before: range.before.map(split) }
    }
}

/// Those that the store can have given.
fn numbers<'a>(uids: impl IntoIterator<Item = &'a TaskUid>) -> Vec<u64> {
    uids.into_iter().map(|uid| uid.0).filter(|uid| *uid <= MAX_NUMBER).collect()
}

fn unexpected(pool: &Pool) -> StoreError {
    Failure::Answer { address: pool.address().to_owned() }.into()
}

pub(super) async fn one(pool: &Pool, prefix: &str, uid: TaskUid) -> Result<Option<Task>, StoreError> {
    if uid.0 > MAX_NUMBER {
        return Ok(None);
    }
    let answer = TASK.call(prefix).arg(uid.0).read(pool).await?;
    if is_nil(&answer) {
        return Ok(None);
    }
    let mut parts = list(Some(answer)).ok_or_else(|| unexpected(pool))?.into_iter();
    let label = text(parts.next()).ok_or_else(|| unexpected(pool))?;
    let body = bytes(parts.next()).ok_or_else(|| unexpected(pool))?;
    parse(uid, &body, &label).map(Some)
}

pub(super) async fn page(pool: &Pool, prefix: &str, query: &TaskQuery) -> Result<TaskPage, StoreError> {
    let query = Query::new(query);
    if query.uids.as_ref().is_some_and(Vec::is_empty) {
        return Ok(TaskPage::default());
    }
    let answer = PAGE.call(prefix).arg(query.json()?).read(pool).await?;
    let mut parts = list(Some(answer)).ok_or_else(|| unexpected(pool))?.into_iter();
    let total = number(parts.next()).ok_or_else(|| unexpected(pool))?;
    let next = parts.next().filter(|next| !is_nil(next));
    let next = next.map(|next| number(Some(next)).map(TaskUid).ok_or_else(|| unexpected(pool))).transpose()?;
    Ok(TaskPage { tasks: tasks(pool, parts.next())?, total, next })
}

pub(super) async fn unsettled(
    pool: &Pool,
    prefix: &str,
    after: Option<TaskUid>,
    limit: usize,
) -> Result<Vec<Task>, StoreError> {
    let limit = (limit as u64).min(LARGEST_PAGE);
    let answer = UNSETTLED.call(prefix).arg(later_than(after)).arg(limit).read(pool).await?;
    tasks(pool, Some(answer))
}

pub(super) async fn unfinished_uids(
    pool: &Pool,
    prefix: &str,
    after: Option<TaskUid>,
    limit: usize,
) -> Result<Vec<TaskUid>, StoreError> {
    let mut read = cmd("ZRANGEBYSCORE");
    read.arg(format!("{prefix}tasks:unsettled")).arg(later_than(after)).arg("+inf");
    read.arg("LIMIT").arg(0).arg((limit as u64).min(LARGEST_PAGE));
    let uids = list(Some(pool.ask(&read).await?)).ok_or_else(|| unexpected(pool))?;
    uids.into_iter().map(|uid| number(Some(uid)).map(TaskUid).ok_or_else(|| unexpected(pool))).collect()
}

/// As a bound of Redis.
fn later_than(uid: Option<TaskUid>) -> String {
    uid.map_or_else(|| "-inf".to_owned(), |uid| format!("({}", uid.0.min(MAX_NUMBER)))
}

/// Number, label and body in turn.
fn tasks(pool: &Pool, answer: Option<Value>) -> Result<Vec<Task>, StoreError> {
    let parts = list(answer).ok_or_else(|| unexpected(pool))?;
    let mut tasks = Vec::with_capacity(parts.len() / 3);
    let mut parts = parts.into_iter();
    while let Some(uid) = parts.next() {
        let uid = number(Some(uid)).ok_or_else(|| unexpected(pool))?;
        let label = text(parts.next()).ok_or_else(|| unexpected(pool))?;
        let body = bytes(parts.next()).ok_or_else(|| unexpected(pool))?;
        tasks.push(parse(TaskUid(uid), &body, &label)?);
    }
    Ok(tasks)
}

pub(super) async fn prune(
    pool: &Pool,
    prefix: &str,
    finished_before: OffsetDateTime,
    limit: usize,
) -> Result<u64, StoreError> {
    let (second, nano) = split(finished_before);
    let limit = (limit as u64).min(LARGEST_PAGE);
    let answer = PRUNE.call(prefix).arg(second).arg(nano).arg(limit).run(pool).await?;
    number(Some(answer)).ok_or_else(|| unexpected(pool))
}

pub(super) async fn delete(
    pool: &Pool,
    prefix: &str,
    query: &TaskQuery,
    before: TaskUid,
    limit: usize,
) -> Result<u64, StoreError> {
    let mut query = Query::new(query);
    query.r#final = true;
    query.from = None;
    query.below = Some(before.0.min(MAX_NUMBER));
    query.reverse = true;
    query.limit = (limit as u64).min(LARGEST_PAGE);
    let answer = DELETE.call(prefix).arg(query.json()?).run(pool).await?;
    number(Some(answer)).ok_or_else(|| unexpected(pool))
}
