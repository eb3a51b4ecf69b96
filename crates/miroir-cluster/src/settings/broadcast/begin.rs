//! Beginning a change: the line is reserved, the nodes are told, and then the change has a task.
//!
//! Invariant: before the first node is told, every instance can know that nodes may differ.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use miroir_core::base::id::{IndexUid, NodeId};
use miroir_core::settings::broadcast::{
    BroadcastRecord, Line, LineChange, PatchResponse, SettingsRequest, Strategy, creating,
};
use miroir_core::settings::{GATED, details, initial};
use miroir_core::write::quorum::{QuorumVerdict, ReplicaAnswer};
use miroir_core::write::task::{BroadcastTask, Effects, TaskKind, TaskStatus};
use miroir_node::Call;
use miroir_store::Batch;
use miroir_work::led::{self, Operation};
use serde_json::Value;
use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::{Broadcasting, was_overtaken};
use crate::read::scatter::refused;
use crate::state::catalog::all_shards;
use crate::state::index_lock::IndexGuard;
use crate::write::fan_out::{Accepted, Change, Sent, raw};
use crate::write::parts::{NodePart, PartOutcome, Step, unanimous_refusal};
use crate::{Degraded, Error, Index, SharedSettings, Writer};

/// Beyond the time that nodes have to answer, until whoever reserved a line is not waited for any more.
const MARGIN: Duration = Duration::from_secs(5);
/// Of one request against the leader, and against others. Each that is lost, somebody else has won.
const ATTEMPTS: usize = 64;

/// A line that this request has reserved.
struct Reservation {
    operation: Operation<Line>,
    version: u64,
    index: Arc<Index>,
}

impl SharedSettings {
    /// A change of settings, of all or of one. An unknown index comes into being if that is wanted; if not, that is a task
    /// that fails.
    ///
    /// # Errors
    /// [`Error::Refused`] when the nodes refuse it; [`Error::Invalid`] when it is about what is ours;
    /// [`Error::NoQuorum`] when no node accepted it; [`Error::Overloaded`]; [`Error::Store`]: then it is not acknowledged.
    pub(crate) async fn change_settings(
        &self,
        writer: &Writer,
        uid: &IndexUid,
        request: SettingsRequest,
        may_create: bool,
    ) -> Result<Accepted, Error> {
        let guard = writer.lock_index(uid).await?;
        self.state.peers.require_contact()?;
        for _ in 0..ATTEMPTS {
            let accepted = match self.state.catalog.get(uid) {
                None if !may_create => return self.decline_settings(writer, &guard, uid, &request).await,
                None => self.begin_with_index(writer, &guard, uid, &request).await,
                Some(index) => {
                    let line = led::stored::<Broadcasting>(&*self.state.store, Some(index.physical.as_str())).await?;
                    match line {
                        None if index.ready => self.begin(writer, &guard, index, &request).await,
                        line => self.line_up(writer, &guard, &index, &request, line).await,
                    }
                }
            };
            match accepted {
                Err(error) if was_overtaken(&error) => self.state.catalog.refresh(uid).await?,
                accepted => return accepted,
            }
        }
        Err(Error::Overloaded("changes of the settings of this index"))
    }

    /// The index does not exist and must not come into being.
    async fn decline_settings(
        &self,
        writer: &Writer,
        guard: &IndexGuard,
        uid: &IndexUid,
        request: &SettingsRequest,
    ) -> Result<Accepted, Error> {
        let shown = match request {
            SettingsRequest::Patch(patch) => raw(&details(patch)),
            SettingsRequest::Reset => None,
        };
        let change = Change::new(guard, uid, TaskKind::SettingsUpdate).without_index();
        writer.conclude_at_once(Change { details: shown, ..change }).await
    }

    /// No change is under way.
    async fn begin(
        &self,
        writer: &Writer,
        guard: &IndexGuard,
        index: Arc<Index>,
        request: &SettingsRequest,
    ) -> Result<Accepted, Error> {
        let proposal = self.proposal(&index, request)?;
        let strategy = self.broadcast_strategy();
        let record = BroadcastRecord::new(proposal, strategy, self.state.nodes().keys().cloned());
        let (operation, with) = self.reserve(guard, &index, record, false)?;
        let changing = |index: &mut Index| index.changing = true;
        let committed = self.state.catalog.amend(&index.physical, index.created_at, changing, with).await?;
        let version = version_of(&committed.versions)?;
        self.tell_nodes(writer, guard, Reservation { operation, version, index }, request).await
    }

