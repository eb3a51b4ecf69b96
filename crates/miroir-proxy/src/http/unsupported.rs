//! Routes of one server that cannot hold across nodes, or that Miroir does not do. Those behind an experimental feature
//! answer as one server while it is off. All of them say why.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use miroir_core::access::Grant;
use miroir_core::base::error::Code;
use miroir_core::base::id::TaskUid;
use miroir_core::settings::features::Feature;
use miroir_core::write::task::{TaskKind, TaskStatus};
use serde_json::Value;

use super::body::Payload;
use super::error::Failure;
use super::{Shared, tasks};

type Refusal = Result<Response, Failure>;

fn because(reason: &str) -> Refusal {
    Err(Failure::new(Code::MiroirUnsupported, reason))
}

async fn gated(cluster: &Shared, feature: Feature, action: &str, reason: &str) -> Refusal {
    cluster.state.require(feature, action).await?;
    because(reason)
}

/// The body is read before the feature is asked for, as with one server.
async fn json_body(payload: &mut Payload) -> Result<Value, Failure> {
    let body = payload.json().await?;
    Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
}

pub async fn dumps() -> Refusal {
    because(
        "A dump of one node holds a part of the documents, with fields of Miroir's: back up each node's disk, or export documents through the API.",
    )
}

pub async fn snapshots() -> Refusal {
    because("A snapshot is a copy of one node's disk: take it from each node, together with Miroir's store.")
}

pub async fn export(mut payload: Payload) -> Refusal {
    json_body(&mut payload).await?;
    because(
        "The nodes would export documents with fields of Miroir's: read them page by page from `/indexes/{uid}/documents` instead.",
    )
}

pub async fn metrics(State(cluster): State<Shared>) -> Refusal {
    let reason = "The metrics of one server say nothing about a cluster: Miroir's own are at `/_miroir/metrics` and on the metrics port.";
    gated(&cluster, Feature::Metrics, "Getting metrics", reason).await
}

const LOGS: &str = "Modifying logs through the `/logs/*` routes";
const LOGS_REASON: &str =
    "Each process writes a log of its own: Miroir's level is `log.level`, and nodes are asked directly.";

pub async fn change_logs(State(cluster): State<Shared>, mut payload: Payload) -> Refusal {
    json_body(&mut payload).await?;
    gated(&cluster, Feature::LogsRoute, LOGS, LOGS_REASON).await
}

pub async fn stop_logs(State(cluster): State<Shared>) -> Refusal {
    gated(&cluster, Feature::LogsRoute, LOGS, LOGS_REASON).await
}

const NETWORK_REASON: &str =
    "Miroir is the network of its nodes: their topology is at `/_miroir/topology` and cannot be changed here.";

pub async fn network(State(cluster): State<Shared>) -> Refusal {
    gated(&cluster, Feature::Network, "Using the /network route", NETWORK_REASON).await
}

pub async fn change_network(State(cluster): State<Shared>, mut payload: Payload) -> Refusal {
    json_body(&mut payload).await?;
    gated(&cluster, Feature::Network, "Using the /network route", NETWORK_REASON).await
}

pub async fn control_network(State(cluster): State<Shared>, mut payload: Payload) -> Refusal {
    json_body(&mut payload).await?;
    gated(&cluster, Feature::Network, "Using the /network/control route", NETWORK_REASON).await
}

const CHATS_REASON: &str = "A chat searches within one node and would see a part of the documents only.";

pub async fn list_chats(State(cluster): State<Shared>) -> Refusal {
    gated(&cluster, Feature::ChatCompletions, "listing the chats", CHATS_REASON).await
}

pub async fn show_chat(State(cluster): State<Shared>) -> Refusal {
    gated(&cluster, Feature::ChatCompletions, "displaying a chat", CHATS_REASON).await
}

pub async fn delete_chat(State(cluster): State<Shared>) -> Refusal {
    gated(&cluster, Feature::ChatCompletions, "deleting a chat", CHATS_REASON).await
}

pub async fn chat_settings(State(cluster): State<Shared>) -> Refusal {
    gated(&cluster, Feature::ChatCompletions, "using the /chats/settings route", CHATS_REASON).await
}

pub async fn change_chat_settings(State(cluster): State<Shared>, mut payload: Payload) -> Refusal {
    json_body(&mut payload).await?;
    gated(&cluster, Feature::ChatCompletions, "using the /chats/settings route", CHATS_REASON).await
}

pub async fn complete_chat(State(cluster): State<Shared>, mut payload: Payload) -> Refusal {
    json_body(&mut payload).await?;
    gated(&cluster, Feature::ChatCompletions, "using the /chats chat completions route", CHATS_REASON).await
}

pub async fn compact_tasks(State(cluster): State<Shared>) -> Refusal {
    let reason = "Miroir's tasks are in its store and those of nodes are the nodes' own, which have to be restarted after a compaction: ask each node directly.";
    gated(&cluster, Feature::TaskQueueCompactionRoute, "Using the /tasks/compact route", reason).await
}

/// The documents of a task that has not ended were sent to the nodes and not kept.
pub async fn task_documents(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    Path(uid): Path<String>,
) -> Refusal {
    cluster.state.require(Feature::GetTaskDocumentsRoute, "Getting the documents of an enqueued task").await?;
    let uid: TaskUid = tasks::number("Task", &uid, Code::InvalidTaskUids)?;
    let task = tasks::find(&cluster, &grant, uid).await?;
    let waits = matches!(task.status, TaskStatus::Enqueued | TaskStatus::Processing);
    if waits && task.kind == TaskKind::DocumentAdditionOrUpdate {
        return because("The documents of a task are with the nodes, each with its own part and fields of Miroir's.");
    }
    let message = format!(
        "Task `{uid}` does not contain any documents. Only `documentAdditionOrUpdate` tasks with the statuses `enqueued` or `processing` contain documents"
    );
    Err(Failure::new(Code::TaskFileNotFound, message))
}
