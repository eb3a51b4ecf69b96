//! Settings on nodes: looked at once in an interval, and brought up to date where a node is lagging.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use miroir_core::base::id::NodeId;
use miroir_work::Backoff;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use miroir_cluster::{Cluster, Error, Index, Pair};

/// Indexes that are brought up to date on one node at a time.
const PER_NODE: usize = 4;
/// Between two attempts at one index on one node.
const AGAIN: Backoff = Backoff { from: Duration::from_secs(1), to: Duration::from_secs(60) };

/// Look at the settings of every index on every node once in `settings_drift_check.interval_s`, for ever.
pub async fn check_settings(cluster: Arc<Cluster>) {
    let mut ticks = interval(cluster.state.config.health.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // One node that is slow holds up no other. Members come and go.
    let mut checking = JoinSet::new();
    let mut checked = BTreeSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(left) = checking.join_next(), if !checking.is_empty() => {
                if let Ok(node) = left {
                    checked.remove(&node);
                }
            }
        }
        for node in cluster.state.nodes().keys().filter(|node| !checked.contains(*node)).cloned().collect::<Vec<_>>() {
            checked.insert(node.clone());
            checking.spawn(check_node(cluster.clone(), node));
        }
    }
}

/// Look at once at the settings of nodes that have refused what others took, for ever.
pub async fn check_suspects(cluster: Arc<Cluster>) {
    cluster.settings.check_suspects().await;
}

/// The looks are spread over the interval, so that many indexes are no burden. Returns the node when it is no member any
/// more.
async fn check_node(cluster: Arc<Cluster>, id: NodeId) -> NodeId {
    let interval = cluster.state.config.settings_drift_check.interval;
    let mut begun = Instant::now();
    while cluster.state.nodes().contains_key(&id) {
        let owned: Vec<Arc<Index>> = cluster
            .state
            .indexes()
            .into_iter()
            .filter(|index| cluster.settings.owns_settings(&index.physical, &id))
            .collect();
        for (n, index) in owned.iter().enumerate() {
            sleep_until(begun + interval.mul_f64(n as f64 / owned.len() as f64)).await;
            let live = cluster.state.nodes().get(&id).is_some_and(|node| node.health.state().is_live());
            if !live {
                continue;
            }
            if let Err(error) = cluster.settings.check_drift(index, &id).await {
                tracing::debug!(%error, index = %index.uid, "settings could not be checked");
            }
        }
        begun = Instant::now().max(begun + interval);
        sleep_until(begun).await;
    }
    id
}

/// Bring lagging nodes up to date as soon as they can be reached, for ever. When there are none, nobody is asked
/// anything.
pub async fn catch_up_settings(cluster: Arc<Cluster>) {
    let mut ticks = interval(cluster.state.config.health.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut work = CatchingUp::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = cluster.settings.drift_found() => {}
            Some((pair, result)) = work.running.next(), if !work.running.is_empty() => work.ended(pair, result),
        }
        work.begin(&cluster);
    }
}

/// What is under way, and what has to wait.
#[derive(Default)]
struct CatchingUp {
    running: FuturesUnordered<BoxFuture<'static, (Pair, Result<(), Error>)>>,
    pairs: BTreeSet<Pair>,
    failed: BTreeMap<Pair, (u32, Instant)>,
}

impl CatchingUp {
    fn begin(&mut self, cluster: &Arc<Cluster>) {
        let lagging = cluster.settings.lagging_pairs();
        // Whoever was away in between is tried at once.
        self.failed.retain(|pair, _| lagging.contains(pair));
        let mut load: BTreeMap<_, usize> = BTreeMap::new();
        for (_, node) in &self.pairs {
            *load.entry(node.clone()).or_default() += 1;
        }
        let now = Instant::now();
        for pair in lagging {
            let waits = self.failed.get(&pair).is_some_and(|(_, until)| *until > now);
            let load = load.entry(pair.1.clone()).or_default();
            if waits || *load >= PER_NODE || self.pairs.contains(&pair) {
                continue;
            }
            *load += 1;
            self.pairs.insert(pair.clone());
            self.running.push(Box::pin(catch_up(cluster.clone(), pair)));
        }
    }

    fn ended(&mut self, pair: Pair, result: Result<(), Error>) {
        self.pairs.remove(&pair);
        let Err(error) = result else {
            self.failed.remove(&pair);
            return;
        };
        let failures = self.failed.get(&pair).map_or(0, |(failures, _)| *failures).saturating_add(1);
        let (index, node) = &pair;
        if failures == 1 {
            tracing::warn!(%index, %node, %error, "settings could not be brought up to date; trying again later");
        } else {
            tracing::debug!(%index, %node, %error, failures, "settings could not be brought up to date again");
        }
        self.failed.insert(pair, (failures, Instant::now() + AGAIN.after(failures)));
    }
}

async fn catch_up(cluster: Arc<Cluster>, pair: Pair) -> (Pair, Result<(), Error>) {
    let result = cluster.settings.catch_up_pair(&pair).await;
    (pair, result)
}
