//! Scatter: one read over a covering set, with other replicas stepping in for nodes that fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::id::{GroupId, NodeId, ShardId};
use miroir_core::base::inert::shard_filter;
use miroir_core::base::strip;
use miroir_core::config::UnavailableShardPolicy;
use miroir_core::membership::topology::Topology;
use miroir_core::read::cover::{self, Assignment, CoverPlan, Freshness, Preference, Replicas, Wanted};
use miroir_core::read::patience::{Attempt, inside};
use miroir_core::read::tally::{self, ReadTally, ReadVerdict, Said};
use miroir_node::deadline;
use miroir_node::{Call, NodeError, Reply, Weights};

use crate::read::doubt::{Asked, Named, unmet_by_all};
use crate::read::versions::Reading;
use crate::state::stale::StaleShards;
use crate::{Degraded, Error, Reads};

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
struct ReplicaView<'a> {
    reads: &'a Reads,
    topology: &'a Topology,
    index: &'a Reading,
    stale: Arc<StaleShards>,
    failed: BTreeSet<NodeId>,
    weights: Weights,
}

impl ReplicaView<'_> {
    /// How many other replicas can answer for a shard.
    fn others_than(&self, shard: ShardId, node: &NodeId) -> u32 {
        let groups = self.topology.placements(self.index.shards).into_iter().flatten();
        let replicas = groups.flat_map(|(_, placement)| placement.replicas(shard));
        let others = replicas.filter(|other| *other != node && self.freshness(shard, other) == Some(Freshness::Fresh));
        u32::try_from(others.count()).unwrap_or(u32::MAX)
    }

    /// Whether the node could be asked if it were not below the floor of the read.
    fn is_held_back(&self, node: &NodeId) -> bool {
        let below = self.index.floor().leaves_out(Some(self.index.settings_version_on(node)));
        below && !self.failed.contains(node) && self.reads.state.is_live(node)
    }
}

impl Replicas for ReplicaView<'_> {
    fn freshness(&self, shard: ShardId, node: &NodeId) -> Option<Freshness> {
        let ranks_otherwise = self.index.lagging.contains_key(node);
        if ranks_otherwise || self.failed.contains(node) || !self.reads.state.is_live(node) {
            return None;
        }
        let is_stale = !self.stale.is_empty() && self.stale.contains(&(shard, node.clone()));
        Some(if is_stale { Freshness::Stale } else { Freshness::Fresh })
    }

    fn cost(&self, node: &NodeId) -> f64 {
        self.reads.state.node(node).map_or(f64::INFINITY, |node| node.cost(&self.weights))
    }

    fn may_hold_more(&self, node: &NodeId) -> bool {
        let is_unseen = self.reads.state.node(node).is_some_and(|node| node.serves_unseen());
        is_unseen || self.topology.may_hold_more(self.index.shards, node)
    }
}

/// What a read wants of one index.
pub struct Target<'a> {
    /// Which index.
    pub index: &'a Reading,
    /// Ascending.
    pub shards: Vec<ShardId>,
    /// The attributes in its requests that a node may have never met.
    pub named: Named<'a>,
}

/// What one node is asked of one target.
pub struct Share {
    /// Position among the targets.
    pub target: usize,
    /// Which shards, and of whom.
    pub assignment: Assignment,
    /// Attributes that the node has never met: they are left out of its request.
    pub unmet: BTreeSet<String>,
}

impl Share {
    /// The shard filter that the node needs, if any.
    pub fn filter(&self) -> Option<String> {
        self.assignment.needs_filter.then(|| shard_filter(&self.assignment.shards))
    }