    /// The index comes into being with the change. Nodes make it out of one patch, which has everything that it needs.
    async fn begin_with_index(
        &self,
        writer: &Writer,
        guard: &IndexGuard,
        uid: &IndexUid,
        request: &SettingsRequest,
    ) -> Result<Accepted, Error> {
        let mut index = self.writes.new_index(uid, None).await?;
        index.changing = true;
        let mut proposal = self.proposal(&index, request)?;
        let overlay = initial(index.shards, self.state.config.facets.node_multiplier);
        proposal.patch = creating(overlay, &proposal.patch);
        // There is nothing to go back to one by one.
        let record = BroadcastRecord::new(proposal, Strategy::TwoPhase, self.state.nodes().keys().cloned());
        let (operation, with) = self.reserve(guard, &index, record, true)?;
        let (index, inserted, committed) = self.state.catalog.insert(index, with).await?;
        if !inserted {
            return Err(Error::Overloaded("the index is being created by another request"));
        }
        let version = version_of(&committed.versions)?;
        self.tell_nodes(writer, guard, Reservation { operation, version, index }, request).await
    }

    /// The operation by which this request reserves the line of an index, and what starts it under the guard.
    fn reserve(
        &self,
        guard: &IndexGuard,
        index: &Index,
        record: BroadcastRecord,
        creates_index: bool,
    ) -> Result<(Operation<Line>, Batch), Error> {
        let operation = Operation::new(self.reserved(index, record, creates_index));
        let writes = vec![led::start_with::<Broadcasting>(Some(index.physical.as_str()), &operation)?];
        Ok((operation, Batch { fences: vec![guard.fence()], writes, ..Batch::default() }))
    }

    /// The line while its nodes are told by this request.
    fn reserved(&self, index: &Index, record: BroadcastRecord, creates_index: bool) -> Line {
        let change = LineChange {
            token: None,
            born: index.created_at,
            creates_index,
            reserved_until: Some(OffsetDateTime::now_utc() + self.state.write_timeout() + MARGIN),
            record,
        };
        Line { current: Some(change), ..Line::default() }
    }

    async fn tell_nodes(
        &self,
        writer: &Writer,
        guard: &IndexGuard,
        reservation: Reservation,
        request: &SettingsRequest,
    ) -> Result<Accepted, Error> {
        let at = OffsetDateTime::now_utc();
        let Some(change) = &reservation.operation.record.current else {
            return Err(Error::Internal("a line is reserved for nothing".into()));
        };
        let call = self.settings_call(&reservation.index, &change.record.proposal.patch);
        let parts = self.parts_of(&change.record, call);
        let guards = writer.guards();
        let outcomes = join_all(parts.iter().map(|part| self.writes.carry_out(&guards, part))).await;
        if let Some(refusal) = unanimous_refusal(&outcomes, false) {
            self.withdraw(guard, &reservation).await?;
            return Err(refused(refusal).naming(&reservation.index));
        }
        if outcomes.iter().any(|outcome| outcome.answer == ReplicaAnswer::Accepted) {
            return self.acknowledge(writer, guard, reservation, outcomes, request, at).await;
        }
        let nothing_arrived = outcomes.iter().all(|outcome| !outcome.reached);
        if nothing_arrived || change.creates_index {
            self.withdraw(guard, &reservation).await?;
        } else {
            self.leave_to_the_leader(guard, &reservation).await?;
        }
        Err(Error::NoQuorum { shards: all_shards(&reservation.index).into_iter().collect() })
    }

    /// Who is told: everybody at once, or one after the other.
    fn parts_of(&self, record: &BroadcastRecord, call: Call) -> Vec<NodePart> {
        let live = record.parts().keys().filter(|node| self.state.is_live(node));
        let told: Vec<NodeId> = match record.strategy {
            Strategy::TwoPhase => live.cloned().collect(),
            Strategy::Sequential => live.take(1).cloned().collect(),
        };
        let steps = vec![Step { call, shards: Vec::new() }];
        told.into_iter().map(|node| NodePart { node, steps: steps.clone() }).collect()
    }

