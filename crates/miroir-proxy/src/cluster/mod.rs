//! The cluster: what is known of nodes, indexes and replicas, and what is done with them.
//!
//! Reads and writes decide in `miroir_core` and act here: one file per verb.

mod anti_entropy;
mod broadcast;
mod browse;
mod builtin_tasks;
mod cancel;
mod catalog;
mod catch_up;
mod clock;
mod compact;
mod complete;
mod conditional;
mod connect;
mod debts;
mod degraded;
mod discovery;
mod document;
mod doubt;
mod drift;
mod edit;
mod erase;
mod error;
mod facet_search;
mod features;
mod federation;
mod fields;
mod filters;
mod fleet;
mod follow;
mod heal;
mod index_lock;
mod ingest;
mod join;
mod keys;
mod lifecycle;
mod missing;
mod multi_search;
mod names;
mod pages;
mod parts;
mod peers;
mod promote;
mod read;
mod readiness;
mod reconcile;
mod recovery;
mod refusal;
mod rename;
mod render;
mod replica;
mod rules;
mod search;
mod settings;
mod similar;
mod stale;
mod stats;
mod stored;
mod takeover;
#[cfg(test)]
pub mod testing;
mod tombstones;
mod transition;
mod undertake;
mod versions;
mod webhooks;
mod weigh;
mod write;

pub use anti_entropy::PassCursor;
pub use broadcast::{Broadcasting, repair_view};
pub use browse::BrowseRequest;
pub use catalog::Index;
pub use clock::rfc3339;
pub use degraded::Degraded;
pub use discovery::Discovery;
pub use document::Deletion;
pub use drift::Pair;
pub use edit::Edition;
pub use error::Error;
pub use heal::Healing;
pub use ingest::Ingest;
pub use keys::Keys;
pub use multi_search::Rule;
pub use pages::Pages;
pub use peers::Peers;
pub use promote::Wanted;
pub use reconcile::TaskReconciler;
pub use rename::Swap;
pub use search::{OverFetch, Wants};
pub use similar::Similar;
pub use stale::StaleReplica;
pub use transition::{Rebalancing, Replacing, change_view, intent_view};
pub use undertake::Writer;
pub use versions::SettingsSeen;

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use miroir_core::config::Config;
use miroir_core::cover::Preference;
use miroir_core::id::{Epoch, GroupId, IndexUid, NodeId, ShardId};
use miroir_core::inert::next_stamp;
use miroir_core::topology::{Member, Topology};
use miroir_store::{Store, StoreError};
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;

use crate::budget::Budget;
use crate::node::{Health, Node, NodeClient, Weights};
use crate::telemetry::Metrics;
use catalog::Catalog;
use catch_up::CatchUp;
use clock::now_ms;
use complete::Completing;
use debts::Debts;
use doubt::Suspects;
use drift::Drifted;
use features::FeatureRegistry;
use fleet::{Fleet, Nodes};
use heal::ClientPriority;
use index_lock::IndexLocks;
use readiness::Readiness;
use rules::RuleRegistry;
use search::all_shards;
use stale::{Known, StaleReplicas};
use stats::LastKnown;
use tombstones::Tombstones;
use webhooks::Webhooks;

/// An answer to a client, and what was missing when it was made.
#[derive(Debug)]
pub struct Answer {
    /// JSON.
    pub body: Bytes,
    /// For `X-Miroir-Degraded` and the headers about settings.
    pub degraded: Degraded,
}

impl Answer {
    /// An answer that nothing is missing from.
    pub fn whole(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), degraded: Degraded::default() }
    }
}

/// Makes the node of a member.
type MakeNode = Arc<dyn Fn(&Member) -> Node + Send + Sync>;

/// Everything one instance knows and does.
pub struct Cluster {
    /// As resolved at start.
    pub config: Arc<Config>,
    /// What outlives this process.
    pub store: Arc<dyn Store>,
    /// What operators see.
    pub metrics: Metrics,
    /// Bytes of request bodies in flight.
    pub bodies: Budget,
    /// Bytes of answers in flight.
    pub replies: Budget,
    /// One permit a client's request, held until the change that it asks for is through.
    pub requests: Arc<Semaphore>,
    /// One permit an operator's request.
    pub admin_requests: Arc<Semaphore>,
    /// Who may call, and do what.
    pub keys: Keys,
    /// Wakes the task reconciler.
    pub registered: Notify,
    /// How often changes of the store were missed: everything may have changed, and numbers of tasks may mean others.
    gaps: AtomicU64,
    /// A node that returned was looked at: what is stale on it can be healed.
    pub healable: Notify,
    /// A node has returned and wants to be looked at.
    pub returned: Notify,
    /// Held while replicas of a node that was looked at become known as stale.
    marking: tokio::sync::Mutex<()>,
    /// The instances that share the store.
    pub peers: Peers,
    fleet: Fleet,
    make_node: MakeNode,
    catalog: Catalog,
    stale: StaleReplicas,
    tombstones: Tombstones,
    last_known: LastKnown,
    features: FeatureRegistry,
    webhooks: Webhooks,
    rules: RuleRegistry,
    drifted: Drifted,
    completing: Completing,
    suspects: Suspects,
    client_priority: ClientPriority,
    index_locks: IndexLocks,
    /// What clients asked to be changed, until it is recorded.
    undertakings: TaskTracker,
    debts: Arc<Debts>,
    catching_up: CatchUp,
    round_robin: AtomicUsize,
    /// Randomly keyed: makes a random seed of the round-robin counter.
    seeds: RandomState,
    stopping: AtomicBool,
    readiness: Readiness,
    last_stamp_ms: AtomicU64,
}

