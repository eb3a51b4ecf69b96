//! What nodes agree on, when they read back different settings.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::record::Proposal;
use crate::settings::Fingerprint;
use crate::settings::canonical::canonical_setting;

/// How much a reading looks like the change, and nothing but the change: first how few other settings it changed (so
/// that a node which had drifted before does not win), then how many of the proposed ones it shows.
type Rank = (Reverse<usize>, usize);

/// The reading to hold all others to: of the highest rank, and of those the one that most nodes share.
pub(super) fn agree<'a>(proposal: &Proposal, readings: impl Iterator<Item = &'a Value>) -> Option<&'a Value> {
    let mut groups: BTreeMap<Fingerprint, (usize, &Value)> = BTreeMap::new();
    for reading in readings {
        groups.entry(Fingerprint::of(reading)).or_insert((0, reading)).0 += 1;
    }
    let best = groups.into_iter().max_by_key(|(fingerprint, (nodes, reading))| {
        // The fingerprint makes it the same one each time.
        (rank(proposal, reading), *nodes, fingerprint.clone())
    });
    best.map(|(_, (_, reading))| reading)
}

/// A reading of a higher rank than what was agreed on: whoever was asked before did not do as told.
pub(super) fn better<'a>(
    proposal: &Proposal,
    agreed: &Value,
    readings: impl Iterator<Item = &'a Value>,
) -> Option<&'a Value> {
    let bar = rank(proposal, agreed);
    agree(proposal, readings.filter(|reading| rank(proposal, reading) > bar))
}

fn rank(proposal: &Proposal, reading: &Value) -> Rank {
    (Reverse(astray(proposal, reading)), shown(proposal, reading))
}

/// How many settings that are not part of the change are not as they were.
fn astray(proposal: &Proposal, reading: &Value) -> usize {
    let Some(base) = &proposal.base else { return 0 };
    let keys: BTreeSet<&String> =
        [base, reading].into_iter().filter_map(Value::as_object).flat_map(|m| m.keys()).collect();
    let others = keys.into_iter().filter(|key| proposal.patch.get(key).is_none());
    others.filter(|key| !same(key, of(base, key), of(reading, key))).count()
}

/// How many settings of the change are shown just as they were proposed. Normal forms differ, for all nodes alike.
fn shown(proposal: &Proposal, reading: &Value) -> usize {
    let patch = proposal.patch.as_object().into_iter().flatten();
    let found = |(key, value): &(&String, &Value)| match (value, of(reading, key)) {
        (Value::Object(patch), read @ Value::Object(_)) => patch.iter().all(|(name, value)| of(read, name) == value),
        (_, read) => same(key, value, read),
    };
    patch.filter(found).count()
}

fn of<'a>(settings: &'a Value, key: &str) -> &'a Value {
    settings.get(key).unwrap_or(&Value::Null)
}

fn same(key: &str, a: &Value, b: &Value) -> bool {
    canonical_setting(key, a) == canonical_setting(key, b)
}
