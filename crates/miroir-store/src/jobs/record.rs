//! What is stored of a job.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobState {
    /// For a claimant.
    Waiting,
    /// It was claimed. Whether it still is, its lease says: a claimant that vanished changes nothing here.
    Running,
    /// All of it was done.
    Finished,
    /// It cannot be done.
    Failed,
}

impl JobState {
    /// Something is still to be done.
    pub fn is_open(self) -> bool {
        match self {
            Self::Waiting | Self::Running => true,
            Self::Finished | Self::Failed => false,
        }
    }

    /// As operators see it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }
}

/// A piece of work that any instance may do, chunk by chunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Which handler does it.
    pub kind: String,
    /// What is to be done.
    pub payload: Value,
    /// Where it goes on: null at the beginning, then what the last chunk left.
    pub cursor: Value,
    /// How it stands.
    pub state: JobState,
    /// Chunks saved.
    pub chunks: u64,
    /// Claims in a row that saved nothing.
    pub attempts: u32,
    /// Of these, how many ended without a word.
    pub vanished: u32,
    /// What went wrong last.
    pub error: Option<String>,
    /// It is not to be tried again before.
    #[serde(with = "time::serde::rfc3339::option")]
    pub not_before: Option<OffsetDateTime>,
    /// When it was enqueued, by the clock of who did.
    #[serde(with = "time::serde::rfc3339")]
    pub enqueued_at: OffsetDateTime,
    /// When it last changed, by the clock of who changed it.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

impl Job {
    pub(super) fn new(kind: &str, payload: Value, now: OffsetDateTime) -> Self {
        Self {
            kind: kind.to_owned(),
            payload,
            cursor: Value::Null,
            state: JobState::Waiting,
            chunks: 0,
            attempts: 0,
            vanished: 0,
            error: None,
            not_before: None,
            enqueued_at: now,
            updated_at: now,
        }
    }

    /// As it stands once somebody has claimed it.
    pub(super) fn claimed(self, now: OffsetDateTime) -> Self {
        let vanished = self.vanished.saturating_add(u32::from(self.state == JobState::Running));
        let attempts = self.attempts.saturating_add(1);
        Self { state: JobState::Running, attempts, vanished, not_before: None, updated_at: now, ..self }
    }
}
