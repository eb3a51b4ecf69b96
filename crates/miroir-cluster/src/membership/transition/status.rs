//! What operators see of a change.

use std::sync::Arc;

use miroir_api::{
    Awaited, ChangeKind, EndedChange, NewNode, RebalancePhase, RebalanceStatus, Rebalancing as Shown, ReplicaProgress,
    WaitsFor,
};
use miroir_core::base::id::NodeId;
use miroir_core::membership::topology::Member;
use miroir_core::membership::transition::{MembershipChange, Move, MoveState, Phase, Replica, Waiting};
use miroir_work::led::{self, Intent, Operation};

use super::machine::Rebalancing;
use super::observe::TransitionObservation;
use super::record::{LastChange, TransitionRecord};
use crate::clock::rfc3339;
use crate::{Error, Membership};

/// Moves that are shown one by one.
const SHOWN: usize = 256;

impl Membership {
    /// Where the change of the membership stands that is under way, and how the last one ended.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn rebalance_status(self: &Arc<Self>) -> Result<RebalanceStatus, Error> {
        let last = self.last_change().await?;
        let operation = match led::find::<Rebalancing>(&*self.state.store, None).await? {
            Some((operation, intent)) => Some(self.operation_view(&operation, intent).await?),
            None => None,
        };
        Ok(RebalanceStatus { in_progress: operation.is_some(), operation, last: last.as_ref().map(last_view) })
    }

    /// Say what is wanted of the change that is under way. False: there is none.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn ask_of_rebalance(&self, intent: Intent) -> Result<bool, Error> {
        Ok(led::ask::<Rebalancing>(&*self.state.store, None, intent).await?)
    }

    async fn operation_view(
        self: &Arc<Self>,
        operation: &Operation<TransitionRecord>,
        intent: Intent,
    ) -> Result<Shown, Error> {
        let machine = Rebalancing::new(self.clone());
        let seen = machine.look().await?;
        let Operation { started_at, record, .. } = operation;
        let transition = &record.transition;
        let under_way = transition.moves.iter().filter(|moving| is_under_way(moving.state));
        Ok(Shown {
            id: record.id.clone(),
            change: change_view(&transition.change),
            phase: phase(record),
            intent: intent_view(intent),
            canceled: transition.canceled || record.ended.as_ref().is_some_and(|ended| ended.canceled),
            epoch: seen.topology.epoch.0,
            acknowledged: seen.acknowledged,
            waits_for: waits_for(&machine, record, &seen, intent),
            replicas: replicas_view(record),
            documents: record.documents,
            moves: under_way.take(SHOWN).map(|moving| self.move_view(moving)).collect(),
            started_at: rfc3339(*started_at),
        })
    }

    fn move_view(&self, moving: &Move) -> miroir_api::Move {
        miroir_api::Move {
            shards: moving.shards.get(),
            shard: moving.shard.0,
            replica_group: moving.group.0,
            from: moving.from.as_ref().map(NodeId::to_string),
            to: moving.to.as_ref().map(NodeId::to_string),
            state: move_state(moving.state),
            stale_indexes: moving.target().map(|target| self.stale_indexes(&target)),
        }
    }

    /// The indexes that a replica is stale for.
    fn stale_indexes(&self, replica: &Replica) -> u64 {
        let key = (replica.shard, replica.node.clone());
        let indexes = self.state.catalog.all();
        let of_shards = indexes.iter().filter(|index| index.shards == replica.shards);
        of_shards.filter(|index| self.state.stale.of(&index.physical).contains(&key)).count() as u64
    }
}

/// How far it has come, in replicas.
fn replicas_view(record: &TransitionRecord) -> ReplicaProgress {
    let progress = record.transition.progress();
    let settled = progress.planned + progress.waiting + progress.copying + record.moved;
    ReplicaProgress {
        total: progress.total as u64,
        planned: progress.planned as u64,
        waiting: progress.waiting as u64,
        copying: progress.copying as u64,
        switched: record.moved as u64,
        abandoned: progress.total.saturating_sub(settled) as u64,
    }
}

