//! Metrics of connections, of what is held for clients, and of who is told of tasks.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// Only of webhooks that there are, of which there may not be many.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabels {
    webhook: String,
}

/// What passes between this instance and whoever is outside of the cluster.
#[derive(Default)]
pub struct Outside {
    connections: Gauge,
    connections_ended: Family<ReasonLabels, Counter>,
    reply_bytes: Gauge,
    webhook_dropped: Family<WebhookLabels, Counter>,
}

impl Outside {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("connections", "Connections of clients and operators", self.connections.clone());
        let ended = "Connections that were ended or not taken for this reason";
        r.register("connections_ended", ended, self.connections_ended.clone());
        r.register("reply_bytes_in_flight", "Bytes of answers held", self.reply_bytes.clone());
        let dropped = "Finished tasks that the webhook was not told";
        r.register("webhook_dropped_tasks", dropped, self.webhook_dropped.clone());
    }

    /// Somebody has connected.
    pub fn connection_begins(&self) {
        self.connections.inc();
    }

    /// A connection is no more.
    pub fn connection_leaves(&self) {
        self.connections.dec();
    }

    /// A connection was ended from here, or not taken.
    pub fn connection_ended(&self, reason: &'static str) {
        self.connections_ended.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Answers held right now.
    pub fn reply_bytes(&self, bytes: u64) {
        self.reply_bytes.set(bytes as i64);
    }

    /// A webhook was not told of so many tasks.
    pub fn webhook_dropped(&self, webhook: Uuid, tasks: usize) {
        let labels = WebhookLabels { webhook: webhook.to_string() };
        self.webhook_dropped.get_or_create(&labels).inc_by(tasks as u64);
    }

    /// There is no such webhook any more, and nothing is shown of it.
    pub fn webhook_is_gone(&self, webhook: Uuid) {
        self.webhook_dropped.remove(&WebhookLabels { webhook: webhook.to_string() });
    }
}
