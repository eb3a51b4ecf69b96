//! `/_miroir/leases` and `/_miroir/jobs`: who does what in the background.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use miroir_store::{HeldLease, JobOptions, Jobs, ListedJob};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::Failure;
use super::{Shared, json};
use crate::cluster::Error;

/// Leases that have not ended, by scope.
pub async fn leases(State(cluster): State<Shared>) -> Result<Response, Failure> {
    let leases = cluster.store.leases().await.map_err(Error::Store)?;
    let leases: Vec<Value> = leases.iter().map(lease_view).collect();
    Ok(json(StatusCode::OK, json!({ "leases": leases }).to_string()))
}

fn lease_view(held: &HeldLease) -> Value {
    let lease = &held.lease;
    let ends_in_ms = u64::try_from(held.ends_in.as_millis()).unwrap_or(u64::MAX);
    json!({ "scope": lease.scope, "holder": lease.holder, "token": lease.token, "endsInMs": ends_in_ms })
}

/// Jobs, open and ended, in the order in which they were enqueued.
pub async fn jobs(State(cluster): State<Shared>) -> Result<Response, Failure> {
    let jobs = Jobs::new(cluster.store.clone(), JobOptions::default()).list().await.map_err(Error::Store)?;
    let jobs: Vec<Value> = jobs.iter().map(job_view).collect();
    Ok(json(StatusCode::OK, json!({ "jobs": jobs }).to_string()))
}

/// Without its payload, which may hold what an operator need not see.
fn job_view(listed: &ListedJob) -> Value {
    let job = &listed.job;
    let instant = |instant: OffsetDateTime| instant.format(&Rfc3339).unwrap_or_default();
    json!({
        "id": listed.id,
        "kind": job.kind,
        "state": job.state.name(),
        "cursor": job.cursor,
        "chunks": job.chunks,
        "attempts": job.attempts,
        "vanished": job.vanished,
        "error": job.error,
        "notBefore": job.not_before.map(instant),
        "enqueuedAt": instant(job.enqueued_at),
        "updatedAt": instant(job.updated_at),
        "claim": listed.claim.as_ref().map(lease_view),
    })
}
