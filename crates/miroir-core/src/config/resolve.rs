//! From what the file says to what it means; whatever cannot hold is refused here.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::base::id::{GroupId, NodeId};
use crate::replica::anti_entropy::InvalidSchedule;

use super::error::{ConfigError, InvalidNodeId};
use super::file::{
    AdminFile, AntiEntropyFile, File, HealthFile, LeaderElectionFile, MetricsFile, NodeFile, PeerDiscoveryFile,
    PoolFile, RebalancerFile, ScatterFile, SelectionFile, SettingsBroadcastFile, TaskStoreFile, TaskWebhookFile,
    WriteFile,
};
use super::server::{address_policy, server};
use super::values::{Environment, PeerMode, Secret, StoreBackend};
use super::{
    AdminAccess, AdminConfig, AntiEntropyConfig, Config, FacetsConfig, HealthConfig, LeaderElectionConfig, LogConfig,
    MAX_OVER_FETCH, MAX_SHARDS, MetricsConfig, MultiSearchConfig, NodeConfig, PeerDiscovery, PeerDiscoveryConfig,
    PoolConfig, RebalancerConfig, ScatterConfig, SelectionConfig, ServerConfig, SettingsBroadcastConfig,
    SettingsDriftCheckConfig, TaskRegistryConfig, TaskStoreConfig, TaskWebhookConfig, VectorSearchConfig, WriteConfig,
};

/// Keys of production servers have at least this many bytes, as Meilisearch demands of its master key.
const MIN_KEY_BYTES: usize = 16;
const MAX_KEY_BYTES: usize = 1024;
const MAX_GROUPS: u64 = 64;
pub(super) const DAY_MS: u64 = 86_400_000;
const TEN_YEARS_S: u64 = 315_360_000;
/// 4 GiB: no single request or buffer may be larger.
pub(super) const MAX_BYTES: u64 = 4_294_967_296;

pub(super) fn resolve(file: File) -> Result<Config, ConfigError> {
    let environment = file.environment;
    let server = server(&file.server, &file.admin)?;
    let metrics = metrics(&file.metrics)?;
    if overlap(server.listen, metrics.listen) {
        return Err(ConfigError::invalid("metrics.port", "is also server.port; give metrics a port of their own"));
    }
    let master_key = key("master_key", file.master_key, environment)?;
    let admin = admin(file.admin, environment, master_key.as_ref(), &server, &metrics)?;
    let replica_groups = count("replica_groups", file.replica_groups, MAX_GROUPS)?;
    let nodes = nodes(&file.nodes, replica_groups)?;
    let replication_factor = replication_factor(file.replication_factor, &nodes)?;
    Ok(Config {
        master_key,
        node_master_key: key("node_master_key", file.node_master_key, environment)?,
        environment,
        shards: count("shards", file.shards, u64::from(MAX_SHARDS))?,
        replication_factor,
        replica_groups,
        placement: file.placement,
        nodes,
        scatter: scatter(&file.scatter, &server)?,
        multi_search: MultiSearchConfig {
            max_queries_per_batch: size(
                "multi_search.max_queries_per_batch",
                file.multi_search.max_queries_per_batch,
                100_000,
            )?,
        },
        write: write(&file.write, &server)?,
        health: health(&file.health, &server)?,
        server,
        metrics,
        peer_discovery: peer_discovery(file.peer_discovery, &admin.access)?,
        admin,
        task_store: task_store(file.task_store)?,
        task_registry: TaskRegistryConfig {
            retention: seconds("task_registry.retention_s", file.task_registry.retention_s)?,
            redis_pool_max: size("task_registry.redis_pool_max", file.task_registry.redis_pool_max, 10_000)?,
        },
        leader_election: leader_election(&file.leader_election)?,
        connection_pool_per_node: pool(&file.connection_pool_per_node)?,
        replica_selection: selection(&file.replica_selection)?,
        facets: FacetsConfig { node_multiplier: count("facets.node_multiplier", file.facets.node_multiplier, 1000)? },
        settings_broadcast: settings_broadcast(&file.settings_broadcast)?,
        settings_drift_check: SettingsDriftCheckConfig {
            interval: seconds("settings_drift_check.interval_s", file.settings_drift_check.interval_s)?,
            auto_repair: file.settings_drift_check.auto_repair,
        },
        vector_search: VectorSearchConfig {
            over_fetch_factor: count(
                "vector_search.over_fetch_factor",
                file.vector_search.over_fetch_factor,
                u64::from(MAX_OVER_FETCH),
            )?,
        },
        anti_entropy: anti_entropy(&file.anti_entropy)?,
        rebalancer: rebalancer(&file.rebalancer)?,
        task_webhook: task_webhook(&file.task_webhook)?,
        address_policy: address_policy(&file.address_policy)?,
        log: LogConfig { level: file.log.level, format: file.log.format },
    })
}