    /// Some node has accepted the change: it has a task from now on.
    async fn acknowledge(
        &self,
        writer: &Writer,
        guard: &IndexGuard,
        reservation: Reservation,
        outcomes: Vec<PartOutcome>,
        request: &SettingsRequest,
        at: OffsetDateTime,
    ) -> Result<Accepted, Error> {
        let Reservation { mut operation, version, index } = reservation;
        let token = uuid::Uuid::new_v4().simple().to_string();
        let Some(change) = operation.record.current.take() else {
            return Err(Error::Internal("a line is reserved for nothing".into()));
        };
        let answers = answers(&outcomes);
        let record = change.record.after_telling(answers, OffsetDateTime::now_utc(), &self.broadcast_policy());
        let sequential = record.strategy == Strategy::Sequential;
        let creates_index = change.creates_index;
        operation.record.current =
            Some(LineChange { token: Some(token.clone()), reserved_until: None, record, ..change });
        let topology = self.state.ensure_placement(index.shards).await?;
        let weighed = self.writes.weigh(&topology, &index, &all_shards(&index), &outcomes)?;
        let degraded = match weighed.verdict {
            // Nodes that were not told yet miss nothing.
            _ if sequential => Degraded::default(),
            QuorumVerdict::Held => Degraded::default(),
            QuorumVerdict::Lost { shards } => Degraded { shards, ..Degraded::default() },
            QuorumVerdict::Degraded { groups, shards, .. } => Degraded { groups, shards, ..Degraded::default() },
        };
        // Settings that a node missed are known from the broadcast; an index that it missed is not.
        let missed = if creates_index { weighed.missed } else { Vec::new() };
        let node_tasks = outcomes.into_iter().flat_map(|outcome| outcome.tasks).collect();
        let registered = Change {
            writes: vec![led::replace::<Broadcasting>(Some(index.physical.as_str()), &operation, version)?],
            ..self.task_of_change(guard, &index, request, token)
        };
        let sent = Sent { at, node_tasks, missed };
        let accepted = writer.register(registered, Some(&index), sent, TaskStatus::Enqueued, degraded).await;
        accepted.map_err(|error| match was_overtaken(&error) {
            true => Error::Overloaded("the settings took too long to be sent, and are taken back"),
            false => error,
        })
    }

    /// A change as a task.
    pub(super) fn task_of_change(
        &self,
        guard: &IndexGuard,
        index: &Index,
        request: &SettingsRequest,
        token: String,
    ) -> Change {
        let broadcast = Some(BroadcastTask { token, version: None });
        Change {
            details: shown(index, request),
            effects: Effects { broadcast, ..Effects::default() },
            ..Change::new(guard, &index.uid, TaskKind::SettingsUpdate)
        }
    }

    /// As if it had never been asked for.
    async fn withdraw(&self, guard: &IndexGuard, reservation: &Reservation) -> Result<(), Error> {
        let Reservation { operation, version, index } = reservation;
        let writes = led::withdraw::<Broadcasting>(Some(index.physical.as_str()), *version).into();
        let with = Batch { fences: vec![guard.fence()], writes, ..Batch::default() };
        let creates_index = operation.record.current.as_ref().is_some_and(|change| change.creates_index);
        if creates_index {
            return self.writes.forget_index_with(index, with).await;
        }
        let unchanged = |index: &mut Index| index.changing = false;
        self.state.catalog.amend(&index.physical, index.created_at, unchanged, with).await?;
        Ok(())
    }

    /// Nobody accepted it, and some nodes may have applied it all the same.
    async fn leave_to_the_leader(&self, guard: &IndexGuard, reservation: &Reservation) -> Result<(), Error> {
        let physical = reservation.index.physical.as_str();
        let mut operation = reservation.operation.clone();
        let current = operation.record.current.take();
        operation.record.current = current.map(|change| change.taken_over(OffsetDateTime::now_utc()));
        let writes = vec![led::replace::<Broadcasting>(Some(physical), &operation, reservation.version)?];
        let fences = vec![guard.fence()];
        self.state.store.commit(Batch { fences, writes, ..Batch::default() }).await?;
        Ok(())
    }
}

/// The version of the one record that was written besides the index.
fn version_of(versions: &[Option<u64>]) -> Result<u64, Error> {
    versions.first().copied().flatten().ok_or_else(|| Error::Internal("the store gave a record no version".into()))
}

/// What nodes said, for the broadcast. A node that nothing can have arrived at has still to be told.
fn answers(outcomes: &[PartOutcome]) -> BTreeMap<NodeId, PatchResponse> {
    let answer = |outcome: &PartOutcome| match (outcome.tasks.last(), &outcome.refusal) {
        (Some(task), _) if outcome.answer == ReplicaAnswer::Accepted => PatchResponse::Accepted(task.uid),
        (_, Some(reply)) => super::sent(Ok(reply.clone())),
        (_, None) => PatchResponse::Lost,
    };
    outcomes.iter().filter(|outcome| outcome.reached).map(|o| (o.node.clone(), answer(o))).collect()
}

/// `details` of the task.
fn shown(index: &Index, request: &SettingsRequest) -> Option<Box<RawValue>> {
    let mut patch = request.patch(&index.settings);
    if let (SettingsRequest::Reset, Some(all)) = (request, patch.as_object_mut()) {
        // Whether or not nodes know them now, they are at their defaults.
        for gated in GATED {
            all.entry(gated.key).or_insert(Value::Null);
        }
    }
    raw(&details(&patch))
}
