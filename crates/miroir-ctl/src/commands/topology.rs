//! `miroir-ctl topology`: the nodes, their states and what they hold.

use serde::Deserialize;
use serde_json::Value;

use crate::cli::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Report, facts, json, or_dash, table};

/// `GET /_miroir/topology`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    pub epoch: u64,
    pub shards: u32,
    pub replication_factor: u32,
    pub replica_groups: u32,
    pub placement: String,
    pub nodes: Vec<Node>,
    pub degraded_shards: u64,
    pub stale_replicas: u64,
}

/// One node as its instance sees it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    pub id: String,
    pub address: String,
    pub replica_group: u32,
    pub state: String,
    pub since: Option<String>,
    pub last_error: Option<String>,
    pub version: Option<String>,
    pub shard_replicas: u64,
    #[serde(default)]
    pub draining: bool,
}

/// Ask for the topology: as it came, and understood.
pub fn fetch(client: &Client) -> Result<(Value, Topology), Failure> {
    let value = client.get("/topology")?;
    let topology = Topology::deserialize(&value).map_err(|error| client.misshapen("the topology", &error))?;
    Ok((value, topology))
}

/// The command.
pub fn run(client: &Client, output: Output) -> Result<Report, Failure> {
    let (value, topology) = fetch(client)?;
    Ok(Report::good(match output {
        Output::Json => json(&value),
        Output::Table => print(&topology),
    }))
}

fn print(topology: &Topology) -> String {
    let head = facts(&[
        ("epoch", topology.epoch.to_string()),
        ("shards", topology.shards.to_string()),
        ("replication factor", topology.replication_factor.to_string()),
        ("replica groups", topology.replica_groups.to_string()),
        ("placement", topology.placement.clone()),
        ("degraded shards", topology.degraded_shards.to_string()),
        ("stale replicas", topology.stale_replicas.to_string()),
    ]);
    let rows: Vec<Vec<String>> = topology
        .nodes
        .iter()
        .map(|node| {
            vec![
                node.id.clone(),
                node.replica_group.to_string(),
                if node.draining { format!("{}, drained", node.state) } else { node.state.clone() },
                node.shard_replicas.to_string(),
                or_dash(node.version.as_deref()),
                node.address.clone(),
                or_dash(node.since.as_deref()),
                or_dash(node.last_error.as_deref()),
            ]
        })
        .collect();
    let names = ["node", "group", "state", "replicas", "version", "address", "since", "last error"];
    format!("{head}\n{}", table(&names, &rows))
}
