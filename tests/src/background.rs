//! What the tests of background work and the processes that they start agree upon.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The kind of job.
pub const COUNT: &str = "count";
/// The log that chunks write to: `JOB CHUNK NAME`.
pub const CHUNKS: &str = "test-chunks";
/// How long a chunk takes.
pub const CHUNK: Duration = Duration::from_millis(20);
/// How long a job is kept.
pub const SLICE: Duration = Duration::from_millis(150);
/// A claim without a heartbeat ends after this.
pub const CLAIM_TTL: Duration = Duration::from_millis(1500);
/// Between two heartbeats.
pub const HEARTBEAT: Duration = Duration::from_millis(400);

/// The kind of led work.
pub const WALK: &str = "walk";
/// The log that acts write to: `TOKEN STEP NAME`, or `TOKEN nag`.
pub const ACTS: &str = "test-acts";
/// How long an act takes.
pub const STEP: Duration = Duration::from_millis(20);
/// A lease that is not renewed ends after this.
pub const LEASE_TTL: Duration = Duration::from_millis(1500);
/// Between two renewals.
pub const RENEW_EVERY: Duration = Duration::from_millis(400);

/// The record of the led work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Steps {
    /// Steps taken.
    pub taken: u64,
    /// Steps to be taken.
    pub of: u64,
}
