//! `/_miroir/leases`, `/_miroir/jobs` and `/_miroir/tasks`: who does what in the background, and what nodes do for a task.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use miroir_api::{ErrorBody, Job, JobState, Jobs, Lease, Leases, NodeTask, Task};
use miroir_cluster::{Error, rfc3339};
use miroir_core::access::Grant;
use miroir_core::base::error::{self, Code};
use miroir_core::base::id::TaskUid;
use miroir_core::write::task;
use miroir_store::{self as store, HeldLease, ListedJob};

use super::error::Failure;
use super::openapi::Refused;
use super::{Named, Shared, shown, tasks};

/// Which instance leads what, and until when
#[utoipa::path(
    get,
    path = "/_miroir/leases",
    operation_id = "leases",
    tag = "work",
    responses((status = 200, description = "Leases that have not ended, by scope.", body = Leases), Refused),
)]
pub async fn leases(State(cluster): State<Shared>) -> Result<Response, Failure> {
    let leases = cluster.state.leases().await?;
    shown(StatusCode::OK, &Leases { leases: leases.iter().map(lease_view).collect() })
}

fn lease_view(held: &HeldLease) -> Lease {
    let lease = &held.lease;
    let ends_in_ms = u64::try_from(held.ends_in.as_millis()).unwrap_or(u64::MAX);
    Lease { scope: lease.scope.clone(), holder: lease.holder.clone(), token: lease.token, ends_in_ms }
}

/// The jobs of the background, open and ended
#[utoipa::path(
    get,
    path = "/_miroir/jobs",
    operation_id = "jobs",
    tag = "work",
    responses((status = 200, description = "Jobs, in the order in which they were enqueued.", body = Jobs), Refused),
)]
pub async fn jobs(State(cluster): State<Shared>) -> Result<Response, Failure> {
    let jobs = cluster.state.jobs().await?;
    shown(StatusCode::OK, &Jobs { jobs: jobs.iter().map(job_view).collect() })
}

/// Without its payload, which may hold what an operator need not see.
fn job_view(listed: &ListedJob) -> Job {
    let job = &listed.job;
    let state = match job.state {
        store::JobState::Waiting => JobState::Waiting,
        store::JobState::Running => JobState::Running,
        store::JobState::Finished => JobState::Finished,
        store::JobState::Failed => JobState::Failed,
    };
    Job {
        id: listed.id.to_string(),
        kind: job.kind.clone(),
        state,
        cursor: job.cursor.clone(),
        chunks: job.chunks,
        attempts: job.attempts,
        vanished: job.vanished,
        error: job.error.clone(),
        not_before: job.not_before.map(rfc3339),
        enqueued_at: rfc3339(job.enqueued_at),
        updated_at: rfc3339(job.updated_at),
        claim: listed.claim.as_ref().map(lease_view),
    }
}

/// A task, and the tasks of nodes that it stands for
///
/// `mtask-00012` is the same as `12`.
#[utoipa::path(
    get,
    path = "/_miroir/tasks/{uid}",
    operation_id = "task",
    tag = "work",
    params(("uid" = String, Path, description = "The number of the task.", pattern = "^(mtask-)?[0-9]+$", example = "12")),
    responses(
        (status = 200, description = "The task.", body = Task),
        (status = 400, description = "This is no number of a task (`invalid_task_uids`).", body = ErrorBody),
        (status = 404, description = "There is no such task (`task_not_found`).", body = ErrorBody),
        Refused,
    ),
)]
pub async fn task(State(cluster): State<Shared>, Named(text): Named) -> Result<Response, Failure> {
    let uid = TaskUid::parse(&text).ok_or_else(|| {
        let message = format!("`{text}` is not a task: expected a number such as `12` or `mtask-00012`");
        Failure::new(Code::InvalidTaskUids, message)
    })?;
    let task = tasks::find(&cluster, &Grant::everything(), uid).await?;
    // What clients see of it, and more.
    let mut view: Task =
        serde_json::from_str(&task.view()).map_err(|error| Error::Internal(format!("a task is no task: {error}")))?;
    view.node_tasks = task.node_tasks.iter().map(node_task_view).collect();
    shown(StatusCode::OK, &view)
}

fn node_task_view(task: &task::NodeTask) -> NodeTask {
    NodeTask {
        node: task.node.to_string(),
        uid: task.uid,
        shards: task.shards.iter().map(|shard| shard.0).collect(),
        status: task.status.name().to_owned(),
        error: task.error.as_ref().map(error_view),
    }
}

fn error_view(error: &error::ErrorBody) -> ErrorBody {
    let error::ErrorBody { message, code, kind, link } = error.clone();
    ErrorBody { message, code, kind, link }
}
