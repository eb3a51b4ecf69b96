//! `miroir-ctl node`: who is a member, who joins and who leaves.

use miroir_api::{AddNode, Topology, TopologyNode};
use serde_json::Value;

use super::{rebalance, topology};
use crate::cli::{NodeCommand, Output, Wait};
use crate::client::Client;
use crate::confirm::confirm;
use crate::failure::Failure;
use crate::output::{Report, json, or_dash, table};

/// The name of a node: nothing that would be another path.
pub fn parse_id(text: &str) -> Result<String, String> {
    miroir_core::config::node_id(text).map(|id| id.to_string()).map_err(|error| error.to_string())
}

/// The commands.
pub fn run(client: &Client, command: &NodeCommand, output: Output) -> Result<Report, Failure> {
    let begin = |answer: Value, wait: &Wait| rebalance::begun(client, &answer, *wait, output);
    match command {
        NodeCommand::List => list(client, output),
        NodeCommand::Add { id, address, group, wait } => {
            let node = AddNode { id: id.clone(), address: address.clone(), replica_group: *group };
            begin(client.post_json("/nodes", &node)?, wait)
        }
        NodeCommand::Drain { id, wait } => begin(client.post(&format!("/nodes/{id}/drain"))?, wait),
        NodeCommand::Undrain { id, wait } => begin(client.post(&format!("/nodes/{id}/undrain"))?, wait),
        NodeCommand::Remove { id, sure, wait } => {
            confirm(*sure, || Ok(removal(id, &topology::fetch(client)?.1, client.url())))?;
            begin(client.delete(&format!("/nodes/{id}"))?, wait)
        }
    }
}

/// The question before a node is removed. An id that no member has is asked about as well: Miroir then says so.
fn removal(id: &str, topology: &Topology, url: &str) -> String {
    let member = topology.nodes.iter().find(|member| member.node.id == id);
    let held = member.map_or_else(String::new, |member| {
        let node = &member.node;
        format!(" ({}, {}, {} replicas)", node.address, topology::state(member), node.shard_replicas)
    });
    format!("Remove node {id}{held} from {url}?")
}

fn list(client: &Client, output: Output) -> Result<Report, Failure> {
    let (value, topology) = topology::fetch(client)?;
    let nodes = value.get("nodes").cloned().unwrap_or_default();
    let row = |member: &TopologyNode| {
        let (node, state) = (&member.node, topology::state(member));
        let (replicas, group) = (node.shard_replicas.to_string(), node.replica_group.to_string());
        vec![node.id.clone(), group, state, replicas, or_dash(node.version.as_deref()), node.address.clone()]
    };
    Ok(Report::good(match output {
        Output::Json => json(&nodes),
        Output::Table => {
            let rows: Vec<Vec<String>> = topology.nodes.iter().map(row).collect();
            table(&["node", "group", "state", "replicas", "version", "address"], &rows, "No nodes.")
        }
    }))
}