fn is_under_way(state: MoveState) -> bool {
    match state {
        MoveState::Copying | MoveState::Switched | MoveState::Left | MoveState::Abandoned => true,
        MoveState::Planned | MoveState::Waiting | MoveState::Cleaned => false,
    }
}

fn move_state(state: MoveState) -> miroir_api::MoveState {
    match state {
        MoveState::Planned => miroir_api::MoveState::Planned,
        MoveState::Waiting => miroir_api::MoveState::Waiting,
        MoveState::Copying => miroir_api::MoveState::Copying,
        MoveState::Switched => miroir_api::MoveState::Switched,
        MoveState::Left => miroir_api::MoveState::Left,
        MoveState::Abandoned => miroir_api::MoveState::Abandoned,
        MoveState::Cleaned => miroir_api::MoveState::Cleaned,
    }
}

fn phase(record: &TransitionRecord) -> RebalancePhase {
    match (&record.ended, record.transition.phase) {
        (Some(_), _) => RebalancePhase::Ending,
        (None, Phase::Preparing) => RebalancePhase::Preparing,
        (None, Phase::Moving) => RebalancePhase::Moving,
    }
}

/// `None` when something is being done.
fn waits_for(
    machine: &Rebalancing,
    record: &TransitionRecord,
    seen: &TransitionObservation,
    intent: Intent,
) -> Option<WaitsFor> {
    if record.ended.is_some() {
        return (!seen.acknowledged).then_some(WaitsFor::Other(Awaited::Instances));
    }
    machine.waits_for(record, seen, intent).map(|waiting| match waiting {
        Waiting::Epoch => WaitsFor::Other(Awaited::Instances),
        Waiting::Paused => WaitsFor::Other(Awaited::Operator),
        Waiting::Replicas => WaitsFor::Other(Awaited::Replicas),
        Waiting::Nodes(nodes) => WaitsFor::Nodes { nodes: nodes.iter().map(NodeId::to_string).collect() },
    })
}

/// As the admin API spells it.
pub fn intent_view(intent: Intent) -> miroir_api::Intent {
    match intent {
        Intent::Run => miroir_api::Intent::Run,
        Intent::Pause => miroir_api::Intent::Pause,
        Intent::Cancel => miroir_api::Intent::Cancel,
    }
}

/// As the admin API spells it.
pub fn change_view(change: &MembershipChange) -> miroir_api::Change {
    let of = miroir_api::Change::of;
    let of_node = |kind, node: &NodeId| miroir_api::Change { node: Some(node.to_string()), ..of(kind) };
    match change {
        MembershipChange::AddNode { member } => miroir_api::Change {
            address: Some(member.address.clone()),
            replica_group: Some(member.group.0),
            ..of_node(ChangeKind::AddNode, &member.id)
        },
        MembershipChange::Drain { node } => of_node(ChangeKind::DrainNode, node),
        MembershipChange::Undrain { node } => of_node(ChangeKind::UndrainNode, node),
        MembershipChange::RemoveNode { node } => of_node(ChangeKind::RemoveNode, node),
        MembershipChange::AddGroup { group, members } => {
            let node = |member: &Member| NewNode { id: member.id.to_string(), address: member.address.clone() };
            let nodes = Some(members.iter().map(node).collect());
            miroir_api::Change { replica_group: Some(group.0), nodes, ..of(ChangeKind::AddGroup) }
        }
        MembershipChange::RemoveGroup { group } => {
            miroir_api::Change { replica_group: Some(group.0), ..of(ChangeKind::RemoveGroup) }
        }
        MembershipChange::Rebalance => of(ChangeKind::Rebalance),
    }
}

fn last_view(last: &LastChange) -> EndedChange {
    EndedChange {
        id: last.id.clone(),
        change: change_view(&last.change),
        canceled: last.canceled,
        replicas: last.moved as u64,
        documents: last.documents,
        started_at: rfc3339(last.started_at),
        finished_at: rfc3339(last.finished_at),
    }
}
