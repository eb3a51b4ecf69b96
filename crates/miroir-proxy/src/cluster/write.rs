//! Fan-out with quorum: one change to an index, sent to all its replicas, weighed, recorded, answered.
//!
//! Invariant: the client is answered only after the task, and every replica that missed its part, are in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use miroir_core::config::DegradedWrites;
use miroir_core::error::{Code, ErrorBody};
use miroir_core::id::{IndexUid, NodeId, ShardId};
use miroir_core::quorum::{self, Answer as ReplicaAnswer, Verdict};
use miroir_core::task::{Effects, NewTask, NodeTask, TaskKind, TaskStatus};
use miroir_core::topology::Topology;
use miroir_store::{Batch, Committed, Fence, StoreError, Write};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::catalog::Renaming;
use super::lanes::Turn;
use super::lifecycle::Birth;
use super::read::refused;
use super::search::all_shards;
use super::stale::{Miss, Reason};
use super::{Answer, Cluster, Degraded, Error, Index};
use crate::node::{Call, NodeError, Reply};

/// A write that was taken: the summarised task, and what was missing.
pub type Accepted = Answer;

/// A change to one index.
pub struct Change {
    /// As clients call it; none for tasks over several indexes.
    pub uid: Option<IndexUid>,
    /// Further indexes that listings find the task by.
    pub also: Vec<IndexUid>,
    /// What kind of task it is.
    pub kind: TaskKind,
    /// The task's details.
    pub details: Option<Box<RawValue>>,
    /// What settling does besides.
    pub effects: Effects,
    /// Known from the start to fail with this, whatever the nodes say.
    pub doomed: Option<ErrorBody>,
    /// The client's own note.
    pub custom_metadata: Option<String>,
    /// What it does depends on what a replica holds: a deletion by filter, an edit.
    pub conditional: bool,
    /// The turns that it is made in: it is recorded only while they last.
    pub fences: Vec<Fence>,
    /// Names that change with the registration of the task.
    pub renamings: Vec<Renaming>,
    /// The index that comes into being with the registration of the task.
    pub birth: Option<Birth>,
    /// The primary key that the index gets with the registration of the task.
    pub key: Option<TakenKey>,
    /// What is recorded together with the task.
    pub writes: Vec<Write>,
    /// The shards it touches.
    pub touched: Vec<ShardId>,
    /// What every node has to do.
    pub parts: Vec<NodePart>,
}

impl Change {
    /// A change of one index in its turn, without anything to do yet.
    pub fn new(turn: &Turn, uid: &IndexUid, kind: TaskKind) -> Self {
        Self { uid: Some(uid.clone()), fences: turn.fence().into_iter().collect(), ..Self::of_no_index(kind) }
    }