fn anti_entropy(file: &AntiEntropyFile) -> Result<AntiEntropyConfig, ConfigError> {
    let path = "anti_entropy.schedule";
    let most = "anti_entropy.shards_per_pass";
    let shards_per_pass = usize::try_from(within(most, file.shards_per_pass, 0, u64::from(u32::MAX))?);
    Ok(AntiEntropyConfig {
        enabled: file.enabled,
        schedule: file
            .schedule
            .parse()
            .map_err(|error: InvalidSchedule| ConfigError::invalid(path, error.to_string()))?,
        shards_per_pass: shards_per_pass
            .map_err(|_| ConfigError::invalid(most, "is larger than this machine can count"))?,
        max_read_concurrency: size("anti_entropy.max_read_concurrency", file.max_read_concurrency, 256)?,
        fingerprint_batch_size: count("anti_entropy.fingerprint_batch_size", file.fingerprint_batch_size, 100_000)?,
        deep_every: within("anti_entropy.deep_every", file.deep_every, 0, 1_000_000)?,
        auto_repair: file.auto_repair,
    })
}

fn rebalancer(file: &RebalancerFile) -> Result<RebalancerConfig, ConfigError> {
    let path = "rebalancer.documents_per_second";
    let rate = within(path, file.documents_per_second, 0, u64::from(u32::MAX))?;
    let after = within("rebalancer.replace_after_s", file.replace_after_s, 0, TEN_YEARS_S)?;
    Ok(RebalancerConfig {
        auto_rebalance_on_recovery: file.auto_rebalance_on_recovery,
        max_concurrent_migrations: size("rebalancer.max_concurrent_migrations", file.max_concurrent_migrations, 256)?,
        documents_per_second: u32::try_from(rate).ok().filter(|rate| *rate > 0),
        migration_timeout: seconds("rebalancer.migration_timeout_s", file.migration_timeout_s)?,
        fence_max: millis("rebalancer.fence_max_ms", file.fence_max_ms)?,
        replace_after: (after > 0).then(|| Duration::from_secs(after)),
    })
}

fn settings_broadcast(file: &SettingsBroadcastFile) -> Result<SettingsBroadcastConfig, ConfigError> {
    let path = "settings_broadcast.max_repair_retries";
    let retries = within(path, file.max_repair_retries, 0, 100)?;
    Ok(SettingsBroadcastConfig {
        strategy: file.strategy,
        verify_timeout: seconds("settings_broadcast.verify_timeout_s", file.verify_timeout_s)?,
        max_repair_retries: u32::try_from(retries).map_err(|_| ConfigError::invalid(path, "must be from 0 to 100"))?,
        freeze_writes_on_unrepairable: file.freeze_writes_on_unrepairable,
    })
}

fn task_webhook(file: &TaskWebhookFile) -> Result<TaskWebhookConfig, ConfigError> {
    let (url, authorization) = (&file.url, &file.authorization_header);
    let speaks_http = |url: &str| url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if !url.is_empty() && !speaks_http(url) {
        return Err(ConfigError::invalid("task_webhook.url", "must be an http or https URL"));
    }
    if !authorization.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        let problem = "must consist of visible ASCII characters and spaces";
        return Err(ConfigError::invalid("task_webhook.authorization_header", problem));
    }
    Ok(TaskWebhookConfig {
        url: (!url.is_empty()).then(|| url.clone()),
        authorization_header: (!authorization.is_empty()).then(|| Secret::new(authorization.clone())),
    })
}

pub(super) fn within(path: &str, value: u64, least: u64, most: u64) -> Result<u64, ConfigError> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(ConfigError::invalid(path, format!("is {value}, must be from {least} to {most}")))
    }
}

