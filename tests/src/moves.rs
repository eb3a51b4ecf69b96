//! Changes of the membership, asked for and waited for as an operator does.

use std::time::Duration;

use miroir_api::{Begun, EndedChange, MoveState, RebalanceStatus, Rebalancing, Topology, TopologyNode};
use serde_json::json;

use crate::binaries;
use crate::client::{Answer, Client};
use crate::cluster::Cluster;
use crate::wait;

/// The longest that a test waits for a change on development nodes.
const MOVE_BOUND: Duration = Duration::from_secs(180);
/// The same on servers: a dozen of them share the machine with the tests, and index each change anew.
const MOVE_BOUND_ON_SERVERS: Duration = Duration::from_secs(900);

/// The longest that a test waits for a change.
pub fn move_bound() -> Duration {
    if binaries::meilisearch().is_some() { MOVE_BOUND_ON_SERVERS } else { MOVE_BOUND }
}

#[track_caller]
fn status(admin: &Client) -> RebalanceStatus {
    admin.get("/_miroir/rebalance/status").expect(200).read()
}

/// The change that is under way, if there is one.
///
/// # Panics
/// When nobody tells.
#[track_caller]
pub fn under_way(admin: &Client) -> Option<Rebalancing> {
    status(admin).operation
}

/// How the last change ended, if there was one.
///
/// # Panics
/// When nobody tells.
#[track_caller]
pub fn last(admin: &Client) -> Option<EndedChange> {
    status(admin).last
}

/// Wait for the end of a change that has begun. Returns how it ended.
///
/// # Panics
/// When it was not begun, or does not end in time.
#[track_caller]
pub fn ended(admin: &Client, begun: &Answer) -> EndedChange {
    assert_eq!(begun.status, 202, "{}", begun.text);
    let Begun { id, .. } = begun.read();
    let mut seen = String::new();
    let end = wait::poll(move_bound(), || {
        // An instance that is restarted does not answer for a moment.
        let answer = admin.try_send("GET", "/_miroir/rebalance/status", None, &[]).ok()?;
        seen = answer.text.clone();
        let status: RebalanceStatus = Some(&answer).filter(|answer| answer.status == 200)?.read();
        status.last.filter(|last| last.id == id && status.operation.is_none())
    });
    end.unwrap_or_else(|| panic!("a change does not end: {seen}"))
}

/// The same; it was not called off.
///
/// # Panics
/// As [`ended`], and when it was.
#[track_caller]
pub fn done(admin: &Client, begun: &Answer) -> EndedChange {
    let last = ended(admin, begun);
    assert!(!last.canceled, "{last:?}");
    last
}

/// Ask for a node to join.
pub fn add(cluster: &Cluster, node: usize, group: usize) -> Answer {
    let body = json!({ "id": format!("node-{node}"), "address": cluster.node_address(node), "replicaGroup": group });
    cluster.admin().post("/_miroir/nodes", &body)
}

/// Ask for something without a body.
pub fn ask(admin: &Client, path: &str) -> Answer {
    admin.send("POST", &format!("/_miroir/{path}"), None, &[])
}

/// Wait until a replica that moves is in a state.
///
/// # Panics
/// When none comes to be in time.
#[track_caller]
pub fn reaches(admin: &Client, state: &MoveState) {
    wait::eventually(&format!("a replica is {state}"), move_bound(), || {
        under_way(admin)?.moves.iter().any(|moving| moving.state == *state).then_some(())
    });
}

/// How many shard replicas each node holds, by the topology.
///
/// # Panics
/// When it cannot be read.
#[track_caller]
pub fn replicas(admin: &Client) -> Vec<(String, u64)> {
    let topology: Topology = admin.get("/_miroir/topology").expect(200).read();
    topology.nodes.into_iter().map(|TopologyNode { node, .. }| (node.id, node.shard_replicas)).collect()
}
