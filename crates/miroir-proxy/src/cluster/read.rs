//! Scatter: one read over a covering set, with other replicas stepping in for nodes that fail.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use miroir_core::config::UnavailableShardPolicy;
use miroir_core::cover::{self, Assignment, Freshness, Plan, Preference, Replicas, Wanted};
use miroir_core::error::{Code, ErrorBody};
use miroir_core::id::{GroupId, NodeId, ShardId};
use miroir_core::inert::shard_filter;
use miroir_core::strip;
use miroir_core::topology::Topology;

use super::{Cluster, Degraded, Error, Index};
use crate::node::{Call, NodeError, Reply, Weights};

/// What a read got.
pub struct Gathered {
    /// One whole answer per assignment, in a stable order.
    pub parts: Vec<Part>,
    /// What is missing from them.
    pub degraded: Degraded,
}

/// One node's answer for its shards.
pub struct Part {
    /// Who answered for what.
    pub assignment: Assignment,
    /// What it said; a success.
    pub reply: Reply,
}

/// The health of replicas as one request sees it, with the nodes that have failed it.
struct View<'a> {
    cluster: &'a Cluster,
    stale: BTreeSet<(ShardId, NodeId)>,
    failed: BTreeSet<NodeId>,
    weights: Weights,
}

impl Replicas for View<'_> {
    fn freshness(&self, shard: ShardId, node: &NodeId) -> Option<Freshness> {
        if self.failed.contains(node) || !self.cluster.is_live(node) {
            return None;
        }
        let is_stale = !self.stale.is_empty() && self.stale.contains(&(shard, node.clone()));
        Some(if is_stale { Freshness::Stale } else { Freshness::Fresh })
    }

    fn cost(&self, node: &NodeId) -> f64 {
        self.cluster.node(node).map_or(f64::INFINITY, |node| node.cost(&self.weights))
    }
}

impl Cluster {
    /// Ask the fewest nodes that together hold `shards`; `call` makes each node's request from the shard filter that the
    /// node needs. A node that fails is replaced by other replicas until none is left.
    ///
    /// # Errors
    /// [`Error::Refused`] when every node refused the request alike; [`Error::ShardUnavailable`] when shards are missing
    /// and the policy is `error`, or when nothing at all could be answered.
    pub async fn gather(
        &self,
        index: &Index,
        shards: &[ShardId],
        fingerprint: u64,
        call: impl Fn(&Assignment, Option<&str>) -> Call,
    ) -> Result<Gathered, Error> {
        let topology = self.topology();
        let mut view = self.view(index);
        let mut open: Vec<ShardId> = shards.to_vec();
        let mut parts: Vec<Part> = Vec::new();
        let mut refusals: Vec<Reply> = Vec::new();
        let mut degraded = Degraded::default();
        let (group, preference) = self.choose(&topology, fingerprint);
        while !open.is_empty() {
            let plan = self.plan(&topology, index, &view, group, &open, preference)?;
            degraded.shards.extend(&plan.missing);
            degraded.stale.extend(&plan.stale);
            if parts.is_empty() {
                self.metrics.scattered(plan.assignments.len());
            }
            open.clear();
            let calls = plan.assignments.iter().map(|assignment| {
                let filter = assignment.needs_filter.then(|| shard_filter(&assignment.shards));
                self.ask(&assignment.node, call(assignment, filter.as_deref()))
            });
            let replies = join_all(calls).await;
            for (assignment, reply) in plan.assignments.into_iter().zip(replies) {
                match reply {
                    Ok(reply) if reply.status == 200 => parts.push(Part { assignment, reply }),
                    Ok(reply) if is_refusal(&reply) => refusals.push(reply),
                    failure => {
                        let may_retry =
                            self.config.scatter.retry_on_timeout || !matches!(failure, Err(NodeError::Timeout(_)));
                        self.note_failure(&assignment, failure, &mut view);
                        if may_retry {
                            self.metrics.scatter_retried();
                            open.extend(assignment.shards);
                        } else {
                            degraded.shards.extend(assignment.shards);
                        }
                    }
                }
            }
            open.sort_unstable();
        }
        self.conclude(parts, refusals, degraded).map_err(|error| error.naming(index))
    }

