//! `miroir-ctl stale`: replicas that are not trusted, how far their healing is, and the last resort.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::{Output, StaleCommand};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Report, json as to_text, or_dash, table};

/// `GET /_miroir/stale`.
#[derive(Debug, Deserialize)]
struct Answer {
    stale: Vec<Stale>,
    healing: Vec<Healing>,
}

#[derive(Debug, Deserialize)]
struct Stale {
    index: String,
    shard: u32,
    node: String,
    reason: String,
    since: String,
}

#[derive(Debug, Deserialize)]
struct Healing {
    node: String,
    mirrors: Vec<Mirror>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mirror {
    index: String,
    shard: u32,
    stage: String,
    done: u64,
    total: u64,
    seconds_left: Option<u64>,
    error: Option<String>,
}

/// `POST /_miroir/stale/promote`.
#[derive(Debug, Deserialize)]
struct Promotion {
    promoted: Vec<Promoted>,
    refused: Vec<NotPromoted>,
}

#[derive(Debug, Deserialize)]
struct Promoted {
    index: String,
    shard: u32,
    stale: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct NotPromoted {
    index: String,
    shard: u32,
    why: String,
}

/// The commands.
pub fn run(client: &Client, command: Option<&StaleCommand>, output: Output) -> Result<Report, Failure> {
    match command {
        None => list(client, output),
        Some(StaleCommand::Promote { node, index, shards, accept_data_loss }) => {
            let mut wanted = json!({ "node": node, "acceptDataLoss": accept_data_loss });
            if let Some(index) = index {
                wanted["index"] = index.as_str().into();
            }
            if !shards.is_empty() {
                wanted["shards"] = shards.as_slice().into();
            }
            promote(client, &wanted, output)
        }
    }
}

/// Bad when some could not be promoted.
fn promote(client: &Client, wanted: &Value, output: Output) -> Result<Report, Failure> {
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
            table(&["index", "shard", "replica", "stale now"], &promoted.chain(refused).collect::<Vec<_>>())
        }
    };
    Ok(Report { text, good: promotion.refused.is_empty() })
}

fn list(client: &Client, output: Output) -> Result<Report, Failure> {
    let value: Value = client.get("/stale")?;
    let answer = Answer::deserialize(&value).map_err(|error| client.misshapen("the stale replicas", &error))?;
    Ok(Report::good(match output {
        Output::Json => to_text(&value),
        Output::Table => print(&answer),
    }))
}

fn print(answer: &Answer) -> String {
    let rows: Vec<Vec<String>> = answer.stale.iter().map(|stale| row(stale, answer)).collect();
    let names = ["index", "shard", "node", "reason", "since", "healing", "done", "seconds left", "last error"];
    table(&names, &rows)
}

fn row(stale: &Stale, answer: &Answer) -> Vec<String> {
    let of_node = answer.healing.iter().filter(|healing| healing.node == stale.node);
    let mirror = of_node.flat_map(|it| &it.mirrors).find(|it| it.index == stale.index && it.shard == stale.shard);
    vec![
        stale.index.clone(),
        stale.shard.to_string(),
        stale.node.clone(),
        stale.reason.clone(),
        stale.since.clone(),
        or_dash(mirror.map(|mirror| mirror.stage.as_str())),
        or_dash(mirror.map(|mirror| format!("{} of {}", mirror.done, mirror.total)).as_deref()),
        or_dash(mirror.and_then(|mirror| mirror.seconds_left).map(|left| left.to_string()).as_deref()),
        or_dash(mirror.and_then(|mirror| mirror.error.as_deref())),
    ]
}
