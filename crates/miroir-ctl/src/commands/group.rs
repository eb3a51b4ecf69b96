//! `miroir-ctl group`: replica groups come and go.

use miroir_api::{AddGroup, NewNode, Topology};

use super::{node, rebalance, topology};
use crate::cli::{GroupCommand, Output};
use crate::client::Client;
use crate::confirm::confirm;
use crate::failure::Failure;
use crate::output::Report;

/// `meili-3=http://10.0.0.8:7700`.
pub fn parse_node(text: &str) -> Result<(String, String), String> {
    let (id, address) = text.split_once('=').ok_or("expected ID=ADDRESS, as in meili-3=http://10.0.0.8:7700")?;
    Ok((node::parse_id(id)?, address.into()))
}

/// The commands.
pub fn run(client: &Client, command: &GroupCommand, output: Output) -> Result<Report, Failure> {
    match command {
        GroupCommand::Add { group, nodes, wait } => {
            let node = |(id, address): &(String, String)| NewNode { id: id.clone(), address: address.clone() };
            let group = AddGroup { replica_group: *group, nodes: nodes.iter().map(node).collect() };
            rebalance::begun(client, &client.post_json("/groups", &group)?, *wait, output)
        }
        GroupCommand::Remove { group, sure, wait } => {
            confirm(*sure, || Ok(removal(*group, &topology::fetch(client)?.1, client.url())))?;
            rebalance::begun(client, &client.delete(&format!("/groups/{group}"))?, *wait, output)
        }
    }
}

/// The question before a replica group is removed. It names the nodes that go with it.
fn removal(group: u32, topology: &Topology, url: &str) -> String {
    let of_group = topology.nodes.iter().filter(|member| member.node.replica_group == group);
    let nodes: Vec<&str> = of_group.map(|member| member.node.id.as_str()).collect();
    let nodes = if nodes.is_empty() { String::new() } else { format!(" with {}", nodes.join(", ")) };
    format!("Remove replica group {group}{nodes} from {url}?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_named_with_its_address() {
        assert_eq!(parse_node("a=http://x:1"), Ok(("a".into(), "http://x:1".into())));
        for text in ["", "a", "=http://x:1", "a/b=http://x:1"] {
            assert!(parse_node(text).is_err(), "{text}");
        }
    }
}
