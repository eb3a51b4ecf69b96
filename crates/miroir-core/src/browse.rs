//! Browsing: a stable global order of documents without asking every node for everything.
//!
//! The order is by shard, and inside a shard by the node's own order. A page therefore covers a run of shards: whole
//! ones in the middle, and at most one cut at each end.

use std::ops::Range;

use crate::id::ShardId;

/// A part of one shard that a page covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Which shard.
    pub shard: ShardId,
    /// The first document's position inside the shard.
    pub offset: u64,
    /// How many documents.
    pub limit: u64,
    /// The slice is the whole shard.
    pub whole: bool,
}

/// The slices that a page covers, in order. `counts` has every shard's number of documents, ascending by shard.
pub fn slices(counts: &[(ShardId, u64)], offset: u64, limit: u64) -> Vec<Slice> {
    let wanted: Range<u64> = offset..offset.saturating_add(limit);
    let mut start = 0_u64;
    let mut found = Vec::new();
    for &(shard, count) in counts {
        let end = start.saturating_add(count);
        let (from, to) = (wanted.start.max(start), wanted.end.min(end));
        if from < to {
            found.push(Slice { shard, offset: from - start, limit: to - from, whole: to - from == count });
        }
        start = end;
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(counts: &[u64]) -> Vec<(ShardId, u64)> {
        counts.iter().enumerate().map(|(shard, count)| (ShardId(shard as u32), *count)).collect()
    }

    #[test]
    fn a_page_covers_a_run_of_shards() {
        let found = slices(&counts(&[3, 0, 4, 5]), 2, 7);
        let expected = [
            Slice { shard: ShardId(0), offset: 2, limit: 1, whole: false },
            Slice { shard: ShardId(2), offset: 0, limit: 4, whole: true },
            Slice { shard: ShardId(3), offset: 0, limit: 2, whole: false },
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn pages_beyond_the_end_and_of_no_length_are_empty() {
        assert_eq!(slices(&counts(&[3]), 3, 10), []);
        assert_eq!(slices(&counts(&[3]), 0, 0), []);
        assert_eq!(slices(&counts(&[3]), u64::MAX, u64::MAX), []);
    }

    proptest! {
        /// Pages one after the other are the whole, once each.
        #[test]
        fn pages_concatenate_to_the_whole(sizes in proptest::collection::vec(0u64..6, 0..12), page in 1u64..9) {
            let counts = counts(&sizes);
            let total: u64 = sizes.iter().sum();
            let mut seen = Vec::new();
            for offset in (0..total.div_ceil(page)).map(|n| n * page) {
                for slice in slices(&counts, offset, page) {
                    prop_assert_eq!(slice.whole, slice.offset == 0 && slice.limit == sizes[slice.shard.0 as usize]);
                    seen.extend((slice.offset..slice.offset + slice.limit).map(|d| (slice.shard, d)));
                }
            }
            let expected: Vec<_> = counts.iter().flat_map(|(s, n)| (0..*n).map(move |d| (*s, d))).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
