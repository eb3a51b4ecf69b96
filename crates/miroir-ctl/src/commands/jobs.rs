//! `miroir-ctl jobs`: queued work, open and ended.

use serde::Deserialize;
use serde_json::Value;

use super::leases::Lease;
use crate::cli::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Report, json, or_dash, table};

/// `GET /_miroir/jobs`.
#[derive(Debug, Deserialize)]
struct Jobs {
    jobs: Vec<Job>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Job {
    id: String,
    kind: String,
    state: String,
    chunks: u64,
    attempts: u32,
    error: Option<String>,
    enqueued_at: String,
    updated_at: String,
    claim: Option<Lease>,
}

/// The command.
pub fn run(client: &Client, output: Output) -> Result<Report, Failure> {
    let value: Value = client.get("/jobs")?;
    let jobs = Jobs::deserialize(&value).map_err(|error| client.misshapen("the jobs", &error))?;
    Ok(Report::good(match output {
        Output::Json => json(&value),
        Output::Table => print(&jobs),
    }))
}

fn print(jobs: &Jobs) -> String {
    let rows: Vec<Vec<String>> = jobs
        .jobs
        .iter()
        .map(|job| {
            vec![
                job.id.clone(),
                job.kind.clone(),
                job.state.clone(),
                job.chunks.to_string(),
                job.attempts.to_string(),
                or_dash(job.claim.as_ref().map(|claim| claim.holder.as_str())),
                job.enqueued_at.clone(),
                job.updated_at.clone(),
                or_dash(job.error.as_deref()),
            ]
        })
        .collect();
    let names = ["job", "kind", "state", "chunks", "attempts", "claimed by", "enqueued", "updated", "last error"];
    table(&names, &rows)
}
