//! `miroir-ctl stale`: replicas that are not trusted, and how far their healing is.

use serde::Deserialize;
use serde_json::Value;

use crate::cli::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Report, json, or_dash, table};

/// `GET /_miroir/stale`.
#[derive(Debug, Deserialize)]
struct Answer {
    stale: Vec<Stale>,
    healing: Vec<Healing>,
}

#[derive(Debug, Deserialize)]
struct Stale {
    index: String,
    shard: u32,
    node: String,
    reason: String,
    since: String,
}

#[derive(Debug, Deserialize)]
struct Healing {
    node: String,
    mirrors: Vec<Mirror>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mirror {
    index: String,
    shard: u32,
    stage: String,
    done: u64,
    total: u64,
    seconds_left: Option<u64>,
    error: Option<String>,
}

/// The command.
pub fn run(client: &Client, output: Output) -> Result<Report, Failure> {
    let value: Value = client.get("/stale")?;
    let answer = Answer::deserialize(&value).map_err(|error| client.misshapen("the stale replicas", &error))?;
    Ok(Report::good(match output {
        Output::Json => json(&value),
        Output::Table => print(&answer),
    }))
}

fn print(answer: &Answer) -> String {
    let rows: Vec<Vec<String>> = answer.stale.iter().map(|stale| row(stale, answer)).collect();
    let names = ["index", "shard", "node", "reason", "since", "healing", "done", "seconds left", "last error"];
    table(&names, &rows)
}

fn row(stale: &Stale, answer: &Answer) -> Vec<String> {
    let of_node = answer.healing.iter().filter(|healing| healing.node == stale.node);
    let mirror = of_node.flat_map(|it| &it.mirrors).find(|it| it.index == stale.index && it.shard == stale.shard);
    vec![
        stale.index.clone(),
        stale.shard.to_string(),
        stale.node.clone(),
        stale.reason.clone(),
        stale.since.clone(),
        or_dash(mirror.map(|mirror| mirror.stage.as_str())),
        or_dash(mirror.map(|mirror| format!("{} of {}", mirror.done, mirror.total)).as_deref()),
        or_dash(mirror.and_then(|mirror| mirror.seconds_left).map(|left| left.to_string()).as_deref()),
        or_dash(mirror.and_then(|mirror| mirror.error.as_deref())),
    ]
}
