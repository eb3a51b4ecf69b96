//! How far a change of the cluster has come.

use std::ops::ControlFlow;

use miroir_api::{
    Awaited, Change, ChangeKind, EndedChange, RebalancePhase, RebalanceStatus, Rebalancing, ReplicaProgress, WaitsFor,
};
use serde::Deserialize;
use serde_json::Value;

use super::watch::{Progress, until_over};
use crate::client::Client;
use crate::failure::Failure;

/// What is wanted, in words.
pub fn words(change: &Change) -> String {
    let node = change.node.as_deref().unwrap_or("-");
    let group = change.replica_group.map_or_else(|| "-".into(), |group| group.to_string());
    match &change.kind {
        ChangeKind::AddNode => format!("add node {node} to group {group}"),
        ChangeKind::DrainNode => format!("drain node {node}"),
        ChangeKind::UndrainNode => format!("undrain node {node}"),
        ChangeKind::RemoveNode => format!("remove node {node}"),
        ChangeKind::AddGroup => format!("add group {group}"),
        ChangeKind::RemoveGroup => format!("remove group {group}"),
        ChangeKind::Rebalance | ChangeKind::Other(_) => change.kind.to_string(),
    }
}

/// How far a change is, in one line.
pub fn line(operation: &Rebalancing) -> String {
    let ReplicaProgress { total, switched, copying, abandoned, .. } = &operation.replicas;
    let mut line = match (&operation.phase, operation.canceled) {
        (RebalancePhase::Preparing, _) => "preparing: indexes are made on joining nodes".to_owned(),
        (RebalancePhase::Ending, _) => "ending".to_owned(),
        (RebalancePhase::Moving | RebalancePhase::Other(_), true) => {
            format!("canceling: {switched} of {total} replicas had moved, {abandoned} were given up")
        }
        (RebalancePhase::Moving | RebalancePhase::Other(_), false) => {
            format!("{switched} of {total} replicas moved, {copying} being copied")
        }
    };
    if operation.documents > 0 {
        line.push_str(&format!(", {} documents", operation.documents));
    }
    if let Some(waits) = waits(operation) {
        line.push_str(&format!("; {waits}"));
    }
    line
}

/// What a change waits for, in words. `None`: something is being done.
pub fn waits(operation: &Rebalancing) -> Option<String> {
    operation.waits_for.as_ref().map(|waits_for| match waits_for {
        WaitsFor::Other(Awaited::Operator) => "paused".into(),
        WaitsFor::Other(Awaited::Instances) => "waits for all instances to follow".into(),
        WaitsFor::Other(Awaited::Replicas) => "waits for replicas to be healed".into(),
        WaitsFor::Other(Awaited::Other(word)) => format!("waits for {word}"),
        WaitsFor::Nodes { nodes } => format!("waits for {} to answer", nodes.join(", ")),
    })
}

/// How far a change is, with what it is. A replica that was given up is over as well.
fn progress(operation: &Rebalancing) -> Progress {
    let ReplicaProgress { total, switched, abandoned, .. } = &operation.replicas;
    let line = format!("{}: {}", words(&operation.change), line(operation));
    Progress { line, done: switched.saturating_add(*abandoned), total: *total }
}

/// How a change ended, in one line.
pub fn end(last: &EndedChange) -> String {
    let end = if last.canceled { "canceled" } else { "done" };
    format!("{end}: {}, {} replicas moved, {} documents", words(&last.change), last.replicas, last.documents)
}

/// How the change of the membership stands now, as it came and as it is read.
pub fn fetch(client: &Client) -> Result<(Value, RebalanceStatus), Failure> {
    let value = client.get("/rebalance/status")?;
    let status = RebalanceStatus::deserialize(&value).map_err(|error| client.misshapen("the change", &error))?;
    Ok((value, status))
}

/// Show a change until it has ended. Returns how; none: others have come since, and nobody knows any more.
pub fn follow(client: &Client, id: &str) -> Result<Option<EndedChange>, Failure> {
    until_over(|| {
        let (_, status) = fetch(client)?;
        Ok(match status.operation.filter(|operation| operation.id == id) {
            Some(operation) => ControlFlow::Continue(progress(&operation)),
            None => ControlFlow::Break(status.last.filter(|last| last.id == id)),
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn operation(phase: &str, waits_for: Value) -> Rebalancing {
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
        let text = line(&operation("moving", Value::Null));
        assert_eq!(text, "3 of 8 replicas moved, 2 being copied, 120 documents");
        assert!(line(&operation("moving", json!("operator"))).ends_with("; paused"));
        let waits = line(&operation("moving", json!({ "nodes": ["b", "d"] })));
        assert!(waits.ends_with("; waits for b, d to answer"), "{waits}");
        assert_eq!(words(&operation("moving", Value::Null).change), "add node d to group 0");
        let Progress { line, done, total } = progress(&operation("moving", Value::Null));
        assert!(line.starts_with("add node d to group 0: 3 of 8 replicas moved"), "{line}");
        assert_eq!((done, total), (3, 8));
    }
}
