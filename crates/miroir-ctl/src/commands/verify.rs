//! `miroir-ctl verify`: have replicas compared, and say what was found.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json as value};

use super::progress::Shown;
use crate::cli::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Report, facts, json};

/// Between two questions.
const EVERY: Duration = Duration::from_millis(500);
/// An instance that is restarted is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

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
        self.mismatches == self.repaired && self.failures == 0 && self.lost_replicas == 0
    }
}

/// Bad when replicas differ still, or could not be compared.
pub fn run(client: &Client, index: Option<&str>, deep: bool, output: Output) -> Result<Report, Failure> {
    let wanted = value!({ "index": index, "deep": deep });
    let begun = client.post_json("/anti-entropy/run", &wanted)?;
    let begun = Pass::deserialize(&begun).map_err(|error| client.misshapen("the pass", &error))?;
    let (mut shown, mut answered) = (Shown::default(), Instant::now());
    let (raw, status) = loop {
        match fetch(client) {
            Ok((raw, status))
                if status.finished && status.pass.as_ref().is_some_and(|it| it.number >= begun.number) =>
            {
                break (raw, status);
            }
            Ok((_, status)) => {
                answered = Instant::now();
                let at_it = || status.instances.iter().filter(|instance| instance.pass >= begun.number);
                let (done, all) =
                    (at_it().map(|it| it.found.shards).sum::<u64>(), at_it().map(|it| it.shards).sum::<u64>());
                shown.show(&format!("{done} of {all} shards compared"));
            }
            Err(Failure::Unreachable { .. }) if answered.elapsed() < PATIENCE => {}
            Err(failure) => {
                shown.end();
                return Err(failure);
            }
        }
        sleep(EVERY);
    };
    shown.end();
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
