//! What comes next in a transition.

use std::collections::BTreeSet;

use super::change::MembershipChange;
use super::plan::{Move, MoveState, Replica, moves};
use super::record::{Phase, TransitionRecord};
use crate::base::id::NodeId;
use crate::membership::topology::Topology;

/// What the operator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransitionIntent {
    /// Go on.
    #[default]
    Run,
    /// Begin nothing, and switch nothing.
    Pause,
    /// Give up what was not switched.
    Cancel,
}

/// What decisions are made of, besides the record.
#[derive(Clone, Debug)]
pub struct TransitionFacts {
    /// The topology as the store has it.
    pub topology: Topology,
    /// Every live instance acts on its epoch, and has nothing under way that it began on an older one.
    pub acknowledged: bool,
    /// The nodes that answer.
    pub live: BTreeSet<NodeId>,
    /// Joining nodes that hold all indexes with their settings.
    pub prepared: BTreeSet<NodeId>,
    /// Replicas that are stale for any index with so many shards, as the store has them.
    pub stale: BTreeSet<Replica>,
    /// What was deleted, of what [`TransitionStep::Work`] names: nothing of the shard is left on the node.
    pub cleaned: BTreeSet<Replica>,
    /// What the operator wants.
    pub intent: TransitionIntent,
    /// `rebalancer.max_concurrent_migrations`
    pub most_at_once: usize,
}

/// What is written together with a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The next topology, in place of the one that was decided on; none: it stays.
    pub topology: Option<Topology>,
    /// Known as stale from now on, for all indexes with so many shards.
    pub stale: Vec<Replica>,
    /// No replicas any more, and nobody writes to them: they are off the list of stale replicas.
    pub forget: Vec<Replica>,
    /// Written only if none of these is stale for any index.
    pub require_fresh: Vec<Replica>,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransitionStep {
    /// Give these nodes the indexes and their settings.
    Prepare(BTreeSet<NodeId>),
    /// Save this, all or nothing, and decide again.
    Save(Box<TransitionRecord>, Box<Effects>),
    /// See to it that these replicas are being mirrored, delete what is left of those, and decide again.
    Work {
        /// Stale ones that are to become fresh.
        mirror: Vec<Replica>,
        /// Documents that nobody reads or writes there.
        clean: Vec<Replica>,
    },
    /// Look again after a while.
    Wait(Waiting),
    /// It is over. To be written in one step with the end of the record.
    Finish(Box<Finished>),
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Instances that have not acknowledged the epoch.
    Epoch,
    /// The operator.
    Paused,
    /// Replicas that would have to be fresh, and are healed elsewhere.
    Replicas,
    /// Nodes that do not answer.
    Nodes(BTreeSet<NodeId>),
}

/// The end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The topology from now on; none: it was called off before anything had changed.
    pub topology: Option<Topology>,
    /// Whether it was called off.
    pub canceled: bool,
    /// Members no longer: nothing is to be remembered of them.
    pub gone: BTreeSet<NodeId>,
}

/// What comes next of a change of the membership, by its record and what is known now.
pub fn decide(record: &TransitionRecord, facts: &TransitionFacts) -> TransitionStep {
    match record.phase {
        Phase::Preparing => prepare(record, facts),
        Phase::Moving => advance(record, facts),
    }
}

fn prepare(record: &TransitionRecord, facts: &TransitionFacts) -> TransitionStep {
    let joining = || record.change.joining().iter().map(|member| member.id.clone());
    match facts.intent {
        TransitionIntent::Cancel => {
            let gone = joining().collect();
            return TransitionStep::Finish(Box::new(Finished { topology: None, canceled: true, gone }));
        }
        TransitionIntent::Pause => return TransitionStep::Wait(Waiting::Paused),
        TransitionIntent::Run => {}
    }
    let missing: BTreeSet<NodeId> = joining().filter(|node| !facts.prepared.contains(node)).collect();
    if !missing.is_empty() {
        return TransitionStep::Prepare(missing);
    }
    // Since it was begun, indexes may have come with other numbers of shards; nothing has moved yet.
    let moves = moves(&facts.topology, &record.change);
    let next = TransitionRecord { phase: Phase::Moving, moves, ..record.clone() };
    let effects = Effects { topology: Some(next.topology(&facts.topology, &next.moves)), ..Effects::default() };
    TransitionStep::Save(Box::new(next), Box::new(effects))
}

