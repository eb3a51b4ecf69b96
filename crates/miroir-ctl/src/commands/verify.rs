//! `miroir-ctl verify`: have replicas compared, and say what was found.

use std::ops::ControlFlow;

use serde::Deserialize;
use serde_json::{Value, json as value};

use super::watch::until_over;
use crate::cli::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Report, facts, json};

/// `GET /_miroir/anti-entropy/status`.
#[derive(Debug, Deserialize)]
struct Status {
    pass: Option<Pass>,
    finished: bool,
    instances: Vec<Instance>,
}

#[derive(Debug, Deserialize)]
struct Pass {
    number: u64,
}

#[derive(Debug, Deserialize)]
struct Instance {
    pass: u64,
    shards: u64,
    found: Found,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    shards: u64,
    documents: u64,
    mismatches: u64,
    repaired: u64,
    postponed: u64,
    lost_replicas: u64,
    leftovers: u64,
    failures: u64,
}

impl Status {
    /// How far a pass is, in one line.
    fn line(&self, pass: u64) -> String {
        let at_it = || self.instances.iter().filter(|instance| instance.pass >= pass);
        let done: u64 = at_it().map(|instance| instance.found.shards).sum();
        let all: u64 = at_it().map(|instance| instance.shards).sum();
        format!("{done} of {all} shards compared")
    }
}

impl Found {
    fn and(self, other: &Self) -> Self {
        Self {
            shards: self.shards + other.shards,
            documents: self.documents + other.documents,
            mismatches: self.mismatches + other.mismatches,
            repaired: self.repaired + other.repaired,
            postponed: self.postponed + other.postponed,
            lost_replicas: self.lost_replicas + other.lost_replicas,
            leftovers: self.leftovers + other.leftovers,
            failures: self.failures + other.failures,
        }
    }

    /// Everything was seen, and is alike now.
    fn is_good(&self) -> bool {
        self.mismatches == self.repaired && self.postponed == 0 && self.failures == 0 && self.lost_replicas == 0
    }
}

/// Bad when replicas differ still, or could not be compared.
pub fn run(client: &Client, index: Option<&str>, deep: bool, output: Output) -> Result<Report, Failure> {
    let wanted = value!({ "index": index, "deep": deep });
    let begun = client.post_json("/anti-entropy/run", &wanted)?;
    let begun = Pass::deserialize(&begun).map_err(|error| client.misshapen("the pass", &error))?;
    let (raw, status) = until_over(|| {
        let (raw, status) = fetch(client)?;
        let is_over = status.finished && status.pass.as_ref().is_some_and(|pass| pass.number >= begun.number);
        Ok(if is_over { ControlFlow::Break((raw, status)) } else { ControlFlow::Continue(status.line(begun.number)) })
    })?;
    let found = status.instances.iter().fold(Found::default(), |sum, instance| sum.and(&instance.found));
    let text = match output {
        Output::Json => json(&raw),
        Output::Table => print(&found),
    };
    Ok(Report { text, good: found.is_good() })
}

fn fetch(client: &Client) -> Result<(Value, Status), Failure> {
    let value = client.get("/anti-entropy/status")?;
    let status = Status::deserialize(&value).map_err(|error| client.misshapen("what was compared", &error))?;
    Ok((value, status))
}

fn print(found: &Found) -> String {
    facts(&[
        ("shards", found.shards.to_string()),
        ("documents", format!("{} listed on all replicas", found.documents)),
        ("differing", found.mismatches.to_string()),
        ("repaired", found.repaired.to_string()),
        ("postponed", found.postponed.to_string()),
        ("lost replicas", found.lost_replicas.to_string()),
        ("leftovers", found.leftovers.to_string()),
        ("not compared", found.failures.to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_alike_now_is_good() {
        let found = |mismatches, repaired, failures| Found { mismatches, repaired, failures, ..Found::default() };
        assert!(found(0, 0, 0).is_good() && found(3, 3, 0).is_good());
        assert!(!found(3, 2, 0).is_good() && !found(0, 0, 1).is_good());
        assert!(!Found { lost_replicas: 1, ..Found::default() }.is_good());
    }
}
