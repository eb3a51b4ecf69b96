//! Changes of the membership.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /_miroir/nodes`: a node that is to join a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddNode {
    /// A name that no member has: letters, digits, `-`, `_` and `.`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$", example = "meili-3")]
    pub id: String,
    /// `http://host:port`, as every instance reaches it.
    #[schema(pattern = "^http://[^/?#@\\s]+:[0-9]+/?$", example = "http://10.0.0.8:7700")]
    pub address: String,
    /// The group that it joins; may be left out where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_group: Option<u32>,
}

/// Body of `POST /_miroir/groups`: a group that is to be filled from the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddGroup {
    /// Its number, which no group has; the one after the last group's where it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_group: Option<u32>,
    /// Its nodes.
    #[schema(min_items = 1, max_items = 1024)]
    pub nodes: Vec<NewNode>,
}

/// A node of a group that is added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNode {
    /// A name that no member has: letters, digits, `-`, `_` and `.`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$", example = "meili-3")]
    pub id: String,
    /// `http://host:port`, as every instance reaches it.
    #[schema(pattern = "^http://[^/?#@\\s]+:[0-9]+/?$", example = "http://10.0.0.8:7700")]
    pub address: String,
}

words! {
    /// What a change of the membership does.
    ChangeKind {
        /// `node` joins `replicaGroup`, and takes its share of its shards.
        AddNode = "addNode",
        /// `node` gives its shards to the others of its group, and stays a member that holds nothing.
        DrainNode = "drainNode",
        /// The drained `node` takes its share again.
        UndrainNode = "undrainNode",
        /// `node` gives its shards to the others of its group, and is a member no longer.
        RemoveNode = "removeNode",
        /// `replicaGroup` with its `nodes` is filled from the others, and then read.
        AddGroup = "addGroup",
        /// `replicaGroup` is read and written no longer.
        RemoveGroup = "removeGroup",
        /// Every node gets its share, where a change that was canceled has left another.
        Rebalance = "rebalance",
    }
}

/// A change of the membership. Members that its type does not need are not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// What it does.
    #[serde(rename = "type")]
    pub kind: ChangeKind,
    /// The node that joins, leaves or is drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub node: Option<String>,
    /// Where the node that joins is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub address: Option<String>,
    /// The group that the node joins, or that comes or goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub replica_group: Option<u32>,
    /// The nodes of the group that comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub nodes: Option<Vec<NewNode>>,
}

impl Change {
    /// A change of this type that names nothing.
    pub fn of(kind: ChangeKind) -> Self {
        Self { kind, node: None, address: None, replica_group: None, nodes: None }
    }
}

/// A change of the membership has begun, and goes on by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Begun {
    /// Tells it from other changes.
    pub id: String,
    /// What was wanted.
    pub change: Change,
    /// Replicas that are to move, as far as can be told by now.
    pub replicas: u64,
}

words! {
    /// What an operator wants of a change that is under way.
    Intent {
        /// Go on.
        Run = "run",
        /// Begin no copy and switch no reads until told to go on.
        Pause = "pause",
        /// Give up what was not switched, and end.
        Cancel = "cancel",
    }
}

/// What is wanted of the change that is under way has been written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IntentTaken {
    /// What is wanted from now on.
    pub intent: Intent,
}

/// Answer to `GET /_miroir/rebalance/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RebalanceStatus {
    /// Whether a change of the membership is under way.
    #[serde(default)]
    #[schema(required = true)]
    pub in_progress: bool,
    /// The change that is under way; null when there is none.
    #[schema(required = true)]
    pub operation: Option<Rebalancing>,
    /// How the last change ended; null when there was none.
    #[schema(required = true)]
    pub last: Option<EndedChange>,
}

words! {
    /// How far a change of the membership is.
    RebalancePhase {
        /// Indexes are made on joining nodes.
        Preparing = "preparing",
        /// Replicas move.
        Moving = "moving",
        /// The topology is the last one, and what is left over is cleared away.
        Ending = "ending",
    }
}

/// A change of the membership that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rebalancing {
    /// Tells it from other changes.
    pub id: String,
    /// What was wanted.
    pub change: Change,
    /// How far it is.
    pub phase: RebalancePhase,
    /// What an operator wants of it.
    pub intent: Intent,
    /// Whether it was called off.
    pub canceled: bool,
    /// The version of the topology that it has led to.
    pub epoch: u64,
    /// Whether every instance that is alive acts on that version.
    #[serde(default)]
    #[schema(required = true)]
    pub acknowledged: bool,
    /// Why nothing is done at the moment; null when something is.
    #[schema(required = true)]
    pub waits_for: Option<WaitsFor>,
    /// How far it is, in replicas.
    pub replicas: ReplicaProgress,
    /// Documents on the replicas that were switched to.
    pub documents: u64,
    /// The replicas that are at work, 256 at most.
    pub moves: Vec<Move>,
    /// When it was begun.
    #[schema(format = DateTime)]
    pub started_at: String,
}

words! {
    /// Whom or what a change of the membership waits for, where that has no name.
    Awaited {
        /// An instance does not act on the newest topology yet.
        Instances = "instances",
        /// The operator has paused it.
        Operator = "operator",
        /// Copies go on.
        Replicas = "replicas",
    }
}

/// What a change of the membership waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum WaitsFor {
    /// Nodes that do not answer.
    Nodes {
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Anything else.
    Other(Awaited),
}

/// How far a change of the membership is, in shard replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaProgress {
    /// Replicas that move.
    pub total: u64,
    /// Nothing was done for these yet.
    pub planned: u64,
    /// These take writes.
    pub waiting: u64,
    /// These are being copied.
    pub copying: u64,
    /// These are read where they are to be.
    pub switched: u64,
    /// These were given up.
    pub abandoned: u64,
}

words! {
    /// How far the move of a replica is.
    MoveState {
        /// All instances know that the node of the new replica may hold more than it is read for.
        Planned = "planned",
        /// The new replica takes writes, and is stale.
        Waiting = "waiting",
        /// It is being copied.
        Copying = "copying",
        /// The new replica is read; the old one takes writes.
        Switched = "switched",
        /// Nobody writes to the old one.
        Left = "left",
        /// It was given up before the switch: nobody writes to the new one.
        Abandoned = "abandoned",
        /// Nothing is left where nothing should be.
        Cleaned = "cleaned",
    }
}

/// A replica that moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// Of the indexes with so many shards.
    pub shards: u32,
    /// The shard.
    pub shard: u32,
    /// The group within which it moves.
    pub replica_group: u32,
    /// The node that gives it up; null when there is one replica more than before.
    #[schema(required = true)]
    pub from: Option<String>,
    /// The node that gets it; null when there is one replica less than before.
    #[schema(required = true)]
    pub to: Option<String>,
    /// How far it is.
    pub state: MoveState,
    /// Indexes whose new replica is stale; null when there is no new replica.
    #[serde(default)]
    #[schema(required = true)]
    pub stale_indexes: Option<u64>,
}

/// How a change of the membership ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndedChange {
    /// Tells it from other changes.
    pub id: String,
    /// What was wanted.
    pub change: Change,
    /// Whether it was called off.
    pub canceled: bool,
    /// Replicas that moved.
    pub replicas: u64,
    /// Documents on them.
    pub documents: u64,
    /// When it was begun.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// When it ended.
    #[schema(format = DateTime)]
    pub finished_at: String,
}
