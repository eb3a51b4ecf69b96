//! Anti-entropy: find and repair what nobody noticed.
//!
//! All fresh replicas of a shard are read and compared: counts first, then ids and stamps in buckets, and in every n-th
//! pass what documents contain. What is found while clients write may only be on its way ([`suspects`]), so that it is
//! looked at again, and what is left is repaired in a fence: the writes of the shard are held, all replicas do what they
//! have accepted, the suspects are read once more from every one of them at the depth of content, [`resolve`] says for
//! each what holds, and the repairs are handed to the nodes before the fence is given up. Then every later write comes
//! after the repair on every replica, and the repair cannot undo any.
//!
//! Invariant: only documents that differ among replicas at one point in the order of writes are touched, and afterwards
//! all replicas that took the repair hold them alike. A replica that did not take it is stale from then on.

mod orphans;
mod pass;
mod resolve;
mod schedule;

pub use orphans::{OrphanAction, OrphanFacts, orphan_action};
pub use pass::{Look, Repairs, ToRepair, after_counts, after_digests, repairs, suspects};
pub use resolve::{Resolution, resolve};
pub use schedule::{InvalidSchedule, Schedule, Selection, depth_of, select};

/// Where changes come from that no client made, for those who follow what clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A repair.
    AntiEntropy,
}

impl Origin {
    /// As it is written with a change: `antientropy`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::AntiEntropy => "antientropy",
        }
    }
}
