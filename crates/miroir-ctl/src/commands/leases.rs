//! `miroir-ctl leases`: which instance leads what, and until when.

use serde::Deserialize;
use serde_json::Value;

use crate::cli::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Report, json, table};

/// `GET /_miroir/leases`.
#[derive(Debug, Deserialize)]
struct Leases {
    leases: Vec<Lease>,
}

/// A lease that has not ended.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    pub scope: String,
    pub holder: String,
    pub token: u64,
    pub ends_in_ms: u64,
}

impl Lease {
    /// The time that is left, as people read it.
    pub fn ends_in(&self) -> String {
        format!("{}.{} s", self.ends_in_ms / 1000, self.ends_in_ms % 1000 / 100)
    }
}

/// The command.
pub fn run(client: &Client, output: Output) -> Result<Report, Failure> {
    let value: Value = client.get("/leases")?;
    let leases = Leases::deserialize(&value).map_err(|error| client.misshapen("the leases", &error))?;
    Ok(Report::good(match output {
        Output::Json => json(&value),
        Output::Table => print(&leases),
    }))
}

fn print(leases: &Leases) -> String {
    let rows: Vec<Vec<String>> = leases
        .leases
        .iter()
        .map(|lease| vec![lease.scope.clone(), lease.holder.clone(), lease.token.to_string(), lease.ends_in()])
        .collect();
    table(&["scope", "holder", "token", "ends in"], &rows)
}
