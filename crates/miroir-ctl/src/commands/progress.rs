//! How far a change of the cluster has come.

use std::ops::ControlFlow;

use serde::Deserialize;
use serde_json::Value;

use super::watch::until_over;
use crate::client::Client;
use crate::failure::Failure;

/// `GET /_miroir/rebalance/status`.
#[derive(Debug, Deserialize)]
pub struct Status {
    pub operation: Option<Operation>,
    pub last: Option<Last>,
}

/// The change under way.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    pub id: String,
    pub change: Change,
    pub phase: String,
    pub intent: String,
    pub canceled: bool,
    pub epoch: u64,
    pub waits_for: Option<Value>,
    pub replicas: Replicas,
    pub documents: u64,
    pub moves: Vec<Move>,
    pub started_at: String,
}

/// What is wanted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    #[serde(rename = "type")]
    pub kind: String,
    pub node: Option<String>,
    pub replica_group: Option<u32>,
}

/// In replicas of shards.
#[derive(Debug, Deserialize)]
pub struct Replicas {
    pub total: u64,
    pub planned: u64,
    pub waiting: u64,
    pub copying: u64,
    pub switched: u64,
    pub abandoned: u64,
}

/// One replica that moves.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    pub shards: u32,
    pub shard: u32,
    pub replica_group: u32,
    pub from: Option<String>,
    pub to: Option<String>,
    pub state: String,
}

/// How a change ended.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Last {
    pub id: String,
    pub change: Change,
    pub canceled: bool,
    pub replicas: u64,
    pub documents: u64,
    pub finished_at: String,
}

impl Change {
    /// In words.
    pub fn words(&self) -> String {
        let node = self.node.as_deref().unwrap_or("-");
        let group = self.replica_group.map_or_else(|| "-".into(), |group| group.to_string());
        match self.kind.as_str() {
            "addNode" => format!("add node {node} to group {group}"),
            "drainNode" => format!("drain node {node}"),
            "undrainNode" => format!("undrain node {node}"),
            "removeNode" => format!("remove node {node}"),
            "addGroup" => format!("add group {group}"),
            "removeGroup" => format!("remove group {group}"),
            other => other.to_owned(),
        }
    }
}

impl Operation {
    /// In one line.
    pub fn line(&self) -> String {
        let Replicas { total, switched, copying, abandoned, .. } = &self.replicas;
        let mut line = match (self.phase.as_str(), self.canceled) {
            ("preparing", _) => "preparing: indexes are made on joining nodes".to_owned(),
            ("ending", _) => "ending".to_owned(),
            (_, true) => format!("canceling: {switched} of {total} replicas had moved, {abandoned} were given up"),
            (_, false) => format!("{switched} of {total} replicas moved, {copying} being copied"),
        };
        if self.documents > 0 {
            line.push_str(&format!(", {} documents", self.documents));
        }
        if let Some(waits) = self.waits() {
            line.push_str(&format!("; {waits}"));
        }
        line
    }

    /// What it waits for, in words; copies that go on need none.
    pub fn waits(&self) -> Option<String> {
        let waits = self.waits_for.as_ref()?;
        match waits.as_str() {
            Some("operator") => Some("paused".into()),
            Some("instances") => Some("waits for all instances to follow".into()),
            Some(_) => Some("waits for replicas to be healed".into()),
            None => {
                let nodes = waits.get("nodes").and_then(Value::as_array)?;
                let names: Vec<&str> = nodes.iter().filter_map(Value::as_str).collect();
                Some(format!("waits for {} to answer", names.join(", ")))
            }
        }
    }
}

impl Last {
    /// In one line.
    pub fn line(&self) -> String {
        let end = if self.canceled { "canceled" } else { "done" };
        format!("{end}: {}, {} replicas moved, {} documents", self.change.words(), self.replicas, self.documents)
    }
}

/// Ask.
pub fn fetch(client: &Client) -> Result<(Value, Status), Failure> {
    let value = client.get("/rebalance/status")?;
    let status = Status::deserialize(&value).map_err(|error| client.misshapen("the change", &error))?;
    Ok((value, status))
}

/// Show a change until it has ended. Returns how; none: others have come since, and nobody knows any more.
pub fn follow(client: &Client, id: &str) -> Result<Option<Last>, Failure> {
    until_over(|| {
        let (_, status) = fetch(client)?;
        Ok(match status.operation.filter(|operation| operation.id == id) {
            Some(operation) => ControlFlow::Continue(format!("{}: {}", operation.change.words(), operation.line())),
            None => ControlFlow::Break(status.last.filter(|last| last.id == id)),
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn operation(phase: &str, waits_for: Value) -> Operation {
        let value = json!({
            "id": "x", "change": { "type": "addNode", "node": "d", "replicaGroup": 0 }, "phase": phase,
            "intent": "run", "canceled": false, "epoch": 4, "waitsFor": waits_for,
            "replicas": { "total": 8, "planned": 0, "waiting": 3, "copying": 2, "switched": 3, "abandoned": 0 },
            "documents": 120, "moves": [], "startedAt": "2026-01-01T00:00:00Z",
        });
        serde_json::from_value(value).expect("a status")
    }

    #[test]
    fn a_line_says_how_far_it_is_and_what_it_waits_for() {
        let line = operation("moving", Value::Null).line();
        assert_eq!(line, "3 of 8 replicas moved, 2 being copied, 120 documents");
        assert!(operation("moving", json!("operator")).line().ends_with("; paused"));
        let waits = operation("moving", json!({ "nodes": ["b", "d"] })).line();
        assert!(waits.ends_with("; waits for b, d to answer"), "{waits}");
        assert_eq!(operation("moving", Value::Null).change.words(), "add node d to group 0");
    }
}