fn count(path: &str, value: u64, most: u64) -> Result<NonZeroU32, ConfigError> {
    let value = within(path, value, 1, most.min(u64::from(u32::MAX)))?;
    let value = u32::try_from(value).ok().and_then(NonZeroU32::new);
    value.ok_or_else(|| ConfigError::invalid(path, format!("must be from 1 to {most}")))
}

pub(super) fn size(path: &str, value: u64, most: u64) -> Result<NonZeroUsize, ConfigError> {
    let value = within(path, value, 1, most)?;
    let value = usize::try_from(value).ok().and_then(NonZeroUsize::new);
    value.ok_or_else(|| ConfigError::invalid(path, "is larger than this machine can address"))
}

pub(super) fn millis(path: &str, value: u64) -> Result<Duration, ConfigError> {
    within(path, value, 1, DAY_MS).map(Duration::from_millis)
}

fn seconds(path: &str, value: u64) -> Result<Duration, ConfigError> {
    within(path, value, 1, TEN_YEARS_S).map(Duration::from_secs)
}

fn weight(path: &str, value: f64) -> Result<f64, ConfigError> {
    if (0.0..=1_000_000.0).contains(&value) {
        Ok(value)
    } else {
        Err(ConfigError::invalid(path, format!("is {value}, must be from 0 to 1000000")))
    }
}

pub(super) fn listen(section: &str, bind: &str, port: u64) -> Result<SocketAddr, ConfigError> {
    let path = format!("{section}.bind");
    let ip: IpAddr = bind.parse().map_err(|_| {
        ConfigError::invalid(path, format!("expected an IP address such as 0.0.0.0 or 127.0.0.1, found \"{bind}\""))
    })?;
    let path = format!("{section}.port");
    let port = within(&path, port, 0, u64::from(u16::MAX))?;
    let port = u16::try_from(port).map_err(|_| ConfigError::invalid(path, "must be from 0 to 65535"))?;
    Ok(SocketAddr::new(ip, port))
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && same_ip
}

/// A key travels in a header: visible ASCII only. Its text is never part of a message.
fn key(path: &str, text: String, environment: Environment) -> Result<Option<Secret>, ConfigError> {
    if text.len() > MAX_KEY_BYTES {
        return Err(ConfigError::invalid(path, format!("is longer than {MAX_KEY_BYTES} bytes")));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ConfigError::invalid(path, "must consist of visible ASCII characters without spaces"));
    }
    if environment == Environment::Production {
        if text.is_empty() {
            return Err(ConfigError::invalid(path, "is empty, which environment: production does not allow"));
        }
        if text.len() < MIN_KEY_BYTES {
            let problem = format!("has {} bytes, environment: production demands {MIN_KEY_BYTES}", text.len());
            return Err(ConfigError::invalid(path, problem));
        }
    }
    Ok((!text.is_empty()).then(|| Secret::new(text)))
}

fn nodes(files: &[NodeFile], groups: NonZeroU32) -> Result<Vec<NodeConfig>, ConfigError> {
    if files.is_empty() {
        return Err(ConfigError::invalid(
            "nodes",
            "is empty; name at least one, as in `nodes: [{ id: meili-0, address: \"http://127.0.0.1:7701\" }]`",
        ));
    }
    let mut nodes: Vec<NodeConfig> = Vec::with_capacity(files.len());
    for (i, file) in files.iter().enumerate() {
        let node = node(i, file, groups)?;
        if let Some(other) = nodes.iter().position(|other| other.id == node.id) {
            let problem = format!("\"{}\" is already the id of nodes[{other}]; every node needs its own", node.id);
            return Err(ConfigError::invalid(format!("nodes[{i}].id"), problem));
        }
        if let Some(other) = nodes.iter().find(|other| other.address == node.address) {
            let problem = format!("{} is already the address of node {}", node.address, other.id);
            return Err(ConfigError::invalid(format!("nodes[{i}].address"), problem));
        }
        nodes.push(node);
    }
    match (0..groups.get()).find(|group| !nodes.iter().any(|node| node.group == GroupId(*group))) {
        None => Ok(nodes),
        Some(empty) => Err(ConfigError::invalid(
            "replica_groups",
            format!("is {groups}, but no node has replica_group: {empty}; every group needs a node"),
        )),
    }
}

