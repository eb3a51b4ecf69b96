//! Scatter: one read over a covering set, with other replicas stepping in for nodes that fail.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use miroir_core::config::UnavailableShardPolicy;
use miroir_core::cover::{self, Assignment, Freshness, Plan, Preference, Replicas, Wanted};
use miroir_core::error::{Code, ErrorBody};
use miroir_core::id::{GroupId, NodeId, ShardId};
use miroir_core::inert::shard_filter;
use miroir_core::strip;
use miroir_core::topology::Topology;

use super::versions::Reading;
use super::{Cluster, Degraded, Error};
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
    topology: &'a Topology,
    index: &'a Reading,
    stale: BTreeSet<(ShardId, NodeId)>,
    failed: BTreeSet<NodeId>,
    weights: Weights,
}

impl View<'_> {
    /// Whether the node could be asked if it were not below the floor of the read.
    fn is_held_back(&self, node: &NodeId) -> bool {
        let below = self.index.floor().leaves_out(Some(self.index.settings_version_on(node)));
        below && !self.failed.contains(node) && self.cluster.is_live(node)
    }
}

impl Replicas for View<'_> {
    fn freshness(&self, shard: ShardId, node: &NodeId) -> Option<Freshness> {
        let ranks_otherwise = self.index.behind.contains_key(node);
        if ranks_otherwise || self.failed.contains(node) || !self.cluster.is_live(node) {
            return None;
        }
        let is_stale = !self.stale.is_empty() && self.stale.contains(&(shard, node.clone()));
        Some(if is_stale { Freshness::Stale } else { Freshness::Fresh })
    }

    fn cost(&self, node: &NodeId) -> f64 {
        self.cluster.node(node).map_or(f64::INFINITY, |node| node.cost(&self.weights))
    }

    fn may_hold_more(&self, node: &NodeId) -> bool {
        self.topology.may_hold_more(self.index.shards, node)
    }
}

/// What a read wants of one index.
pub struct Target<'a> {
    /// Which index.
    pub index: &'a Reading,
    /// Ascending.
    pub shards: Vec<ShardId>,
}

/// What one node is asked of one target.
pub struct Share {
    /// Position among the targets.
    pub target: usize,
    /// Which shards, and of whom.
    pub assignment: Assignment,
}

impl Share {
    /// The shard filter that the node needs, if any.
    pub fn filter(&self) -> Option<String> {
        self.assignment.needs_filter.then(|| shard_filter(&self.assignment.shards))
    }
}

/// What a read of several indexes got.
pub struct Joint {
    /// One whole answer per node and round, in a stable order.
    pub parts: Vec<JointPart>,
    /// What is missing from them.
    pub degraded: Degraded,
}

/// One node's answer for all that it was asked.
pub struct JointPart {
    /// What it was asked, in the order of the targets.
    pub shares: Vec<Share>,
    /// What it said; a success.
    pub reply: Reply,
}

impl JointPart {
    /// Who answered.
    pub fn node(&self) -> &str {
        self.shares.first().map_or("", |share| share.assignment.node.as_str())
    }
}

impl Cluster {
    /// Ask the fewest nodes that together hold `shards`; `call` makes each node's request from the shard filter that the
    /// node needs. A node that fails is replaced by other replicas until none is left.
    ///
    /// # Errors
    /// As [`Cluster::gather_jointly`].
    pub async fn gather(
        &self,
        index: &Reading,
        shards: &[ShardId],
        fingerprint: u64,
        call: impl Fn(&Assignment, Option<&str>) -> Call,
    ) -> Result<Gathered, Error> {
        let target = Target { index, shards: shards.to_vec() };
        let asked = |shares: &[Share]| match shares.first() {
            Some(share) => call(&share.assignment, share.filter().as_deref()),
            None => Call::get("search", "/health", self.read_timeout()),
        };
        let joint = self.gather_jointly(&[target], fingerprint, asked).await?;
        let part = |part: JointPart| {
            let assignment = part.shares.into_iter().next()?.assignment;
            Some(Part { assignment, reply: part.reply })
        };
        Ok(Gathered { parts: joint.parts.into_iter().filter_map(part).collect(), degraded: joint.degraded })
    }

