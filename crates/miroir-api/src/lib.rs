//! The admin API under `/_miroir/`: its requests and answers as types.
//!
//! One definition for who answers, who asks and the OpenAPI document: the order of members is the order in which they are
//! written, and the doc comments are what the document says of them. Times are RFC 3339 texts, as they are sent.
//!
//! Invariant: whoever asks understands a newer release. Members that are not known are passed over, and a word that is not
//! known is kept as it came (the `Other` of each list of words). Only requests are read strictly.

#[macro_use]
mod words;

mod anti_entropy;
mod error;
mod instance;
mod membership;
mod nodes;
mod settings;
mod stale;
mod task;
mod work;

pub use anti_entropy::{AntiEntropyStatus, ComparedBy, Depth, Pass, PassFindings, RunAntiEntropy};
pub use error::ErrorBody;
pub use instance::{Peer, Peers, Readiness, ReadinessQuery, Version};
pub use membership::{
    AddGroup, AddNode, Awaited, Begun, Change, ChangeKind, EndedChange, Intent, IntentTaken, Move, MoveState, NewNode,
    RebalancePhase, RebalanceStatus, Rebalancing, ReplicaProgress, WaitsFor,
};
pub use nodes::{
    GroupShards, HealedNode, Node, NodeState, Nodes, Placement, ShardReplicas, Shards, Topology, TopologyNode,
};
pub use settings::{
    Broadcast, BroadcastPhase, NodeSettings, RepairOutcome, RepairedNode, SettingsRepair, SettingsStatus, Stage,
};
pub use stale::{Healing, Mirror, MirrorStage, NodeHealing, NotPromoted, Promote, Promoted, Promotion, Reason};
pub use stale::{Stale, StaleReplica};
pub use task::{NodeTask, Task};
pub use work::{Job, JobState, Jobs, Lease, Leases};
