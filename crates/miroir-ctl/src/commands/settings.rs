//! `miroir-ctl settings`: how a change of an index's settings stands on each node, and repairing nodes.

use miroir_api::{RepairOutcome, RepairedNode, SettingsRepair, SettingsStatus, Stage};
use serde::Deserialize;
use serde_json::Value;

use super::watch::during;
use crate::cli::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Report, json, table};

/// An index uid: nothing that would be another path.
pub fn parse_uid(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !text.is_empty() && text.chars().all(fits) {
        Ok(text.into())
    } else {
        Err("expected the uid of an index".into())
    }
}

/// `settings status`: bad when the index takes no documents.
pub fn status(client: &Client, uid: &str, output: Output) -> Result<Report, Failure> {
    let value: Value = client.get(&format!("/indexes/{uid}/settings/status"))?;
    let status = SettingsStatus::deserialize(&value).map_err(|error| client.misshapen("the settings", &error))?;
    let text = match output {
        Output::Json => json(&value),
        Output::Table => print(&status),
    };
    Ok(Report { text, good: status.frozen.is_empty() })
}

fn print(status: &SettingsStatus) -> String {
    let broadcast = status.broadcast.as_ref().map_or("none".into(), |broadcast| match broadcast.waiting {
        0 => broadcast.phase.to_string(),
        waiting => format!("{} ({waiting} more waiting)", broadcast.phase),
    });
    let frozen = match status.frozen.as_slice() {
        [] => String::new(),
        nodes => format!("frozen     because of {}: see miroir-ctl settings repair\n", nodes.join(", ")),
    };
    let rows: Vec<Vec<String>> = status
        .nodes
        .iter()
        .map(|node| {
            let held = match (node.current, node.live) {
                (true, true) => "current",
                (true, false) => "current, not live",
                (false, true) => "lagging",
                (false, false) => "lagging, not live",
            };
            let task = node.task.map_or_else(String::new, |task| task.to_string());
            let fingerprint = node.fingerprint.as_deref().and_then(|text| text.get(..12)).unwrap_or_default();
            let stage = node.stage.as_ref().map_or("", Stage::as_str).to_owned();
            vec![node.node.clone(), node.version.to_string(), held.into(), stage, task, fingerprint.into()]
        })
        .collect();
    let nodes = table(&["node", "version", "settings", "stage", "task", "fingerprint"], &rows, "No nodes.");
    format!("version    {}\nbroadcast  {broadcast}\n{frozen}\n{nodes}", status.version)
}

/// `settings repair`: bad when a node could not be repaired.
pub fn repair(client: &Client, uid: &str, output: Output) -> Result<Report, Failure> {
    let path = format!("/indexes/{uid}/settings/repair");
    let value: Value = during(&format!("repairing the settings of {uid}"), || client.post(&path))?;
    let repair = SettingsRepair::deserialize(&value).map_err(|error| client.misshapen("the repair", &error))?;
    let good = repair.frozen.is_empty() && repair.nodes.iter().all(|node| node.outcome == RepairOutcome::Repaired);
    let text = match output {
        Output::Json => json(&value),
        Output::Table => {
            let row = |node: &RepairedNode| {
                vec![node.node.clone(), node.outcome.to_string(), node.error.clone().unwrap_or_default()]
            };
            let rows: Vec<Vec<String>> = repair.nodes.iter().map(row).collect();
            table(&["node", "outcome", "error"], &rows, "Every node holds the committed settings.")
        }
    };
    Ok(Report { text, good })
}
