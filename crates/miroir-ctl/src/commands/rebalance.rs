//! `miroir-ctl rebalance`: the change of the cluster that is under way.

use miroir_api::{Begun, Intent, Rebalancing};
use serde::Deserialize;
use serde_json::{Value, json as value};

use super::progress;
use crate::cli::{Output, RebalanceCommand, Wait};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Report, facts, json, or_dash, table};

/// The commands.
pub fn run(client: &Client, command: &RebalanceCommand, output: Output) -> Result<Report, Failure> {
    match command {
        RebalanceCommand::Start { wait } => begun(client, &client.post("/rebalance")?, *wait, output),
        RebalanceCommand::Status { watch: true } => watch(client, output),
        RebalanceCommand::Status { watch: false } => status(client, output),
        RebalanceCommand::Pause => asked(&client.post("/rebalance/pause")?, "paused", output),
        RebalanceCommand::Resume => asked(&client.post("/rebalance/resume")?, "going on", output),
        RebalanceCommand::Cancel { wait: false } => asked(&client.post("/rebalance/cancel")?, "canceling", output),
        RebalanceCommand::Cancel { wait: true } => {
            let (_, status) = progress::fetch(client)?;
            let answer = client.post("/rebalance/cancel")?;
            let Some(operation) = status.operation else { return asked(&answer, "canceling", output) };
            let report = ended(client, &operation.id, output)?;
            // That is what was wanted.
            Ok(Report { good: true, ..report })
        }
    }
}

/// A change has begun: say so, or wait for its end.
pub fn begun(client: &Client, answer: &Value, wait: Wait, output: Output) -> Result<Report, Failure> {
    let Begun { id, replicas, .. } =
        Begun::deserialize(answer).map_err(|error| client.misshapen("what has begun", &error))?;
    if wait.wait {
        return ended(client, &id, output);
    }
    Ok(Report::good(match output {
        Output::Json => json(answer),
        Output::Table => {
            format!("begun: {replicas} replicas are to move; follow it with miroir-ctl rebalance status --watch\n")
        }
    }))
}

fn asked(answer: &Value, word: &str, output: Output) -> Result<Report, Failure> {
    Ok(Report::good(match output {
        Output::Json => json(answer),
        Output::Table => format!("{word}\n"),
    }))
}

fn watch(client: &Client, output: Output) -> Result<Report, Failure> {
    match progress::fetch(client)?.1.operation {
        Some(operation) => ended(client, &operation.id, output),
        None => status(client, output),
    }
}

fn ended(client: &Client, id: &str, output: Output) -> Result<Report, Failure> {
    let last = progress::follow(client, id)?;
    let good = last.as_ref().is_none_or(|last| !last.canceled);
    let text = match (output, &last) {
        (Output::Table, Some(last)) => format!("{}\n", progress::end(last)),
        (Output::Table, None) => "ended\n".into(),
        (Output::Json, Some(last)) => json(&value!({ "id": id, "canceled": last.canceled, "replicas": last.replicas,
            "documents": last.documents, "finishedAt": last.finished_at })),
        (Output::Json, None) => json(&value!({ "id": id })),
    };
    Ok(Report { text, good })
}

fn status(client: &Client, output: Output) -> Result<Report, Failure> {
    let (raw, status) = progress::fetch(client)?;
    let last = status.last.as_ref().map(|last| format!("{} ({})", progress::end(last), last.finished_at));
    Ok(Report::good(match (output, &status.operation) {
        (Output::Json, _) => json(&raw),
        (Output::Table, None) => facts(&[("change", "none".into()), ("last", or_dash(last.as_deref()))]),
        (Output::Table, Some(operation)) => print(operation, last.as_deref()),
    }))
}

fn print(operation: &Rebalancing, last: Option<&str>) -> String {
    let replicas = &operation.replicas;
    let wanted = match &operation.intent {
        Intent::Run => String::new(),
        intent @ (Intent::Pause | Intent::Cancel | Intent::Other(_)) => format!(" ({intent} is wanted)"),
    };
    let head = facts(&[
        ("change", progress::words(&operation.change)),
        ("phase", format!("{}{wanted}", operation.phase)),
        ("waits for", or_dash(progress::waits(operation).as_deref())),
        ("epoch", operation.epoch.to_string()),
        ("moved", format!("{} of {}", replicas.switched, replicas.total)),
        ("being copied", replicas.copying.to_string()),
        ("planned", replicas.planned.to_string()),
        ("waiting", replicas.waiting.to_string()),
        ("given up", replicas.abandoned.to_string()),
        ("documents", operation.documents.to_string()),
        ("since", operation.started_at.clone()),
        ("last", or_dash(last)),
    ]);
    let rows: Vec<Vec<String>> = operation
        .moves
        .iter()
        .map(|moving| {
            let shard = format!("{} of {}", moving.shard, moving.shards);
            let (from, to) = (or_dash(moving.from.as_deref()), or_dash(moving.to.as_deref()));
            vec![shard, moving.replica_group.to_string(), from, to, moving.state.to_string()]
        })
        .collect();
    format!("{head}\n{}", table(&["shard", "group", "from", "to", "state"], &rows, "No moves."))
}
