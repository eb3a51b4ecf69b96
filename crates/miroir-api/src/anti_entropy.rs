//! Comparing replicas.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /_miroir/anti-entropy/run`; all of it may be left out, the body as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunAntiEntropy {
    /// Only this index; all where it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9_-]{1,512}$", example = "movies")]
    pub index: Option<String>,
    /// Whether contents are compared as well as ids and times; as the schedule would have it where it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deep: Option<bool>,
}

words! {
    /// How closely documents are looked at.
    Depth {
        /// Their ids, and the times of their last writes.
        Stamps = "stamps",
        /// What clients wrote, too.
        Content = "content",
    }
}

/// A pass over the shards, which all instances make together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pass {
    /// Rises by one with each pass.
    pub number: u64,
    /// When it was called for.
    #[schema(format = DateTime)]
    pub began: String,
    /// How closely documents are looked at.
    pub depth: Depth,
    /// The only index that it is about; null when it is about all.
    #[schema(required = true)]
    pub index: Option<String>,
}

/// Answer to `GET /_miroir/anti-entropy/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AntiEntropyStatus {
    /// Whether replicas are compared at all (`anti_entropy.enabled`).
    pub enabled: bool,
    /// Whether what differs is repaired, and not only counted (`anti_entropy.auto_repair`).
    pub auto_repair: bool,
    /// Seconds from one pass to the next.
    pub interval_seconds: u64,
    /// The last pass that was called for; null when there was none.
    #[schema(required = true)]
    pub pass: Option<Pass>,
    /// Whether every instance that is alive is through with it.
    pub finished: bool,
    /// How far each instance has come.
    pub instances: Vec<ComparedBy>,
}

/// How far an instance has come with a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComparedBy {
    /// The number of the pass.
    pub pass: u64,
    /// When the instance began it.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// When the instance was through; null while it is not.
    #[schema(required = true, format = DateTime)]
    pub finished_at: Option<String>,
    /// Shards that are the instance's to compare.
    pub shards: u64,
    /// What it has found so far.
    pub found: PassFindings,
    /// The instance.
    pub instance: String,
}

/// What was found in a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PassFindings {
    /// Shards that were compared.
    pub shards: u64,
    /// Documents that were listed, of all replicas.
    pub documents: u64,
    /// Documents that replicas do not hold alike, or that have expired.
    pub mismatches: u64,
    /// Of those, the ones that are alike now.
    pub repaired: u64,
    /// Documents that have to wait for the next pass: nodes did not catch up, or writes could not be held for long enough.
    pub postponed: u64,
    /// Replicas that have lost everything, and are filled by healing.
    pub lost_replicas: u64,
    /// Documents on nodes that hold no replica of their shard.
    pub orphans: u64,
    /// Shards that could not be compared.
    pub failures: u64,
}

/// What several instances, or shards, have found together.
impl AddAssign<&Self> for PassFindings {
    fn add_assign(&mut self, other: &Self) {
        let Self { shards, documents, mismatches, repaired, postponed, lost_replicas, orphans, failures } = other;
        self.shards += shards;
        self.documents += documents;
        self.mismatches += mismatches;
        self.repaired += repaired;
        self.postponed += postponed;
        self.lost_replicas += lost_replicas;
        self.orphans += orphans;
        self.failures += failures;
    }
}
