//! What a configuration file may hold, and every default there is.

use serde_json::Value;

use crate::membership::placement::PlacementKind;

use super::error::ConfigError;
use super::typed::{Entry, Typed, join, section};
use super::values::{
    BroadcastStrategy, DegradedWrites, Environment, LogFormat, LogLevel, PeerMode, SelectionStrategy, StoreBackend,
    UnavailableShardPolicy,
};

/// Defines a section: its keys with their meaning, type and default. Unknown keys are refused.
macro_rules! file {
    ($name:ident { $( #[doc = $about:literal] $key:ident: $type:ty = $default:expr; )* }) => {
        pub(super) struct $name { $(pub(super) $key: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        impl Typed for $name {
            fn read(path: &str, value: &Value) -> Result<Self, ConfigError> {
                let mut read = Self::default();
                let Some(map) = section(path, value)? else { return Ok(read) };
                for (key, value) in map {
                    match key.as_str() {
                        $(stringify!($key) => read.$key = Typed::read(&join(path, key), value)?,)*
                        unknown => {
                            return Err(ConfigError::unknown(join(path, key), unknown, &[$(stringify!($key)),*]));
                        }
                    }
                }
                Ok(read)
            }

            fn describe(&self, path: &str, about: &'static str, entries: &mut Vec<Entry>) {
                if !path.is_empty() {
                    entries.push(Entry { path: path.into(), about, setting: None });
                }
                $(self.$key.describe(&join(path, stringify!($key)), $about.trim_ascii(), entries);)*
            }
        }
    };
}

file!(File {
    /// The key that clients send. Empty: no authentication, refused in production.
    master_key: String = String::new();
    /// The key that Miroir sends to the nodes (their own master key). Empty: none, refused in production.
    node_master_key: String = String::new();
    /// `production` refuses to start with keys that are empty or shorter than 16 bytes.
    environment: Environment = Environment::Development;
    /// Number of shards of a new index, 1 to 4096. An index keeps the number it was created with.
    shards: u64 = 64;
    /// Copies of each shard within each replica group, at least 1 and at most the nodes of the smallest group.
    replication_factor: u64 = 1;
    /// Number of replica groups. Each holds every shard; a read uses one group.
    replica_groups: u64 = 1;
    /// How shards are spread over the nodes of a group.
    placement: PlacementKind = PlacementKind::Balanced;
    /// The Meilisearch servers: `{ id: meili-0, address: "http://10.0.0.5:7700", replica_group: 0 }`.
    nodes: Vec<NodeFile> = Vec::new();
    /// The endpoint that clients use.
    server: ServerFile = ServerFile::default();
    /// Prometheus metrics, on a port of their own.
    metrics: MetricsFile = MetricsFile::default();
    /// The admin API under `/_miroir/`.
    admin: AdminFile = AdminFile::default();
    /// Where catalog, tasks and stale replicas are kept.
    task_store: TaskStoreFile = TaskStoreFile::default();
    /// Memory of tasks.
    task_registry: TaskRegistryFile = TaskRegistryFile::default();
    /// Which instance leads work that only one may do.
    leader_election: LeaderElectionFile = LeaderElectionFile::default();
    /// How instances that share a store find each other.
    peer_discovery: PeerDiscoveryFile = PeerDiscoveryFile::default();
    /// Health checks of the nodes.
    health: HealthFile = HealthFile::default();
    /// Reads over several nodes.
    scatter: ScatterFile = ScatterFile::default();
    /// Several searches in one request.
    multi_search: MultiSearchFile = MultiSearchFile::default();
    /// Writes to several nodes.
    write: WriteFile = WriteFile::default();
    /// Connections kept to each node.
    connection_pool_per_node: PoolFile = PoolFile::default();
    /// Which of several fresh replicas a read asks.
    replica_selection: SelectionFile = SelectionFile::default();
    /// Merging of facet counts.
    facets: FacetsFile = FacetsFile::default();
    /// Bringing a change of settings to all nodes.
    settings_broadcast: SettingsBroadcastFile = SettingsBroadcastFile::default();
    /// Finding nodes whose settings were changed behind Miroir's back.
    settings_drift_check: SettingsDriftCheckFile = SettingsDriftCheckFile::default();
    /// Searches by vectors.
    vector_search: VectorSearchFile = VectorSearchFile::default();
    /// Comparing replicas with one another.
    anti_entropy: AntiEntropyFile = AntiEntropyFile::default();
    /// Copying shards: to nodes that were away, and to other nodes.
    rebalancer: RebalancerFile = RebalancerFile::default();
    /// A webhook that is told of every finished task. Others are made with `POST /webhooks`.
    task_webhook: TaskWebhookFile = TaskWebhookFile::default();
    /// Which addresses Miroir connects to when a client or an operator names them.
    address_policy: AddressPolicyFile = AddressPolicyFile::default();
    /// The log on standard error.
    log: LogFile = LogFile::default();
});

file!(NodeFile {
    /// The operator's name for the node: 1 to 64 letters, digits, `-`, `_` or `.`.
    id: String = String::new();
    /// `http://host:port`.
    address: String = String::new();
    /// The replica group it belongs to, from 0.
    replica_group: u64 = 0;
});

file!(ServerFile {
    /// The IP address to listen on.
    bind: String = "0.0.0.0".into();
    /// The port to listen on; 0 takes any free port.
    port: u64 = 7700;
    /// The largest request body, after decompression; the default is one server's. Larger: 413.
    max_body_bytes: u64 = 100_000_000;
    /// Bytes of request bodies in flight at one time, on all routes. Beyond: 503 `miroir_overloaded`.
    max_ingest_bytes: u64 = 268_435_456;
    /// Requests of clients handled at one time, each until its answer has been sent. Beyond: 503 `miroir_overloaded`.
    max_concurrent_requests: u64 = 500;
    /// The longest that a client waits for an answer, its body's arrival aside. A change that it asked for goes on.
    request_timeout_ms: u64 = 30_000;
    /// Connections at one time, more than requests. One that is new takes the place of the one that waits longest.
    max_connections: u64 = 10_000;
    /// How long the head of a request may take to arrive. Longer: 408.
    head_timeout_ms: u64 = 10_000;
    /// A connection on which no request begins is closed after this time.
    idle_timeout_ms: u64 = 75_000;
    /// How long a request's body may pause, and before what time it may be slow. Longer: 408.
    body_timeout_ms: u64 = 10_000;
    /// The least bytes a second that a request's body arrives with; 0: any. Slower: 408.
    min_body_bytes_per_s: u64 = 1024;
    /// How long an answer may wait for a client that reads nothing. Longer: the connection is closed.
    write_timeout_ms: u64 = 30_000;
    /// The largest head of a request. Larger: 431.
    max_head_bytes: u64 = 131_072;
    /// The most header lines of a request. More: 431.
    max_head_lines: u64 = 100;
    /// The longest path and query of a request. Longer: 414.
    max_uri_bytes: u64 = 65_534;
    /// The largest answer of one node.
    max_reply_bytes: u64 = 268_435_456;
    /// Bytes of answers in flight at one time: of nodes to reads, and of ours until sent. Beyond: 503 `miroir_overloaded`.
    max_reply_bytes_in_flight: u64 = 1_073_741_824;
    /// Asked to stop, an instance says that it is not ready and serves everything for so long, before it takes no more.
    stop_delay_ms: u64 = 0;
    /// Whether answers are compressed for clients that accept it (`br`, `gzip`, `deflate`, `zstd`).
    compress_responses: bool = true;
});

file!(MetricsFile {
    /// The IP address to listen on.
    bind: String = "0.0.0.0".into();
    /// The port to listen on; 0 takes any free port.
    port: u64 = 9090;
});

file!(AdminFile {
    /// Whether the admin API is served at all (`/_miroir/ready` always is).
    enabled: bool = true;
    /// The key of the admin API. Empty: where there is a `master_key` the admin API is off, and without one it is open to everybody; refused in production.
    api_key: String = String::new();
    /// Requests under `/_miroir/` handled at one time, beside those of clients. Beyond: 503 `miroir_overloaded`.
    max_concurrent_requests: u64 = 32;
    /// A port of its own, where alone the admin API and `/_miroir/metrics` are then (`/_miroir/ready` is on both); 0: that of clients.
    port: u64 = 0;
});

file!(TaskStoreFile {
    /// The kind of store: `sqlite` for one instance, `redis` (Redis 6.2 or later, or Valkey) for several.
    backend: StoreBackend = StoreBackend::Sqlite;
    /// The database file of `sqlite`. The folder above it must exist; the last one is made.
    path: String = "miroir.db".into();
    /// The server of `redis`: `redis://user:password@host:6379/0`, or `rediss://` for TLS.
    url: String = String::new();
});

file!(TaskRegistryFile {
    /// Finished tasks are forgotten after this time.
    retention_s: u64 = 604_800;
    /// The most connections to Redis, beside the one that listens for changes.
    redis_pool_max: u64 = 50;
});

file!(LeaderElectionFile {
    /// A leader that vanishes is replaced after this time.
    lease_ttl_s: u64 = 10;
    /// Time between two renewals of a lease; at most half of `lease_ttl_s`.
    renew_interval_s: u64 = 3;
});

file!(PeerDiscoveryFile {
    /// By what they write into the store, by DNS, or by a list. The latter two ask each other's admin API.
    mode: PeerMode = PeerMode::Store;
    /// The name of `dns_srv`, whose SRV records say where the instances listen.
    service_name: String = "miroir-headless".into();
    /// The DNS server to ask, as `10.0.0.10:53`. Empty: the system's.
    dns_server: String = String::new();
    /// The list of `static`, as `http://10.0.0.1:7700`; this instance may be among them.
    addresses: Vec<String> = Vec::new();
    /// Time between two looks at the DNS.
    refresh_interval_s: u64 = 15;
    /// Time between two heartbeats. An instance whose last one is five of them ago is evicted; before that it is isolated and accepts no writes.
    heartbeat_interval_s: u64 = 3;
});

file!(HealthFile {
    /// Time between two checks of a node.
    interval_ms: u64 = 5000;
    /// How long a check may take, and connecting to a node; at most the interval, and a third of `server.request_timeout_ms`.
    timeout_ms: u64 = 2000;
    /// Failures in a row after which a node is `failed`.
    unhealthy_threshold: u64 = 3;
    /// Successes in a row after which a failed node is `returning`: it is looked at, and serves again when what it lacks is known.
    recovery_threshold: u64 = 2;
});

file!(ScatterFile {
    /// How long one node may take to answer a read, the wait for a connection included; at most a third of `server.request_timeout_ms`.
    node_timeout_ms: u64 = 5000;
    /// Whether a read that timed out on one replica is sent to another.
    retry_on_timeout: bool = true;
    /// A shard without any usable replica: answer without it, or answer 503.
    unavailable_shard_policy: UnavailableShardPolicy = UnavailableShardPolicy::Partial;
    /// Values that one filter may compare with, those in lists one by one: nodes take time that grows with their square. More: 400 `miroir_filter_too_long`.
    max_filter_values: u64 = 5000;
});

file!(MultiSearchFile {
    /// The most queries of one multi-search. More: 400.
    max_queries_per_batch: u64 = 1000;
});

file!(WriteFile {
    /// Whether a write that reached some replicas but not a quorum of every group is accepted.
    degraded: DegradedWrites = DegradedWrites::Accept;
    /// How long one node may take to accept a write; at most a third of `server.request_timeout_ms`.
    node_timeout_ms: u64 = 10_000;
});

file!(PoolFile {
    /// Idle connections kept open; at most `max_total`.
    max_idle: u64 = 32;
    /// Connections open at one time.
    max_total: u64 = 128;
    /// Idle connections are closed after this time.
    idle_timeout_s: u64 = 60;
});

file!(SelectionFile {
    /// How a replica is chosen.
    strategy: SelectionStrategy = SelectionStrategy::Adaptive;
    /// Weight of a node's smoothed latency.
    latency_weight: f64 = 1.0;
    /// Weight of a node's requests in flight.
    inflight_weight: f64 = 2.0;
    /// Weight of a node's error rate.
    error_weight: f64 = 10.0;
    /// Half-life of the smoothing.
    ewma_half_life_ms: u64 = 5000;
    /// Share of reads (0 to 1) sent to a replica at random, so that a recovered node is noticed.
    exploration_epsilon: f64 = 0.05;
});

file!(VectorSearchFile {
    /// How many times as many hits nodes are asked for where vectors take part, 1 to 100; one request's `X-Miroir-Over-Fetch` goes before it.
    over_fetch_factor: u64 = 1;
});

file!(FacetsFile {
    /// Nodes return this many times `maxValuesPerFacet`, so that merged counts are exact further down.
    node_multiplier: u64 = 4;
});

file!(SettingsBroadcastFile {
    /// All nodes at once and committed when all agree, or one node after the other.
    strategy: BroadcastStrategy = BroadcastStrategy::TwoPhase;
    /// How long a node may take to tell its settings once it has applied a change. Applying it may take any time.
    verify_timeout_s: u64 = 60;
    /// How often a node that holds other settings than the others is told again, 0 to 100.
    max_repair_retries: u64 = 3;
    /// Whether an index takes no more documents (503 `miroir_settings_frozen`) when a node could not be brought to hold its settings.
    freeze_writes_on_unrepairable: bool = true;
});

file!(SettingsDriftCheckFile {
    /// Time between two checks of a node's settings.
    interval_s: u64 = 300;
    /// Whether a node that holds other settings is repaired, or only counted.
    auto_repair: bool = true;
});

file!(TaskWebhookFile {
    /// Where finished tasks are sent to, as gzipped NDJSON: `https://host/path`. Empty: nowhere.
    url: String = String::new();
    /// The `Authorization` header that is sent with them. Empty: none.
    authorization_header: String = String::new();
});

file!(AntiEntropyFile {
    /// Whether documents are stamped with the time of their last write, and replicas are compared by it.
    enabled: bool = true;
    /// How often every shard is compared: `every 30s`, `every 15m`, `every 6h`, `every 1d`.
    schedule: String = "every 6h".into();
    /// Shards an instance compares in one pass, the others in the next ones; 0: all.
    shards_per_pass: u64 = 0;
    /// Shards compared at one time.
    max_read_concurrency: u64 = 2;
    /// Documents listed in one request.
    fingerprint_batch_size: u64 = 1000;
    /// Every so many passes compare the contents of documents, too; 0: none does.
    deep_every: u64 = 4;
    /// Whether documents that differ are repaired, or only counted.
    auto_repair: bool = true;
});

file!(RebalancerFile {
    /// Whether replicas that missed writes are brought up to date when their node is back.
    auto_rebalance_on_recovery: bool = true;
    /// Shards copied to a node at one time.
    max_concurrent_migrations: u64 = 4;
    /// The most documents a second that one copy reads; 0: as fast as it goes.
    documents_per_second: u64 = 0;
    /// A copy that takes longer is given up, and begun again.
    migration_timeout_s: u64 = 3600;
    /// The longest that the writes of an index are held so that two replicas can be seen to be equal.
    fence_max_ms: u64 = 2000;
    /// A node that is away for so long is drained, where others hold what it has; 0: never.
    replace_after_s: u64 = 0;
});

file!(AddressPolicyFile {
    /// Networks that webhooks may be in beside the public internet, as `10.0.0.0/8`; `any`: anywhere.
    allowed_networks: Vec<String> = Vec::new();
    /// Networks that nodes added by the admin API have to be in; empty: anywhere.
    node_networks: Vec<String> = Vec::new();
});

file!(LogFile {
    /// The least severe message that is logged.
    level: LogLevel = LogLevel::Info;
    /// JSON lines, or text for a terminal.
    format: LogFormat = LogFormat::Json;
});
