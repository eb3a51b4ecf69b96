//! The configuration: what an operator wrote, parsed into meaning.
//!
//! Invariant: a [`Config`] that exists can be acted upon. Unknown keys, impossible values and dangerous
//! combinations are a [`ConfigError`]; a mistyped value never becomes a default. Every default stands in `file`.

mod error;
mod file;
mod layers;
mod reference;
mod resolve;
mod server;
#[cfg(test)]
mod tests;
mod typed;
mod values;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use crate::base::address::AddressPolicy;
use crate::base::id::{GroupId, NodeId};
use crate::membership::placement::PlacementKind;
use crate::membership::topology::{Member, Shape};
use crate::replica::anti_entropy::Schedule;

pub use error::{ConfigError, InvalidNodeId};
pub use layers::ENVIRONMENT_KEYS;
pub use resolve::node_id;
pub use values::{
    BroadcastStrategy, DegradedWrites, Environment, LogFormat, LogLevel, NodeUrl, NodeUrlError, PeerMode, Secret,
    SelectionStrategy, UnavailableShardPolicy,
};

/// The most shards an index may have.
///
/// A search that reads part of a node's shards lists them in its filter: the bound keeps that list small.
pub const MAX_SHARDS: u32 = 4096;

/// Everything Miroir needs to know before it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What clients send; `None`: no authentication (development only).
    pub master_key: Option<Secret>,
    /// What nodes are sent; `None`: nothing (development only).
    pub node_master_key: Option<Secret>,
    /// How strict the start is.
    pub environment: Environment,
    /// Shards of a new index, at most [`MAX_SHARDS`].
    pub shards: NonZeroU32,
    /// Copies of a shard in each group; no group has fewer nodes.
    pub replication_factor: NonZeroU32,
    /// Number of groups; each has a node.
    pub replica_groups: NonZeroU32,
    /// How shards are spread.
    pub placement: PlacementKind,
    /// At least one; ids and addresses are unique.
    pub nodes: Vec<NodeConfig>,
    /// The client endpoint.
    pub server: ServerConfig,
    /// The metrics endpoint.
    pub metrics: MetricsConfig,
    /// The admin API.
    pub admin: AdminConfig,
    /// The store.
    pub task_store: TaskStoreConfig,
    /// Memory of tasks.
    pub task_registry: TaskRegistryConfig,
    /// Leases of led work.
    pub leader_election: LeaderElectionConfig,
    /// How instances find each other.
    pub peer_discovery: PeerDiscoveryConfig,
    /// Health checks.
    pub health: HealthConfig,
    /// How nodes are asked by reads, and what is answered where none can be.
    pub scatter: ScatterConfig,
    /// Several searches in one request.
    pub multi_search: MultiSearchConfig,
    /// How long nodes may take for writes, and which writes hold with nodes lost.
    pub write: WriteConfig,
    /// Connections to nodes.
    pub connection_pool_per_node: PoolConfig,
    /// Choice among replicas.
    pub replica_selection: SelectionConfig,
    /// Facet merging.
    pub facets: FacetsConfig,
    /// Changes of settings.
    pub settings_broadcast: SettingsBroadcastConfig,
    /// Checks of settings.
    pub settings_drift_check: SettingsDriftCheckConfig,
    /// Searches by vectors.
    pub vector_search: VectorSearchConfig,
    /// Comparing replicas.
    pub anti_entropy: AntiEntropyConfig,
    /// Copying shards.
    pub rebalancer: RebalancerConfig,
    /// `task_webhook`.
    pub task_webhook: TaskWebhookConfig,
    /// Which addresses may be named.
    pub address_policy: AddressPolicyConfig,
    /// The log.
    pub log: LogConfig,
}

/// One Meilisearch server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// The operator's name: 1 to 64 letters, digits, `-`, `_`, `.`.
    pub id: NodeId,
    /// Where it listens.
    pub address: NodeUrl,
    /// Its group, below `replica_groups`.
    pub group: GroupId,
}

/// The client endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Largest body after decompression.
    pub max_body_bytes: NonZeroUsize,
    /// Bytes of request bodies in flight; at least `max_body_bytes`.
    pub max_ingest_bytes: NonZeroUsize,
    /// Requests of clients handled at one time, until their answers have been sent.
    pub max_concurrent_requests: NonZeroUsize,
    /// The longest that a client waits, the arrival of its body aside.
    pub request_timeout: Duration,
    /// Between the word to stop and the last request that is taken.
    pub stop_delay: Duration,
    /// Longest pause of an arriving body.
    pub body_timeout: Duration,
    /// Least rate of an arriving body; 0: any.
    pub min_body_bytes_per_s: u64,
    /// Largest answer of one node.
    pub max_reply_bytes: NonZeroUsize,
    /// Bytes of answers in flight; at least `max_reply_bytes`.
    pub max_reply_bytes_in_flight: NonZeroUsize,
    /// Of its connections.
    pub connections: ConnectionLimits,
    /// Whether answers are compressed for clients that accept it.
    pub compress_responses: bool,
}

