//! What clients read: each read decides in `miroir_core` which nodes answer for it, asks them, and merges what they say.

pub mod browse;
pub mod degraded;
pub mod document;
pub mod doubt;
pub mod facet_search;
pub mod federation;
pub mod fields;
pub mod filters;
pub mod glance;
pub mod join;
pub mod missing;
pub mod multi_search;
pub mod pages;
pub mod refusal;
pub mod render;
pub mod scatter;
pub mod search;
pub mod similar;
pub mod stats;
pub mod stored;
pub mod versions;

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use miroir_core::base::id::{GroupId, NodeId};
use miroir_core::membership::topology::Topology;
use miroir_core::read::cover::Preference;
use miroir_node::Node;

use crate::State;
use doubt::Suspects;
use stats::LastKnown;

/// What answers clients from nodes.
pub struct Reads {
    pub(crate) state: Arc<State>,
    pub(crate) suspects: Suspects,
    last_known: LastKnown,
    round_robin: AtomicUsize,
    /// Randomly keyed: makes a random seed of the round-robin counter.
    seeds: RandomState,
}

impl Reads {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self {
            state,
            suspects: Suspects::default(),
            last_known: LastKnown::default(),
            round_robin: AtomicUsize::new(0),
            seeds: RandomState::new(),
        }
    }

    /// The group that answers the next read, round robin, and how the read chooses among the group's replicas.
    pub(crate) fn choose(&self, topology: &Topology, fingerprint: u64) -> (GroupId, Preference) {
        let groups = topology.shape.groups();
        let round = self.round_robin.fetch_add(1, Ordering::Relaxed);
        let group = groups.get(round % groups.len().max(1)).copied().unwrap_or(GroupId(0));
        let round_in_group = (round / groups.len().max(1)) as u64;
        let seed = self.seeds.hash_one(round);
        (group, Preference::new(&self.state.config.replica_selection, fingerprint, round_in_group, seed))
    }

    /// Any node that answers, for questions that any node can answer; different ones in turn.
    pub(crate) fn any_live_node(&self) -> Option<Arc<Node>> {
        self.any_live_node_but(&BTreeSet::new())
    }

    /// The same, none of these.
    pub(crate) fn any_live_node_but(&self, others: &BTreeSet<NodeId>) -> Option<Arc<Node>> {
        let usable = |node: &&Arc<Node>| node.health.state().is_live() && !others.contains(&node.member.id);
        let nodes = self.state.nodes();
        let live: Vec<&Arc<Node>> = nodes.values().filter(usable).collect();
        let round = self.round_robin.fetch_add(1, Ordering::Relaxed);
        live.get(round % live.len().max(1)).map(|node| Arc::clone(node))
    }
}