    /// A change that is not one index's.
    pub fn of_no_index(kind: TaskKind) -> Self {
        Self {
            uid: None,
            also: Vec::new(),
            kind,
            details: None,
            effects: Effects::default(),
            doomed: None,
            custom_metadata: None,
            conditional: false,
            fences: Vec::new(),
            renamings: Vec::new(),
            birth: None,
            key: None,
            writes: Vec::new(),
            touched: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// The index comes into being with the change, if the change holds.
    pub fn give_birth(&mut self, birth: Birth) {
        self.effects.creates_index = true;
        self.touched = all_shards(&birth.index);
        self.birth = Some(birth);
    }

    /// Documents are routed by this key from the change on; readers know it when the change is done.
    pub fn take_key(&mut self, index: &Index, key: String) {
        self.effects.primary_key = Some(key.clone());
        self.key = Some(TakenKey { physical: index.physical.clone(), born: index.created_at, key });
    }

    /// The change as a task that fails with this, and does nothing.
    pub fn doomed_by(self, code: Code, message: impl Into<String>) -> Self {
        let doomed = Some(ErrorBody::new(code, message));
        Self { doomed, effects: Effects::default(), parts: Vec::new(), ..self }
    }

    /// The change as a task that fails because its index does not exist.
    pub fn without_index(self) -> Self {
        let uid = self.uid.as_ref().map_or_else(String::new, ToString::to_string);
        self.doomed_by(Code::IndexNotFound, format!("Index `{uid}` not found."))
    }
}

/// A primary key that an index has got from a change.
pub struct TakenKey {
    /// The index.
    pub physical: IndexUid,
    /// When it was asked for: another may have its name by now.
    pub born: OffsetDateTime,
    /// The key.
    pub key: String,
}

/// What one node has to do, in order.
pub struct NodePart {
    /// Who.
    pub node: NodeId,
    /// Sent one after the other; the first that is not accepted ends the part.
    pub steps: Vec<Step>,
}

/// One request of a part.
#[derive(Clone)]
pub struct Step {
    /// What is sent.
    pub call: Call,
    /// The shards whose replicas it changes; empty: the index as a whole.
    pub shards: Vec<ShardId>,
}

/// How a node took its part.
pub struct Outcome {
    /// Who.
    pub node: NodeId,
    /// What it amounts to.
    pub answer: ReplicaAnswer,
    /// What it accepted.
    pub tasks: Vec<NodeTask>,
    /// What it did not want.
    pub refusal: Option<Reply>,
    /// Something may have arrived.
    pub reached: bool,
}

/// What was sent, and what came of it.
pub struct Sent {
    /// Before any node has seen it.
    pub at: OffsetDateTime,
    /// What nodes accepted.
    pub node_tasks: Vec<NodeTask>,
    /// What replicas missed.
    pub missed: Vec<Miss>,
}

/// What the answers amount to.
pub struct Weighed {
    /// Whether it holds.
    pub verdict: Verdict,
    /// The replicas that missed it.
    pub missed: Vec<Miss>,
}

impl Cluster {
    /// Register a task that needs no node: it ends at once.
    pub(super) async fn conclude_at_once(&self, change: Change) -> Result<Accepted, Error> {
        debug_assert!(change.parts.is_empty());
        let sent = Sent { at: OffsetDateTime::now_utc(), node_tasks: Vec::new(), missed: Vec::new() };
        let status = if change.doomed.is_some() { TaskStatus::Failed } else { TaskStatus::Succeeded };
        self.register(change, None, sent, status, Degraded::default()).await
    }

    /// Register a task that no node does: the settler does it.
    pub(super) async fn do_later(&self, change: Change) -> Result<Accepted, Error> {
        debug_assert!(change.parts.is_empty() && change.doomed.is_none());
        let sent = Sent { at: OffsetDateTime::now_utc(), node_tasks: Vec::new(), missed: Vec::new() };
        self.register(change, None, sent, TaskStatus::Enqueued, Degraded::default()).await
    }

    /// Register a task about an index that no node does: it waits until what was asked for before has ended.
    pub(super) async fn wait_in_queue(&self, change: Change, index: &Index) -> Result<Accepted, Error> {
        debug_assert!(change.parts.is_empty() && change.doomed.is_none());
        let sent = Sent { at: OffsetDateTime::now_utc(), node_tasks: Vec::new(), missed: Vec::new() };
        self.register(change, Some(index), sent, TaskStatus::Enqueued, Degraded::default()).await
    }

    /// Send a change to the nodes, weigh their answers, record them, and answer. `topology` is the one that its parts were
    /// made by.
    ///
    /// # Errors
    /// [`Error::Refused`] when all nodes refuse alike; [`Error::NoQuorum`] when too few accepted it; [`Error::Store`] when
    /// it could not be recorded: then it is not acknowledged, although nodes may carry it out.
    pub(super) async fn change(&self, topology: &Topology, index: &Index, change: Change) -> Result<Accepted, Error> {
        self.change_on(topology, index, change).await.map(|(accepted, _)| accepted)
    }

    /// As [`Cluster::change`]; says which nodes took all of their part, too.
    ///
    /// # Errors
    /// As [`Cluster::change`].
    pub(super) async fn change_on(
        &self,
        topology: &Topology,
        index: &Index,
        change: Change,
    ) -> Result<(Accepted, BTreeSet<NodeId>), Error> {
        self.peers.require_heard()?;
        if changes_documents(change.kind) && !index.frozen.is_empty() {
            return Err(Error::Frozen { uid: index.uid.to_string(), nodes: index.frozen.clone() });
        }
        self.yielding.client_is_there();
        // Before any node has seen it: nothing starts before it was enqueued.
        let at = OffsetDateTime::now_utc();
        let outcomes = join_all(change.parts.iter().map(|part| self.carry_out(part))).await;
        if let Some(refusal) = unanimous_refusal(&outcomes) {
            self.abandon(change.birth.as_ref(), &outcomes).await;
            return Err(refused(refusal).naming(index));
        }
        let Weighed { verdict, missed } = self.weigh(topology, index, &change.touched, &outcomes)?;
        match self.judge(verdict) {
            Ok(degraded) => {
                let accepted = outcomes.iter().filter(|o| o.answer == ReplicaAnswer::Accepted);
                let accepted = accepted.map(|outcome| outcome.node.clone()).collect();
                let node_tasks: Vec<NodeTask> = outcomes.into_iter().flat_map(|outcome| outcome.tasks).collect();
                let status = match (&change.doomed, node_tasks.is_empty()) {
                    (_, false) => TaskStatus::Enqueued,
                    (Some(_), true) => TaskStatus::Failed,
                    (None, true) => TaskStatus::Succeeded,
                };
                let sent = Sent { at, node_tasks, missed };
                Ok((self.register(change, Some(index), sent, status, degraded).await?, accepted))
            }
            Err(error) => {
                match &change.birth {
                    // Nobody misses anything of an index that there is not.
                    Some(birth) => self.abandon(Some(birth), &outcomes).await,
                    None => _ = self.record_missed(&missed, Batch::default()).await?,
                }
                Err(error)
            }
        }
    }

    /// An index does not come into being after all. What nodes have of it is deleted, when nothing of it can arrive any more.
    async fn abandon(&self, birth: Option<&Birth>, outcomes: &[Outcome]) {
        let Some(birth) = birth else { return };
        let may_arrive = outcomes.iter().any(|outcome| outcome.answer == ReplicaAnswer::Ambiguous);
        if may_arrive {
            return;
        }
        if let Err(error) = self.leftovers.free(&birth.index.physical).await {
            tracing::debug!(%error, index = %birth.index.physical, "a name stays claimed for a while");
        }
    }

    /// What a write to these shards would amount to, should these nodes and no others accept it.
    pub(super) fn weigh_if(
        &self,
        topology: &Topology,
        index: &Index,
        touched: &[ShardId],
        accepts: impl Fn(&NodeId) -> bool,
    ) -> Result<Verdict, Error> {
        let placements = topology
            .placements(index.shards)
            .ok_or_else(|| Error::Internal(format!("no placement for {} shards", index.shards)))?;
        Ok(quorum::weigh(placements, touched.iter().copied(), |_, node| accepts(node)))
    }

    /// Weigh the answers of nodes to a change that touches these shards.
    pub(super) fn weigh(
        &self,
        topology: &Topology,
        index: &Index,
        touched: &[ShardId],
        outcomes: &[Outcome],
    ) -> Result<Weighed, Error> {
        let placements = topology
            .placements(index.shards)
            .ok_or_else(|| Error::Internal(format!("no placement for {} shards", index.shards)))?;
        let answers: BTreeMap<&NodeId, ReplicaAnswer> = outcomes.iter().map(|o| (&o.node, o.answer)).collect();
        let answer = |node: &NodeId| answers.get(node).copied().unwrap_or(ReplicaAnswer::Missed);
        let also = |shard| topology.also_writes(index.shards, shard).cloned().collect();
        let known = self.stale.of(&index.physical);
        let fresh = |shard, node: &NodeId| !known.contains(&(shard, node.clone()));
        let weighed = quorum::conclude(placements, also, touched.iter().copied(), |_, node| answer(node), fresh);
        let arrives_until = OffsetDateTime::now_utc() + self.write_timeout();
        let missed = weighed.stale.into_iter().map(|(shard, node)| Miss {
            index: index.physical.clone(),
            shard,
            reason: Reason::MissedWrite,
            arrives_until: (answer(&node) == ReplicaAnswer::Ambiguous).then_some(arrives_until),
            node,
        });
        Ok(Weighed { verdict: weighed.verdict, missed: missed.collect() })
    }

    pub(super) fn judge(&self, verdict: Verdict) -> Result<Degraded, Error> {
        match verdict {
            Verdict::Held => Ok(Degraded::default()),
            Verdict::Lost { shards } => Err(Error::NoQuorum { shards }),
            Verdict::Degraded { groups, shards, one_group_holds } => match self.config.write.degraded {
                DegradedWrites::Refuse if !one_group_holds => Err(Error::NoQuorum { shards }),
                DegradedWrites::Accept | DegradedWrites::Refuse => {
                    Ok(Degraded { groups, shards, ..Degraded::default() })
                }
            },
        }
    }

    /// Have a node do its part.
    pub(super) async fn carry_out(&self, part: &NodePart) -> Outcome {
        let mut outcome = Outcome {
            node: part.node.clone(),
            answer: ReplicaAnswer::Accepted,
            tasks: Vec::with_capacity(part.steps.len()),
            refusal: None,
            reached: false,
        };
        for step in &part.steps {
            let before = self.node(&part.node).and_then(|node| node.newest_task());
            let (answer, reply) = match self.send_write(&part.node, step.call.clone()).await {
                Ok(reply) if reply.status == 202 => match reply.task() {
                    // The node has another disk than before: nobody knows what becomes of the write.
                    Some(uid) if !self.has_accepted(&part.node, uid, before) => (ReplicaAnswer::Ambiguous, None),
                    Some(uid) => {
                        outcome.reached = true;
                        outcome.tasks.push(NodeTask {
                            node: part.node.clone(),
                            uid,
                            shards: step.shards.clone(),
                            status: TaskStatus::Enqueued,
                            error: None,
                            deleted_documents: None,
                        });
                        continue;
                    }
                    None => (ReplicaAnswer::Ambiguous, Some(reply)),
                },
                Ok(reply) => (ReplicaAnswer::Missed, Some(reply)),
                Err(error) if error.never_left() => {
                    outcome.answer = ReplicaAnswer::Missed;
                    break;
                }
                Err(error) => {
                    tracing::warn!(node = %part.node, %error, "a node's answer to a write was lost");
                    (ReplicaAnswer::Ambiguous, None)
                }
            };
            if let Some(reply) = &reply {
                let body = reply.shown();
                tracing::warn!(node = %part.node, status = reply.status, %body, "a node did not accept a write");
            }
            outcome.reached = true;
            outcome.answer = answer;
            outcome.refusal = reply.filter(|reply| (400..500).contains(&reply.status));
            break;
        }
        outcome
    }

    /// Take note of a node's new task. Returns false when it cannot be one.
    fn has_accepted(&self, node: &NodeId, task: u64, before: Option<u64>) -> bool {
        self.node(node).is_none_or(|node| node.accepted(task, before))
    }

    /// A connect failure is tried once more: nothing can have arrived.
    async fn send_write(&self, node: &NodeId, call: Call) -> Result<Reply, NodeError> {
        let Some(known) = self.node(node).filter(|node| node.health.state().is_live()) else {
            return Err(NodeError::Connect(format!("node {node} is not live")));
        };
        match known.call(call.clone()).await {
            Err(error) if error.is_connect() => known.call(call).await,
            result => result,
        }
    }

    /// Record a change, and answer.
    pub(super) async fn register(
        &self,
        mut change: Change,
        index: Option<&Index>,
        sent: Sent,
        status: TaskStatus,
        degraded: Degraded,
    ) -> Result<Accepted, Error> {
        self.peers.require_heard()?;
        let (renamings, fences) = (std::mem::take(&mut change.renamings), std::mem::take(&mut change.fences));
        let writes = std::mem::take(&mut change.writes);
        let (birth, key) = (change.birth.take(), change.key.take());
        let counts = index.filter(|_| change.conditional).map(|index| super::conditional::counts(index, change.kind));
        let counts = counts.unwrap_or_default();
        let task = new_task(change, index, &sent, status);
        let batch = Batch { fences, writes, counts, new_tasks: vec![task.clone()], ..Batch::default() };
        let committed = match (birth, key, renamings.as_slice()) {
            (Some(birth), key, _) => self.enter(birth, key, &sent.missed, batch).await?,
            (None, None, []) => self.record_missed(&sent.missed, batch).await?,
            (None, key, renamings) => {
                // First, so that it is known whatever becomes of the rest.
                self.record_missed(&sent.missed, Batch { fences: batch.fences.clone(), ..Batch::default() }).await?;
                let until = task.effects.unveils.as_ref().map(|unveiling| unveiling.token.as_str());
                self.catalog.rename(renamings, until, key.as_ref(), batch).await?
            }
        };
        let uid =
            committed.tasks.first().copied().ok_or_else(|| Error::Internal("the store numbered no task".into()))?;
        self.metrics.task(status.name());
        self.registered.notify_one();
        let task = task.numbered(uid);
        self.announce(Some(&task).filter(|task| task.status.is_final()));
        Ok(Answer { body: Bytes::from(task.summary()), degraded })
    }

    /// An index comes into being: it, who missed it, and the task are in the store in one step.
    async fn enter(
        &self,
        birth: Birth,
        key: Option<TakenKey>,
        missed: &[Miss],
        mut batch: Batch,
    ) -> Result<Committed, Error> {
        let Birth { index, claim } = birth;
        let index = Index { pending_key: key.map(|taken| taken.key), ..Arc::unwrap_or_clone(index) };
        let physical = index.physical.clone();
        batch.writes.push(claim.redeem());
        batch.writes.extend(self.stale.of_new_index(&physical, missed)?);
        let (_, is_new, committed) = self.catalog.insert(index, batch).await?;
        if !is_new {
            return Err(Error::Overloaded("the index is being created by another request"));
        }
        let known = self.leftovers.refresh(&physical).await.and(self.stale.refresh(&physical).await);
        if let Err(error) = known {
            // It is in the store, and heard of from there.
            tracing::warn!(%error, index = %physical, "what was recorded of a new index cannot be read yet");
        }
        Ok(committed)
    }

    /// Persist what replicas missed in one step with the rest of the batch.
    pub(super) async fn record_missed(&self, missed: &[Miss], with: Batch) -> Result<Committed, StoreError> {
        if missed.is_empty() {
            return if with.is_empty() { Ok(Committed::default()) } else { self.store.commit(with).await };
        }
        self.stale.miss(missed, with).await
    }

    /// The same steps for every node, touching every shard.
    pub(super) fn on_every_node(&self, topology: &Topology, steps: &[Step]) -> Vec<NodePart> {
        let members = topology.shape.members.iter();
        members.map(|member| NodePart { node: member.id.clone(), steps: steps.to_vec() }).collect()
    }

    /// For writes that carry documents.
    pub(super) fn write_timeout(&self) -> std::time::Duration {
        self.config.write.node_timeout
    }
}

fn changes_documents(kind: TaskKind) -> bool {
    matches!(kind, TaskKind::DocumentAdditionOrUpdate | TaskKind::DocumentEdition | TaskKind::DocumentDeletion)
}

/// A change as a task.
fn new_task(change: Change, index: Option<&Index>, sent: &Sent, status: TaskStatus) -> NewTask {
    let ended = status.is_final().then_some(sent.at);
    let details = match (status, &change.effects.details) {
        (TaskStatus::Succeeded, Some(done)) => Some(done.clone()),
        _ => change.details,
    };
    NewTask {
        index_uid: change.uid,
        also: change.also,
        physical: index.map(|index| index.physical.clone()),
        status,
        details,
        error: change.doomed,
        started_at: ended,
        finished_at: ended,
        custom_metadata: change.custom_metadata,
        node_tasks: sent.node_tasks.clone(),
        effects: change.effects,
        ..NewTask::new(change.kind, sent.at)
    }
}

/// The shards whose writes a node takes.
pub fn shards_of(topology: &Topology, shards: NonZeroU32, node: &NodeId) -> Vec<ShardId> {
    (0..shards.get()).map(ShardId).filter(|shard| topology.takes_writes(shards, *shard, node)).collect()
}

/// Every node that was reached refused, with the same code, and none took any part.
pub fn unanimous_refusal(outcomes: &[Outcome]) -> Option<&Reply> {
    let code = |reply: &Reply| serde_json::from_slice::<ErrorBody>(&reply.body).map(|body| body.code).ok();
    let mut refusals = outcomes.iter().filter_map(|outcome| outcome.refusal.as_ref());
    let first = refusals.next()?;
    let first_code = code(first);
    let alike = refusals.all(|reply| reply.status == first.status && code(reply) == first_code);
    let nobody_else = outcomes.iter().all(|o| o.refusal.is_some() || o.answer == ReplicaAnswer::Missed);
    let refused_for_good = !matches!(first_code.as_deref(), Some("invalid_api_key" | "missing_authorization_header"));
    (alike && nobody_else && refused_for_good).then_some(first)
}

/// An object as the raw text that task details are kept as.
pub fn raw(value: &serde_json::Value) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(value).ok()
}
