//! Which shard a document belongs to.

use std::num::NonZeroU32;

use xxhash_rust::xxh64::xxh64;

use crate::base::id::ShardId;

/// The hash of a document id's text. The text of an integer is its decimal form, so that `42` and `"42"` are one id.
#[inline]
pub fn of_id(id_text: &[u8]) -> u64 {
    xxh64(id_text, 0)
}

/// The shard, in `0..shards`, of the document with this id. Stored data depends on it: it must never change.
#[inline]
pub fn shard_of(id_text: &[u8], shards: NonZeroU32) -> ShardId {
    shard_of_hash(of_id(id_text), shards)
}

/// The shard of the document whose id has this hash.
#[inline]
pub(crate) fn shard_of_hash(hash: u64, shards: NonZeroU32) -> ShardId {
    // A remainder by a u32 is one.
    ShardId((hash % u64::from(shards.get())) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_xxh64_with_seed_zero() {
        // Reference values of the algorithm's specification.
        assert_eq!(of_id(b""), 0xEF46_DB37_51D8_E999);
        assert_eq!(of_id(b"a"), 0xD24E_C4F1_A98C_6E5B);
    }

    #[test]
    fn shards_are_in_range_and_all_used() {
        for shards in [1, 2, 16, 64, 1000] {
            let shards = NonZeroU32::new(shards).unwrap();
            let mut documents = vec![0u32; shards.get() as usize];
            for id in 0..100 * shards.get() {
                documents[shard_of(id.to_string().as_bytes(), shards).0 as usize] += 1;
            }
            assert!(documents.iter().all(|&count| (40..180).contains(&count)), "{documents:?}");
        }
    }
}
