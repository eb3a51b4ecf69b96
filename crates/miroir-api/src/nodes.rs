//! The nodes, and which shards they hold.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{NodeHealing, StaleReplica};

words! {
    /// Whether a node is asked.
    NodeState {
        /// It answers.
        Healthy = "healthy",
        /// It answers, but failed lately: others are asked first.
        Degraded = "degraded",
        /// It does not answer: nothing is sent to it but health checks.
        Failed = "failed",
        /// It answers again, and is not asked until it is known what it holds.
        Returning = "returning",
        /// It answers again, but some replicas on it are stale.
        Recovering = "recovering",
    }
}

words! {
    /// How replicas are spread over the nodes of a group.
    Placement {
        /// Every node holds its share, and a change of the membership moves the least that keeps it so.
        Balanced = "balanced",
        /// By score alone, without any bound on a node's share.
        Rendezvous = "rendezvous",
    }
}

/// A node, as the instance that answers sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// The operator's name for it.
    pub id: String,
    /// `http://host:port`.
    pub address: String,
    /// The replica group that it belongs to.
    pub replica_group: u32,
    /// Whether it is asked.
    pub state: NodeState,
    /// When it came into that state.
    #[schema(format = DateTime)]
    pub since: String,
    /// Why it was last found unhealthy; null when nothing speaks against it.
    #[schema(required = true)]
    pub last_error: Option<String>,
    /// Its release of Meilisearch; null until it has said so.
    #[schema(required = true)]
    pub version: Option<String>,
    /// How many shard replicas of a new index are placed on it.
    pub shard_replicas: u64,
}

/// Answer to `GET /_miroir/topology`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    /// Rises with every change of membership or placement.
    pub epoch: u64,
    /// Shards of a new index.
    pub shards: u32,
    /// Replicas of a shard within each group.
    pub replication_factor: u32,
    /// How many replica groups there are.
    pub replica_groups: u32,
    /// How replicas are spread over the nodes of a group.
    pub placement: Placement,
    /// The members.
    pub nodes: Vec<TopologyNode>,
    /// Shards, over all indexes, without a replica that is both fresh and on a node that answers.
    pub degraded_shards: u64,
    /// Replicas, over all indexes, that may have missed a write.
    pub stale_replicas: u64,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopologyNode {
    /// What is known of it.
    #[serde(flatten)]
    pub node: Node,
    /// Whether it is a member that is to hold nothing.
    #[serde(default)]
    #[schema(required = true)]
    pub draining: bool,
}

/// Answer to `GET /_miroir/nodes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nodes {
    /// The members.
    pub nodes: Vec<HealedNode>,
}

/// A member, and what is stale on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealedNode {
    /// What is known of it.
    #[serde(flatten)]
    pub node: Node,
    /// Replicas on it, over all indexes, that may have missed a write.
    pub stale_replicas: u64,
    /// How far its healing is; null when it is not healed.
    #[schema(required = true)]
    pub healing: Option<NodeHealing>,
}

/// Answer to `GET /_miroir/shards`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shards {
    /// Shards of a new index.
    pub shards: u32,
    /// The replica groups.
    pub groups: Vec<GroupShards>,
    /// Replicas that may have missed a write.
    pub stale: Vec<StaleReplica>,
}

/// Where a replica group holds the shards of a new index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupShards {
    /// The number of the group.
    pub id: u32,
    /// Every shard, ascending.
    pub shards: Vec<ShardReplicas>,
}

/// The replicas of a shard within a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShardReplicas {
    /// The number of the shard.
    pub shard: u32,
    /// The nodes that hold it.
    pub replicas: Vec<String>,
}
