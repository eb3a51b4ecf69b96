//! What an instance knows: fields and lookups. It asks no node, and changes nothing on one.

pub mod catalog;
pub mod catch_up;
pub mod client_priority;
pub mod discovery;
pub mod features;
pub mod fleet;
pub mod follow;
pub mod index_lock;
pub mod keys;
pub mod names;
pub mod peers;
pub mod readiness;
pub mod rules;
pub mod stale;
pub mod stored_work;
pub mod tombstones;
pub mod webhooks;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use miroir_core::base::id::{Epoch, IndexUid, NodeId, ShardId};
use miroir_core::config::Config;
use miroir_core::membership::topology::{Member, Topology};
use miroir_core::settings::Settings;
use miroir_node::budget::Budget;
use miroir_node::{Health, Node, NodeClient, Weights};
use miroir_store::{Store, StoreError};
use miroir_telemetry::Metrics;
use tokio::sync::{Notify, Semaphore};

use crate::{Error, Index, Keys, Peers, StaleReplica};
use catalog::{Catalog, all_shards};
use catch_up::CatchUp;
use client_priority::ClientPriority;
use features::FeatureRegistry;
use fleet::{Fleet, Nodes};
use index_lock::{IndexLocks, KeepsLocks};
use readiness::Readiness;
use rules::RuleRegistry;
use stale::{StaleByIndex, StaleReplicas};
use tombstones::Tombstones;
use webhooks::Webhooks;

/// Makes the node of a member.
type MakeNode = Arc<dyn Fn(&Member) -> Node + Send + Sync>;

/// What one instance knows. What other instances share follows the store.
pub struct State {
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
    pub(crate) gaps: AtomicU64,
    /// A node that returned was looked at: what is stale on it can be healed.
    pub healable: Notify,
    /// A node has returned and wants to be looked at.
    pub returned: Notify,
    /// The instances that share the store.
    pub peers: Peers,
    pub(crate) fleet: Fleet,
    make_node: MakeNode,
    pub(crate) catalog: Catalog,
    pub(crate) stale: StaleReplicas,
    pub(crate) tombstones: Tombstones,
    pub(crate) features: FeatureRegistry,
    pub(crate) webhooks: Webhooks,
    pub(crate) rules: RuleRegistry,
    pub(crate) client_priority: ClientPriority,
    pub(crate) index_locks: IndexLocks,
    catching_up: CatchUp,
    stopping: AtomicBool,
    readiness: Readiness,
}

impl State {
    /// Load what the store remembers; at first start, seed the topology from the configuration. `keeps`: what may not lose
    /// the write lock of an index.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub(crate) async fn load(
        config: Arc<Config>,
        store: Arc<dyn Store>,
        client: NodeClient,
        metrics: Metrics,
        keeps: Arc<dyn KeepsLocks>,
    ) -> Result<Self, StoreError> {
        let me = instance_id();
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
            features: FeatureRegistry::load(store.clone()).await?,
            webhooks: Webhooks::load(store.clone(), &config).await?,
            index_locks: IndexLocks::new(store.clone(), me.clone(), index_lock::patience(&config), keeps),
            peers: Peers::load(store.clone(), me, &config.peer_discovery).await?,
            fleet,
            make_node,
            rules: RuleRegistry::load(store.clone()).await?,
            client_priority: ClientPriority::default(),
            catching_up: CatchUp::default(),
            registered: Notify::new(),
            gaps: AtomicU64::new(0),
            healable: Notify::new(),
            returned: Notify::new(),
            requests: Arc::new(Semaphore::new(config.server.max_concurrent_requests.get())),
            admin_requests: Arc::new(Semaphore::new(config.admin.max_concurrent_requests.get())),
            stopping: AtomicBool::new(false),
            readiness: Readiness::default(),
            config,
            store,
            metrics,
        })
    }

    /// From now on not ready: whoever balances load should send clients elsewhere.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether [`State::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The topology as it is now. Whoever plans by it keeps it until what was planned is over: see `fleet`.
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
        self.stale.with(StaleByIndex::total)
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
    /// As [`State::index`].
    pub async fn find_index(&self, uid: &IndexUid) -> Result<Arc<Index>, Error> {
        match self.index(uid) {
            Err(Error::IndexNotFound(_)) if self.catch_up().await => self.index(uid),
            found => found,
        }
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
    pub(crate) fn owns_shard(&self, physical: &IndexUid, shard: ShardId) -> bool {
        self.peers.owns(&format!("{physical}/{shard}"))
    }

    pub(crate) fn node(&self, id: &NodeId) -> Option<Arc<Node>> {
        self.fleet.node(id)
    }

    /// An unregistered node: it is not a member.
    pub(crate) fn unregistered_node(&self, member: &Member) -> Arc<Node> {
        Arc::new((self.make_node)(member))
    }

    pub(crate) fn is_live(&self, id: &NodeId) -> bool {
        self.node(id).is_some_and(|node| node.health.state().is_live())
    }

    /// The placements for this many shards, made and persisted when an index is the first to have so many.
    pub(crate) async fn ensure_placement(&self, shards: NonZeroU32) -> Result<Arc<Topology>, StoreError> {
        self.fleet.ensure_placement(shards).await
    }

    pub(crate) fn weights(&self) -> Weights {
        let selection = &self.config.replica_selection;
        Weights {
            latency: selection.latency_weight,
            in_flight: selection.inflight_weight,
            errors: selection.error_weight,
        }
    }

    /// The nodes of a shard's replicas that hold every write, as far as is known, and answer; of all groups.
    pub(crate) fn fresh_nodes(&self, index: &Index, shard: ShardId) -> Vec<NodeId> {
        let topology = self.topology();
        let stale = self.stale.of(&index.physical);
        let groups = topology.placements(index.shards).into_iter().flatten();
        let replicas = groups.flat_map(|(_, placement)| placement.replicas(shard));
        let fresh = |node: &&NodeId| self.is_live(node) && !stale.contains(&(shard, (*node).clone()));
        replicas.filter(fresh).cloned().collect()
    }

    /// The settings of an index as clients see them.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`].
    pub async fn settings(&self, uid: &IndexUid) -> Result<Settings, Error> {
        Ok(self.fresh_index(uid).await?.settings.clone())
    }

    /// An index as it is now, whoever changed it last; while the store is away, as memory has it.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`].
    pub async fn fresh_index(&self, uid: &IndexUid) -> Result<Arc<Index>, Error> {
        self.catch_up().await;
        self.index(uid)
    }

    /// How long a node may take for a read, the wait for a connection included.
    pub(crate) fn read_timeout(&self) -> Duration {
        self.config.scatter.node_timeout
    }

    /// How long a node may take for a write, and a write may be on its way.
    pub(crate) fn write_timeout(&self) -> Duration {
        self.config.write.node_timeout
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
