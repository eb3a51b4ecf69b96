//! The nodes: ordinary Meilisearch servers, reached only through their public API.

mod body;
mod client;
mod health;
mod load;
mod tasks;
mod told;

pub use body::Chunks;
pub use client::{Call, Limits, NodeClient, NodeError, Reply};
pub use health::{Health, NodeState};
pub use tasks::{NotDone, TASKS_PER_CALL, ToldTask, comma_separated};
pub use told::Untold;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use miroir_core::topology::Member;
use tokio::sync::Semaphore;

use crate::telemetry::Metrics;
use load::Load;

/// One node: who it is, how to reach it, how it does.
pub struct Node {
    /// Who it is. Its address follows the configuration.
    pub member: Member,
    /// Whether it answers, as health checks and real requests have seen it.
    pub health: Health,
    load: Load,
    in_flight: AtomicUsize,
    /// One more than the number of the newest task that it is known to have; 0: none.
    tasks: AtomicU64,
    connections: Semaphore,
    client: NodeClient,
    metrics: Metrics,
}

/// Counts a request as in flight while it lives, also when its future is dropped half way.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn among(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Node {
    /// A node that nobody has asked yet.
    pub fn new(
        member: Member,
        client: NodeClient,
        health: Health,
        half_life: Duration,
        max_connections: usize,
        metrics: Metrics,
    ) -> Self {
        Self {
            member,
            health,
            load: Load::new(half_life),
            in_flight: AtomicUsize::new(0),
            tasks: AtomicU64::new(0),
            connections: Semaphore::new(max_connections),
            client,
            metrics,
        }
    }

    /// Send one call and take note of how it went. Only reads shape the latency estimate: they are alike.
    ///
    /// # Errors
    /// [`NodeError`] when no whole answer came; an answer of any status is a [`Reply`].
    pub async fn call(&self, call: Call) -> Result<Reply, NodeError> {
        let operation = call.operation;
        let is_read = operation == "search";
        let counted = InFlight::among(&self.in_flight);
        let start = Instant::now();
        // Requests beyond the bound wait here; the semaphore is never closed.
        let connection = self.connections.acquire().await;
        let result = self.client.call(&self.member.address, call).await;
        drop(connection);
        drop(counted);
        let elapsed = start.elapsed();
        self.metrics.node_request(&self.member.id, operation, elapsed);
        match &result {
            Ok(reply) => {
                self.health.request_answered();
                if is_read {
                    self.load.record(elapsed, reply.status >= 500);
                }
            }
            Err(error) => {
                self.metrics.node_error(&self.member.id, error.kind());
                if error.is_connect() {
                    self.health.connection_failed(error);
                }
                if is_read {
                    self.load.record(elapsed, true);
                }
            }
        }
        result
    }

    /// The newest task that the node is known to have; none: it is not known to have any.
    pub fn newest_task(&self) -> Option<u64> {
        self.tasks.load(Ordering::Acquire).checked_sub(1)
    }

    /// The node has this task. `before`: what [`Node::newest_task`] said before it was asked to accept it. Returns false when
    /// the node has forgotten tasks since: it numbers them in one sequence. Then nothing counts on it until it was looked at.
    #[must_use]
    pub fn accepted(&self, task: u64, before: Option<u64>) -> bool {
        if before.is_some_and(|before| task <= before) {
            self.forgot(Some(task), before);
            return false;
        }
        self.tasks.fetch_max(task.saturating_add(1), Ordering::AcqRel);
        true
    }

    /// This is the node's newest task. `before` as for [`Node::accepted`].
    pub fn has_newest(&self, task: Option<u64>, before: Option<u64>) {
        if task < before {
            self.forgot(task, before);
        } else if let Some(task) = task {
            self.tasks.fetch_max(task.saturating_add(1), Ordering::AcqRel);
        }
    }

    /// It was looked at, and its newest task is this: from then on it is measured by that.
    pub fn begins_anew_at(&self, task: Option<u64>) {
        self.tasks.store(task.map_or(0, |task| task.saturating_add(1)), Ordering::Release);
    }

    fn forgot(&self, task: Option<u64>, before: Option<u64>) {
        let (known, told) =
            (before.unwrap_or_default(), task.map_or(-1, |task| i64::try_from(task).unwrap_or(i64::MAX)));
        let why = format!("it has forgotten tasks: it had task {known}, and now its newest is {told}");
        if self.health.forgot(&why).is_some() {
            tracing::error!(node = %self.member.id, why, "a node came back with an older disk");
        }
    }

    /// The expected cost of asking this node; lower is better.
    pub fn cost(&self, weights: &Weights) -> f64 {
        let (latency_ms, errors) = self.load.estimate();
        let in_flight = self.in_flight.load(Ordering::Relaxed) as f64;
        let state = match self.health.state() {
            NodeState::Degraded => 10.0,
            NodeState::Healthy | NodeState::Recovering | NodeState::Returning | NodeState::Failed => 1.0,
        };
        state
            * (1.0
                + weights.latency * latency_ms
                + weights.in_flight * in_flight
                + weights.errors * errors * latency_ms.max(1.0))
    }
}

/// What counts how much when a replica is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// Per millisecond of smoothed latency.
    pub latency: f64,
    /// Per request in flight.
    pub in_flight: f64,
    /// Per share of failed requests, in latencies.
    pub errors: f64,
}

#[cfg(test)]
mod tests {
    use miroir_core::id::{GroupId, NodeId};

    use super::*;
    use crate::budget::Budget;

    fn node() -> Node {
        let limits = Limits {
            max_idle: 1,
            idle_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            max_reply: 1,
        };
        let replies =
            Budget::new("answers", 1, Metrics::default(), |metrics, bytes| metrics.outside().reply_bytes(bytes));
        let client = NodeClient::new("", limits, replies).expect("a client");
        let member = Member { id: NodeId::new("a"), address: "http://a".into(), group: GroupId(0) };
        Node::new(member, client, Health::new(1, 1), Duration::from_secs(1), 1, Metrics::default())
    }

    #[test]
    fn tasks_may_be_heard_of_in_any_order_as_long_as_they_are_new() {
        let node = node();
        assert_eq!(node.newest_task(), None);
        assert!(node.accepted(5, None));
        let before = node.newest_task();
        assert!(node.accepted(8, before) && node.accepted(7, before));
        assert_eq!(node.newest_task(), Some(8));
        node.has_newest(Some(8), node.newest_task());
        assert!(node.health.state().is_live());
    }

    #[test]
    fn a_node_whose_tasks_are_fewer_is_failed_until_it_was_looked_at() {
        for fewer in [Some(3), None] {
            let node = node();
            node.has_newest(Some(8), None);
            node.has_newest(fewer, node.newest_task());
            assert_eq!(node.health.state(), NodeState::Failed);
        }
        let node = node();
        node.has_newest(Some(8), None);
        assert!(!node.accepted(8, node.newest_task()));
        assert_eq!(node.health.state(), NodeState::Failed);
        node.begins_anew_at(Some(3));
        assert!(node.accepted(4, node.newest_task()));
    }
}
