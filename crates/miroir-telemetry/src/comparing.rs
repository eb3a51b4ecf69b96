//! What comparing replicas finds.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of anti-entropy.
#[derive(Default)]
pub(super) struct Comparing {
    shards: Counter,
    mismatches: Counter,
    repaired: Counter,
    completed: Gauge,
}

impl Comparing {
    pub fn register(&self, r: &mut Registry) {
        r.register("antientropy_shards_scanned", "Shards whose replicas were compared", self.shards.clone());
        let mismatches = "Documents that replicas did not hold alike: alert";
        r.register("antientropy_mismatches_found", mismatches, self.mismatches.clone());
        r.register("antientropy_docs_repaired", "Documents made alike on all replicas", self.repaired.clone());
        let completed = "When this instance last finished comparing, in seconds since 1970";
        r.register("antientropy_last_scan_completed_seconds", completed, self.completed.clone());
    }

    pub fn compared(&self, shards: u64, mismatches: u64, repaired: u64) {
        self.shards.inc_by(shards);
        self.mismatches.inc_by(mismatches);
        self.repaired.inc_by(repaired);
    }

    pub fn completed(&self, at: i64) {
        self.completed.set(at);
    }
}