fn advance(record: &TransitionRecord, facts: &TransitionFacts) -> TransitionStep {
    let mut next = record.clone();
    let forget = record_cleaned(&mut next, facts);
    if next != *record {
        // Not before: a write that was begun on an older epoch may have put them on the list again.
        return TransitionStep::Save(Box::new(next), Box::new(Effects { forget, ..Effects::default() }));
    }
    if !facts.acknowledged {
        return work(record, facts, Waiting::Epoch);
    }
    if record.moves.iter().all(|moving| moving.state == MoveState::Cleaned) {
        return finish(record, facts);
    }
    if let Some(step) = next_epoch(record, facts) {
        return step;
    }
    if facts.intent == TransitionIntent::Run && !record.canceled {
        let stale = begin_copying(&mut next, facts);
        if !stale.is_empty() {
            return TransitionStep::Save(Box::new(next), Box::new(Effects { stale, ..Effects::default() }));
        }
    }
    let why = if facts.intent == TransitionIntent::Pause { Waiting::Paused } else { Waiting::Replicas };
    work(record, facts, why)
}

/// What was deleted is done with; also on nodes that will not come back as members that hold anything.
fn record_cleaned(record: &mut TransitionRecord, facts: &TransitionFacts) -> Vec<Replica> {
    let settled = facts.acknowledged;
    let leaving = match &record.change {
        MembershipChange::RemoveNode { node } | MembershipChange::Drain { node } => BTreeSet::from([node.clone()]),
        MembershipChange::RemoveGroup { group } => facts.topology.shape.members_of(*group).into_iter().collect(),
        MembershipChange::AddNode { .. } | MembershipChange::AddGroup { .. } if record.canceled => {
            record.change.joining().iter().map(|member| member.id.clone()).collect()
        }
        MembershipChange::AddNode { .. }
        | MembershipChange::AddGroup { .. }
        | MembershipChange::Undrain { .. }
        | MembershipChange::Rebalance => BTreeSet::new(),
    };
    // Nothing else is left to do. A node that comes back is relieved of all that it takes no writes of before it counts.
    let last = record.moves.iter().all(|moving| match moving.state {
        MoveState::Planned | MoveState::Waiting | MoveState::Copying | MoveState::Switched => false,
        MoveState::Left | MoveState::Abandoned | MoveState::Cleaned => true,
    });
    let mut forget = Vec::new();
    for moving in &mut record.moves {
        let left = to_clean(moving).filter(|_| settled);
        let Some(left) = left else {
            let nothing = matches!(moving.state, MoveState::Left | MoveState::Abandoned) && settled;
            if nothing && left_behind(moving).is_none() {
                moving.state = MoveState::Cleaned;
            }
            continue;
        };
        let unreachable = !facts.live.contains(&left.node) && (last || leaving.contains(&left.node));
        if facts.cleaned.contains(&left) || unreachable {
            moving.state = MoveState::Cleaned;
            forget.push(left);
        }
    }
    forget
}

/// What a move leaves behind where nobody reads or writes it, once the epoch is acknowledged.
fn to_clean(moving: &Move) -> Option<Replica> {
    match moving.state {
        MoveState::Left | MoveState::Abandoned => left_behind(moving),
        MoveState::Planned | MoveState::Waiting | MoveState::Copying | MoveState::Switched | MoveState::Cleaned => None,
    }
}

fn left_behind(moving: &Move) -> Option<Replica> {
    if moving.state == MoveState::Abandoned { moving.target() } else { moving.source() }
}

