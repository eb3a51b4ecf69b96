//! `miroir-ctl jobs`: queued work, open and ended.

use miroir_api::Jobs;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Report, json, or_dash, table};

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
                job.state.to_string(),
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
    table(&names, &rows, "No jobs.")
}