    fn parts(&self) -> impl Iterator<Item = tally::TargetShard> {
        self.assignment.shards.iter().map(|shard| (self.target, *shard))
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

impl Reads {
    /// Ask the fewest nodes that together hold `shards`; `call` makes each node's request from the shard filter that the
    /// node needs. A node that fails is replaced by other replicas until none is left.
    ///
    /// # Errors
    /// As [`Reads::gather_jointly`].
    pub async fn gather(
        &self,
        index: &Reading,
        shards: &[ShardId],
        fingerprint: u64,
        call: impl Fn(&Assignment, Option<&str>) -> Call,
    ) -> Result<Gathered, Error> {
        let target = Target { index, shards: shards.to_vec(), named: Named::Nothing };
        let asked = |share: &Share| call(&share.assignment, share.filter().as_deref());
        self.gather_for(target, fingerprint, asked).await
    }

    /// The same, for requests that may name attributes which a node has never met.
    ///
    /// # Errors
    /// As [`Reads::gather_jointly`].
    pub async fn gather_for(
        &self,
        target: Target<'_>,
        fingerprint: u64,
        call: impl Fn(&Share) -> Call,
    ) -> Result<Gathered, Error> {
        let asked = |shares: &[Share]| match shares.first() {
            Some(share) => call(share),
            None => Call::get("search", "/health", self.state.read_timeout()),
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
    /// A node that fails, or refuses, is replaced by other replicas until none is left.
    ///
    /// # Errors
    /// [`Error::Refused`] when of some shard all nodes that spoke refused the request, or nobody knows an attribute that it
    /// names; [`Error::ShardUnavailable`] when shards are missing and the policy is `error`, or when nothing at all could be
    /// answered for a target; [`Error::IndexNotFound`] when that is because an index is being deleted; a refusal when only
    /// nodes below the floor of a read are left for a shard.
    pub async fn gather_jointly(
        &self,
        targets: &[Target<'_>],
        fingerprint: u64,
        call: impl Fn(&[Share]) -> Call,
    ) -> Result<Joint, Error> {
        self.state.client_priority.client_seen();
        let topology = self.state.topology();
        let mut views: Vec<ReplicaView<'_>> = targets.iter().map(|target| self.view(&topology, target.index)).collect();
        let mut open: Vec<Vec<ShardId>> = targets.iter().map(|target| target.shards.clone()).collect();
        let mut parts: Vec<JointPart> = Vec::new();
        let mut tally = ReadTally::default();
        let mut refusals: Vec<(NodeId, Reply)> = Vec::new();
        let mut degraded = Degraded { isolated: self.state.peers.evicted_for(), ..Degraded::default() };
        let (mut group, mut preference) = self.choose(&topology, fingerprint);
        if targets.iter().any(|target| target.index.settings.ranks_nothing()) {
            group = topology.shape.groups().first().copied().unwrap_or(group);
            preference = Preference::steady(fingerprint);
        }
        while open.iter().any(|shards| !shards.is_empty()) {
            let mut by_node: BTreeMap<NodeId, Vec<Share>> = BTreeMap::new();
            for (position, (view, open)) in views.iter().zip(&mut open).enumerate() {
                let shards = std::mem::take(open);
                if shards.is_empty() {
                    continue;
                }
                let plan = self.plan(&topology, view, group, &shards, preference)?;
                degraded.shards.extend(plan.missing.iter().filter(|shard| tally.nobody_left((position, **shard))));
                degraded.stale.extend(&plan.stale);
                for assignment in plan.assignments {
                    let share = Share { target: position, assignment, unmet: BTreeSet::new() };
                    by_node.entry(share.assignment.node.clone()).or_default().push(share);
                }
            }
            if tally.is_refused() {
                break;
            }
            if parts.is_empty() {
                self.state.metrics.scattered(by_node.len());
            }
            let patience = |node: &NodeId, call: &Call, shares: &[Share]| self.patience(node, call, shares, &views);
            let asked = by_node.into_iter().map(|(node, shares)| self.ask_for(node, shares, targets, &call, &patience));
            for Asked { node, shares, reply, unmet } in join_all(asked.collect::<Vec<_>>()).await {
                refusals.extend(unmet.map(|refusal| (node.clone(), refusal)));
                let said = reply.as_ref().map_or(Said::Failure, said);
                let may_retry = match (said, &reply) {
                    (Said::Answer, Ok(reply)) => {
                        parts.push(JointPart { shares, reply: reply.clone() });
                        continue;
                    }
                    (Said::Nothing, Ok(reply)) => {
                        return Err(targets.iter().fold(refused(reply), |error, target| error.naming(target.index)));
                    }
                    (Said::Refusal, Ok(reply)) => {
                        refusals.push((node.clone(), reply.clone()));
                        let parts = shares.iter().flat_map(Share::parts);
                        tally.refused(&node, parts);
                        true
                    }
                    (Said::Busy, _) => true,
                    // These say nothing of the node: another one's answer would be as large.
                    (_, Err(NodeError::NoRoom(spent))) => return Err((*spent).into()),
                    (_, Err(NodeError::TooLarge(limit))) => return Err(Error::ReplyTooLarge { limit: *limit }),
                    (_, reply) => {
                        self.state.config.scatter.retry_on_timeout || !matches!(reply, Err(NodeError::Timeout(_)))
                    }
                };
                if said != Said::Refusal {
                    log_failure(&node, reply);
                }
                views.iter_mut().for_each(|view| _ = view.failed.insert(node.clone()));
                if may_retry {
                    self.state.metrics.scatter_retried();
                }
                for share in shares {
                    match open.get_mut(share.target).filter(|_| may_retry) {
                        Some(open) => open.extend(share.assignment.shards),
                        None => degraded.shards.extend(share.assignment.shards),
                    }
                }
            }
            open.iter_mut().for_each(|shards| shards.sort_unstable());
        }
        for target in targets {
            degraded.settings = degraded.settings.and(self.settings_seen(target.index));
        }
        let nobody = |refusals: &[(NodeId, Reply)]| unmet_by_all(targets.len(), &parts, refusals).cloned();
        let outcome = match (tally.verdict(), nobody(&refusals)) {
            (ReadVerdict::Refused { by }, _) => {
                let refusal = refusals.iter().find(|(node, _)| by.contains(node));
                Err(refusal.map_or_else(|| Error::Internal("a refusal of nobody".into()), |(_, reply)| refused(reply)))
            }
            (ReadVerdict::Taken { .. }, Some(refusal)) => Err(refused(&refusal)),
            (ReadVerdict::Taken { alone }, None) => {
                self.record_overruled(targets, &alone, &refusals);
                self.conclude(targets.len(), parts, degraded)
            }
        };
        match outcome {
            Err(error @ Error::ShardUnavailable { .. }) => {
                Err(self.missing_or(error, targets.iter().map(|target| &**target.index)).await)
            }
            Err(error) => Err(targets.iter().fold(error, |error, target| error.naming(target.index))),
            Ok(joint) => Ok(joint),
        }
    }

    fn view<'a>(&'a self, topology: &'a Topology, index: &'a Reading) -> ReplicaView<'a> {
        let stale = self.state.stale.of(&index.physical);
        // Who has failed an earlier part of the request is not waited for once more.
        ReplicaView { reads: self, topology, index, stale, failed: deadline::given_up(), weights: self.state.weights() }
    }

    fn plan(
        &self,
        topology: &Topology,
        view: &ReplicaView<'_>,
        group: GroupId,
        shards: &[ShardId],
        preference: Preference,
    ) -> Result<CoverPlan, Error> {
        let index = view.index;
        let placements = topology
            .placements(index.shards)
            .ok_or_else(|| Error::Internal(format!("no placement for {} shards", index.shards)))?;
        let allow_stale = self.state.config.scatter.unavailable_shard_policy == UnavailableShardPolicy::Partial;
        let wanted = Wanted { placements, group, shards, preference, allow_stale };
        let plan = cover::plan(&wanted, view);
        let mut replicas = plan.missing.iter().flat_map(|shard| placements.values().flat_map(|p| p.replicas(*shard)));
        if replicas.any(|node| view.is_held_back(node)) { Err(index.too_stale()) } else { Ok(plan) }
    }

    /// How long a node is waited for when it is asked this: in the end all that the request waits for ends inside it.
    fn patience(&self, node: &NodeId, call: &Call, shares: &[Share], views: &[ReplicaView<'_>]) -> Duration {
        let left = deadline::left().unwrap_or_else(|| inside(self.state.config.server.request_timeout));
        let usual = self.state.node(node).map(|node| node.usual()).unwrap_or_default();
        let attempt = Attempt { left, one: call.timeout, searches: call.searches, usual, others: 0 };
        if !self.state.config.scatter.retry_on_timeout || attempt.is_short(most(views)) {
            return attempt.patience();
        }
        let shards = shares.iter().filter_map(|share| Some((views.get(share.target)?, &share.assignment.shards)));
        let others = shards.flat_map(|(view, shards)| shards.iter().map(|shard| view.others_than(*shard, node))).min();
        Attempt { others: others.unwrap_or_default(), ..attempt }.patience()
    }

    pub(crate) async fn ask(&self, node: &NodeId, call: Call) -> Result<Reply, NodeError> {
        match self.state.node(node) {
            Some(node) => node.call(call.for_client()).await,
            None => Err(NodeError::Connect(format!("node {node} is not a member"))),
        }
    }

    fn conclude(&self, targets: usize, mut parts: Vec<JointPart>, degraded: Degraded) -> Result<Joint, Error> {
        if !degraded.shards.is_empty() {
            self.state.metrics.partial_read(degraded.shards.len());
            let by_policy = self.state.config.scatter.unavailable_shard_policy == UnavailableShardPolicy::Error;
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

/// How many replicas of a shard there are.
fn most(views: &[ReplicaView<'_>]) -> u32 {
    let Some(view) = views.first() else { return 0 };
    let groups = view.topology.placements(view.index.shards).map_or(0, |placements| placements.len());
    view.topology.shape.replication_factor.get().saturating_mul(u32::try_from(groups).unwrap_or(u32::MAX))
}

/// The node is not asked again by this request, in this part of it or a later one.
fn log_failure(node: &NodeId, failure: Result<Reply, NodeError>) {
    let why = match failure {
        Ok(reply) => format!("status {}: {}", reply.status, reply.shown()),
        Err(error) => error.to_string(),
    };
    tracing::warn!(%node, why, "node failed a read");
    deadline::give_up(node);
}

/// What an answer means to a read.
pub(crate) fn said(reply: &Reply) -> Said {
    if reply.status == 200 {
        return Said::Answer;
    }
    Said::of(reply.status, error_body(reply).as_ref().map(|body| body.code.as_str()))
}

pub(crate) fn error_body(reply: &Reply) -> Option<ErrorBody> {
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
