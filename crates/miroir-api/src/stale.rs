//! Stale replicas, their healing, and promotion.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answer to `GET /_miroir/stale`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stale {
    /// Replicas that may have missed a write.
    pub stale: Vec<StaleReplica>,
    /// The nodes that are being healed.
    pub healing: Vec<Healing>,
}

words! {
    /// Why a replica was taken for stale at first.
    Reason {
        /// Its node did not accept a write.
        MissedWrite = "missed_write",
        /// Its node accepted a write and failed it, or never said what became of it.
        FailedTask = "failed_task",
        /// Its node came back without the data that it should hold.
        Returned = "returned",
        /// It is to become a replica, and is being filled.
        Joining = "joining",
        /// It was found to differ from the others.
        Differs = "differs",
        /// An operator had another one promoted, which may lack what it holds.
        Overruled = "overruled",
    }
}

/// A replica that may have missed a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StaleReplica {
    /// The index, as nodes call it.
    pub index: String,
    /// The shard.
    pub shard: u32,
    /// Where the replica is.
    pub node: String,
    /// Since when.
    #[schema(format = DateTime)]
    pub since: String,
    /// Why, at first.
    pub reason: Reason,
    /// Rises with each write that it may have missed.
    pub misses: u64,
    /// Writes that it missed may arrive until then; not there when none can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    pub quiet_at: Option<String>,
}

/// A node that is being healed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Healing {
    /// The node.
    pub node: String,
    /// How far it is.
    #[serde(flatten)]
    pub healing: NodeHealing,
}

/// How far the healing of a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeHealing {
    /// Replicas that were healed since it was begun.
    pub healed: u64,
    /// Replicas at work, or to be tried again.
    pub mirrors: Vec<Mirror>,
}

words! {
    /// How far the mirror of a replica is.
    MirrorStage {
        /// It is to be tried again later.
        Waiting = "waiting",
        /// It has not read anything yet.
        Starting = "starting",
        /// Documents are copied page by page.
        Copying = "copying",
        /// Both sides are compared, and what differs is put or deleted.
        Comparing = "comparing",
    }
}

/// A replica that is made equal to a fresh one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mirror {
    /// The index, as nodes call it.
    pub index: String,
    /// The shard.
    pub shard: u32,
    /// How far it is.
    pub stage: MirrorStage,
    /// Documents done in this stage.
    pub done: u64,
    /// Documents to do in this stage.
    pub total: u64,
    /// Documents that were put to the replica.
    pub copied: u64,
    /// Documents that were deleted from the replica.
    pub deleted: u64,
    /// Bytes of the documents that were put.
    pub bytes: u64,
    /// Rounds of comparing that were finished.
    pub rounds: u32,
    /// How often writes of the index were held for it.
    pub fences: u32,
    /// Seconds until it is done, by its pace so far; null while that cannot be told.
    #[schema(required = true)]
    pub seconds_left: Option<u64>,
    /// How often it was given up.
    pub failures: u32,
    /// Why it was given up the last time; null when it was not.
    #[schema(required = true)]
    pub error: Option<String>,
}

/// Body of `POST /_miroir/stale/promote`: stale replicas that are to be taken for fresh, where no fresh one can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Promote {
    /// The node that holds them.
    #[schema(example = "meili-1")]
    pub node: String,
    /// Only those of this index; all indexes where it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9_-]{1,512}$")]
    pub index: Option<String>,
    /// Only these shards of the index, which must be named as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1)]
    pub shards: Option<Vec<u32>>,
    /// Must be true: what the replicas lack, and only replicas hold that cannot be reached, is lost.
    #[schema(example = true)]
    pub accept_data_loss: bool,
}

/// Answer to `POST /_miroir/stale/promote`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Promotion {
    /// Fresh now.
    pub promoted: Vec<Promoted>,
    /// Not promoted, and why.
    pub refused: Vec<NotPromoted>,
}

/// A replica that is fresh because an operator says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Promoted {
    /// The index, as clients call it.
    pub index: String,
    /// The shard.
    pub shard: u32,
    /// The nodes whose replicas of it are stale from now on.
    pub stale: Vec<String>,
}

/// A stale replica that stays what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotPromoted {
    /// The index, as clients call it.
    pub index: String,
    /// The shard.
    pub shard: u32,
    /// For people.
    pub why: String,
}
