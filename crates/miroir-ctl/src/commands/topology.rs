//! `miroir-ctl topology`: the nodes, their states and what they hold.

use miroir_api::{Topology, TopologyNode};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Report, facts, json, or_dash, table};

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

/// The state of a node, and whether it is drained.
pub fn state(TopologyNode { node, draining }: &TopologyNode) -> String {
    if *draining { format!("{}, drained", node.state) } else { node.state.to_string() }
}

fn print(topology: &Topology) -> String {
    let head = facts(&[
        ("epoch", topology.epoch.to_string()),
        ("shards", topology.shards.to_string()),
        ("replication factor", topology.replication_factor.to_string()),
        ("replica groups", topology.replica_groups.to_string()),
        ("placement", topology.placement.to_string()),
        ("degraded shards", topology.degraded_shards.to_string()),
        ("stale replicas", topology.stale_replicas.to_string()),
    ]);
    let rows: Vec<Vec<String>> = topology
        .nodes
        .iter()
        .map(|member| {
            let node = &member.node;
            vec![
                node.id.clone(),
                node.replica_group.to_string(),
                state(member),
                node.shard_replicas.to_string(),
                or_dash(node.version.as_deref()),
                node.address.clone(),
                node.since.clone(),
                or_dash(node.last_error.as_deref()),
            ]
        })
        .collect();
    let names = ["node", "group", "state", "replicas", "version", "address", "since", "last error"];
    format!("{head}\n{}", table(&names, &rows, "No nodes."))
}
