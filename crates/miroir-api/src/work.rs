//! Who does what in the background.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Answer to `GET /_miroir/leases`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Leases {
    /// The leases that have not ended, by scope.
    pub leases: Vec<Lease>,
}

/// The right of one instance to do something, which ends unless it is renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// What it is about.
    #[schema(example = "settings_broadcast:movies")]
    pub scope: String,
    /// The instance that holds it.
    pub holder: String,
    /// Higher than the token of any lease of the scope before it.
    pub token: u64,
    /// Milliseconds until it ends, unless it is renewed.
    pub ends_in_ms: u64,
}

/// Answer to `GET /_miroir/jobs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Jobs {
    /// The jobs, open and ended, in the order in which they were enqueued.
    pub jobs: Vec<Job>,
}

words! {
    /// How a job stands.
    JobState {
        /// Somebody may claim it.
        Waiting = "waiting",
        /// It was claimed.
        Running = "running",
        /// All of it was done.
        Finished = "finished",
        /// It cannot be done.
        Failed = "failed",
    }
}

/// A piece of work that any instance may do, chunk by chunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Tells it from other jobs.
    pub id: String,
    /// What kind of work it is.
    pub kind: String,
    /// How it stands.
    pub state: JobState,
    /// Where it goes on, as its kind writes it; null at the beginning.
    #[serde(default)]
    #[schema(required = true)]
    pub cursor: Value,
    /// Chunks that were done.
    pub chunks: u64,
    /// Claims in a row that came to nothing.
    pub attempts: u32,
    /// Of these, how many ended without a word.
    #[serde(default)]
    #[schema(required = true)]
    pub vanished: u32,
    /// What went wrong last; null when nothing has.
    #[schema(required = true)]
    pub error: Option<String>,
    /// It is not tried again before; null when it may be at once.
    #[serde(default)]
    #[schema(required = true, format = DateTime)]
    pub not_before: Option<String>,
    /// When it was enqueued.
    #[schema(format = DateTime)]
    pub enqueued_at: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// The lease of the instance that does it; null when nobody does.
    #[schema(required = true)]
    pub claim: Option<Lease>,
}