/// The next epoch, if there is a reason for one.
fn next_epoch(record: &TransitionRecord, facts: &TransitionFacts) -> Option<TransitionStep> {
    let cancel = facts.intent == TransitionIntent::Cancel || record.canceled;
    let mut next = TransitionRecord { canceled: cancel, ..record.clone() };
    let mut effects = Effects::default();
    let heir = |moving: &Move| heir(record, facts, moving);
    let copied = |moving: &Move| match moving.state {
        MoveState::Copying => heir(moving).is_some(),
        // Nothing is copied where nothing comes into being.
        MoveState::Waiting => moving.to.is_none() && heir(moving).is_some(),
        MoveState::Planned | MoveState::Switched | MoveState::Left | MoveState::Abandoned | MoveState::Cleaned => false,
    };
    let may_switch = facts.intent == TransitionIntent::Run
        && !cancel
        && (record.at_once().is_none() || record.moves.iter().all(copied));
    for moving in &mut next.moves {
        moving.state = match moving.state {
            MoveState::Planned | MoveState::Waiting | MoveState::Copying if cancel => MoveState::Abandoned,
            MoveState::Planned if facts.intent == TransitionIntent::Run => {
                effects.stale.extend(moving.target());
                MoveState::Waiting
            }
            MoveState::Waiting | MoveState::Copying if may_switch && copied(moving) => {
                effects.require_fresh.extend(heir(moving));
                MoveState::Switched
            }
            MoveState::Switched if heir(moving).is_some() => {
                effects.require_fresh.extend(heir(moving));
                MoveState::Left
            }
            state @ (MoveState::Planned
            | MoveState::Waiting
            | MoveState::Copying
            | MoveState::Switched
            | MoveState::Left
            | MoveState::Abandoned
            | MoveState::Cleaned) => state,
        };
    }
    if next == *record {
        return None;
    }
    effects.topology = Some(next.topology(&facts.topology, &record.moves));
    Some(TransitionStep::Save(Box::new(next), Box::new(effects)))
}

/// The fresh replica that stays when the old one of a move goes: the new one, or where there is none, any that stays.
fn heir(record: &TransitionRecord, facts: &TransitionFacts, moving: &Move) -> Option<Replica> {
    let fresh = |replica: &Replica| !facts.stale.contains(replica);
    if moving.to.is_some() {
        return moving.target().filter(fresh);
    }
    let goes = |node: &NodeId| {
        let alike = record.moves.iter().filter(|other| other.shards == moving.shards && other.shard == moving.shard);
        alike.into_iter().any(|other| other.from.as_ref() == Some(node))
    };
    let replicas = facts.topology.replicas(moving.shards).filter(|(shard, node)| *shard == moving.shard && !goes(node));
    let mut replicas = replicas.map(|(shard, node)| Replica { shards: moving.shards, shard, node: node.clone() });
    replicas.find(fresh)
}

/// As many at once as may be. Returns those that were begun. They are made known as stale once more: an index that came
/// into being while the epoch was not acknowledged may have been written to by the one before.
fn begin_copying(record: &mut TransitionRecord, facts: &TransitionFacts) -> Vec<Replica> {
    let stale = |moving: &Move| moving.target().is_some_and(|target| facts.stale.contains(&target));
    let busy = record.in_state(MoveState::Copying).filter(|(_, moving)| stale(moving)).count();
    let waiting = record.moves.iter_mut().filter(|moving| moving.state == MoveState::Waiting && moving.to.is_some());
    let begun = waiting.take(facts.most_at_once.max(1).saturating_sub(busy));
    let begin = |moving: &mut Move| {
        moving.state = MoveState::Copying;
        moving.target()
    };
    begun.filter_map(begin).collect()
}

/// What can be done, else why nothing can.
fn work(record: &TransitionRecord, facts: &TransitionFacts, otherwise: Waiting) -> TransitionStep {
    let mut away = BTreeSet::new();
    let mut live = |replica: &Replica| {
        let live = facts.live.contains(&replica.node);
        if !live {
            away.insert(replica.node.clone());
        }
        live
    };
    let copying = record.in_state(MoveState::Copying).filter_map(|(_, moving)| moving.target());
    let stale = copying.filter(|target| facts.stale.contains(target) && facts.intent == TransitionIntent::Run);
    let mirror: Vec<Replica> = stale.filter(&mut live).collect();
    let clean = record.moves.iter().filter_map(to_clean).filter(|_| facts.acknowledged);
    let clean: Vec<Replica> = clean.filter(&mut live).collect();
    match (mirror.is_empty() && clean.is_empty(), away.is_empty()) {
        (false, _) => TransitionStep::Work { mirror, clean },
        (true, false) => TransitionStep::Wait(Waiting::Nodes(away)),
        (true, true) => TransitionStep::Wait(otherwise),
    }
}

fn finish(record: &TransitionRecord, facts: &TransitionFacts) -> TransitionStep {
    let topology = record.last_topology(&facts.topology);
    let stays = |node: &NodeId| topology.shape.members.iter().any(|member| member.id == *node);
    let members = facts.topology.shape.members.iter().map(|member| member.id.clone());
    let gone = members.filter(|node| !stays(node)).collect();
    TransitionStep::Finish(Box::new(Finished { topology: Some(topology), canceled: record.canceled, gone }))
}
