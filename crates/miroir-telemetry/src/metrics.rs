//! The metrics, all of them, each with its help text. Label sets are bounded: of names of a client's choice, only those
//! of indexes that exist, and not of more than a thousand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use miroir_core::base::id::NodeId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::comparing::Comparing;
use super::outside::Outside;

/// Labels of a client's request; `path_template` is the route, never the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// GET, POST, ...; all that nothing answers to are one.
    pub method: &'static str,
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

/// Indexes that have a label; of more, those whose names come first.
const LABELLED_INDEXES: usize = 1000;
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
    migrated_documents: Counter,
    migrated_bytes: Counter,
    removed_documents: Counter,
    healed_replicas: Counter,
    failed_mirrors: Counter,
    returned_stale: Counter,
    settings_mismatches: Counter,
    settings_repairs: Counter,
    overruled_refusals: Counter,
    settings_phase: Gauge,
    settings_unrepairable: Counter,
    settings_frozen: Gauge,
    settings_version: Family<IndexLabels, Gauge>,
    settings_versions: Mutex<BTreeSet<String>>,
    comparing: Comparing,
    outside: Outside,
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
            migrated_documents: Counter::default(),
            migrated_bytes: Counter::default(),
            removed_documents: Counter::default(),
            healed_replicas: Counter::default(),
            failed_mirrors: Counter::default(),
            returned_stale: Counter::default(),
            settings_mismatches: Counter::default(),
            settings_repairs: Counter::default(),
            overruled_refusals: Counter::default(),
            settings_phase: Gauge::default(),
            settings_unrepairable: Counter::default(),
            settings_frozen: Gauge::default(),
            settings_version: Family::default(),
            settings_versions: Mutex::default(),
            comparing: Comparing::default(),
            outside: Outside::default(),
        };
        Self(Arc::new(inner.registered()))
    }
}