impl Cluster {
    /// Load what the store remembers; at first start, seed the topology from the configuration.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn open(
        config: Arc<Config>,
        store: Arc<dyn Store>,
        client: NodeClient,
        metrics: Metrics,
    ) -> Result<Self, StoreError> {
        let (me, debts) = (instance_id(), Arc::<Debts>::default());
        let replies = client.replies().clone();
        let make_node: MakeNode = {
            let (config, metrics) = (config.clone(), metrics.clone());
            Arc::new(move |member: &Member| {
                let health =
                    Health::new(config.health.unhealthy_threshold.get(), config.health.recovery_threshold.get());
                let half_life = config.replica_selection.ewma_half_life;
                let connections = config.connection_pool_per_node.max_total.get();
                Node::new(member.clone(), client.clone(), health, half_life, connections, metrics.clone())
            })
        };
        let make = make_node.clone();
        let fleet = Fleet::load(store.clone(), &config.shape(), config.shards, move |member| make(member)).await?;
        Ok(Self {
            bodies: Budget::new(
                "request bodies (server.max_ingest_bytes)",
                config.server.max_ingest_bytes.get() as u64,
                metrics.clone(),
                Metrics::ingest_bytes,
            ),
            replies,
            keys: Keys::load(store.clone(), config.master_key.as_ref().map(|key| key.expose())).await?,
            catalog: Catalog::load(store.clone()).await?,
            stale: StaleReplicas::load(store.clone()).await?,
            tombstones: Tombstones::load(store.clone()).await?,
            last_known: LastKnown::default(),
            features: FeatureRegistry::load(store.clone()).await?,
            webhooks: Webhooks::load(store.clone(), &config).await?,
            index_locks: IndexLocks::new(store.clone(), me.clone(), index_lock::patience(&config), debts.clone()),
            peers: Peers::load(store.clone(), me, &config.peer_discovery).await?,
            fleet,
            make_node,
            rules: RuleRegistry::load(store.clone()).await?,
            drifted: Drifted::default(),
            completing: Completing::default(),
            suspects: Suspects::default(),
            client_priority: ClientPriority::default(),
            catching_up: CatchUp::default(),
            registered: Notify::new(),
            gaps: AtomicU64::new(0),
            healable: Notify::new(),
            returned: Notify::new(),
            marking: tokio::sync::Mutex::default(),
            requests: Arc::new(Semaphore::new(config.server.max_concurrent_requests.get())),
            admin_requests: Arc::new(Semaphore::new(config.admin.max_concurrent_requests.get())),
            undertakings: TaskTracker::new(),
            debts: debts.clone(),
            round_robin: AtomicUsize::new(0),
            seeds: RandomState::new(),
            stopping: AtomicBool::new(false),
            readiness: Readiness::default(),
            last_stamp_ms: AtomicU64::new(0),
            config,
            store,
            metrics,
        })
    }

    /// From now on not ready: whoever balances load should send clients elsewhere.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether [`Cluster::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The topology as it is now. Whoever plans by it keeps it until what was planned is over: see [`fleet`].
    pub fn topology(&self) -> Arc<Topology> {
        self.fleet.topology()
    }

    /// The nodes of all members, by id.
    pub fn nodes(&self) -> Arc<Nodes> {
        self.fleet.nodes()
    }

    /// The epoch on which this instance acts while nothing is under way that it began on an older one.
    pub fn acknowledged_epoch(&self) -> Epoch {
        self.fleet.acknowledged()
    }

    /// All stale replicas.
    pub fn stale_replicas(&self) -> Vec<StaleReplica> {
        self.stale.all()
    }

    /// How many there are.
    pub fn count_stale_replicas(&self) -> usize {
        self.stale.with(Known::total)
    }

    /// Whether anything on this node is stale.
    pub fn has_stale_replicas(&self, node: &NodeId) -> bool {
        self.stale.any_on(node)
    }

    /// The indexes that clients see.
    pub fn indexes(&self) -> Vec<Arc<Index>> {
        self.catalog.ready()
    }

    /// An index that clients see.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`], also while its creation is still under way, as with one server.
    pub fn index(&self, uid: &IndexUid) -> Result<Arc<Index>, Error> {
        self.catalog.read(uid).ok_or_else(|| Error::IndexNotFound(uid.to_string()))
    }

    /// The same; an index that memory does not know may have come through another instance a moment ago.
    ///
    /// # Errors
    /// As [`Cluster::index`].
    pub async fn find_index(&self, uid: &IndexUid) -> Result<Arc<Index>, Error> {
        match self.index(uid) {
            Err(Error::IndexNotFound(_)) if self.catch_up().await => self.index(uid),
            found => found,
        }
    }

    /// Returns when no change is under way that a client has asked for. None may be asked for any more.
    pub async fn everything_recorded(&self) {
        self.undertakings.close();
        self.undertakings.wait().await;
        self.debts.none().await;
    }

    /// Release the index write locks that nobody uses.
    pub async fn release_index_locks(&self) {
        self.index_locks.close().await;
    }

    /// Give back what only an instance that runs may hold.
    pub async fn leave(&self) {
        self.release_index_locks().await;
        self.peers.leave().await;
    }

    /// Renew the leases of index write locks that are used, for ever.
    pub async fn renew_index_locks(self: Arc<Self>) {
        self.index_locks.keep().await;
    }

    /// How many shards, over all indexes, this instance takes care of.
    pub fn owned_shards(&self) -> usize {
        let owned = |index: &Index| all_shards(index).iter().filter(|s| self.owns_shard(&index.physical, **s)).count();
        self.indexes().iter().map(|index| owned(index)).sum()
    }

    /// Whether this instance takes care of a shard.
    fn owns_shard(&self, physical: &IndexUid, shard: ShardId) -> bool {
        self.peers.owns(&format!("{physical}/{shard}"))
    }

    fn node(&self, id: &NodeId) -> Option<Arc<Node>> {
        self.fleet.node(id)
    }

    /// An unregistered node: it is not a member.
    fn unregistered_node(&self, member: &Member) -> Arc<Node> {
        Arc::new((self.make_node)(member))
    }

    fn is_live(&self, id: &NodeId) -> bool {
        self.node(id).is_some_and(|node| node.health.state().is_live())
    }

    /// The placements for this many shards, made and persisted when an index is the first to have so many.
    async fn ensure_placement(&self, shards: NonZeroU32) -> Result<Arc<Topology>, StoreError> {
        self.fleet.ensure_placement(shards).await
    }

    /// The group that answers the next read, round robin, and how the read chooses among the group's replicas.
    fn choose(&self, topology: &Topology, fingerprint: u64) -> (GroupId, Preference) {
        let groups = topology.shape.groups();
        let round = self.round_robin.fetch_add(1, Ordering::Relaxed);
        let group = groups.get(round % groups.len().max(1)).copied().unwrap_or(GroupId(0));
        let round_in_group = (round / groups.len().max(1)) as u64;
        let seed = self.seeds.hash_one(round);
        (group, Preference::new(&self.config.replica_selection, fingerprint, round_in_group, seed))
    }

    fn weights(&self) -> Weights {
        let selection = &self.config.replica_selection;
        Weights {
            latency: selection.latency_weight,
            in_flight: selection.inflight_weight,
            errors: selection.error_weight,
        }
    }

    /// The nodes of a shard's replicas that hold every write, as far as is known, and answer; of all groups.
    fn fresh_nodes(&self, index: &Index, shard: ShardId) -> Vec<NodeId> {
        let topology = self.topology();
        let stale = self.stale.of(&index.physical);
        let groups = topology.placements(index.shards).into_iter().flatten();
        let replicas = groups.flat_map(|(_, placement)| placement.replicas(shard));
        let fresh = |node: &&NodeId| self.is_live(node) && !stale.contains(&(shard, (*node).clone()));
        replicas.filter(fresh).cloned().collect()
    }

    /// Milliseconds for `_miroir_updated_at`: the clock, but strictly increasing within this instance.
    /// None while nothing reads it.
    fn stamp(&self) -> Option<u64> {
        if !self.config.anti_entropy.enabled {
            return None;
        }
        let clock = now_ms();
        let advance = |previous| Some(next_stamp(clock, previous));
        let previous = self.last_stamp_ms.fetch_update(Ordering::AcqRel, Ordering::Acquire, advance);
        Some(next_stamp(clock, previous.unwrap_or_else(|previous| previous)))
    }

    /// Any node that answers, for questions that any node can answer; different ones in turn.
    fn any_live_node(&self) -> Option<Arc<Node>> {
        self.any_live_node_but(&BTreeSet::new())
    }

    /// The same, none of these.
    fn any_live_node_but(&self, others: &BTreeSet<NodeId>) -> Option<Arc<Node>> {
        let usable = |node: &&Arc<Node>| node.health.state().is_live() && !others.contains(&node.member.id);
        let nodes = self.nodes();
        let live: Vec<&Arc<Node>> = nodes.values().filter(usable).collect();
        let round = self.round_robin.fetch_add(1, Ordering::Relaxed);
        live.get(round % live.len().max(1)).map(|node| Arc::clone(node))
    }
}

/// A name that no other process has or had.
fn instance_id() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
    let random = uuid::Uuid::new_v4().simple().to_string();
    let random = random.get(..8).unwrap_or_default();
    if host.is_empty() { random.to_owned() } else { format!("{host}-{random}") }
}
