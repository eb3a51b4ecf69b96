//! Digests: whether two replicas of a shard hold the same, without holding either of them.
//!
//! A replica is read page by page and folded into [`BUCKETS`] buckets by the hash of the id; what a bucket holds is
//! summed up so that the order of pages does not matter. Only the ids of buckets that differ are then compared one by
//! one, as many buckets at a time as fit into memory.
//!
//! Invariant: a document that differs makes its bucket differ (but for a collision of 64-bit hashes), so that what is not
//! looked into is equal. The reverse does not hold: a document that paging showed twice makes a bucket differ for
//! nothing, which costs a look.

mod bucket;
mod content;
mod diff;
mod version;

pub use bucket::{BUCKETS, Bucket, Digest, bucket_of, fingerprint, in_groups};
pub use content::{Content, content_of};
pub use diff::{Difference, Listing, TooMany, compare};
pub use version::{Copied, Depth, Unreadable, Version};
