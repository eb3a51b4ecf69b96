//! The machine that drives a change.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use miroir_core::base::id::{Epoch, NodeId};
use miroir_core::membership::transition::{
    self, Effects, Finished, Replica, TransitionFacts, TransitionIntent, TransitionStep, Waiting,
};
use miroir_store::{Change, Table};
use miroir_work::led::{Facts, Intent, Leadership, Machine, Next, NotActed, Step};

use super::LOOK;
use super::observe::TransitionObservation;
use super::record::TransitionRecord;
use crate::Membership;
use crate::error::not_acted;

/// Drives the change of the membership that is under way. There is one at a time.
pub struct Rebalancing {
    pub(super) membership: Arc<Membership>,
}

/// What is done.
pub enum TransitionAction {
    /// Give these nodes the indexes, as they are in this epoch.
    Prepare(BTreeSet<NodeId>, Epoch),
    /// Write this down, if the topology is at that version.
    Save(Box<transition::TransitionRecord>, Box<Effects>, u64),
    /// Delete what these replicas hold.
    Clean(Vec<Replica>),
    /// The topology is the last one.
    Finish(Box<Finished>, u64),
    /// Decommission the nodes that are members no longer.
    Decommission,
}

impl Rebalancing {
    /// For this cluster.
    pub fn new(membership: Arc<Membership>) -> Self {
        Self { membership }
    }

    /// What core says comes next.
    pub(super) fn next(
        &self,
        record: &TransitionRecord,
        seen: &TransitionObservation,
        intent: Intent,
    ) -> TransitionStep {
        let facts = TransitionFacts {
            topology: seen.topology.clone(),
            acknowledged: seen.acknowledged,
            live: seen.live.clone(),
            prepared: record.prepared.keys().cloned().collect(),
            stale: seen.stale.clone(),
            cleaned: record.cleaned.clone(),
            intent: match intent {
                Intent::Run => TransitionIntent::Run,
                Intent::Pause => TransitionIntent::Pause,
                Intent::Cancel => TransitionIntent::Cancel,
            },
            most_at_once: self.membership.state.config.rebalancer.max_concurrent_migrations.get(),
        };
        transition::decide(&record.transition, &facts)
    }

    /// Why nothing is done now, for operators.
    pub(super) fn waits_for(
        &self,
        record: &TransitionRecord,
        seen: &TransitionObservation,
        intent: Intent,
    ) -> Option<Waiting> {
        match self.next(record, seen, intent) {
            TransitionStep::Wait(waiting) => Some(waiting),
            TransitionStep::Prepare(_)
            | TransitionStep::Save(..)
            | TransitionStep::Work { .. }
            | TransitionStep::Finish(_) => None,
        }
    }
}

#[async_trait]
impl Machine for Rebalancing {
    const KIND: &'static str = "rebalance";
    type Record = TransitionRecord;
    type Seen = TransitionObservation;
    type Action = TransitionAction;

    async fn observe(&self, _scope: &str, _record: &TransitionRecord) -> Result<TransitionObservation, NotActed> {
        self.look().await.map_err(not_acted)
    }

    fn decide(
        &self,
        record: &TransitionRecord,
        facts: &Facts<TransitionObservation>,
    ) -> Step<TransitionRecord, TransitionAction> {
        let seen = &facts.seen;
        if let Some(ended) = &record.ended {
            return match seen.acknowledged {
                false => Step::Wait(LOOK),
                true if ended.decommissioned => self.over(record, ended, facts),
                true => Step::Act(TransitionAction::Decommission),
            };
        }
        let unprepared = record.unprepared(seen.topology.epoch);
        if facts.intent == Intent::Run && seen.acknowledged && !unprepared.is_empty() {
            return Step::Act(TransitionAction::Prepare(unprepared, seen.topology.epoch));
        }
        match self.next(record, seen, facts.intent) {
            TransitionStep::Prepare(nodes) => Step::Act(TransitionAction::Prepare(nodes, seen.topology.epoch)),
            TransitionStep::Save(next, effects) => Step::Act(TransitionAction::Save(next, effects, seen.version)),
            TransitionStep::Work { clean, .. } if !clean.is_empty() => Step::Act(TransitionAction::Clean(clean)),
            // Whoever heals sees to the rest.
            TransitionStep::Work { .. } | TransitionStep::Wait(_) => Step::Wait(LOOK),
            TransitionStep::Finish(finished) => Step::Act(TransitionAction::Finish(finished, seen.version)),
        }
    }

    async fn act(
        &self,
        lead: &Leadership,
        record: &TransitionRecord,
        action: TransitionAction,
    ) -> Result<Next<TransitionRecord>, NotActed> {
        let next = match action {
            TransitionAction::Prepare(nodes, epoch) => self.prepare(record, &nodes, epoch).await,
            TransitionAction::Save(next, effects, version) => self.save(lead, record, *next, &effects, version).await,
            TransitionAction::Clean(replicas) => self.clean(record, &replicas).await,
            TransitionAction::Finish(finished, version) => self.finish(lead, record, &finished, version).await,
            TransitionAction::Decommission => self.decommission(record).await,
        };
        next.map_err(not_acted)
    }

    fn concerns(&self, _scope: &str, change: &Change) -> bool {
        // An instance has acknowledged an epoch, or is gone.
        matches!(change, Change::Record { table: Table::Peers, .. })
    }
}
