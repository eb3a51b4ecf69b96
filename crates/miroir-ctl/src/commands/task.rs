//! `miroir-ctl task show`: one task and the node tasks it stands for.

use miroir_api::{ErrorBody, Task};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Report, facts, json, or_dash, ranges, table};

/// `12` or `mtask-00012`.
pub fn parse_uid(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("mtask-").unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let uid = if plain { digits.parse().ok() } else { None };
    uid.ok_or_else(|| "expected a task number such as 12 or mtask-00012".into())
}

/// The command.
pub fn show(client: &Client, uid: u64, output: Output) -> Result<Report, Failure> {
    let value: Value = client.get(&format!("/tasks/{uid}"))?;
    let task = Task::deserialize(&value).map_err(|error| client.misshapen("the task", &error))?;
    Ok(Report::good(match output {
        Output::Json => json(&value),
        Output::Table => print(&task),
    }))
}

fn words(error: Option<&ErrorBody>) -> String {
    error.map_or_else(|| "-".into(), |error| format!("{} [{}]", error.message, error.code))
}

fn print(task: &Task) -> String {
    let head = facts(&[
        ("task", task.uid.to_string()),
        ("index", or_dash(task.index_uid.as_deref())),
        ("type", task.kind.clone()),
        ("status", task.status.clone()),
        ("error", words(task.error.as_ref())),
        ("enqueued", task.enqueued_at.clone()),
        ("started", or_dash(task.started_at.as_deref())),
        ("finished", or_dash(task.finished_at.as_deref())),
        ("duration", or_dash(task.duration.as_deref())),
    ]);
    let rows: Vec<Vec<String>> = task
        .node_tasks
        .iter()
        .map(|part| {
            let (uid, error) = (part.uid.to_string(), words(part.error.as_ref()));
            vec![part.node.clone(), uid, part.status.clone(), ranges(&part.shards), error]
        })
        .collect();
    format!("{head}\n{}", table(&["node", "node task", "status", "shards", "error"], &rows, "No node tasks."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_may_be_typed_either_way() {
        for (text, uid) in [("12", 12), ("mtask-00012", 12), ("0", 0), ("18446744073709551615", u64::MAX)] {
            assert_eq!(parse_uid(text), Ok(uid), "{text}");
        }
        for text in ["", "mtask-", "-1", "+1", "1x", "task-1", "18446744073709551616", "mtask-mtask-1"] {
            assert!(parse_uid(text).is_err(), "{text}");
        }
    }
}
