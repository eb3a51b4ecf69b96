//! `miroir-ctl config check`: would Miroir start with this file, in this environment?

use std::path::Path;

use miroir_core::config::Config;
use serde_json::json;

use crate::cli::Output;
use crate::failure::Failure;
use crate::output::{self, Report, facts};

/// `key=value`.
pub fn parse_override(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        Some(_) | None => Err("expected key=value, as in shards=16".into()),
    }
}

/// The command.
pub fn check(file: &Path, overrides: &[(String, String)], output: Output) -> Result<Report, Failure> {
    let name = file.display().to_string();
    let yaml = std::fs::read_to_string(file).map_err(|error| Failure::Refused(format!("{name}: {error}")))?;
    Ok(match Config::load(&yaml, environment()?.into_iter(), overrides) {
        Ok(config) => Report::good(valid(&name, &config, output)),
        Err(error) => {
            let text = match output {
                Output::Json => output::json(&json!({ "file": name, "valid": false, "error": error.to_string() })),
                Output::Table => format!("{name}: {error}\n"),
            };
            Report { text, good: false }
        }
    })
}

/// The variables that concern Miroir. One that is not text cannot be checked.
fn environment() -> Result<Vec<(String, String)>, Failure> {
    let ours = std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"MIROIR_"));
    ours.map(|(name, value)| match (name.into_string(), value.into_string()) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        (Ok(name), Err(_)) => Err(Failure::Refused(format!("the environment variable {name} is not UTF-8"))),
        (Err(name), Ok(_) | Err(_)) => {
            Err(Failure::Refused(format!("the environment variable {} is not UTF-8", name.display())))
        }
    })
    .collect()
}

fn valid(name: &str, config: &Config, output: Output) -> String {
    match output {
        Output::Json => output::json(&json!({
            "file": name,
            "valid": true,
            "environment": config.environment.word(),
            "shards": config.shards,
            "replicationFactor": config.replication_factor,
            "replicaGroups": config.replica_groups,
            "nodes": config.nodes.iter().map(|node| node.id.as_str()).collect::<Vec<_>>(),
        })),
        Output::Table => {
            let nodes: Vec<String> = config
                .nodes
                .iter()
                .map(|node| format!("{} (group {}, {})", node.id, node.group, node.address))
                .collect();
            let summary = facts(&[
                ("environment", config.environment.word().into()),
                ("shards", config.shards.to_string()),
                ("replication factor", config.replication_factor.to_string()),
                ("replica groups", config.replica_groups.to_string()),
                ("nodes", nodes.join(", ")),
            ]);
            format!("{name}: valid\n{summary}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_is_a_key_and_a_value() {
        assert_eq!(parse_override("a.b=c=d"), Ok(("a.b".into(), "c=d".into())));
        assert_eq!(parse_override("a="), Ok(("a".into(), String::new())));
        assert!(parse_override("a").is_err());
        assert!(parse_override("=a").is_err());
    }
}
