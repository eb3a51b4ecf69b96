//! `miroir-ctl verify`: have replicas compared, and say what was found.

use std::ops::ControlFlow;

use miroir_api::{AntiEntropyStatus, Pass, PassFindings, RunAntiEntropy};
use serde::Deserialize;
use serde_json::Value;

use super::watch::{Progress, until_over};
use crate::cli::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Report, facts, json};

/// How far a pass is.
fn progress(status: &AntiEntropyStatus, pass: u64) -> Progress {
    let at_it = || status.instances.iter().filter(|instance| instance.pass >= pass);
    let done: u64 = at_it().map(|instance| instance.found.shards).sum();
    let total: u64 = at_it().map(|instance| instance.shards).sum();
    Progress { line: format!("{done} of {total} shards compared"), done, total }
}

/// Everything was seen, and is alike now.
fn is_good(found: &PassFindings) -> bool {
    found.mismatches == found.repaired && found.postponed == 0 && found.failures == 0 && found.lost_replicas == 0
}

/// Bad when replicas differ still, or could not be compared.
pub fn run(client: &Client, index: Option<&str>, deep: bool, output: Output) -> Result<Report, Failure> {
    let wanted = RunAntiEntropy { index: index.map(str::to_owned), deep: Some(deep) };
    let begun = client.post_json("/anti-entropy/run", &wanted)?;
    let begun = Pass::deserialize(&begun).map_err(|error| client.misshapen("the pass", &error))?;
    let (raw, status) = until_over(|| {
        let (raw, status) = fetch(client)?;
        let is_over = status.finished && status.pass.as_ref().is_some_and(|pass| pass.number >= begun.number);
        if is_over {
            return Ok(ControlFlow::Break((raw, status)));
        }
        Ok(ControlFlow::Continue(progress(&status, begun.number)))
    })?;
    let mut found = PassFindings::default();
    status.instances.iter().for_each(|instance| found += &instance.found);
    let text = match output {
        Output::Json => json(&raw),
        Output::Table => print(&found),
    };
    Ok(Report { text, good: is_good(&found) })
}

fn fetch(client: &Client) -> Result<(Value, AntiEntropyStatus), Failure> {
    let value = client.get("/anti-entropy/status")?;
    let status =
        AntiEntropyStatus::deserialize(&value).map_err(|error| client.misshapen("what was compared", &error))?;
    Ok((value, status))
}

fn print(found: &PassFindings) -> String {
    facts(&[
        ("shards", found.shards.to_string()),
        ("documents", format!("{} listed on all replicas", found.documents)),
        ("differing", found.mismatches.to_string()),
        ("repaired", found.repaired.to_string()),
        ("postponed", found.postponed.to_string()),
        ("lost replicas", found.lost_replicas.to_string()),
        ("orphans", found.orphans.to_string()),
        ("not compared", found.failures.to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_alike_now_is_good() {
        let found =
            |mismatches, repaired, failures| PassFindings { mismatches, repaired, failures, ..PassFindings::default() };
        assert!(is_good(&found(0, 0, 0)) && is_good(&found(3, 3, 0)));
        assert!(!is_good(&found(3, 2, 0)) && !is_good(&found(0, 0, 1)));
        assert!(!is_good(&PassFindings { lost_replicas: 1, ..PassFindings::default() }));
    }
}
