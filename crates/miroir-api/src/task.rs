//! A task with the tasks of nodes that it stands for.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::ErrorBody;

/// Answer to `GET /_miroir/tasks/{uid}`: what clients see of a task, and `nodeTasks`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Its number.
    pub uid: u64,
    /// The number of its batch; null while it is enqueued.
    #[serde(default)]
    #[schema(required = true)]
    pub batch_uid: Option<u64>,
    /// The index that it is about; null when it is about none, or several.
    #[schema(required = true)]
    pub index_uid: Option<String>,
    /// `enqueued`, `processing`, `succeeded`, `failed` or `canceled`.
    pub status: String,
    /// As Meilisearch calls it.
    #[serde(rename = "type")]
    #[schema(example = "documentAdditionOrUpdate")]
    pub kind: String,
    /// The task that canceled it; null when none did.
    #[serde(default)]
    #[schema(required = true)]
    pub canceled_by: Option<u64>,
    /// What it was to do and what came of it, as Meilisearch writes it for its type; not there where Meilisearch has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    pub details: Option<Value>,
    /// Why it failed; null when it did not.
    #[schema(required = true)]
    pub error: Option<ErrorBody>,
    /// How long it took, by ISO 8601; null until it has ended.
    #[schema(required = true, example = "PT0.103S")]
    pub duration: Option<String>,
    /// When it was accepted.
    #[schema(format = DateTime)]
    pub enqueued_at: String,
    /// When it was begun; null until then.
    #[schema(required = true, format = DateTime)]
    pub started_at: Option<String>,
    /// When it ended; null until then.
    #[schema(required = true, format = DateTime)]
    pub finished_at: Option<String>,
    /// What the client gave with it; not there when it gave nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub custom_metadata: Option<String>,
    /// The tasks of nodes that it stands for.
    #[serde(default)]
    #[schema(required = true)]
    pub node_tasks: Vec<NodeTask>,
}

/// A task of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeTask {
    /// The node that runs it.
    pub node: String,
    /// Its number on that node.
    pub uid: u64,
    /// The shards whose replicas it changes; empty when it is about the index as a whole.
    #[serde(default)]
    #[schema(required = true)]
    pub shards: Vec<u32>,
    /// What the node last said: `enqueued`, `processing`, `succeeded`, `failed` or `canceled`.
    pub status: String,
    /// Why the node failed it; null when it did not.
    #[schema(required = true)]
    pub error: Option<ErrorBody>,
}
