//! `miroir-ctl leases`: which instance leads what, and until when.

use miroir_api::{Lease, Leases};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Report, json, table};

/// The command.
pub fn run(client: &Client, output: Output) -> Result<Report, Failure> {
    let value: Value = client.get("/leases")?;
    let leases = Leases::deserialize(&value).map_err(|error| client.misshapen("the leases", &error))?;
    Ok(Report::good(match output {
        Output::Json => json(&value),
        Output::Table => print(&leases),
    }))
}

/// The time that is left, as people read it.
fn ends_in(lease: &Lease) -> String {
    format!("{}.{} s", lease.ends_in_ms / 1000, lease.ends_in_ms % 1000 / 100)
}

fn print(leases: &Leases) -> String {
    let rows: Vec<Vec<String>> = leases
        .leases
        .iter()
        .map(|lease| vec![lease.scope.clone(), lease.holder.clone(), lease.token.to_string(), ends_in(lease)])
        .collect();
    table(&["scope", "holder", "token", "ends in"], &rows, "No leases.")
}
