//! What operators see of a change.

use std::sync::Arc;

use miroir_core::transition::{MembershipChange, Move, MoveState, Phase, Replica, Waiting};
use miroir_work::led::{self, Intent, Operation};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::super::{Cluster, Error};
use super::machine::Rebalancing;
use super::observe::Seen;
use super::record::{Last, Record};

/// Moves that are shown one by one.
const SHOWN: usize = 256;

impl Cluster {
    /// Where the change of the membership stands that is under way, and how the last one ended.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn rebalance_status(self: &Arc<Self>) -> Result<Value, Error> {
        let last = self.last_change().await?;
        let operation = match led::find::<Rebalancing>(&*self.store, None).await? {
            Some((operation, intent)) => Some(self.operation_view(&operation, intent).await?),
            None => None,
        };
        Ok(json!({
            "inProgress": operation.is_some(),
            "operation": operation,
            "last": last.as_ref().map(last_view),
        }))
    }

    /// Say what is wanted of the change that is under way. False: there is none.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn ask_of_rebalance(&self, intent: Intent) -> Result<bool, Error> {
        Ok(led::ask::<Rebalancing>(&*self.store, None, intent).await?)
    }

    async fn operation_view(self: &Arc<Self>, operation: &Operation<Record>, intent: Intent) -> Result<Value, Error> {
        let machine = Rebalancing::new(self.clone());
        let seen = machine.look().await?;
        let Operation { started_at, record, .. } = operation;
        let transition = &record.transition;
        let under_way = transition.moves.iter().filter(|moving| is_under_way(moving.state));
        let moves: Vec<Value> = under_way.take(SHOWN).map(|moving| self.move_view(moving)).collect();
        Ok(json!({
            "id": record.id,
            "change": change_view(&transition.change),
            "phase": phase(record),
            "intent": intent,
            "canceled": transition.canceled || record.ended.as_ref().is_some_and(|ended| ended.canceled),
            "epoch": seen.topology.epoch,
            "acknowledged": seen.acknowledged,
            "waitsFor": waits_for(&machine, record, &seen, intent),
            "replicas": replicas_view(record),
            "documents": record.documents,
            "moves": moves,
            "startedAt": started_at.format(&Rfc3339).unwrap_or_default(),
        }))
    }

    fn move_view(&self, moving: &Move) -> Value {
        json!({
            "shards": moving.shards,
            "shard": moving.shard,
            "replicaGroup": moving.group,
            "from": moving.from,
            "to": moving.to,
            "state": moving.state,
            "staleIndexes": moving.target().map(|target| self.stale_indexes(&target)),
        })
    }

    /// The indexes that a replica is stale for.
    fn stale_indexes(&self, replica: &Replica) -> usize {
        let key = (replica.shard, replica.node.clone());
        let indexes = self.catalog.all();
        let of_shards = indexes.iter().filter(|index| index.shards == replica.shards);
        of_shards.filter(|index| self.stale.of(&index.physical).contains(&key)).count()
    }
}

/// How far it has come, in replicas.
fn replicas_view(record: &Record) -> Value {
    let progress = record.transition.progress();
    json!({
        "total": progress.total,
        "planned": progress.planned,
        "waiting": progress.waiting,
        "copying": progress.copying,
        "switched": record.moved,
        "abandoned": progress.total.saturating_sub(progress.planned + progress.waiting + progress.copying + record.moved),
    })
}

fn is_under_way(state: MoveState) -> bool {
    match state {
        MoveState::Copying | MoveState::Switched | MoveState::Left | MoveState::Abandoned => true,
        MoveState::Planned | MoveState::Waiting | MoveState::Cleaned => false,
    }
}

fn phase(record: &Record) -> &'static str {
    match (&record.ended, record.transition.phase) {
        (Some(_), _) => "ending",
        (None, Phase::Preparing) => "preparing",
        (None, Phase::Moving) => "moving",
    }
}

/// In words for programs; null when something is being done.
fn waits_for(machine: &Rebalancing, record: &Record, seen: &Seen, intent: Intent) -> Option<Value> {
    if record.ended.is_some() {
        return (!seen.acknowledged).then(|| "instances".into());
    }
    machine.waits_for(record, seen, intent).map(|waiting| match waiting {
        Waiting::Epoch => "instances".into(),
        Waiting::Paused => "operator".into(),
        Waiting::Replicas => "replicas".into(),
        Waiting::Nodes(nodes) => json!({ "nodes": nodes }),
    })
}

/// As the admin API spells it.
pub fn change_view(change: &MembershipChange) -> Value {
    match change {
        MembershipChange::AddNode { member } => json!({
            "type": "addNode", "node": member.id, "address": member.address, "replicaGroup": member.group,
        }),
        MembershipChange::Drain { node } => json!({ "type": "drainNode", "node": node }),
        MembershipChange::Undrain { node } => json!({ "type": "undrainNode", "node": node }),
        MembershipChange::RemoveNode { node } => json!({ "type": "removeNode", "node": node }),
        MembershipChange::AddGroup { group, members } => {
            let nodes: Vec<Value> =
                members.iter().map(|member| json!({ "id": member.id, "address": member.address })).collect();
            json!({ "type": "addGroup", "replicaGroup": group, "nodes": nodes })
        }
        MembershipChange::RemoveGroup { group } => json!({ "type": "removeGroup", "replicaGroup": group }),
        MembershipChange::Rebalance => json!({ "type": "rebalance" }),
    }
}

fn last_view(last: &Last) -> Value {
    json!({
        "id": last.id,
        "change": change_view(&last.change),
        "canceled": last.canceled,
        "replicas": last.moved,
        "documents": last.documents,
        "startedAt": last.started_at.format(&Rfc3339).unwrap_or_default(),
        "finishedAt": last.finished_at.format(&Rfc3339).unwrap_or_default(),
    })
}
