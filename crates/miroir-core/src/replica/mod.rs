//! Replicas of a shard: whether they hold the same, how one is made equal to others, and which of them may be read.

pub mod anti_entropy;
pub mod digest;
pub mod mirror;
pub mod promotion;
pub mod recovery;
