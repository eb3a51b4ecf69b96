//! What of a mirror outlives the process that runs it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::paging::Paging;
use crate::base::id::{IndexUid, NodeId, ShardId};
use crate::replica::digest::Depth;

/// What is made equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The physical index.
    pub index: IndexUid,
    /// The shard.
    pub shard: ShardId,
    /// The replica that is made equal to its fresh ones.
    pub target: NodeId,
}

/// How much of the shard is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All of it.
    Whole,
    /// These documents: all that the target can have missed is known.
    Ids(BTreeSet<String>),
}

/// Where a mirror goes on after a restart. A comparison begins anew: what it has repaired is equal by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing was looked at.
    Begin,
    /// Everything is copied from this source to a target that was empty, page by page; behind this page.
    Copy(NodeId, Paging),
    /// Both are compared.
    Compare(Depth),
}

/// How far it has come. Times are milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// When it was begun.
    pub started_at: u64,
    /// Documents of the shard, at the last count.
    pub total: u64,
    /// Documents put to the target.
    pub copied: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Documents deleted from the target.
    pub deleted: u64,
    /// Documents read of either side in this round.
    pub compared: u64,
    /// Rounds of comparing that were finished.
    pub rounds: u32,
    /// How often writes were paused for it.
    #[serde(rename = "fences")]
    pub pauses: u32,
}

/// A mirror, as it is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorRecord {
    /// What is made equal.
    pub subject: Subject,
    /// How much of it.
    pub scope: Scope,
    /// Where it stands.
    pub stage: Stage,
    /// How far it has come.
    pub progress: Progress,
}

impl MirrorRecord {
    /// A mirror that has not begun.
    pub fn new(subject: Subject, scope: Scope, now: u64) -> Self {
        let progress = Progress { started_at: now, ..Progress::default() };
        Self { subject, scope, stage: Stage::Begin, progress }
    }

    /// Documents that are done of those there are, for people: while copying, those copied; then those compared.
    pub fn done(&self) -> (u64, u64) {
        let Progress { total, copied, compared, .. } = self.progress;
        match self.stage {
            Stage::Begin => (0, total),
            Stage::Copy(..) => (copied.min(total), total),
            Stage::Compare(_) => (compared.min(total * 2), total * 2),
        }
    }

    /// Whether everything is copied as far as the mirror is concerned, and the target has yet to store it.
    pub fn is_sent(&self) -> bool {
        matches!(&self.stage, Stage::Copy(_, paging) if paging.has_ended())
    }

    /// How long this stage may still take at the pace so far; none when that cannot be said.
    pub fn estimate(&self, now: u64) -> Option<Duration> {
        let (done, total) = self.done();
        let passed = now.saturating_sub(self.progress.started_at);
        let left = u128::from(total.saturating_sub(done)) * u128::from(passed);
        let millis = left.checked_div(u128::from(done))?;
        Some(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
    }
}

/// How a mirror goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The most documents of a page.
    pub page_documents: u64,
    /// The most documents of a page while clients ask for something, who wait for as long as a page takes.
    pub page_beside_clients: u64,
    /// The bytes that a page should not exceed.
    pub page_bytes: u64,
    /// The most ids held at once of each side.
    pub listed_ids: usize,
    /// The most documents in the verified-version cache of one mirror.
    pub verified_versions: usize,
    /// Milliseconds that a write may take from being given its stamp to being handed to all replicas, and that clocks may
    /// be apart.
    pub in_flight: u64,
    /// Tasks that may wait on the target: a node does what waits in few large batches, for less than many small ones.
    pub tasks_in_flight: usize,
    /// Documents a second; none: as fast as it goes.
    pub documents_per_second: Option<u32>,
    /// How often documents are looked at again before they are left to a write pause.
    pub looks: u32,
    /// Rounds before the writes of the shard are paused.
    pub rounds: u32,
    /// How often they may be paused in vain.
    pub pauses: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            page_documents: 1000,
            page_beside_clients: 200,
            page_bytes: 8 << 20,
            listed_ids: 50_000,
            verified_versions: 1_000_000,
            in_flight: 60_000,
            tasks_in_flight: 64,
            documents_per_second: None,
            looks: 4,
            rounds: 6,
            pauses: 5,
        }
    }
}

/// Why a mirror ended without making both equal. The target is as stale as before.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The target accepted documents and failed to store them.
    #[error("the target does not take documents of the source: {0}")]
    Rejected(String),
    /// Documents differed again and again although nobody wrote to them.
    #[error("{count} documents stay different on the target, among them `{example}`")]
    Unequal {
        /// How many.
        count: usize,
        /// One of them.
        example: String,
    },
    /// Writes could not be held long enough to see both sides at one time.
    #[error("the writes of the shard could not be held for long enough")]
    NeverQuiet,
    /// A single document is larger than a page may be.
    #[error("a document is larger than a page may be")]
    TooLarge,
}
