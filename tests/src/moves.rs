//! Changes of the membership, asked for and waited for as an operator does.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::cluster::Cluster;
use crate::wait;

/// The longest that a test waits for a change.
pub const MOVE_BOUND: Duration = Duration::from_secs(180);

/// The change that is under way, if there is one.
///
/// # Panics
/// When nobody tells.
#[track_caller]
pub fn under_way(admin: &Client) -> Option<Value> {
    let status = admin.get("/_miroir/rebalance/status").expect(200);
    status.body.get("operation").filter(|operation| !operation.is_null()).cloned()
}

/// How the last change ended.
///
/// # Panics
/// When nobody tells.
#[track_caller]
pub fn last(admin: &Client) -> Value {
    admin.get("/_miroir/rebalance/status").expect(200).body["last"].clone()
}

/// Wait for the end of a change that has begun. Returns how it ended.
///
/// # Panics
/// When it was not begun, or does not end in time.
#[track_caller]
pub fn ended(admin: &Client, begun: &Answer) -> Value {
    assert_eq!(begun.status, 202, "{}", begun.text);
    let id = begun.body["id"].clone();
    let mut seen = Value::Null;
    let end = wait::poll(MOVE_BOUND, || {
        // An instance that is restarted does not answer for a moment.
        let answer = admin.try_send("GET", "/_miroir/rebalance/status", None, &[]).ok()?;
        seen = answer.body;
        (seen["last"]["id"] == id && seen["operation"].is_null()).then(|| seen["last"].clone())
    });
    end.unwrap_or_else(|| panic!("a change does not end: {seen:#}"))
}

/// The same; it was not called off.
///
/// # Panics
/// As [`ended`], and when it was.
#[track_caller]
pub fn done(admin: &Client, begun: &Answer) -> Value {
    let last = ended(admin, begun);
    assert_eq!(last["canceled"], false, "{last}");
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
pub fn reaches(admin: &Client, state: &str) {
    wait::eventually(&format!("a replica is {state}"), MOVE_BOUND, || {
        let operation = under_way(admin)?;
        let moves = operation["moves"].as_array()?;
        moves.iter().any(|moving| moving["state"] == state).then_some(())
    });
}

/// How many shard replicas each node holds, by the topology.
///
/// # Panics
/// When it cannot be read.
#[track_caller]
pub fn replicas(admin: &Client) -> Vec<(String, u64)> {
    let topology = admin.get("/_miroir/topology").expect(200);
    let nodes = topology.body["nodes"].as_array().cloned().unwrap_or_default();
    let held = |node: &Value| {
        (node["id"].as_str().unwrap_or_default().to_owned(), node["shardReplicas"].as_u64().unwrap_or_default())
    };
    nodes.iter().map(held).collect()
}
