//! `miroir-ctl stale`: replicas that are not trusted, how far their healing is, and the last resort.

use miroir_api::{Promote, Promotion, Stale, StaleReplica};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::{Output, StaleCommand};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Report, json as to_text, or_dash, table};

/// The commands.
pub fn run(client: &Client, command: Option<&StaleCommand>, output: Output) -> Result<Report, Failure> {
    match command {
        None => list(client, output),
        Some(StaleCommand::Promote { node, index, shards, accept_data_loss }) => {
            let wanted = Promote {
                node: node.clone(),
                index: index.clone(),
                shards: Some(shards.clone()).filter(|shards| !shards.is_empty()),
                accept_data_loss: *accept_data_loss,
            };
            promote(client, &wanted, output)
        }
    }
}

/// Bad when some could not be promoted.
fn promote(client: &Client, wanted: &Promote, output: Output) -> Result<Report, Failure> {
    let value = client.post_json("/stale/promote", wanted)?;
    let promotion = Promotion::deserialize(&value).map_err(|error| client.misshapen("what was promoted", &error))?;
    let text = match output {
        Output::Json => to_text(&value),
        Output::Table => {
            let promoted = promotion.promoted.iter().map(|it| {
                let stale = if it.stale.is_empty() { "-".to_owned() } else { it.stale.join(", ") };
                vec![it.index.clone(), it.shard.to_string(), "promoted".into(), stale]
            });
            let refused = promotion.refused.iter().map(|it| {
                vec![it.index.clone(), it.shard.to_string(), format!("not promoted: {}", it.why), "-".into()]
            });
            let rows: Vec<Vec<String>> = promoted.chain(refused).collect();
            table(&["index", "shard", "replica", "stale now"], &rows, "Nothing was promoted.")
        }
    };
    Ok(Report { text, good: promotion.refused.is_empty() })
}

fn list(client: &Client, output: Output) -> Result<Report, Failure> {
    let value: Value = client.get("/stale")?;
    let answer = Stale::deserialize(&value).map_err(|error| client.misshapen("the stale replicas", &error))?;
    Ok(Report::good(match output {
        Output::Json => to_text(&value),
        Output::Table => print(&answer),
    }))
}

fn print(answer: &Stale) -> String {
    let rows: Vec<Vec<String>> = answer.stale.iter().map(|stale| row(stale, answer)).collect();
    let names = ["index", "shard", "node", "reason", "since", "healing", "done", "seconds left", "last error"];
    table(&names, &rows, "No stale replicas.")
}

fn row(stale: &StaleReplica, answer: &Stale) -> Vec<String> {
    let of_node = answer.healing.iter().filter(|healing| healing.node == stale.node);
    let mirror =
        of_node.flat_map(|it| &it.healing.mirrors).find(|it| it.index == stale.index && it.shard == stale.shard);
    vec![
        stale.index.clone(),
        stale.shard.to_string(),
        stale.node.clone(),
        stale.reason.to_string(),
        stale.since.clone(),
        or_dash(mirror.map(|mirror| mirror.stage.as_str())),
        or_dash(mirror.map(|mirror| format!("{} of {}", mirror.done, mirror.total)).as_deref()),
        or_dash(mirror.and_then(|mirror| mirror.seconds_left).map(|left| left.to_string()).as_deref()),
        or_dash(mirror.and_then(|mirror| mirror.error.as_deref())),
    ]
}