/// What connections of clients are bounded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// At one time; more than requests may be at work.
    pub max_connections: NonZeroUsize,
    /// From the first byte of a head to its last.
    pub head_timeout: Duration,
    /// From one request to the first byte of the next.
    pub idle_timeout: Duration,
    /// Without a byte taken by who reads an answer.
    pub write_timeout: Duration,
    /// Of one head, its first line included.
    pub max_head_bytes: NonZeroUsize,
    /// Header lines of one head.
    pub max_head_lines: NonZeroUsize,
    /// Of a request's target.
    pub max_uri_bytes: NonZeroUsize,
}

/// The metrics endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Where to listen; never the client endpoint; port 0 takes any free one.
    pub listen: SocketAddr,
}

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Who may use it.
    pub access: AdminAccess,
    /// Its own port, never that of clients or of metrics; `None`: that of clients.
    pub listen: Option<SocketAddr>,
    /// Requests handled at one time, beside those of clients.
    pub max_concurrent_requests: NonZeroUsize,
}

/// Who may use the admin API. `/_miroir/ready` is for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAccess {
    /// Whoever shows this key.
    Key(Secret),
    /// Everybody: there is no key at all, not even for clients (development only).
    Everybody,
    /// Nobody, because it was turned off.
    Disabled,
    /// Nobody, because there is a key for clients and none for operators.
    Keyless,
}

impl AdminConfig {
    /// Whether it is served at all.
    pub fn is_served(&self) -> bool {
        match self.access {
            AdminAccess::Key(_) | AdminAccess::Everybody => true,
            AdminAccess::Disabled | AdminAccess::Keyless => false,
        }
    }

    /// What callers have to show; `None`: nothing will do, or nothing is needed.
    pub fn key(&self) -> Option<&Secret> {
        match &self.access {
            AdminAccess::Key(key) => Some(key),
            AdminAccess::Everybody | AdminAccess::Disabled | AdminAccess::Keyless => None,
        }
    }
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskStoreConfig {
    /// SQLite, for one instance.
    Sqlite {
        /// The database file.
        path: PathBuf,
    },
    /// Redis or Valkey, for several instances.
    Redis {
        /// `redis://` or `rediss://`; may hold a password.
        url: Secret,
    },
}

/// How instances that share a store know of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerDiscoveryConfig {
    /// How they find each other.
    pub mode: PeerDiscovery,
    /// Between two signs of life.
    pub heartbeat: Duration,
}

impl PeerDiscoveryConfig {
    /// An instance whose last heartbeat is older than this is evicted by the others.
    pub fn evicted_after(&self) -> Duration {
        self.heartbeat.saturating_mul(5)
    }

    /// An instance whose last contact is older than this is isolated: it accepts no writes, so that it has none under
    /// way when the others evict it.
    pub fn isolated_after(&self) -> Duration {
        self.evicted_after() * 2 / 3
    }
}

/// How instances that share a store find each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerDiscovery {
    /// By what each writes into the store.
    Store,
    /// By the SRV records of a name.
    DnsSrv {
        /// The name.
        service: String,
        /// Who is asked for it; none: whom the system asks.
        server: Option<SocketAddr>,
        /// Between two looks.
        refresh: Duration,
    },
    /// By a list.
    Static {
        /// `http://host:port`, without a trailing slash.
        addresses: Vec<String>,
    },
}

/// Memory of tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRegistryConfig {
    /// Finished tasks are forgotten after this.
    pub retention: Duration,
    /// The most connections to Redis.
    pub redis_pool_max: NonZeroUsize,
}

/// Leases of led work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderElectionConfig {
    /// A lease that is not renewed ends after this.
    pub lease_ttl: Duration,
    /// Between two renewals; at most half of `lease_ttl`.
    pub renew_interval: Duration,
}

/// Health checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// Between two checks of a node.
    pub interval: Duration,
    /// For one check, and for connecting; at most `interval`, and a third of the request's timeout.
    pub timeout: Duration,
    /// Failures in a row that make a node failed.
    pub unhealthy_threshold: NonZeroU32,
    /// Successes in a row that make it recovering.
    pub recovery_threshold: NonZeroU32,
}

/// Reads over several nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScatterConfig {
    /// For one node's answer; at most a third of the request's timeout.
    pub node_timeout: Duration,
    /// Whether a timeout is retried on another replica.
    pub retry_on_timeout: bool,
    /// When no replica of a shard is usable.
    pub unavailable_shard_policy: UnavailableShardPolicy,
    /// Values that one filter may compare with.
    pub max_filter_values: NonZeroUsize,
}

/// Several searches in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiSearchConfig {
    /// Of one request.
    pub max_queries_per_batch: NonZeroUsize,
}

