//! One node: an ordinary Meilisearch server, reached only through its public API.

mod body;
pub mod budget;
mod client;
pub mod deadline;
mod health;
pub mod joined;
mod load;
mod response;
mod tasks;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use body::{Chunks, Lasts};
pub use client::{Call, Limits, NodeClient, NodeError, Reply, Work};
pub use health::{Health, NodeState};
pub use response::ResponseError;
pub use tasks::{NotDone, TASKS_PER_CALL, TaskResponse, comma_separated};

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use miroir_core::membership::topology::Member;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use load::Load;
use miroir_telemetry::Metrics;

/// Connections besides those of clients, for questions about the node itself.
const CHECKS: usize = 4;

/// One node: who it is, how to reach it, how it does.
pub struct Node {
    /// Who it is. Its address follows the configuration.
    pub member: Member,
    /// Whether it answers, as health checks and real requests have seen it.
    pub health: Health,
    load: Load,
    in_flight: AtomicUsize,
    /// It has returned, and serves before it was looked at.
    serves_unseen: AtomicBool,
    was_seen: AtomicBool,
    /// One more than the number of the newest task that it is known to have; 0: none.
    tasks: AtomicU64,
    connections: Semaphore,
    /// Nobody who asks whether the node is well waits for clients.
    checks: Semaphore,
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
            serves_unseen: AtomicBool::new(false),
            was_seen: AtomicBool::new(false),
            tasks: AtomicU64::new(0),
            connections: Semaphore::new(max_connections),
            checks: Semaphore::new(CHECKS),
            client,
            metrics,
        }
    }

    /// Send one call and record how it went. It ends in time whatever it waits for: a free connection, the node, the
    /// last byte of its answer; and before the client's request that it is made for.
    ///
    /// # Errors
    /// [`NodeError`] when no whole answer came, and none will because the node has failed meanwhile; an answer of any status
    /// is a [`Reply`].
    pub async fn call(&self, call: Call) -> Result<Reply, NodeError> {
        let (operation, work) = (call.operation, call.work());
        let counted = InFlight::among(&self.in_flight);
        let start = Instant::now();
        let mut fall = self.health.next_fall();
        let left = AtomicBool::new(false);
        let result = tokio::select! {
            biased;
            result = self.call_in_time(call, &left) => Some(result),
            _ = fall.changed() => None,
        };
        let result = result.unwrap_or_else(|| Err(NodeError::failed_meanwhile(left.into_inner())));
        drop(counted);
        let elapsed = start.elapsed();
        self.metrics.node_request(&self.member.id, operation, elapsed);
        match &result {
            Ok(reply) => {
                self.health.request_answered();
                self.weigh(work, elapsed, reply.status);
            }
            Err(error) => {
                self.metrics.node_error(&self.member.id, error.kind());
                if error.is_connect() && self.health.connection_failed(error) == Some(NodeState::Failed) {
                    tracing::warn!(node = %self.member.id, %error, "a node has failed");
                }
                self.weigh(work, elapsed, 0);
            }
        }
        result
    }

    async fn call_in_time(&self, call: Call, has_left: &AtomicBool) -> Result<Reply, NodeError> {
        let timeout = deadline::left().map_or(call.timeout, |left| left.min(call.timeout));
        let until = Instant::now() + timeout;
        let room = if call.is_check { &self.checks } else { &self.connections };
        // Requests beyond the bound wait here; the semaphore is never closed.
        let connection = timeout_at(until, room.acquire()).await.map_err(|_| NodeError::Busy(timeout))?;
        has_left.store(true, Ordering::Relaxed);
        let left = until.saturating_duration_since(Instant::now());
        let result = self.client.call(&self.member.address, Call { timeout: left, ..call }).await;
        drop(connection);
        result
    }

    /// What an answer tells about how the node does; status 0: none came. A refusal tells nothing: it is quickly said.
    fn weigh(&self, work: Work, elapsed: Duration, status: u16) {
        let failed = matches!(status, 0 | 408 | 429 | 500..);
        match work {
            Work::Searches(searches) if status == 200 => self.load.answered(elapsed, searches),
            Work::Searches(_) if failed => self.load.failed(Some(elapsed)),
            Work::Read if status == 200 => self.load.succeeded(),
            Work::Read if failed => self.load.failed(None),
            Work::Searches(_) | Work::Read | Work::Other => {}
        }
    }

    /// How long it has taken for one search lately, where it answered; zero: nobody knows.
    pub fn usual(&self) -> Duration {
        self.load.usual()
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

    /// It has returned and serves, but was not looked at: it may hold documents of shards that it has given up.
    pub fn serves_unseen(&self) -> bool {
        self.serves_unseen.load(Ordering::Acquire)
    }

    /// It is about to serve before it was looked at, or it was looked at.
    pub fn set_serves_unseen(&self, unseen: bool) {
        self.serves_unseen.store(unseen, Ordering::Release);
        self.was_seen.store(true, Ordering::Release);
    }

    /// Since this instance has started it was looked at, be it at a glance: what it lacks is known.
    pub fn was_seen(&self) -> bool {
        self.was_seen.load(Ordering::Acquire)
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
    use miroir_core::base::id::{GroupId, NodeId};

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

    #[tokio::test]
    async fn waiting_for_a_connection_counts_and_checks_do_not_wait_for_clients() {
        let node = node();
        let _taken = node.connections.acquire().await.expect("never closed");
        let call = |ms| Call::get("search", "/", Duration::from_millis(ms));
        let waited = node.call(call(30)).await;
        assert!(matches!(waited, Err(NodeError::Busy(_))), "{waited:?}");
        // The request has less time than the call would have, and ends before its client gives up.
        let of_request =
            deadline::within(Duration::from_secs(1), || Duration::from_millis(90), node.call(call(60_000))).await;
        assert!(matches!(of_request, Err(NodeError::Busy(_))), "{of_request:?}");
        let check = node.call(call(1000).checking()).await;
        assert!(!matches!(check, Err(NodeError::Busy(_))), "{check:?}");
        let (latency, errors) = node.load.estimate();
        assert!(latency > 20.0 && errors > 0.5, "{latency} {errors}");
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