impl Inner {
    /// One line a metric: the name that operators see, and what it says.
    fn registered(mut self) -> Self {
        let r = &mut self.registry;
        self.comparing.register(r);
        self.outside.register(r);
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
        r.register(
            "task_processing_age_seconds",
            "Age of the oldest unfinished task",
            self.task_processing_age.clone(),
        );
        r.register("tasks", "Tasks that reached this status", self.tasks.clone());
        r.register("task_registry_size", "Tasks remembered", self.task_registry_size.clone());
        r.register("scatter_fan_out_size", "Nodes asked per read", self.scatter_fan_out.clone());
        r.register("scatter_partial_responses", "Reads answered incompletely", self.scatter_partial.clone());
        r.register("scatter_retries", "Node requests repeated on another replica", self.scatter_retries.clone());
        r.register("ingest_bytes_in_flight", "Bytes of request bodies held", self.ingest_bytes.clone());
        r.register("background_queue_depth", "Jobs that are not done", self.queue_depth.clone());
        let under_way = self.rebalance_in_progress.clone();
        r.register("rebalance_in_progress", "1 while a change of the membership is under way", under_way);
        let took = self.rebalance_duration.clone();
        r.register("rebalance_duration_seconds", "From the beginning to the end of a change of the membership", took);
        let (copied, bytes) = (self.migrated_documents.clone(), self.migrated_bytes.clone());
        r.register("rebalance_documents_migrated", "Documents copied to replicas that lacked them", copied);
        r.register("rebalance_bytes_migrated", "Bytes of documents copied to replicas that lacked them", bytes);
        let removed = self.removed_documents.clone();
        r.register("rebalance_documents_removed", "Documents deleted from replicas that had them still", removed);
        r.register(
            "replicas_healed",
            "Stale replicas that were made equal to fresh ones",
            self.healed_replicas.clone(),
        );
        let failed = "Attempts to heal a replica that were given up, to be tried again: alert if it goes on";
        r.register("mirror_failures", failed, self.failed_mirrors.clone());
        let returned = "Replicas found to lack something when their node came back";
        r.register("returned_stale_replicas", returned, self.returned_stale.clone());
        let (mismatch, repair) = (self.settings_mismatches.clone(), self.settings_repairs.clone());
        r.register("settings_hash_mismatch", "Nodes that read back other settings than they should", mismatch);
        r.register("settings_drift_repair", "Nodes with changed settings that were repaired", repair);
        let overruled = "Refusals of nodes of reads that other replicas took: alert if it goes on";
        r.register("overruled_refusals", overruled, self.overruled_refusals.clone());
        r.register("leader", "Scopes of this kind that this instance leads", self.leader.clone());
        let phase = "Furthest broadcast led here: 0 none, 1 propose, 2 verify, 3 commit, 4 going back";
        r.register("settings_broadcast_phase", phase, self.settings_phase.clone());
        let unrepairable = "Changes of settings that failed because a node never complied: alert";
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

    /// What passes between this instance and whoever is outside of the cluster.
    pub fn outside(&self) -> &Outside {
        &self.0.outside
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

    /// For how long the oldest unfinished task has been there.
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

    /// A mirror has put so many documents of so many bytes to its target, and deleted so many.
    pub fn mirrored(&self, copied: u64, deleted: u64, bytes: u64) {
        self.0.migrated_documents.inc_by(copied);
        self.0.removed_documents.inc_by(deleted);
        self.0.migrated_bytes.inc_by(bytes);
    }

    /// A node refused a read that other replicas took.
    pub fn refusal_overruled(&self) {
        self.0.overruled_refusals.inc();
    }

    /// A stale replica is equal to the fresh ones.
    pub fn replica_healed(&self) {
        self.0.healed_replicas.inc();
    }

    /// A mirror was given up.
    pub fn mirror_failed(&self) {
        self.0.failed_mirrors.inc();
    }

    /// A node came back without what these many replicas on it should hold.
    pub fn returned_stale(&self, replicas: usize) {
        self.0.returned_stale.inc_by(replicas as u64);
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
    /// Versions are shown of the first thousand by name.
    pub fn settings<'a>(&self, frozen: usize, versions: impl IntoIterator<Item = (&'a str, u64)>) {
        self.0.settings_frozen.set(frozen as i64);
        let all: BTreeMap<&str, u64> = versions.into_iter().collect();
        let now: BTreeMap<&str, u64> = all.into_iter().take(LABELLED_INDEXES).collect();
        let mut shown = self.0.settings_versions.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in shown.iter().filter(|uid| !now.contains_key(uid.as_str())) {
            self.0.settings_version.remove(&IndexLabels { index: gone.clone() });
        }
        for (uid, version) in &now {
            self.0.settings_version.get_or_create(&IndexLabels { index: (*uid).to_owned() }).set(*version as i64);
        }
        *shown = now.into_keys().map(str::to_owned).collect();
    }

    /// So many shards were compared, and so many documents found not to be alike and made alike.
    pub fn antientropy(&self, shards: u64, mismatches: u64, repaired: u64) {
        self.0.comparing.compared(shards, mismatches, repaired);
    }

    /// This instance has finished comparing, at this time in seconds since 1970.
    pub fn antientropy_finished(&self, at: i64) {
        self.0.comparing.completed(at);
    }

    /// Request bodies held right now.
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

    /// The table of docs/operations.md, row by row: name and labels. That of alerts has expressions.
    fn documented() -> BTreeMap<String, BTreeSet<String>> {
        let page = include_str!("../../../docs/operations.md");
        let row = |line: &str| {
            let cell = line.strip_prefix("| `")?.split_once("` |")?.0.to_owned();
            (cell.starts_with("miroir_") && !cell.contains(' ')).then_some(cell)
        };
        let parts = |cell: String| match cell.split_once('{') {
            Some((name, labels)) => {
                let labels = labels.trim_end_matches('}').split(',').map(str::to_owned).collect();
                (name.to_owned(), labels)
            }
            None => (cell, BTreeSet::new()),
        };
        page.lines().filter_map(row).map(parts).collect()
    }

    /// Every metric as it is exposed: name and labels.
    fn exposed(text: &str) -> BTreeMap<String, BTreeSet<String>> {
        let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let named = kinds.map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() });
        let mut metrics: BTreeMap<String, BTreeSet<String>> = named.map(|name| (name, BTreeSet::new())).collect();
        for (sample, rest) in text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('{'))
        {
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| sample.strip_suffix(end));
            let name = name.filter(|name| metrics.contains_key(*name)).unwrap_or(sample);
            let labels = rest
                .rsplit_once('}')
                .map_or("", |(labels, _)| labels)
                .split("\",")
                .filter_map(|label| label.split_once('='));
            let labels = labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le");
            metrics.get_mut(name).expect("a sample of a metric").extend(labels);
        }
        metrics
    }

    #[test]
    fn the_table_for_operators_names_every_metric_and_its_labels() {
        let metrics = Metrics::default();
        let node = NodeId::new("meili-0");
        let labels = RequestLabels { method: "GET", path_template: "/indexes/{uid}".into(), status: 200 };
        metrics.request_answered(labels, Duration::from_millis(1));
        metrics.node_request(&node, "search", Duration::from_millis(1));
        metrics.node_error(&node, "timeout");
        metrics.node_state(&node, true, 3);
        metrics.task("succeeded");
        metrics.outside().connection_ended("slow_head");
        metrics.outside().webhook_dropped(uuid::Uuid::nil(), 1);
        metrics.settings(0, [("movies", 3)]);
        miroir_work::Observer::queue_depth(&metrics, "dump_import", 2);
        miroir_work::Observer::leads(&metrics, "settings_broadcast", 1);
        assert_eq!(exposed(&metrics.encode()), documented());
    }

    #[test]
    fn versions_are_those_of_the_indexes_that_are_there_and_not_of_too_many() {
        let metrics = Metrics::default();
        let shown = |metrics: &Metrics| metrics.encode().matches("miroir_settings_version{").count();
        let names: Vec<String> = (0..LABELLED_INDEXES + 5).map(|n| format!("i{n:05}")).collect();
        metrics.settings(0, names.iter().rev().map(|name| (name.as_str(), 1)));
        assert_eq!(shown(&metrics), LABELLED_INDEXES);
        assert!(!metrics.encode().contains("i01000"));
        metrics.settings(2, [("i01000", 7)]);
        let text = metrics.encode();
        assert!(text.contains("miroir_settings_version{index=\"i01000\"} 7"), "{text}");
        assert!(text.contains("miroir_settings_frozen_indexes 2"), "{text}");
        assert_eq!(shown(&metrics), 1);
    }
}
