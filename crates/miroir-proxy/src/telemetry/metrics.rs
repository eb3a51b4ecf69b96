//! The metrics, all of them, each with its help text. Label sets are bounded: of names of a client's choice, only those
//! of indexes that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use miroir_core::id::NodeId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Labels of a client's request; `path_template` is the route, never the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// GET, POST, ...
    pub method: String,
    /// For example `/indexes/{uid}/search`.
    pub path_template: String,
    /// The HTTP status.
    pub status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeLabels {
    node_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeOperationLabels {
    node_id: String,
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeErrorLabels {
    node_id: String,
    error_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobTypeLabels {
    job_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScopeLabels {
    scope: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IndexLabels {
    index: String,
}

const LATENCY_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const MOVE_BUCKETS: [f64; 9] = [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0];
const FAN_OUT_BUCKETS: [f64; 8] = [1.0, 2.0, 3.0, 4.0, 8.0, 16.0, 32.0, 64.0];

fn latency() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}

/// Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    request_duration: Family<RequestLabels, Histogram, fn() -> Histogram>,
    requests: Family<RequestLabels, Counter>,
    requests_in_flight: Gauge,
    node_healthy: Family<NodeLabels, Gauge>,
    node_request_duration: Family<NodeOperationLabels, Histogram, fn() -> Histogram>,
    node_errors: Family<NodeErrorLabels, Counter>,
    shard_coverage: Gauge<f64, std::sync::atomic::AtomicU64>,
    degraded_shards: Counter,
    shard_distribution: Family<NodeLabels, Gauge>,
    stale_replicas: Gauge,
    task_processing_age: Gauge<f64, std::sync::atomic::AtomicU64>,
    tasks: Family<StatusLabels, Counter>,
    task_registry_size: Gauge,
    scatter_fan_out: Histogram,
    scatter_partial: Counter,
    scatter_retries: Counter,
    ingest_bytes: Gauge,
    peers: Gauge,
    owned_shards: Gauge,
    queue_depth: Family<JobTypeLabels, Gauge>,
    leader: Family<ScopeLabels, Gauge>,
    rebalance_in_progress: Gauge,
    rebalance_duration: Histogram,
    settings_mismatches: Counter,
    settings_repairs: Counter,
    settings_phase: Gauge,
    settings_unrepairable: Counter,
    settings_frozen: Gauge,
    settings_version: Family<IndexLabels, Gauge>,
    settings_versions: Mutex<BTreeSet<String>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let inner = Inner {
            registry: Registry::with_prefix("miroir"),
            request_duration: Family::new_with_constructor(latency),
            requests: Family::default(),
            requests_in_flight: Gauge::default(),
            node_healthy: Family::default(),
            node_request_duration: Family::new_with_constructor(latency),
            node_errors: Family::default(),
            shard_coverage: Gauge::default(),
            degraded_shards: Counter::default(),
            shard_distribution: Family::default(),
            stale_replicas: Gauge::default(),
            task_processing_age: Gauge::default(),
            tasks: Family::default(),
            task_registry_size: Gauge::default(),
            scatter_fan_out: Histogram::new(FAN_OUT_BUCKETS),
            scatter_partial: Counter::default(),
            scatter_retries: Counter::default(),
            ingest_bytes: Gauge::default(),
            peers: Gauge::default(),
            owned_shards: Gauge::default(),
            queue_depth: Family::default(),
            leader: Family::default(),
            rebalance_in_progress: Gauge::default(),
            rebalance_duration: Histogram::new(MOVE_BUCKETS),
            settings_mismatches: Counter::default(),
            settings_repairs: Counter::default(),
            settings_phase: Gauge::default(),
            settings_unrepairable: Counter::default(),
            settings_frozen: Gauge::default(),
            settings_version: Family::default(),
            settings_versions: Mutex::default(),
        };
        Self(Arc::new(inner.registered()))
    }
}

impl Inner {
    /// One line a metric: the name that operators see, and what it says.
    fn registered(mut self) -> Self {
        let r = &mut self.registry;
        r.register("request_duration_seconds", "Time to answer a client", self.request_duration.clone());
        r.register("requests", "Requests of clients", self.requests.clone());
        r.register("requests_in_flight", "Requests being answered", self.requests_in_flight.clone());
        r.register("node_healthy", "1 when the node answers", self.node_healthy.clone());
        r.register("node_request_duration_seconds", "Time a node takes", self.node_request_duration.clone());
        r.register("node_errors", "Requests to a node without an answer", self.node_errors.clone());
        r.register("shard_coverage", "Share of shards with a live fresh replica", self.shard_coverage.clone());
        r.register("degraded_shards", "Shards that reads had to answer without", self.degraded_shards.clone());
        r.register("shard_distribution", "Shard replicas placed on the node", self.shard_distribution.clone());
        r.register("peer_pod_count", "Instances that share the store and live", self.peers.clone());
        r.register("owned_shards_count", "Shards that this instance takes care of", self.owned_shards.clone());
        r.register("stale_replicas", "Replicas that may have missed a write", self.stale_replicas.clone());
        r.register("task_processing_age_seconds", "Age of the oldest unsettled task", self.task_processing_age.clone());
        r.register("tasks", "Tasks that reached this status", self.tasks.clone());
        r.register("task_registry_size", "Tasks remembered", self.task_registry_size.clone());
        r.register("scatter_fan_out_size", "Nodes asked per read", self.scatter_fan_out.clone());
        r.register("scatter_partial_responses", "Reads answered incompletely", self.scatter_partial.clone());
        r.register("scatter_retries", "Node requests repeated on another replica", self.scatter_retries.clone());
        r.register("ingest_bytes_in_flight", "Bytes of document bodies held", self.ingest_bytes.clone());
        r.register("background_queue_depth", "Jobs that are not done", self.queue_depth.clone());
        let under_way = self.rebalance_in_progress.clone();
        r.register("rebalance_in_progress", "1 while a change of the membership is under way", under_way);
        let took = self.rebalance_duration.clone();
        r.register("rebalance_duration_seconds", "From the beginning to the end of a change of the membership", took);
        let (mismatch, repair) = (self.settings_mismatches.clone(), self.settings_repairs.clone());
        r.register("settings_hash_mismatch", "Nodes found with other settings than expected", mismatch);
        r.register("settings_drift_repair", "Nodes with changed settings that were repaired", repair);
        r.register("leader", "Scopes of this kind that this instance leads", self.leader.clone());
        let phase = "Furthest broadcast led here: 0 none, 1 propose, 2 verify, 3 commit, 4 going back";
        r.register("settings_broadcast_phase", phase, self.settings_phase.clone());
        let unrepairable = "Changes of settings that a node never complied with: alert";
        r.register("settings_unrepairable", unrepairable, self.settings_unrepairable.clone());
        r.register("settings_frozen_indexes", "Indexes that take no documents: alert", self.settings_frozen.clone());
        r.register("settings_version", "Committed version of the index's settings", self.settings_version.clone());
        self
    }
}

impl Metrics {
    /// Prometheus' text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.0.registry);
        text
    }

    /// A client's request begins.
    pub fn request_begins(&self) {
        self.0.requests_in_flight.inc();
    }

    /// A client's request has left, answered or dropped.
    pub fn request_leaves(&self) {
        self.0.requests_in_flight.dec();
    }

    /// A client was answered.
    pub fn request_answered(&self, labels: RequestLabels, elapsed: Duration) {
        self.0.request_duration.get_or_create(&labels).observe(elapsed.as_secs_f64());
        self.0.requests.get_or_create(&labels).inc();
    }

    /// A node was asked.
    pub fn node_request(&self, node: &NodeId, operation: &'static str, elapsed: Duration) {
        let labels = NodeOperationLabels { node_id: node.to_string(), operation };
        self.0.node_request_duration.get_or_create(&labels).observe(elapsed.as_secs_f64());
    }

    /// A node did not answer.
    pub fn node_error(&self, node: &NodeId, error_type: &'static str) {
        self.0.node_errors.get_or_create(&NodeErrorLabels { node_id: node.to_string(), error_type }).inc();
    }

    /// Whether a node answers, and how many shard replicas it is placed for.
    pub fn node_state(&self, node: &NodeId, live: bool, shard_replicas: usize) {
        let labels = NodeLabels { node_id: node.to_string() };
        self.0.node_healthy.get_or_create(&labels).set(i64::from(live));
        self.0.shard_distribution.get_or_create(&labels).set(shard_replicas as i64);
    }

    /// The cluster as a whole.
    pub fn coverage(&self, share: f64, stale_replicas: usize) {
        self.0.shard_coverage.set(share);
        self.0.stale_replicas.set(stale_replicas as i64);
    }

    /// How many instances live, this one among them.
    pub fn peers(&self, count: usize) {
        self.0.peers.set(count as i64);
    }

    /// How many shards this instance takes care of.
    pub fn owned_shards(&self, count: usize) {
        self.0.owned_shards.set(count as i64);
    }

    /// A read asked this many nodes.
    pub fn scattered(&self, nodes: usize) {
        self.0.scatter_fan_out.observe(nodes as f64);
    }

    /// A part of a read was repeated on another replica.
    pub fn scatter_retried(&self) {
        self.0.scatter_retries.inc();
    }

    /// A read was answered without these many shards.
    pub fn partial_read(&self, shards: usize) {
        self.0.scatter_partial.inc();
        self.0.degraded_shards.inc_by(shards as u64);
    }

    /// A task reached this status.
    pub fn task(&self, status: &'static str) {
        self.0.tasks.get_or_create(&StatusLabels { status }).inc();
    }

    /// For how long the oldest unsettled task has been there.
    pub fn task_backlog(&self, oldest: Duration) {
        self.0.task_processing_age.set(oldest.as_secs_f64());
    }

    /// How many tasks there are.
    pub fn tasks_remembered(&self, tasks: u64) {
        self.0.task_registry_size.set(tasks as i64);
    }

    /// Whether a change of the membership is under way.
    pub fn rebalancing(&self, under_way: bool) {
        self.0.rebalance_in_progress.set(i64::from(under_way));
    }

    /// A change of the membership that this instance led has ended.
    pub fn rebalanced(&self, took: Duration) {
        self.0.rebalance_duration.observe(took.as_secs_f64());
    }

    /// So many more nodes read back something else.
    pub fn settings_mismatches(&self, more: u32) {
        self.0.settings_mismatches.inc_by(more.into());
    }

    /// A node that somebody else had changed was brought back to the committed settings.
    pub fn settings_repaired(&self) {
        self.0.settings_repairs.inc();
    }

    /// How far broadcasts of settings are.
    pub fn settings_phase(&self, phase: i64) {
        self.0.settings_phase.set(phase);
    }

    /// A node never complied.
    pub fn settings_unrepairable(&self) {
        self.0.settings_unrepairable.inc();
    }

    /// The settings of all indexes: how many are frozen, and the versions. Indexes that are not named are gone.
    pub fn settings<'a>(&self, frozen: usize, versions: impl IntoIterator<Item = (&'a str, u64)>) {
        self.0.settings_frozen.set(frozen as i64);
        let now: BTreeMap<&str, u64> = versions.into_iter().collect();
        let mut shown = self.0.settings_versions.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in shown.iter().filter(|uid| !now.contains_key(uid.as_str())) {
            self.0.settings_version.remove(&IndexLabels { index: gone.clone() });
        }
        for (uid, version) in &now {
            self.0.settings_version.get_or_create(&IndexLabels { index: (*uid).to_owned() }).set(*version as i64);
        }
        *shown = now.into_keys().map(str::to_owned).collect();
    }

    /// Document bodies held right now.
    pub fn ingest_bytes(&self, bytes: u64) {
        self.0.ingest_bytes.set(bytes as i64);
    }
}

impl miroir_work::Observer for Metrics {
    fn queue_depth(&self, kind: &'static str, open: usize) {
        self.0.queue_depth.get_or_create(&JobTypeLabels { job_type: kind }).set(open as i64);
    }

    fn leads(&self, kind: &'static str, scopes: usize) {
        self.0.leader.get_or_create(&ScopeLabels { scope: kind }).set(scopes as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_bears_the_prefix_and_its_documented_name() {
        let metrics = Metrics::default();
        metrics.node_state(&NodeId::new("meili-0"), true, 3);
        metrics.scatter_retried();
        miroir_work::Observer::queue_depth(&metrics, "dump_import", 2);
        miroir_work::Observer::leads(&metrics, "settings_broadcast", 1);
        let text = metrics.encode();
        assert!(text.contains("miroir_background_queue_depth{job_type=\"dump_import\"} 2"), "{text}");
        assert!(text.contains("miroir_leader{scope=\"settings_broadcast\"} 1"), "{text}");
        assert!(text.contains("miroir_node_healthy{node_id=\"meili-0\"} 1"), "{text}");
        assert!(text.contains("miroir_scatter_retries_total 1"), "{text}");
        assert!(text.contains("miroir_stale_replicas 0"), "{text}");
    }
}
