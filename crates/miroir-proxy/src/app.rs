//! The composition root: builds everything from the configuration, serves, and stops in order.

use std::future::Future;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use miroir_cluster::{Cluster, Discovery, TaskReconciler};
use miroir_core::config::{AdminAccess, Config, ConnectionLimits, Secret, TaskStoreConfig};
use miroir_node::budget::Budget;
use miroir_node::{Limits, NodeClient};
use miroir_store::{RedisOptions, RedisStore, SqliteStore, Store};
use miroir_telemetry::Metrics;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::serve::{listen, serve};
use crate::telemetry::metrics_router;
use crate::{http, workers};

/// The metrics port is for few.
const METRICS_CONNECTIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);
/// For requests in flight when the instance is asked to stop.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Serve until SIGTERM or SIGINT.
///
/// # Errors
/// What prevents the start: a port that is taken, a store that cannot be opened.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let store = open_store(&config).await?;
    let metrics = Metrics::default();
    let replies = Budget::new(
        "answers (server.max_reply_bytes_in_flight)",
        config.server.max_reply_bytes_in_flight.get() as u64,
        metrics.clone(),
        |metrics, bytes| metrics.outside().reply_bytes(bytes),
    );
    let cluster = Arc::new(
        Cluster::open(
            config.clone(),
            store.clone(),
            client(&config, config.node_master_key.as_ref(), &replies)?,
            metrics.clone(),
        )
        .await?,
    );

    let listener =
        listen(config.server.listen).with_context(|| format!("server: cannot listen on {}", config.server.listen))?;
    let metrics_listener = listen(config.metrics.listen)
        .with_context(|| format!("metrics: cannot listen on {}", config.metrics.listen))?;
    let admin_listener = match config.admin.listen {
        None => None,
        Some(address) => Some(listen(address).with_context(|| format!("admin: cannot listen on {address}"))?),
    };
    let address = listener.local_addr()?;
    tracing::info!(%address, nodes = config.nodes.len(), shards = config.shards, "serving");
    say_who_may_administer(&config);

    // Whoever may begin something new ends with `leaving`; who keeps up locks, leases and the heartbeat, and whom a change
    // needs to come to its end, with `stopped`.
    let (leave, leaving) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let mut background = JoinSet::new();
    background.spawn(until(stopped.clone(), workers::watch_health(cluster.clone())));
    background.spawn(until(leaving.clone(), workers::watch_membership(cluster.clone())));
    background.spawn(until(leaving.clone(), workers::compare_replicas(cluster.clone())));
    background.spawn(until(leaving.clone(), workers::prune_tasks(cluster.clone())));
    background.spawn(until(leaving.clone(), workers::catch_up_nodes(cluster.clone())));
    background.spawn(until(leaving.clone(), workers::examine_nodes(cluster.clone())));
    background.spawn(until(leaving.clone(), workers::begin_healing(cluster.clone())));
    background.spawn(until(leaving.clone(), workers::catch_up_settings(cluster.clone())));
    background.spawn(until(leaving.clone(), workers::check_settings(cluster.clone())));
    background.spawn(until(leaving.clone(), workers::check_suspects(cluster.clone())));
    background.spawn(until(stopped.clone(), cluster.state.clone().follow_store()));
    let discovery = Discovery::new(&config.peer_discovery).context("peer_discovery: names cannot be looked up")?;
    let to_peers = client(&config, config.admin.key(), &replies)?;
    background.spawn(until(stopped.clone(), cluster.state.clone().keep_in_touch(discovery, to_peers)));
    background.spawn(until(stopped.clone(), cluster.state.clone().renew_index_locks()));
    background.spawn(until(leaving.clone(), cluster.writes.clone().take_over_index_locks()));
    background.spawn(until(stopped.clone(), cluster.writes.clone().pay_all_debts()));
    background.spawn(until(stopped.clone(), cluster.tasks.clone().tell_webhooks()));
    background.spawn(until(stopped.clone(), cluster.settings.clone().tell_rules()));
    background.spawn(until(stopped.clone(), TaskReconciler::new(cluster.tasks.clone()).run()));
    // Leases and claims are this run's alone: one that comes after a crash must not be taken for the one before.
    let instance = Uuid::now_v7().to_string();
    background.spawn(workers::lead(cluster.clone(), instance.clone(), leaving.clone()));
    background.spawn(workers::do_jobs(cluster.clone(), instance, leaving.clone()));
    let for_metrics = ConnectionLimits { max_connections: METRICS_CONNECTIONS, ..config.server.connections };
    let routes = metrics_router(metrics.clone());
    background.spawn(serve(metrics_listener, routes, for_metrics, metrics.clone(), wait_for(stopped.clone())));
    if let Some(listener) = admin_listener {
        let routes = http::admin_endpoint(cluster.clone());
        background.spawn(serve(listener, routes, for_metrics, metrics.clone(), wait_for(stopped.clone())));
    }
    let server =
        serve(listener, http::endpoint(cluster.clone()), config.server.connections, metrics, wait_for(leaving));
    let mut server = tokio::spawn(server);
    tokio::select! {
        result = &mut server => result.context("the server failed")?,
        () = asked_to_stop() => {
            cluster.state.stop();
            let delay = config.server.stop_delay;
            if !delay.is_zero() {
                tracing::info!(?delay, "stopping: not ready, and serving on until clients are sent elsewhere");
                tokio::time::sleep(delay).await;
            }
            tracing::info!("stopping: finishing the requests in flight");
            // Whoever is listening has stopped when nobody is.
            let _ = leave.send(true);
            if tokio::time::timeout(STOP_WITHIN, &mut server).await.is_err() {
                tracing::warn!("some requests did not finish in time");
                server.abort();
            }
            if tokio::time::timeout(record_within(&config), cluster.writes.everything_recorded()).await.is_err() {
                tracing::error!("some changes could not be recorded in time: replicas may differ until they are compared");
            }
        }
    }
    // As long as they are kept up: who finds one that has ended has it in doubt.
    cluster.state.release_index_locks().await;
    let _ = stop.send(true);
    while background.join_next().await.is_some() {}
    cluster.state.leave().await;
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// For changes whose clients are gone, when the instance is asked to stop: the index write lock, the nodes, and writing
/// down what came of them.
fn record_within(config: &Config) -> Duration {
    config.server.request_timeout
}