/// A name for a node, as the configuration and operators give it.
///
/// # Errors
/// What is wrong with it.
pub fn node_id(text: &str) -> Result<NodeId, InvalidNodeId> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    match text.len() {
        0 => Err(InvalidNodeId::Empty),
        1..=64 if text.bytes().all(valid) => Ok(NodeId::new(text)),
        _ => Err(InvalidNodeId::Text(text.chars().take(64).collect())),
    }
}

fn node(i: usize, file: &NodeFile, groups: NonZeroU32) -> Result<NodeConfig, ConfigError> {
    let id =
        node_id(&file.id).map_err(|problem| ConfigError::invalid(format!("nodes[{i}].id"), problem.to_string()))?;
    let address = file.address.parse().map_err(|error| {
        let shown: String = file.address.chars().take(200).collect();
        ConfigError::invalid(format!("nodes[{i}].address"), format!("\"{shown}\": {error}"))
    })?;
    let group = u32::try_from(file.replica_group).ok().filter(|group| *group < groups.get());
    let group = group.ok_or_else(|| {
        let problem = format!("is {}, but replica_groups is {groups}: groups count from 0", file.replica_group);
        ConfigError::invalid(format!("nodes[{i}].replica_group"), problem)
    })?;
    Ok(NodeConfig { id, address, group: GroupId(group) })
}

fn replication_factor(value: u64, nodes: &[NodeConfig]) -> Result<NonZeroU32, ConfigError> {
    let path = "replication_factor";
    let mut sizes: BTreeMap<GroupId, u64> = BTreeMap::new();
    for node in nodes {
        *sizes.entry(node.group).or_default() += 1;
    }
    if let Some((group, size)) = sizes.into_iter().find(|(_, size)| value > *size) {
        let problem = format!(
            "is {value}, but replica group {group} has {size} {}; a node holds a shard once",
            if size == 1 { "node" } else { "nodes" }
        );
        return Err(ConfigError::invalid(path, problem));
    }
    count(path, value, nodes.len() as u64)
}

fn metrics(file: &MetricsFile) -> Result<MetricsConfig, ConfigError> {
    Ok(MetricsConfig { listen: listen("metrics", &file.bind, file.port)? })
}

fn admin(
    file: AdminFile,
    environment: Environment,
    master_key: Option<&Secret>,
    server: &ServerConfig,
    metrics: &MetricsConfig,
) -> Result<AdminConfig, ConfigError> {
    // A key that nothing uses need not be there.
    let environment = if file.enabled { environment } else { Environment::Development };
    let access = match key("admin.api_key", file.api_key, environment)? {
        _ if !file.enabled => AdminAccess::Disabled,
        Some(key) => AdminAccess::Key(key),
        None if master_key.is_some() => AdminAccess::Keyless,
        None => AdminAccess::Everybody,
    };
    let path = "admin.port";
    let port = within(path, file.port, 0, u64::from(u16::MAX))?;
    let port = u16::try_from(port).map_err(|_| ConfigError::invalid(path, "must be from 0 to 65535"))?;
    let listen = (port != 0).then(|| SocketAddr::new(server.listen.ip(), port));
    if listen.is_some_and(|listen| overlap(listen, server.listen)) {
        return Err(ConfigError::invalid(path, "is also server.port; 0 serves the admin API on the port of clients"));
    }
    if listen.is_some_and(|listen| overlap(listen, metrics.listen)) {
        return Err(ConfigError::invalid(path, "is also metrics.port; give the admin API a port of its own"));
    }
    let max_concurrent_requests = size("admin.max_concurrent_requests", file.max_concurrent_requests, 10_000)?;
    Ok(AdminConfig { access, listen, max_concurrent_requests })
}

