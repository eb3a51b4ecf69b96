//! Drift: whether a node still holds what was committed.

use serde_json::Value;

use super::{Settings, fingerprint::holds};

/// What is known of one index on one node.
#[derive(Clone, Copy, Debug)]
pub struct DriftFacts<'a> {
    /// The settings committed for all nodes, as nodes hold them; none: none were ever committed.
    pub committed: Option<&'a Value>,
    /// The version under which they were committed.
    pub version: u64,
    /// The version that the node is recorded at; none: it has never been verified, or what it holds is in doubt.
    pub recorded: Option<u64>,
    /// What the node reads back.
    pub read: &'a Value,
    /// Whether a broadcast on the index is under way.
    pub broadcast: bool,
    /// `settings_drift_check.auto_repair`.
    pub auto_repair: bool,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// All is as it should be, or there is nothing to compare with.
    None,
    /// The node holds the committed settings: record it at this version.
    Record(u64),
    /// The node missed a broadcast. Bring it to the committed settings, read back, and record it: none of this is drift.
    CatchUp,
    /// Somebody changed the node behind our back. Count it, and repair it like a node that missed a broadcast.
    Repair,
    /// As [`Drift::Repair`], but only count it: whoever operates the cluster wants to be told, not helped.
    Report,
    /// A broadcast will change the node anyway: look again when it has ended.
    Wait,
}

/// What to do about a node that reads this back.
///
/// Invariant: a node is recorded only after a reading that was equal to what was committed.
pub fn check(pair: &DriftFacts<'_>) -> Drift {
    if pair.broadcast {
        return Drift::Wait;
    }
    let Some(committed) = pair.committed else { return Drift::None };
    let current = pair.recorded == Some(pair.version);
    match (holds(committed, pair.read), current) {
        (true, true) => Drift::None,
        (true, false) => Drift::Record(pair.version),
        (false, false) => Drift::CatchUp,
        (false, true) if pair.auto_repair => Drift::Repair,
        (false, true) => Drift::Report,
    }
}

impl Settings {
    /// Whether settings were ever committed. What a fresh index has is not known before a node was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
