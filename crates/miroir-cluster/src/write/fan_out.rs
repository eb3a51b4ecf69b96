//! Fan-out with quorum: one change to an index, sent to all its replicas, weighed, recorded, answered.
//!
//! Invariant: the client is answered only after the task, and every replica that missed its part, are in the store.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::id::{IndexUid, NodeId, ShardId};
use miroir_core::config::DegradedWrites;
use miroir_core::membership::topology::Topology;
use miroir_core::write::quorum::{QuorumVerdict, ReplicaAnswer};
use miroir_core::write::task::{Effects, NewTask, NodeTask, TaskKind, TaskStatus};
use miroir_store::{Batch, Committed, Fence, StoreError, Write};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use crate::read::scatter::refused;
use crate::state::catalog::all_shards;
use crate::state::catalog::{Renaming, TakenKey};
use crate::state::index_lock::IndexGuard;
use crate::state::stale::Miss;
use crate::write::conditional;
use crate::write::lifecycle::Birth;
use crate::write::parts::{NodePart, PartOutcome, unanimous_refusal};
use crate::write::weigh::Weighed;
use crate::{Answer, Degraded, Error, Index, Writer};

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
    /// What becomes true besides when the task ends.
    pub effects: Effects,
    /// The error with which the task fails whatever the nodes say. `None`: the nodes decide.
    pub fails_with: Option<ErrorBody>,
    /// The client's own note.
    pub custom_metadata: Option<String>,
    /// What it does depends on what a replica holds: a deletion by filter, an edit.
    pub conditional: bool,
    /// The fences of the guards that it is made under: it is recorded only while they last.
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
    /// A change of one index under its guard, without anything to do yet.
    pub fn new(guard: &IndexGuard, uid: &IndexUid, kind: TaskKind) -> Self {
        Self { uid: Some(uid.clone()), fences: vec![guard.fence()], ..Self::of_no_index(kind) }
    }

    /// A change that is not one index's.
    pub fn of_no_index(kind: TaskKind) -> Self {
        Self {
            uid: None,
            also: Vec::new(),
            kind,
            details: None,
            effects: Effects::default(),
            fails_with: None,
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

    /// What is counted when it is recorded.
    fn counts(&self, index: Option<&Index>) -> Vec<(String, u64)> {
        let counts = index.filter(|_| self.conditional).map(|index| conditional::counts(index, self.kind));
        counts.unwrap_or_default()
    }

    /// The change as a task that fails with this, and does nothing.
    pub fn failing_with(self, code: Code, message: impl Into<String>) -> Self {
        let fails_with = Some(ErrorBody::new(code, message));
        Self { fails_with, effects: Effects::default(), parts: Vec::new(), ..self }
    }

    /// The change as a task that fails because its index does not exist.
    pub fn without_index(self) -> Self {
        let uid = self.uid.as_ref().map_or_else(String::new, ToString::to_string);
        self.failing_with(Code::IndexNotFound, format!("Index `{uid}` not found."))
    }
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

impl Writer {
    /// Register a task that needs no node: it ends at once.
    pub(crate) async fn conclude_at_once(&self, change: Change) -> Result<Accepted, Error> {
        debug_assert!(change.parts.is_empty());
        let sent = Sent { at: OffsetDateTime::now_utc(), node_tasks: Vec::new(), missed: Vec::new() };
        let status = if change.fails_with.is_some() { TaskStatus::Failed } else { TaskStatus::Succeeded };
        self.register(change, None, sent, status, Degraded::default()).await
    }

    /// Register a built-in task: no node has a part in it, the task reconciler does it.
    pub(crate) async fn do_later(&self, change: Change) -> Result<Accepted, Error> {
        debug_assert!(change.parts.is_empty() && change.fails_with.is_none());
        let sent = Sent { at: OffsetDateTime::now_utc(), node_tasks: Vec::new(), missed: Vec::new() };
        self.register(change, None, sent, TaskStatus::Enqueued, Degraded::default()).await
    }

    /// Register a task about an index that no node does: it waits until what was asked for before has ended.
    pub(crate) async fn wait_in_queue(&self, change: Change, index: &Index) -> Result<Accepted, Error> {
        debug_assert!(change.parts.is_empty() && change.fails_with.is_none());
        let sent = Sent { at: OffsetDateTime::now_utc(), node_tasks: Vec::new(), missed: Vec::new() };
        self.register(change, Some(index), sent, TaskStatus::Enqueued, Degraded::default()).await
    }

    /// Send a change to the nodes, weigh their answers, record them, and answer. `topology` is the one that its parts were
    /// made by.
    ///
    /// # Errors
    /// [`Error::Refused`] when all nodes refuse alike; [`Error::NoQuorum`] when too few accepted it; [`Error::Store`] when
    /// it could not be recorded: then it is not acknowledged, although nodes may carry it out.
    pub(crate) async fn change(
        &self,
        topology: &Arc<Topology>,
        index: &Index,
        change: Change,
    ) -> Result<Accepted, Error> {
        self.change_on(topology, index, change).await.map(|(accepted, _)| accepted)
    }

    /// As `Writer::change`; says which nodes took all of their part, too.
    ///
    /// # Errors
    /// As `Writer::change`.
    pub(crate) async fn change_on(
        &self,
        topology: &Arc<Topology>,
        index: &Index,
        change: Change,
    ) -> Result<(Accepted, BTreeSet<NodeId>), Error> {
        self.state.peers.require_contact()?;
        if changes_documents(change.kind) && !index.frozen.is_empty() {
            return Err(Error::Frozen { uid: index.uid.to_string() });
        }
        self.state.client_priority.client_seen();
        // Before any node has seen it: nothing starts before it was enqueued.
        let at = OffsetDateTime::now_utc();
        let recorded_with =
            Batch { fences: change.fences.clone(), counts: change.counts(Some(index)), ..Batch::default() };
        self.sends(index, topology, &change.touched, &change.parts, recorded_with.clone()).await?;
        let guards = self.guards();
        let outcomes = join_all(change.parts.iter().map(|part| self.carry_out(&guards, part))).await;
        self.answered(&outcomes);
        if let Some(refusal) = unanimous_refusal(&outcomes, change.birth.is_some()) {
            self.abandon(change.birth.as_ref(), &outcomes).await;
            self.recorded();
            return Err(refused(refusal).naming(index));
        }
        let Weighed { verdict, missed, lingers_until } = self.weigh(topology, index, &change.touched, &outcomes)?;
        self.lingers(lingers_until);
        let lost_lock = |error| {
            // Nodes have it by now: it cannot be said that it was not taken.
            let is_lost = matches!(error, Error::Store(StoreError::Fenced { .. }) | Error::Isolated { .. });
            if is_lost { Error::IndexLockLost } else { error }
        };
        match self.judge(verdict) {
            Ok(degraded) => {
                let accepted = outcomes.iter().filter(|o| o.answer == ReplicaAnswer::Accepted);
                let accepted = accepted.map(|outcome| outcome.node.clone()).collect();
                let node_tasks: Vec<NodeTask> = outcomes.into_iter().flat_map(|outcome| outcome.tasks).collect();
                let status = match (&change.fails_with, node_tasks.is_empty()) {
                    (_, false) => TaskStatus::Enqueued,
                    (Some(_), true) => TaskStatus::Failed,
                    (None, true) => TaskStatus::Succeeded,
                };
                let sent = Sent { at, node_tasks, missed };
                let answer = self.register(change, Some(index), sent, status, degraded).await.map_err(lost_lock)?;
                self.recorded();
                Ok((answer, accepted))
            }
            Err(error) => {
                match &change.birth {
                    // Nobody misses anything of an index that there is not.
                    Some(birth) => self.abandon(Some(birth), &outcomes).await,
                    None => {
                        self.record_missed(&missed, recorded_with).await.map_err(Error::from).map_err(lost_lock)?;
                    }
                }
                self.recorded();
                Err(error)
            }
        }
    }

    /// An index does not come into being after all. What nodes have of it is deleted, when nothing of it can arrive any more.
    async fn abandon(&self, birth: Option<&Birth>, outcomes: &[PartOutcome]) {
        let Some(birth) = birth else { return };
        let may_arrive = outcomes.iter().any(|outcome| outcome.answer == ReplicaAnswer::Ambiguous);
        if may_arrive {
            return;
        }
        if let Err(error) = self.state.tombstones.free(&birth.index.physical).await {
            tracing::debug!(%error, index = %birth.index.physical, "a name stays claimed for a while");
        }
    }

    pub(crate) fn judge(&self, verdict: QuorumVerdict) -> Result<Degraded, Error> {
        match verdict {
            QuorumVerdict::Held => Ok(Degraded::default()),
            QuorumVerdict::Lost { shards } => Err(Error::NoQuorum { shards }),
            QuorumVerdict::Degraded { groups, shards, one_group_holds } => match self.state.config.write.degraded {
                DegradedWrites::Refuse if !one_group_holds => Err(Error::NoQuorum { shards }),
                DegradedWrites::Accept | DegradedWrites::Refuse => {
                    Ok(Degraded { groups, shards, ..Degraded::default() })
                }
            },
        }
    }

    /// Record a change, and answer.
    pub(crate) async fn register(
        &self,
        mut change: Change,
        index: Option<&Index>,
        sent: Sent,
        status: TaskStatus,
        degraded: Degraded,
    ) -> Result<Accepted, Error> {
        self.state.peers.require_contact()?;
        let (renamings, fences) = (std::mem::take(&mut change.renamings), std::mem::take(&mut change.fences));
        let writes = std::mem::take(&mut change.writes);
        let (birth, key) = (change.birth.take(), change.key.take());
        let counts = change.counts(index);
        let task = new_task(change, index, &sent, status);
        let batch = Batch { fences, writes, counts, new_tasks: vec![task.clone()], ..Batch::default() };
        let committed = match (birth, key, renamings.as_slice()) {
            (Some(birth), key, _) => self.enter(birth, key, &sent.missed, batch).await?,
            (None, None, []) => self.record_missed(&sent.missed, batch).await?,
            (None, key, renamings) => {
                // First, so that it is known whatever becomes of the rest.
                self.record_missed(&sent.missed, Batch { fences: batch.fences.clone(), ..Batch::default() }).await?;
                let until = task.effects.cuts_over.as_ref().map(|cut_over| cut_over.token.as_str());
                self.state.catalog.rename(renamings, until, key.as_ref(), batch).await?
            }
        };
        let uid =
            committed.tasks.first().copied().ok_or_else(|| Error::Internal("the store numbered no task".into()))?;
        self.state.metrics.task(status.name());
        self.state.registered.notify_one();
        let task = task.numbered(uid);
        self.state.announce(Some(&task).filter(|task| task.status.is_final()));
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
        batch.writes.extend(self.state.stale.of_new_index(&physical, missed)?);
        let (_, is_new, committed) = self.state.catalog.insert(index, batch).await?;
        if !is_new {
            return Err(Error::Overloaded("the index is being created by another request"));
        }
        let known = self.state.tombstones.refresh(&physical).await.and(self.state.stale.refresh(&physical).await);
        if let Err(error) = known {
            // It is in the store, from where memory gets it.
            tracing::warn!(%error, index = %physical, "what was recorded of a new index cannot be read yet");
        }
        Ok(committed)
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
        error: change.fails_with,
        started_at: ended,
        finished_at: ended,
        custom_metadata: change.custom_metadata,
        node_tasks: sent.node_tasks.clone(),
        effects: change.effects,
        ..NewTask::new(change.kind, sent.at)
    }
}

/// An object as the raw text that task details are kept as.
pub fn raw(value: &serde_json::Value) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(value).ok()
}