    /// Ask the fewest nodes that together hold the shards of all targets, each node once for all that it is asked: the
    /// targets share one preference among replicas, so that they meet on the same nodes. `call` makes a node's request.
    /// A node that fails is replaced by other replicas until none is left.
    ///
    /// # Errors
    /// [`Error::Refused`] when nodes refused the request; [`Error::ShardUnavailable`] when shards are missing and the
    /// policy is `error`, or when nothing at all could be answered for a target; [`Error::IndexNotFound`] when that is
    /// because an index is being deleted; a refusal when only nodes below the floor of a read are left for a shard.
    pub async fn gather_jointly(
        &self,
        targets: &[Target<'_>],
        fingerprint: u64,
        call: impl Fn(&[Share]) -> Call,
    ) -> Result<Joint, Error> {
        self.yielding.client_is_there();
        let topology = self.topology();
        let mut views: Vec<View<'_>> = targets.iter().map(|target| self.view(&topology, target.index)).collect();
        let mut open: Vec<Vec<ShardId>> = targets.iter().map(|target| target.shards.clone()).collect();
        let mut parts: Vec<JointPart> = Vec::new();
        let mut refusals: Vec<Reply> = Vec::new();
        let mut degraded = Degraded { unheard: self.peers.counted_out(), ..Degraded::default() };
        let (group, preference) = self.choose(&topology, fingerprint);
        while open.iter().any(|shards| !shards.is_empty()) {
            let mut by_node: BTreeMap<NodeId, Vec<Share>> = BTreeMap::new();
            for (position, (view, open)) in views.iter().zip(&mut open).enumerate() {
                let shards = std::mem::take(open);
                if shards.is_empty() {
                    continue;
                }
                let plan = self.plan(&topology, view, group, &shards, preference)?;
                degraded.shards.extend(&plan.missing);
                degraded.stale.extend(&plan.stale);
                for assignment in plan.assignments {
                    let share = Share { target: position, assignment };
                    by_node.entry(share.assignment.node.clone()).or_default().push(share);
                }
            }
            if parts.is_empty() {
                self.metrics.scattered(by_node.len());
            }
            let replies = join_all(by_node.iter().map(|(node, shares)| self.ask(node, call(shares)))).await;
            for ((node, shares), reply) in by_node.into_iter().zip(replies) {
                match reply {
                    Ok(reply) if reply.status == 200 => parts.push(JointPart { shares, reply }),
                    Ok(reply) if is_refusal(&reply) => refusals.push(reply),
                    // These say nothing of the node: another one's answer would be as large.
                    Err(NodeError::NoRoom(spent)) => return Err(spent.into()),
                    Err(NodeError::TooLarge(limit)) => return Err(Error::ReplyTooLarge { limit }),
                    failure => {
                        let may_retry =
                            self.config.scatter.retry_on_timeout || !matches!(failure, Err(NodeError::Timeout(_)));
                        note_failure(&node, failure, &mut views);
                        if may_retry {
                            self.metrics.scatter_retried();
                        }
                        for share in shares {
                            match open.get_mut(share.target).filter(|_| may_retry) {
                                Some(open) => open.extend(share.assignment.shards),
                                None => degraded.shards.extend(share.assignment.shards),
                            }
                        }
                    }
                }
            }
            open.iter_mut().for_each(|shards| shards.sort_unstable());
        }
        for target in targets {
            degraded.settings = degraded.settings.and(self.settings_seen(target.index));
        }
        match self.conclude(targets.len(), parts, refusals, degraded) {
            Err(error @ Error::ShardUnavailable { .. }) => {
                Err(self.missing_or(error, targets.iter().map(|target| &**target.index)).await)
            }
            Err(error) => Err(targets.iter().fold(error, |error, target| error.naming(target.index))),
            Ok(joint) => Ok(joint),
        }
    }

    fn view<'a>(&'a self, topology: &'a Topology, index: &'a Reading) -> View<'a> {
        let stale = self.stale.of(&index.physical);
        View { cluster: self, topology, index, stale, failed: BTreeSet::new(), weights: self.weights() }
    }

    fn plan(
        &self,
        topology: &Topology,
        view: &View<'_>,
        group: GroupId,
        shards: &[ShardId],
        preference: Preference,
    ) -> Result<Plan, Error> {
        let index = view.index;
        let placements = topology
            .placements(index.shards)
            .ok_or_else(|| Error::Internal(format!("no placement for {} shards", index.shards)))?;
        let allow_stale = self.config.scatter.unavailable_shard_policy == UnavailableShardPolicy::Partial;
        let wanted = Wanted { placements, group, shards, preference, allow_stale };
        let plan = cover::plan(&wanted, view);
        let mut replicas = plan.missing.iter().flat_map(|shard| placements.values().flat_map(|p| p.replicas(*shard)));
        if replicas.any(|node| view.is_held_back(node)) { Err(index.too_stale()) } else { Ok(plan) }
    }

    async fn ask(&self, node: &NodeId, call: Call) -> Result<Reply, NodeError> {
        match self.node(node) {
            Some(node) => node.call(call.for_client()).await,
            None => Err(NodeError::Connect(format!("node {node} is not a member"))),
        }
    }

    fn conclude(
        &self,
        targets: usize,
        mut parts: Vec<JointPart>,
        refusals: Vec<Reply>,
        degraded: Degraded,
    ) -> Result<Joint, Error> {
        if let Some(refusal) = refusals.first() {
            if !parts.is_empty() {
                // Some nodes took the request and some did not: their settings differ. Better no answer than half of
                // one that looks whole.
                tracing::error!(body = %refusal.shown(), "nodes disagree about a request");
            }
            return Err(refused(refusal));
        }
        if !degraded.shards.is_empty() {
            self.metrics.partial_read(degraded.shards.len());
            let by_policy = self.config.scatter.unavailable_shard_policy == UnavailableShardPolicy::Error;
            let answered: BTreeSet<usize> =
                parts.iter().flat_map(|part| &part.shares).map(|share| share.target).collect();
            if by_policy || answered.len() < targets {
                return Err(Error::ShardUnavailable { shards: degraded.shards });
            }
        }
        // Ties between hits break by this order, whatever retries happened.
        parts.sort_by(|a, b| a.node().cmp(b.node()));
        Ok(Joint { parts, degraded })
    }
}

/// The node is not asked again by this request.
fn note_failure(node: &NodeId, failure: Result<Reply, NodeError>, views: &mut [View<'_>]) {
    let why = match failure {
        Ok(reply) => format!("status {}: {}", reply.status, reply.shown()),
        Err(error) => error.to_string(),
    };
    tracing::warn!(%node, why, "node failed a read");
    for view in views {
        view.failed.insert(node.clone());
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
