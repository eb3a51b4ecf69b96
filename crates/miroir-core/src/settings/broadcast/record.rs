//! What of a broadcast outlives the process that leads it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::base::error::ErrorBody;
use crate::base::id::NodeId;
use crate::config::BroadcastStrategy;
use crate::settings::{Fingerprint, Kept, Secrets};
use crate::write::task::TaskStatus;

/// How a broadcast goes about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// All nodes at once; the change holds when all have been verified.
    #[default]
    TwoPhase,
    /// One node after the other, each verified before the next is told.
    Sequential,
}

impl From<BroadcastStrategy> for Strategy {
    fn from(configured: BroadcastStrategy) -> Self {
        match configured {
            BroadcastStrategy::TwoPhase => Self::TwoPhase,
            BroadcastStrategy::Sequential => Self::Sequential,
        }
    }
}

/// Where a broadcast stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nodes are told, and apply it.
    Propose,
    /// Nodes are read back, and told again where they differ.
    Verify,
    /// All agree: the change holds as soon as that is written down.
    Commit,
    /// The change will not hold: nodes are put back to what they held before.
    GoingBack,
}

/// What is to be changed, and from what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The change as nodes get it: a patch, with the overlay.
    pub patch: Value,
    /// What nodes will not hold of the settings as clients will see them.
    pub kept: Kept,
    /// The committed settings as nodes hold them; none: the index has none yet, and there is nothing to go back to.
    pub base: Option<Value>,
    /// The version of those. The change leads to the next one.
    pub base_version: u64,
    /// Keys of embedding services, before the change.
    #[serde(default, skip_serializing_if = "Secrets::is_empty")]
    pub secrets: Secrets,
}

/// What is known of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Stage {
    /// To be told, not before an instant if there is one.
    Due {
        /// It was told before in vain: wait until then.
        #[serde(with = "time::serde::rfc3339::option", default)]
        not_before: Option<OffsetDateTime>,
    },
    /// It has accepted what it was told as a task of its own, which has not ended.
    #[serde(rename = "told")]
    Accepted {
        /// Of the node.
        task: u64,
    },
    /// Its task succeeded: to be read back.
    Applied {
        /// When the leader saw that: it may take so long, and no longer, until it can be read.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
    },
    /// It read back what was expected.
    Verified,
    /// It did not answer during the broadcast. It is brought up to date when it is back.
    LeftBehind,
    /// It does not want the change.
    Rejected {
        /// In its own words.
        error: ErrorBody,
    },
    /// It was told as often as configured and never complied.
    Unrepairable,
}

impl Stage {
    /// Whether nothing more is expected of the node in this phase.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Due { .. } | Self::Accepted { .. } | Self::Applied { .. } => false,
            Self::Verified | Self::LeftBehind | Self::Rejected { .. } | Self::Unrepairable => true,
        }
    }
}

/// One node's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeProgress {
    /// Where it stands.
    pub stage: Stage,
    /// How often it was told in vain.
    pub attempts: u32,
    /// Whether it was, or was about to be, sent anything that it may have applied.
    pub touched: bool,
    /// What it will be told, when that is not what all are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) repair: Option<Value>,
    /// Since when it is live, but does not tell what it was asked.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub(super) silent_since: Option<OffsetDateTime>,
    /// What it read back last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
}

impl NodeProgress {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Due { not_before: None },
            attempts: 0,
            touched: false,
            repair: None,
            silent_since: None,
            fingerprint: None,
        }
    }
}

/// Why a broadcast does not commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub(super) enum Reason {
    Rejected { node: NodeId, error: ErrorBody },
    Unrepairable { nodes: BTreeSet<NodeId> },
    Canceled,
}

/// A broadcast, as it is saved after every step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BroadcastRecord {
    /// What it is about.
    pub proposal: Proposal,
    /// How it goes about it.
    pub strategy: Strategy,
    pub(super) phase: Phase,
    pub(super) parts: BTreeMap<NodeId, NodeProgress>,
    /// What nodes agreed on, as they hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) agreed: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<Reason>,
}

/// Something that the next decision needs to know of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// What became of its task.
    Task(NodeId, u64),
    /// What it reads back.
    Settings(NodeId),
}

/// What nodes answered. What is not in here was not answered.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// What became of tasks, by node and number.
    pub tasks: BTreeMap<(NodeId, u64), TaskReport>,
    /// What nodes read back.
    pub settings: BTreeMap<NodeId, Value>,
}

/// What a node says of its task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskReport {
    /// It knows it.
    Known(TaskStatus, Option<ErrorBody>),
    /// It answered, and does not know it: it came back with another disk.
    Unknown,
}

impl BroadcastRecord {
    /// A broadcast to these nodes, of which nothing was sent yet.
    pub fn new(proposal: Proposal, strategy: Strategy, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let parts = nodes.into_iter().map(|node| (node, NodeProgress::new())).collect();
        Self { proposal, strategy, phase: Phase::Propose, parts, agreed: None, reason: None }
    }

    /// As it stands when nobody knows what became of it, and nobody was promised anything: nodes are to be put back.
    #[must_use]
    pub fn abandoned(mut self, now: OffsetDateTime) -> Self {
        self.parts.values_mut().for_each(|part| part.touched = true);
        self.turn_back(Reason::Canceled, now);
        self
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Every node's part.
    pub fn parts(&self) -> &BTreeMap<NodeId, NodeProgress> {
        &self.parts
    }

    /// How often nodes were told again because they had not done as told.
    pub fn mismatches(&self) -> u32 {
        self.parts.values().filter(|part| part.repair.is_some()).map(|part| part.attempts).sum()
    }

    /// The version that it leads to.
    pub fn version(&self) -> u64 {
        self.proposal.base_version.saturating_add(1)
    }

    /// What tells this change from others: that of what was agreed on, or of the patch until then.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.agreed.as_ref().unwrap_or(&self.proposal.patch))
    }

    /// What has to be asked before the next decision. Nodes that are not live are not asked.
    pub fn questions(&self, live: &BTreeSet<NodeId>) -> Vec<Question> {
        let question = |(node, part): (&NodeId, &NodeProgress)| match part.stage {
            Stage::Accepted { task } => Some(Question::Task(node.clone(), task)),
            Stage::Applied { .. } if self.reads_back() => Some(Question::Settings(node.clone())),
            Stage::Due { .. }
            | Stage::Applied { .. }
            | Stage::Verified
            | Stage::LeftBehind
            | Stage::Rejected { .. }
            | Stage::Unrepairable => None,
        };
        self.parts.iter().filter(|(node, _)| live.contains(*node)).filter_map(question).collect()
    }

    /// Whether it is time to read nodes back. What nodes agree on is only known when all have applied the change.
    pub(super) fn reads_back(&self) -> bool {
        match self.phase {
            Phase::Propose | Phase::Commit => false,
            Phase::Verify | Phase::GoingBack => true,
        }
    }

    /// What a node is to be told next.
    pub(super) fn message(&self, part: &NodeProgress) -> Value {
        match (&part.repair, self.phase, &self.proposal.base) {
            (Some(repair), _, _) => repair.clone(),
            (None, Phase::GoingBack, Some(base)) => {
                crate::settings::undo(base, &self.proposal.patch, &self.proposal.secrets)
            }
            (None, _, _) => self.proposal.patch.clone(),
        }
    }

    /// The nodes in a stage.
    pub(super) fn nodes(&self, wanted: impl Fn(&NodeProgress) -> bool) -> BTreeSet<NodeId> {
        self.parts.iter().filter(|(_, part)| wanted(part)).map(|(node, _)| node.clone()).collect()
    }
}
