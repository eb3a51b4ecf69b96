//! The buckets of a digest.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::content::mixed;
use super::version::{Copied, Version};

/// Buckets of a digest.
pub const BUCKETS: usize = 256;

/// The bucket of a document.
pub fn bucket_of(id: &str) -> u8 {
    // The upper bits: shards are remainders of another hash, but two hashes of one family may share their low bits.
    (xxh3_64(id.as_bytes()) >> 56) as u8
}

/// What the documents of a bucket amount to, in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// How many.
    pub documents: u64,
    /// The sum of their hashes.
    pub sum: u64,
}

/// One replica of a shard, folded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest(Vec<Bucket>);

impl Default for Digest {
    fn default() -> Self {
        Self(vec![Bucket::default(); BUCKETS])
    }
}

impl Digest {
    /// Take one more document in.
    pub fn add(&mut self, document: &Copied) {
        if let Some(bucket) = self.0.get_mut(usize::from(bucket_of(&document.id))) {
            bucket.documents += 1;
            bucket.sum = bucket.sum.wrapping_add(fingerprint(&document.id, &document.version));
        }
    }

    /// Documents taken in.
    pub fn documents(&self) -> u64 {
        self.0.iter().map(|bucket| bucket.documents).sum()
    }

    /// The buckets that are not equal and those that are named, ascending, each with the documents of its fuller side.
    pub fn differing(&self, other: &Self, also: &BTreeSet<u8>) -> Vec<(u8, u64)> {
        let pairs = (0..=u8::MAX).zip(self.0.iter().zip(&other.0));
        let wanted = pairs.filter(|(index, (a, b))| a != b || also.contains(index));
        wanted.map(|(index, (a, b))| (index, a.documents.max(b.documents))).collect()
    }
}

/// A hash of a document: equal for equal versions of one id, and for others only by chance.
pub fn fingerprint(id: &str, version: &Version) -> u64 {
    let optional = |seed: u64, value: Option<u64>| value.map_or(seed, |value| mixed(seed, value));
    let content = version.content.map(|content| content.0);
    let parts = [(version.stamp, 1), (version.expires_at, 2), (content, 3)];
    parts.into_iter().fold(xxh3_64(id.as_bytes()), |hash, (part, seed)| mixed(hash, optional(seed, part)))
}

/// Buckets to be looked into together, so that no group has more than `limit` documents unless it is a single bucket.
pub fn in_groups(differing: &[(u8, u64)], limit: u64) -> Vec<Vec<u8>> {
    let (mut groups, mut size): (Vec<Vec<u8>>, u64) = (Vec::new(), 0);
    for &(bucket, documents) in differing {
        match groups.last_mut() {
            Some(group) if size.saturating_add(documents) <= limit => {
                group.push(bucket);
                size += documents;
            }
            Some(_) | None => {
                groups.push(vec![bucket]);
                size = documents;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::replica::digest::Content;

    fn copied(id: u16, stamp: u8, content: u8) -> Copied {
        let content = Some(Content(u64::from(content)));
        Copied { id: id.to_string(), version: Version { stamp: Some(stamp.into()), expires_at: None, content } }
    }

    fn digest(documents: &BTreeMap<u16, (u8, u8)>, reversed: bool) -> Digest {
        let mut digest = Digest::default();
        let mut documents: Vec<_> = documents.iter().collect();
        if reversed {
            documents.reverse();
        }
        documents.into_iter().for_each(|(id, (stamp, content))| digest.add(&copied(*id, *stamp, *content)));
        digest
    }

    proptest! {
        #[test]
        fn exactly_the_buckets_of_differing_documents_differ(
            a in prop::collection::btree_map(0u16..400, (0u8..3, 0u8..3), 0..200),
            changes in prop::collection::vec((0u16..400, prop::option::of((0u8..3, 0u8..3))), 0..20),
        ) {
            let mut b = a.clone();
            for (id, change) in changes {
                match change {
                    Some(version) => _ = b.insert(id, version),
                    None => _ = b.remove(&id),
                }
            }
            let ids: BTreeSet<u16> = a.keys().chain(b.keys()).copied().collect();
            let expected: BTreeSet<u8> =
                ids.into_iter().filter(|id| a.get(id) != b.get(id)).map(|id| bucket_of(&id.to_string())).collect();
            let found = digest(&a, false).differing(&digest(&b, true), &BTreeSet::new());
            prop_assert_eq!(found.iter().map(|(bucket, _)| *bucket).collect::<BTreeSet<_>>(), expected);
            prop_assert_eq!(digest(&a, true).documents(), a.len() as u64);
        }

        #[test]
        fn groups_hold_every_bucket_once_and_no_more_than_fits(
            sizes in prop::collection::btree_map(any::<u8>(), 0u64..100, 0..60), limit in 1u64..200,
        ) {
            let differing: Vec<(u8, u64)> = sizes.iter().map(|(bucket, size)| (*bucket, *size)).collect();
            let groups = in_groups(&differing, limit);
            let all: Vec<u8> = groups.iter().flatten().copied().collect();
            prop_assert_eq!(all, sizes.keys().copied().collect::<Vec<_>>());
            for group in groups {
                let size: u64 = group.iter().map(|bucket| sizes[bucket]).sum();
                prop_assert!(group.len() == 1 || size <= limit);
            }
        }
    }

    #[test]
    fn ids_spread_over_all_buckets() {
        let mut counts = vec![0; BUCKETS];
        (0..25_600).for_each(|id: u32| counts[usize::from(bucket_of(&id.to_string()))] += 1);
        assert!(counts.iter().all(|count| (50..160).contains(count)), "{counts:?}");
    }
}
