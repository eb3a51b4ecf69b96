//! `miroir-ctl status`: is Miroir ready, and are all replicas in use?

use serde::Deserialize;
use serde_json::{Value, json};

use super::topology::{self, Topology};
use crate::cli::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, Report, facts};

/// `GET /_miroir/ready?cluster=true`.
#[derive(Debug, Deserialize)]
struct Ready {
    ready: bool,
    #[serde(default)]
    reasons: Vec<String>,
}

/// The command. Not ready is a bad report, not a failure to report.
pub fn run(client: &Client, output: Output) -> Result<Report, Failure> {
    let ready = ready(client)?;
    let (value, topology) = topology::fetch(client)?;
    let text = match output {
        Output::Json => output::json(&as_json(&ready, value)),
        Output::Table => print(&ready, &topology),
    };
    Ok(Report { text, good: ready.ready })
}

fn ready(client: &Client) -> Result<Ready, Failure> {
    let answer = client.ask("/ready?cluster=true")?;
    match answer.status {
        200 | 503 => Ready::deserialize(&answer.body).map_err(|error| client.misshapen("readiness", &error)),
        _ => Err(client.refusal(answer)),
    }
}

fn as_json(ready: &Ready, topology: Value) -> Value {
    json!({ "ready": ready.ready, "reasons": ready.reasons, "topology": topology })
}

fn print(ready: &Ready, topology: &Topology) -> String {
    let healthy = topology.nodes.iter().filter(|node| node.state == "healthy").count();
    let mut rows = vec![("ready", if ready.ready { "yes" } else { "no" }.to_owned())];
    rows.extend(ready.reasons.iter().map(|reason| ("because", reason.clone())));
    rows.push(("nodes", format!("{healthy} of {} healthy", topology.nodes.len())));
    let others = topology.nodes.iter().filter(|node| node.state != "healthy");
    rows.extend(others.map(|node| {
        let why = node.last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        ("", format!("{} is {}{why}", node.id, node.state))
    }));
    let copies = format!("replication factor {}", topology.replication_factor);
    rows.push(("shards", format!("{}, {copies}, replica groups {}", topology.shards, topology.replica_groups)));
    rows.push(("degraded shards", topology.degraded_shards.to_string()));
    rows.push(("stale replicas", topology.stale_replicas.to_string()));
    facts(&rows)
}
