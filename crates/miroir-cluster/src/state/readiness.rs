//! Whether this instance may take traffic, and whether the cluster can answer for everything.
//!
//! The first is about the instance alone: nodes that are lost later are lost to every instance, and none of them may turn
//! clients away for that. Both are asked without a key, and cost the same however often they are asked.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use miroir_core::base::id::{NodeId, ShardId};
use miroir_core::read::coverage::{Amiss, uncovered};
use tokio::time::Instant;

use crate::State;

/// What was seen is said again for as long.
const HOLDS: Duration = Duration::from_millis(100);

/// What has been seen of the cluster.
#[derive(Default)]
pub struct Readiness {
    /// Everything could be answered for, once.
    covered: AtomicBool,
    last: Mutex<Option<(Instant, Arc<ReadinessGaps>)>>,
}

/// What no read can be answered for.
struct ReadinessGaps {
    /// Nodes that have not been checked yet.
    unknown: usize,
    uncovered: BTreeSet<ShardId>,
}

impl ReadinessGaps {
    fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.unknown > 0 {
            reasons.push(format!("{} nodes have not answered a health check yet", self.unknown));
        }
        if !self.uncovered.is_empty() {
            reasons.push(format!("{} shards have no live fresh replica", self.uncovered.len()));
        }
        reasons
    }
}

impl State {
    /// Why this instance may not take traffic; empty: it may.
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = if self.readiness.covered.load(Ordering::Acquire) { Vec::new() } else { self.not_covered() };
        if self.is_stopping() {
            reasons.push("stopping".into());
        }
        if let Err(error) = self.peers.require_contact() {
            reasons.push(error.to_string());
        }
        reasons
    }

    /// Why not everything can be answered for; empty: it can.
    pub fn not_covered(&self) -> Vec<String> {
        self.seen().reasons()
    }

    /// How many shards, each counted once for all indexes, no live fresh replica can answer for.
    pub fn uncovered_shards(&self) -> usize {
        self.seen().uncovered.len()
    }

    /// Look at the cluster, unless that was done a moment ago.
    fn seen(&self) -> Arc<ReadinessGaps> {
        let mut last = self.readiness.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, seen)) = &*last
            && at.elapsed() < HOLDS
        {
            return seen.clone();
        }
        let seen = Arc::new(self.look_at_coverage());
        if seen.reasons().is_empty() {
            self.readiness.covered.store(true, Ordering::Release);
        }
        *last = Some((Instant::now(), seen.clone()));
        seen
    }

    fn look_at_coverage(&self) -> ReadinessGaps {
        let (topology, nodes, indexes) = (self.topology(), self.nodes(), self.indexes());
        let live = |id: &NodeId| nodes.get(id).is_some_and(|node| node.health.state().is_live());
        let lagging: Vec<Vec<&NodeId>> = indexes.iter().map(|index| index.lagging.keys().collect()).collect();
        let uncovered = self.stale.with(|stale| {
            let amiss = |(index, lagging)| {
                let index: &crate::Index = index;
                let lagging: &Vec<&NodeId> = lagging;
                Amiss { shards: index.shards, stale: stale.get(&index.physical), lagging }
            };
            let indexes = indexes.iter().map(|index| &**index).zip(&lagging).map(amiss);
            let next_index = Amiss { shards: self.config.shards, stale: None, lagging: &[] };
            uncovered(&topology, live, indexes.chain([next_index]))
        });
        let holds = |id: &NodeId| topology.replicas(self.config.shards).any(|(_, holder)| holder == id);
        // One that has just joined holds nothing yet.
        let unknown = nodes.iter().filter(|(id, node)| !node.health.is_confirmed() && holds(id)).count();
        ReadinessGaps { unknown, uncovered }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cluster;
    use crate::testing;

    fn after_a_moment(cluster: &Cluster) -> Vec<String> {
        *cluster.state.readiness.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
        cluster.state.not_ready()
    }

    #[tokio::test]
    async fn an_instance_that_has_seen_everything_covered_is_ready_whatever_is_lost_later() {
        let cluster = testing::instance().await;
        assert_eq!(after_a_moment(&cluster), ["1 nodes have not answered a health check yet"]);
        let nodes = cluster.state.nodes();
        let health = &nodes.values().next().expect("one").health;
        health.check_passed(false);
        assert_eq!(after_a_moment(&cluster), Vec::<String>::new());
        (0..3).for_each(|_| _ = health.check_failed("silent"));
        assert_eq!(after_a_moment(&cluster), Vec::<String>::new());
        assert_eq!(cluster.state.not_covered(), ["2 shards have no live fresh replica"]);
        cluster.state.stop();
        assert_eq!(after_a_moment(&cluster), ["stopping"]);
    }

    #[tokio::test]
    async fn an_instance_that_has_never_seen_its_nodes_is_not_ready() {
        let cluster = testing::instance().await;
        let nodes = cluster.state.nodes();
        (0..3).for_each(|_| _ = nodes.values().next().expect("one").health.check_failed("silent"));
        assert_eq!(after_a_moment(&cluster), ["2 shards have no live fresh replica"]);
    }
}