    fn view(&self, index: &Index) -> View<'_> {
        View { cluster: self, stale: self.stale.of(&index.physical), failed: BTreeSet::new(), weights: self.weights() }
    }

    fn plan(
        &self,
        topology: &Topology,
        index: &Index,
        view: &View<'_>,
        group: GroupId,
        shards: &[ShardId],
        preference: Preference,
    ) -> Result<Plan, Error> {
        let placements = topology
            .placements(index.shards)
            .ok_or_else(|| Error::Internal(format!("no placement for {} shards", index.shards)))?;
        let allow_stale = self.config.scatter.unavailable_shard_policy == UnavailableShardPolicy::Partial;
        let wanted = Wanted { placements, group, shards, preference, allow_stale };
        Ok(cover::plan(&wanted, view))
    }

    async fn ask(&self, node: &NodeId, call: Call) -> Result<Reply, NodeError> {
        match self.node(node) {
            Some(node) => node.call(call).await,
            None => Err(NodeError::Connect(format!("node {node} is not a member"))),
        }
    }

    fn note_failure(&self, assignment: &Assignment, failure: Result<Reply, NodeError>, view: &mut View<'_>) {
        let why = match failure {
            Ok(reply) => format!("status {}: {}", reply.status, String::from_utf8_lossy(&reply.body)),
            Err(error) => error.to_string(),
        };
        tracing::warn!(node = %assignment.node, why, "node failed a read");
        view.failed.insert(assignment.node.clone());
    }

    fn conclude(&self, mut parts: Vec<Part>, refusals: Vec<Reply>, degraded: Degraded) -> Result<Gathered, Error> {
        if parts.is_empty()
            && let Some(refusal) = refusals.first()
        {
            return Err(refused(refusal));
        }
        if let Some(refusal) = refusals.first() {
            // Some nodes took the request and some did not: their settings differ. Better no answer than half of one
            // that looks whole.
            tracing::error!(body = %String::from_utf8_lossy(&refusal.body), "nodes disagree about a request");
            return Err(refused(refusal));
        }
        if !degraded.shards.is_empty() {
            self.metrics.partial_read(degraded.shards.len());
            let by_policy = self.config.scatter.unavailable_shard_policy == UnavailableShardPolicy::Error;
            if by_policy || parts.is_empty() {
                return Err(Error::ShardUnavailable { shards: degraded.shards });
            }
        }
        // Ties between hits break by this order, whatever retries happened.
        parts.sort_by(|a, b| a.assignment.node.cmp(&b.assignment.node));
        Ok(Gathered { parts, degraded })
    }

    /// Let any node answer a request that we cannot read ourselves, so that the client gets Meilisearch's own words.
    pub(super) async fn let_a_node_refuse(&self, call: Call) -> Error {
        for _ in 0..self.nodes.len().max(1) {
            let Some(node) = self.any_live_node() else { break };
            match node.call(call.clone()).await {
                Ok(reply) if reply.status >= 400 && reply.status < 500 => {
                    let index = self.index_of_path(&call.path);
                    return index.map_or_else(|| refused(&reply), |index| refused(&reply).naming(&index));
                }
                Ok(reply) if reply.status < 400 => {
                    return Error::Internal(format!("a node accepted what we could not read: {}", call.path));
                }
                Ok(_) | Err(_) => {}
            }
        }
        Error::ShardUnavailable { shards: BTreeSet::new() }
    }

    /// The index that a request to a node is about, as readers know it.
    fn index_of_path(&self, path: &str) -> Option<Arc<Index>> {
        let physical = path.strip_prefix("/indexes/")?.split(['/', '?']).next()?;
        self.indexes().into_iter().find(|index| index.physical.as_str() == physical)
    }
}

/// The node understood the request and does not want it. A missing index is different: the catalog says it is there.
fn is_refusal(reply: &Reply) -> bool {
    (400..500).contains(&reply.status)
        && !error_body(reply).is_some_and(|body| matches!(body.code.as_str(), "index_not_found" | "invalid_api_key"))
}

fn error_body(reply: &Reply) -> Option<ErrorBody> {
    serde_json::from_slice(&reply.body).ok()
}

/// A node's refusal as the client's answer, without our names.
pub fn refused(reply: &Reply) -> Error {
    match error_body(reply) {
        Some(mut body) => {
            body.message = strip::message(&body.message);
            Error::Refused { status: reply.status, body }
        }
        None if matches!(reply.status, 404 | 405) => {
            let message = "The nodes do not have this route.";
            Error::Invalid(ErrorBody::new(Code::MiroirUnsupported, message))
        }
        None => Error::Answer { node: "(any)".into(), why: format!("status {} without an error body", reply.status) },
    }
}