/// What an operator would otherwise learn from a 404, or from somebody who was not meant to be let in.
fn say_who_may_administer(config: &Config) {
    let listen = config.admin.listen.map_or_else(|| "the port of clients".to_owned(), |listen| listen.to_string());
    match config.admin.access {
        AdminAccess::Key(_) => tracing::info!(listen, "the admin API takes the admin key"),
        AdminAccess::Disabled => tracing::info!("the admin API is off: admin.enabled is false"),
        AdminAccess::Keyless => tracing::warn!(
            "the admin API is off, because there is a master_key and no admin.api_key: set admin.api_key to use it, or admin.enabled to false"
        ),
        AdminAccess::Everybody => {
            tracing::warn!(listen, "there is no key: everybody may use the cluster and its admin API");
        }
    }
}

/// Makes the folder of the store, and no folder above it: a volume that is not mounted is no reason to begin anew elsewhere.
async fn make_folder(folder: &Path) -> anyhow::Result<()> {
    match tokio::fs::DirBuilder::new().mode(0o700).create(folder).await {
        Ok(()) => {
            tracing::warn!(folder = %folder.display(), "the folder of task_store.path was made: the store begins empty")
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            let what = format!("task_store.path: the folder {} is not there and cannot be made", folder.display());
            return Err(error).context(what);
        }
    }
    Ok(())
}

async fn open_store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    match &config.task_store {
        TaskStoreConfig::Sqlite { path } => {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                make_folder(folder).await?;
            }
            SqliteStore::open(path).await.with_context(|| format!("task_store.path: cannot open {}", path.display()))
        }
        TaskStoreConfig::Redis { url } => {
            let max_connections = config.task_registry.redis_pool_max.get();
            let options = RedisOptions { max_connections, ..RedisOptions::default() };
            RedisStore::open_with(url.expose(), options).await.context("task_store.url")
        }
    }
}

fn client(config: &Config, key: Option<&Secret>, replies: &Budget) -> anyhow::Result<NodeClient> {
    let pool = &config.connection_pool_per_node;
    let limits = Limits {
        max_idle: pool.max_idle,
        idle_timeout: pool.idle_timeout,
        connect_timeout: config.health.timeout,
        max_reply: config.server.max_reply_bytes.get(),
    };
    let key = key.map_or("", |key| key.expose());
    NodeClient::new(key, limits, replies.clone()).context("a key cannot stand in a header")
}

async fn until(stopped: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = wait_for(stopped) => {}
    }
}

async fn wait_for(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is as good as its word.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn asked_to_stop() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be watched");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