fn task_store(file: TaskStoreFile) -> Result<TaskStoreConfig, ConfigError> {
    let invalid = |problem: &str| Err(ConfigError::invalid("task_store.url", problem));
    match file.backend {
        StoreBackend::Sqlite if file.path.is_empty() => {
            Err(ConfigError::invalid("task_store.path", "is empty; name a file, as in miroir.db"))
        }
        StoreBackend::Sqlite if file.path.contains('\0') => {
            Err(ConfigError::invalid("task_store.path", "contains a zero byte"))
        }
        StoreBackend::Sqlite if !file.url.is_empty() => {
            invalid("is for task_store.backend redis, but the backend is sqlite; change one of them")
        }
        StoreBackend::Sqlite => Ok(TaskStoreConfig::Sqlite { path: file.path.into() }),
        StoreBackend::Redis if file.url.is_empty() => {
            invalid("is empty; name the server, as in redis://127.0.0.1:6379/0")
        }
        // The URL is not shown: it may hold a password.
        StoreBackend::Redis if !is_redis_url(&file.url) => {
            invalid("must be like redis://user:password@host:6379/0, or rediss:// for TLS")
        }
        StoreBackend::Redis => Ok(TaskStoreConfig::Redis { url: Secret::new(file.url) }),
    }
}

fn leader_election(file: &LeaderElectionFile) -> Result<LeaderElectionConfig, ConfigError> {
    let (ttl, renew) = ("leader_election.lease_ttl_s", "leader_election.renew_interval_s");
    // Longer, and nobody would lead for more than an hour after a crash.
    let lease_ttl_s = within(ttl, file.lease_ttl_s, 2, 3600)?;
    let renew_interval_s = within(renew, file.renew_interval_s, 1, 1800)?;
    if renew_interval_s * 2 > lease_ttl_s {
        let problem = format!("is {renew_interval_s}, must be at most half of {ttl} ({lease_ttl_s})");
        return Err(ConfigError::invalid(renew, problem));
    }
    Ok(LeaderElectionConfig {
        lease_ttl: Duration::from_secs(lease_ttl_s),
        renew_interval: Duration::from_secs(renew_interval_s),
    })
}

fn peer_discovery(file: PeerDiscoveryFile, admin: &AdminAccess) -> Result<PeerDiscoveryConfig, ConfigError> {
    let heartbeat = within("peer_discovery.heartbeat_interval_s", file.heartbeat_interval_s, 1, 60)?;
    Ok(PeerDiscoveryConfig { mode: peer_mode(file, admin)?, heartbeat: Duration::from_secs(heartbeat) })
}

fn peer_mode(file: PeerDiscoveryFile, admin: &AdminAccess) -> Result<PeerDiscovery, ConfigError> {
    let missing = match admin {
        AdminAccess::Key(_) | AdminAccess::Everybody => None,
        AdminAccess::Disabled => Some("set admin.enabled to true"),
        AdminAccess::Keyless => Some("it is off while there is a master_key and no admin.api_key: set admin.api_key"),
    };
    if let Some(missing) = missing.filter(|_| file.mode != PeerMode::Store) {
        let problem = format!("is {}, which asks the admin API: {missing}", file.mode.word());
        return Err(ConfigError::invalid("peer_discovery.mode", problem));
    }
    match file.mode {
        PeerMode::Store => Ok(PeerDiscovery::Store),
        PeerMode::DnsSrv => {
            if file.service_name.is_empty() {
                return Err(ConfigError::invalid("peer_discovery.service_name", "is empty; name a service"));
            }
            let server = match file.dns_server.as_str() {
                "" => None,
                text => Some(text.parse().map_err(|_| {
                    ConfigError::invalid("peer_discovery.dns_server", "must be an address and a port, as 10.0.0.10:53")
                })?),
            };
            let refresh = within("peer_discovery.refresh_interval_s", file.refresh_interval_s, 1, 3600)?;
            Ok(PeerDiscovery::DnsSrv { service: file.service_name, server, refresh: Duration::from_secs(refresh) })
        }
        PeerMode::Static => {
            if file.addresses.is_empty() {
                return Err(ConfigError::invalid("peer_discovery.addresses", "is empty; name at least one instance"));
            }
            let addresses = file.addresses.into_iter().enumerate().map(|(i, text)| {
                let path = format!("peer_discovery.addresses[{i}]");
                let problem = "must be like http://host:port";
                match url::Url::parse(&text) {
                    Ok(url) if url.scheme() == "http" && url.host_str().is_some_and(|host| !host.is_empty()) => {
                        Ok(text.trim_end_matches('/').to_owned())
                    }
                    Ok(_) | Err(_) => Err(ConfigError::invalid(&path, problem)),
                }
            });
            Ok(PeerDiscovery::Static { addresses: addresses.collect::<Result<_, _>>()? })
        }
    }
}

