//! `/tasks` and `/batches`.

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use miroir_cluster::Error;
use miroir_core::access::Grant;
use miroir_core::base::error::Code;
use miroir_core::base::id::{IndexUid, TaskUid};
use miroir_core::write::task::{Task, TaskQuery};

use super::error::Failure;
use super::observe::undertaken;
use super::{Shared, answered, json};

pub async fn list(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let query = listing(query)?;
    page(&cluster, &grant, &query, |task| Some(task.view())).await
}

/// Tasks that the store is asked for at one time: a page has as many as the client wants, and the store has others to serve.
const SLICE: usize = 250;

/// A page as it is written, slice by slice.
struct Page {
    /// What is shown of its tasks, with commas between.
    results: String,
    shown: usize,
    total: u64,
    from: Option<TaskUid>,
    next: Option<TaskUid>,
}

/// What may be seen of a page. As one server does it: the page is cut first, one longer for who may not see all, and what
/// may not be seen is taken out of it; the total stays that of all tasks.
async fn page(
    cluster: &Shared,
    grant: &Grant,
    query: &TaskQuery,
    view: impl Fn(&Task) -> Option<String>,
) -> Result<Response, Failure> {
    let mut page = Page { results: String::new(), shown: 0, total: 0, from: None, next: None };
    let mut reserved = cluster.state.replies.reserve();
    let most = cluster.state.config.server.max_reply_bytes.get();
    let mut left = if grant.allows_all() { query.limit } else { query.limit.saturating_add(1) };
    let mut from = query.from;
    let mut is_first = true;
    loop {
        let slice = TaskQuery { limit: left.min(SLICE), from, ..query.clone() };
        let slice = cluster.state.tasks(&slice).await?;
        if std::mem::take(&mut is_first) {
            page.total = slice.total;
        }
        left = left.saturating_sub(slice.tasks.len());
        let before = page.results.len();
        for task in slice.tasks.iter().filter(|task| may_see(grant, task)) {
            page.add(task, query.limit, &view);
        }
        reserved.grow((page.results.len() - before) as u64).map_err(Error::from)?;
        if page.results.len() > most {
            return Err(Error::ReplyTooLarge { limit: most }.into());
        }
        match slice.next {
            Some(next) if left > 0 && !slice.tasks.is_empty() => from = Some(next),
            next => {
                if grant.allows_all() {
                    page.next = next;
                }
                return Ok(json(StatusCode::OK, page.text(query.limit)));
            }
        }
    }
}

impl Page {
    fn add(&mut self, task: &Task, limit: usize, view: impl Fn(&Task) -> Option<String>) {
        if self.shown == limit {
            // The one that the page was longer by.
            self.next = Some(task.uid);
            return;
        }
        self.shown += 1;
        self.from.get_or_insert(task.uid);
        if let Some(view) = view(task) {
            if !self.results.is_empty() {
                self.results.push(',');
            }
            self.results.push_str(&view);
        }
    }

    fn text(&self, limit: usize) -> String {
        let number = |uid: Option<TaskUid>| uid.map_or_else(|| "null".to_owned(), |uid| uid.to_string());
        let (results, total, from, next) = (&self.results, self.total, number(self.from), number(self.next));
        format!(r#"{{"results":[{results}],"total":{total},"limit":{limit},"from":{from},"next":{next}}}"#)
    }
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
    page(&cluster, &grant, &query, Task::batch_view).await
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
    let filter = format!("?{text}");
    let canceled = undertaken(&cluster, move |cluster, writer| async move {
        cluster.tasks.cancel_tasks(&writer, &query, &filter).await
    });
    Ok(answered(StatusCode::OK, canceled.await?))
}

pub async fn delete(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let text = query.unwrap_or_default();
    let query = within(&cluster, &grant, selection(&text, "delete")?);
    let filter = format!("?{text}");
    let deleted = undertaken(&cluster, move |cluster, writer| async move {
        cluster.tasks.delete_tasks(&writer, &query, &filter).await
    });
    Ok(answered(StatusCode::OK, deleted.await?))
}

/// The selection, narrowed to tasks of indexes that may be touched.
fn within(cluster: &Shared, grant: &Grant, query: TaskQuery) -> TaskQuery {
    if grant.allows_all() {
        return query;
    }
    let allowed = |uid: &IndexUid| grant.allows(uid.as_str());
    let index_uids = match query.index_uids {
        Some(asked) => asked.into_iter().filter(allowed).collect(),
        None => cluster.state.indexes().iter().map(|index| index.uid.clone()).filter(allowed).collect(),
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
    Ok(cluster.state.task(uid, |task| may_see(grant, task)).await?)
}
