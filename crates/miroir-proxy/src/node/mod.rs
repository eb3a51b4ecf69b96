//! The nodes: ordinary Meilisearch servers, reached only through their public API.

mod body;
mod client;
mod health;
mod load;

pub use body::Chunks;
pub use client::{Call, Limits, NodeClient, NodeError, Reply};
pub use health::{Health, NodeState};

use std::sync::atomic::{AtomicUsize, Ordering};
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
    connections: Semaphore,
    client: NodeClient,
    metrics: Metrics,
}

/// Counts a request as in flight while it lives, also when its future is dropped half way.
struct InFlight<'a>(&'a AtomicUsize);

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
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let counted = InFlight(&self.in_flight);
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

    /// The expected cost of asking this node; lower is better.
    pub fn cost(&self, weights: &Weights) -> f64 {
        let (latency_ms, errors) = self.load.estimate();
        let in_flight = self.in_flight.load(Ordering::Relaxed) as f64;
        let state = match self.health.state() {
            NodeState::Degraded => 10.0,
            NodeState::Healthy | NodeState::Recovering | NodeState::Failed => 1.0,
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
