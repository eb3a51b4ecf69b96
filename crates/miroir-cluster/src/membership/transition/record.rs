//! What of a change outlives the instance that leads it.

use std::collections::{BTreeMap, BTreeSet};

use miroir_core::base::id::{Epoch, IndexUid, NodeId};
use miroir_core::membership::topology::Member;
use miroir_core::membership::transition::{self, MembershipChange, MoveState, Phase, Replica};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A change under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransitionRecord {
    /// Tells it from other changes, for operators.
    pub id: String,
    /// When it was begun.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// What core decides on.
    pub transition: transition::TransitionRecord,
    /// Joining nodes that held all indexes when this epoch was acknowledged.
    #[serde(default)]
    pub prepared: BTreeMap<NodeId, Epoch>,
    /// The indexes that were made on them.
    #[serde(default)]
    pub given: BTreeMap<NodeId, BTreeSet<IndexUid>>,
    /// What was deleted since core decided last.
    #[serde(default)]
    pub cleaned: BTreeSet<Replica>,
    /// What was sent to replicas that were given up since may arrive until then.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub quiet_at: Option<OffsetDateTime>,
    /// Replicas that were switched to, or that were given up where enough others are left.
    #[serde(default)]
    pub moved: usize,
    /// Documents on the replicas that were switched to.
    #[serde(default)]
    pub documents: u64,
    /// The topology is the last one.
    #[serde(default)]
    pub ended: Option<FinishedChange>,
}

/// A change whose topology is the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FinishedChange {
    /// It was called off.
    pub canceled: bool,
    /// Members no longer, or who never became one.
    pub gone: Vec<Member>,
    /// Whether they were decommissioned: they are forgotten, and their indexes were deleted where they could be reached.
    #[serde(rename = "seenOff")]
    pub decommissioned: bool,
}

/// How the last change ended, for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastChange {
    /// As [`TransitionRecord::id`].
    pub id: String,
    /// What was wanted.
    pub change: MembershipChange,
    /// It was called off.
    pub canceled: bool,
    /// Replicas that moved.
    pub moved: usize,
    /// Documents on them.
    pub documents: u64,
    /// When it was begun.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339")]
    pub finished_at: OffsetDateTime,
}

impl TransitionRecord {
    /// A change that begins.
    pub fn new(transition: transition::TransitionRecord) -> Self {
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            started_at: OffsetDateTime::now_utc(),
            transition,
            prepared: BTreeMap::new(),
            given: BTreeMap::new(),
            cleaned: BTreeSet::new(),
            quiet_at: None,
            moved: 0,
            documents: 0,
            ended: None,
        }
    }

    /// The nodes that are to join and may lack indexes that came into being through an instance on an older epoch: before
    /// anything is written to them, or copied, they have to hold all of them.
    pub fn unprepared(&self, epoch: Epoch) -> BTreeSet<NodeId> {
        let begins = |state| matches!(state, MoveState::Planned | MoveState::Waiting);
        let about_to = self.transition.moves.iter().any(|moving| begins(moving.state));
        if self.transition.phase != Phase::Moving || !about_to || self.transition.canceled {
            return BTreeSet::new();
        }
        let joining = self.transition.change.joining().iter().map(|member| &member.id);
        joining.filter(|node| self.prepared.get(*node) != Some(&epoch)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use miroir_core::base::id::{GroupId, ShardId};
    use miroir_core::membership::transition::Move;

    use super::*;

    fn record(phase: Phase, state: MoveState) -> TransitionRecord {
        let member = Member { id: NodeId::new("d"), address: "http://d:7700".into(), group: GroupId(0) };
        let moving = Move {
            shards: NonZeroU32::MIN,
            shard: ShardId(0),
            group: GroupId(0),
            from: Some(NodeId::new("a")),
            to: Some(NodeId::new("d")),
            state,
        };
        TransitionRecord::new(transition::TransitionRecord {
            change: MembershipChange::AddNode { member },
            phase,
            moves: vec![moving],
            canceled: false,
        })
    }

    #[test]
    fn who_joins_is_looked_at_in_every_epoch_until_all_is_being_copied() {
        let epoch = Epoch(7);
        let all = BTreeSet::from([NodeId::new("d")]);
        let mut waiting = record(Phase::Moving, MoveState::Waiting);
        assert_eq!(waiting.unprepared(epoch), all);
        waiting.prepared.insert(NodeId::new("d"), Epoch(6));
        assert_eq!(waiting.unprepared(epoch), all, "an index may have come since");
        waiting.prepared.insert(NodeId::new("d"), epoch);
        assert!(waiting.unprepared(epoch).is_empty());
        assert!(record(Phase::Moving, MoveState::Copying).unprepared(epoch).is_empty());
        assert!(record(Phase::Preparing, MoveState::Planned).unprepared(epoch).is_empty(), "core asks for that");
    }
}
