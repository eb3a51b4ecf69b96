//! What this instance acts on: the topology, the nodes of its members, and which epochs are in use still.
//!
//! Whoever plans by a topology keeps its `Arc` until the last answer is in and recorded. So an epoch is in use for as long
//! as a topology of it is alive, and is *acknowledged* when none of an older one is.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use miroir_core::base::id::{Epoch, NodeId};
use miroir_core::membership::topology::{Member, Shape, Topology};
use miroir_node::Node;
use miroir_store::{Edit, Records, Store, StoreError, Table, TypedTable, View, Write};

use crate::Error;
use crate::state::follow::Follow;

const TABLE: TypedTable<Arc<Topology>> = TypedTable::new(Table::Topology);
/// There is one topology.
const KEY: &str = "current";

/// The nodes of all members, by id.
pub type Nodes = BTreeMap<NodeId, Arc<Node>>;

/// Both at one moment.
struct Acting {
    topology: Arc<Topology>,
    nodes: Arc<Nodes>,
}

/// The topology and its nodes.
pub struct Fleet {
    view: View<Arc<Topology>, Acting>,
    in_use: Arc<InUse>,
}

/// The topologies that somebody may act on, the oldest first.
#[derive(Default)]
struct InUse(Mutex<Vec<Weak<Topology>>>);

/// The topology as the store has it now, and its version there. It is not acted on.
///
/// # Errors
/// When the store cannot be read, or was never seeded.
pub async fn stored(store: &dyn Store) -> Result<(Topology, u64), Error> {
    let found = TABLE.get(store, KEY).await?.ok_or_else(|| Error::Internal("the store has no topology".into()))?;
    Ok((Arc::unwrap_or_clone(found.value), found.version))
}

/// The write that replaces the topology that is stored at this version.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn replace(next: &Topology, version: u64) -> Result<Write, StoreError> {
    TABLE.put_if(KEY, &Arc::new(next.clone()), Some(version))
}

impl InUse {
    fn begin(&self, topology: &Arc<Topology>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|topology| topology.strong_count() > 0);
        if !known.iter().any(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(topology))) {
            known.push(Arc::downgrade(topology));
        }
    }

    fn oldest(&self) -> Option<Epoch> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter_map(|topology| Some(topology.upgrade()?.epoch)).min()
    }
}

impl Fleet {
    /// The topology as the store has it; at first start, it is seeded from the configuration. `make` makes the node of a
    /// member that was not one before, or has another address.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn load(
        store: Arc<dyn Store>,
        configured: &Shape,
        shards: NonZeroU32,
        make: impl Fn(&Member) -> Node + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let in_use = Arc::new(InUse::default());
        // What nobody acts on must not be kept: it would seem to be in use for ever.
        let first = configured.clone();
        let (using, nodes) = (in_use.clone(), Mutex::new(Arc::new(Nodes::new())));
        let acting = move |records: &Records<Arc<Topology>>| {
            let topology =
                records.get(KEY).map_or_else(|| Arc::new(Topology::new(first.clone())), |record| record.value.clone());
            using.begin(&topology);
            let mut nodes = nodes.lock().unwrap_or_else(PoisonError::into_inner);
            *nodes = Arc::new(nodes_of(&topology, &nodes, &make));
            Acting { topology, nodes: nodes.clone() }
        };
        let view = View::load(store, TABLE, acting).await?;
        view.change(|records| Ok::<_, StoreError>((Edit::put(KEY, seeded(records, configured, shards)), ()))).await?;
        Ok(Self { view, in_use })
    }

    /// The topology as it is now. Whoever acts on it keeps it until that is over.
    pub fn topology(&self) -> Arc<Topology> {
        self.view.now().topology.clone()
    }

    /// The nodes of its members.
    pub fn nodes(&self) -> Arc<Nodes> {
        self.view.now().nodes.clone()
    }

    /// A member's node.
    pub fn node(&self, id: &NodeId) -> Option<Arc<Node>> {
        self.view.now().nodes.get(id).cloned()
    }

    /// The epoch on which this instance acts while nothing is under way that it began on an older one.
    pub fn acknowledged(&self) -> Epoch {
        let now = self.view.now().topology.epoch;
        self.in_use.oldest().map_or(now, |oldest| oldest.min(now))
    }

    /// The topology as the store has it, for whoever follows its changes.
    pub(crate) fn follow(&self) -> &impl Follow {
        &self.view
    }

    /// Learn what other instances made of the topology.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn follow_everything(&self) -> Result<(), StoreError> {
        self.view.reload().await
    }

    /// Change the topology together with something else, in one step: `plan` sees it as it is, and is asked again when
    /// somebody else was faster.
    ///
    /// # Errors
    /// As [`View::change`].
    pub async fn change<R, E: From<StoreError>>(
        &self,
        mut plan: impl FnMut(&Arc<Topology>) -> Result<(Arc<Topology>, miroir_store::Batch, R), E>,
    ) -> Result<(R, miroir_store::Committed), E> {
        let known = self.topology();
        self.view
            .change(|records| {
                let now = records.get(KEY).map_or(&known, |record| &record.value);
                let (next, with, result) = plan(now)?;
                Ok((Edit::put(KEY, next).with(with), result))
            })
            .await
    }

    /// The placements for this many shards, made and persisted when an index is the first to have so many.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn ensure_placement(&self, shards: NonZeroU32) -> Result<Arc<Topology>, StoreError> {
        let known = self.topology();
        if known.placements(shards).is_some() {
            return Ok(known);
        }
        drop(known);
        let plan = |now: &Arc<Topology>| {
            let next = now.with_placement(shards).map_or_else(|| now.clone(), Arc::new);
            Ok::<_, StoreError>((next, miroir_store::Batch::default(), ()))
        };
        self.change(plan).await?;
        Ok(self.topology())
    }
}

/// Those that were there stay the same, with all that is known of their health.
fn nodes_of(topology: &Topology, known: &Nodes, make: &impl Fn(&Member) -> Node) -> Nodes {
    let node = |member: &Member| match known.get(&member.id) {
        Some(node) if node.member == *member => node.clone(),
        Some(_) | None => Arc::new(make(member)),
    };
    topology.shape.members.iter().map(|member| (member.id.clone(), node(member))).collect()
}

/// The store is the truth; the configuration seeds it, and may say where a known node is to be found.
fn seeded(records: &Records<Arc<Topology>>, configured: &Shape, shards: NonZeroU32) -> Arc<Topology> {
    let known = records.get(KEY).map(|record| Topology::clone(&record.value));
    let mut topology = known.unwrap_or_else(|| Topology::new(configured.clone()));
    for difference in topology.differences(configured) {
        tracing::warn!(%difference, "the configuration differs from the stored topology, which stays in force");
    }
    for member in &mut topology.shape.members {
        let address = configured.members.iter().find(|c| c.id == member.id).map(|c| c.address.clone());
        if let Some(address) = address.filter(|address| *address != member.address) {
            tracing::info!(node = %member.id, from = member.address, to = address, "node has a new address");
            member.address = address;
        }
    }
    Arc::new(topology.with_placement(shards).unwrap_or(topology))
}
