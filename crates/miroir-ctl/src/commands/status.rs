//! `miroir-ctl status`: is Miroir ready, and are all replicas in use?

use miroir_api::{Node, NodeState, Readiness, Topology};
use serde::Deserialize;
use serde_json::{Value, json};

use super::topology;
use crate::cli::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, Report, facts};

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

fn ready(client: &Client) -> Result<Readiness, Failure> {
    let answer = client.ask("/ready?cluster=true")?;
    match answer.status {
        200 | 503 => Readiness::deserialize(&answer.body).map_err(|error| client.misshapen("readiness", &error)),
        _ => Err(client.refusal(answer)),
    }
}

fn as_json(ready: &Readiness, topology: Value) -> Value {
    json!({ "ready": ready.ready, "reasons": ready.reasons, "topology": topology })
}

fn print(ready: &Readiness, topology: &Topology) -> String {
    let nodes = || topology.nodes.iter().map(|member| &member.node);
    let is_healthy = |node: &&Node| node.state == NodeState::Healthy;
    let healthy = nodes().filter(is_healthy).count();
    let mut rows = vec![("ready", if ready.ready { "yes" } else { "no" }.to_owned())];
    rows.extend(ready.reasons.iter().map(|reason| ("because", reason.clone())));
    rows.push(("nodes", format!("{healthy} of {} healthy", topology.nodes.len())));
    let others = nodes().filter(|node| !is_healthy(node));
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