fn is_redis_url(text: &str) -> bool {
    let Ok(url) = url::Url::parse(text) else { return false };
    let database = url.path().trim_start_matches('/');
    matches!(url.scheme(), "redis" | "rediss")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && (database.is_empty() || database.parse::<u16>().is_ok())
}

fn health(file: &HealthFile, server: &ServerConfig) -> Result<HealthConfig, ConfigError> {
    let interval = millis("health.interval_ms", file.interval_ms)?;
    let timeout = node_timeout("health.timeout_ms", file.timeout_ms, server)?;
    if timeout > interval {
        let problem = format!("is {}, must be at most health.interval_ms ({})", file.timeout_ms, file.interval_ms);
        return Err(ConfigError::invalid("health.timeout_ms", problem));
    }
    Ok(HealthConfig {
        interval,
        timeout,
        unhealthy_threshold: count("health.unhealthy_threshold", file.unhealthy_threshold, 1000)?,
        recovery_threshold: count("health.recovery_threshold", file.recovery_threshold, 1000)?,
    })
}

/// What one node may take of the time that a request has: before that it may wait for another request to be done with the
/// node, and after that there is another node to be asked, or something to be written down.
const SHARE_OF_A_NODE: u32 = 3;

fn node_timeout(path: &str, value: u64, server: &ServerConfig) -> Result<Duration, ConfigError> {
    let timeout = millis(path, value)?;
    let most = server.request_timeout / SHARE_OF_A_NODE;
    if timeout > most {
        let (request, most) = (server.request_timeout.as_millis(), most.as_millis());
        let problem =
            format!("is {value}, must be at most a third of server.request_timeout_ms ({request}), which is {most}");
        return Err(ConfigError::invalid(path, problem));
    }
    Ok(timeout)
}

fn scatter(file: &ScatterFile, server: &ServerConfig) -> Result<ScatterConfig, ConfigError> {
    Ok(ScatterConfig {
        node_timeout: node_timeout("scatter.node_timeout_ms", file.node_timeout_ms, server)?,
        retry_on_timeout: file.retry_on_timeout,
        unavailable_shard_policy: file.unavailable_shard_policy,
        max_filter_values: size("scatter.max_filter_values", file.max_filter_values, 10_000_000)?,
    })
}

fn write(file: &WriteFile, server: &ServerConfig) -> Result<WriteConfig, ConfigError> {
    Ok(WriteConfig {
        degraded: file.degraded,
        node_timeout: node_timeout("write.node_timeout_ms", file.node_timeout_ms, server)?,
    })
}

fn pool(file: &PoolFile) -> Result<PoolConfig, ConfigError> {
    let max_total = size("connection_pool_per_node.max_total", file.max_total, 65_536)?;
    let path = "connection_pool_per_node.max_idle";
    let max_idle = within(path, file.max_idle, 0, 65_536)?;
    let max_idle = usize::try_from(max_idle).ok().filter(|idle| *idle <= max_total.get()).ok_or_else(|| {
        let problem = format!("is {max_idle}, must be at most connection_pool_per_node.max_total ({max_total})");
        ConfigError::invalid(path, problem)
    })?;
    let idle_timeout = seconds("connection_pool_per_node.idle_timeout_s", file.idle_timeout_s)?;
    Ok(PoolConfig { max_idle, max_total, idle_timeout })
}

fn selection(file: &SelectionFile) -> Result<SelectionConfig, ConfigError> {
    let path = "replica_selection.exploration_epsilon";
    let exploration_epsilon = file.exploration_epsilon;
    if !(0.0..=1.0).contains(&exploration_epsilon) {
        return Err(ConfigError::invalid(path, format!("is {exploration_epsilon}, must be from 0 to 1")));
    }
    Ok(SelectionConfig {
        strategy: file.strategy,
        latency_weight: weight("replica_selection.latency_weight", file.latency_weight)?,
        inflight_weight: weight("replica_selection.inflight_weight", file.inflight_weight)?,
        error_weight: weight("replica_selection.error_weight", file.error_weight)?,
        ewma_half_life: millis("replica_selection.ewma_half_life_ms", file.ewma_half_life_ms)?,
        exploration_epsilon,
    })
}