/// Writes to several nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteConfig {
    /// When some group misses its quorum.
    pub degraded: DegradedWrites,
    /// For one node's acceptance; at most a third of the request's timeout.
    pub node_timeout: Duration,
}

/// Connections to one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Idle ones kept; at most `max_total`.
    pub max_idle: usize,
    /// Open at one time.
    pub max_total: NonZeroUsize,
    /// Idle ones are closed after this.
    pub idle_timeout: Duration,
}

/// Choice among fresh replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectionConfig {
    /// How to choose.
    pub strategy: SelectionStrategy,
    /// Weight of latency, not negative.
    pub latency_weight: f64,
    /// Weight of requests in flight, not negative.
    pub inflight_weight: f64,
    /// Weight of the error rate, not negative.
    pub error_weight: f64,
    /// Half-life of the smoothing.
    pub ewma_half_life: Duration,
    /// Share of reads at random, 0 to 1.
    pub exploration_epsilon: f64,
}

/// Facet merging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FacetsConfig {
    /// How many times `maxValuesPerFacet` nodes return.
    pub node_multiplier: NonZeroU32,
}

/// Changes of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsBroadcastConfig {
    /// All at once, or one by one.
    pub strategy: BroadcastStrategy,
    /// For a node to tell its settings, once it has applied them.
    pub verify_timeout: Duration,
    /// How often a node is told again.
    pub max_repair_retries: u32,
    /// Whether an index with a node that never complied takes no documents.
    pub freeze_writes_on_unrepairable: bool,
}

/// Checks of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsDriftCheckConfig {
    /// Between two checks.
    pub interval: Duration,
    /// Repair, or only count.
    pub auto_repair: bool,
}

/// A webhook of the configuration's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskWebhookConfig {
    /// Where to; none: nowhere.
    pub url: Option<String>,
    /// Sent as `Authorization`.
    pub authorization_header: Option<Secret>,
}

/// The most that `vector_search.over_fetch_factor` and the header in its place may be.
pub const MAX_OVER_FETCH: u32 = 100;

/// Searches by vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorSearchConfig {
    /// How many times as many hits nodes are asked for.
    pub over_fetch_factor: NonZeroU32,
}

/// Comparing replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AntiEntropyConfig {
    /// Whether documents are stamped with the time of their last write, and replicas are compared.
    pub enabled: bool,
    /// When a pass is due.
    pub schedule: Schedule,
    /// Shards of one pass; 0: all.
    pub shards_per_pass: usize,
    /// Shards compared at one time.
    pub max_read_concurrency: NonZeroUsize,
    /// Documents listed in one request.
    pub fingerprint_batch_size: NonZeroU32,
    /// Every so many passes look at contents; 0: none.
    pub deep_every: u64,
    /// Repair, or only count.
    pub auto_repair: bool,
}

/// Copying shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebalancerConfig {
    /// Whether replicas that missed writes are brought up to date when their node is back.
    pub auto_rebalance_on_recovery: bool,
    /// Shards copied to a node at one time.
    pub max_concurrent_migrations: NonZeroUsize,
    /// Of one copy; none: as fast as it goes.
    pub documents_per_second: Option<u32>,
    /// A copy that takes longer is begun again.
    pub migration_timeout: Duration,
    /// The longest that writes are held.
    pub fence_max: Duration,
    /// A node that is away for so long is drained; none: never.
    pub replace_after: Option<Duration>,
}

/// Which addresses Miroir connects to when somebody else names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPolicyConfig {
    /// Of webhooks.
    pub webhooks: AddressPolicy,
    /// Of nodes that are added while the cluster runs.
    pub nodes: AddressPolicy,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Least severe level.
    pub level: LogLevel,
    /// Shape of a line.
    pub format: LogFormat,
}

impl Config {
    /// Read a file's text, with the environment over it and the flags (`key=value`, dotted paths) over both.
    ///
    /// Of the environment only [`ENVIRONMENT_KEYS`] and `MIROIR__...` are looked at, and an empty variable counts
    /// as unset. The error is one line that names the key and what would be right; it never shows a secret.
    pub fn load(
        yaml: &str,
        environment: impl Iterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        resolve::resolve(layers::read(yaml, environment, overrides)?)
    }

    /// Every setting with its default as a commented file. Once `nodes` are given it loads.
    pub fn defaults_yaml() -> String {
        reference::defaults_yaml()
    }

    /// The reference tables of the documentation, in Markdown.
    pub fn reference_markdown() -> String {
        reference::reference_markdown()
    }

    /// The cluster that this configuration asks for.
    pub fn shape(&self) -> Shape {
        let members = self.nodes.iter().map(|node| Member {
            id: node.id.clone(),
            address: node.address.to_string(),
            group: node.group,
        });
        Shape { members: members.collect(), replication_factor: self.replication_factor, placement: self.placement }
    }
}
