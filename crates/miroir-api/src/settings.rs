//! Changes of an index's settings, and repairs of nodes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answer to `GET /_miroir/indexes/{uid}/settings/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingsStatus {
    /// The index, as clients call it.
    pub index: String,
    /// The version of its settings: 0 at first, and one more with each change that is committed.
    pub version: u64,
    /// SHA-256 of what nodes are to hold, in hexadecimal digits; null before the first commit.
    #[schema(required = true)]
    pub fingerprint: Option<String>,
    /// The changes that are under way; null when there are none.
    #[schema(required = true)]
    pub broadcast: Option<Broadcast>,
    /// The nodes because of which the index takes no documents; empty when it does.
    pub frozen: Vec<String>,
    /// What each node holds.
    pub nodes: Vec<NodeSettings>,
}

words! {
    /// How far a change of settings is.
    BroadcastPhase {
        /// Nodes are told.
        Propose = "propose",
        /// What they hold is read back.
        Verify = "verify",
        /// All hold it, and it is written down.
        Commit = "commit",
        /// It was rejected or canceled: nodes are put back.
        GoingBack = "goingBack",
        /// One change has ended, and the next one has not begun.
        Waiting = "waiting",
    }
}

/// The changes of an index's settings that are under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Broadcast {
    /// How far the present change is.
    pub phase: BroadcastPhase,
    /// SHA-256 of what nodes are to hold after it; null between two changes.
    #[schema(required = true)]
    pub fingerprint: Option<String>,
    /// The version that it leads to; null between two changes.
    #[schema(required = true)]
    pub version: Option<u64>,
    /// Changes that wait behind it.
    pub waiting: u64,
    /// When the first of them was begun.
    #[schema(format = DateTime)]
    pub since: String,
}

words! {
    /// How far a node is with a change of settings.
    Stage {
        /// It is to be told.
        Due = "due",
        /// It was told, and has not done it yet.
        Told = "told",
        /// It says that it has done it.
        Applied = "applied",
        /// It has read back what it should hold.
        Verified = "verified",
        /// It does not answer: it is brought up to date when it is back.
        LeftBehind = "leftBehind",
        /// It refuses the change.
        Rejected = "rejected",
        /// It never held what it should.
        Unrepairable = "unrepairable",
    }
}

/// What a node holds of an index's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeSettings {
    /// The node.
    pub node: String,
    /// Whether it answers.
    pub live: bool,
    /// The version that it has shown to hold; 0 when nobody knows what it holds.
    pub version: u64,
    /// Whether it is read for this index.
    pub current: bool,
    /// How far it is with the change that is under way; null when there is none, or it has no part in it.
    #[schema(required = true)]
    pub stage: Option<Stage>,
    /// The number of its own task for it; null in any stage but `told`.
    #[schema(required = true)]
    pub task: Option<u64>,
    /// Attempts in vain; null where `stage` is.
    #[serde(default)]
    #[schema(required = true)]
    pub attempts: Option<u32>,
    /// SHA-256 of what it read back; null before it has.
    #[schema(required = true)]
    pub fingerprint: Option<String>,
    /// Why it refuses the change; null when it does not.
    #[serde(default)]
    #[schema(required = true)]
    pub error: Option<String>,
}

/// Answer to `POST /_miroir/indexes/{uid}/settings/repair`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingsRepair {
    /// The index, as clients call it.
    pub index: String,
    /// The version of its settings.
    pub version: u64,
    /// The nodes because of which it takes no documents still; empty when it does.
    pub frozen: Vec<String>,
    /// What came of each node; those that needed nothing are left out.
    pub nodes: Vec<RepairedNode>,
}

words! {
    /// What came of the repair of a node.
    RepairOutcome {
        /// It has read back the committed settings: it is read, and freezes nothing any more.
        Repaired = "repaired",
        /// It does not answer; it is brought up to date when it does.
        Unreachable = "unreachable",
        /// A change of settings is under way, which decides what it is to hold.
        Overtaken = "overtaken",
        /// It applies them still, and is looked after.
        UnderWay = "underWay",
        /// It does not hold them although it was told.
        Failed = "failed",
    }
}

/// What came of the repair of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepairedNode {
    /// The node.
    pub node: String,
    /// What came of it.
    pub outcome: RepairOutcome,
    /// Why it failed; null for any other outcome.
    #[schema(required = true)]
    pub error: Option<String>,
}
