//! Browsing: a stable global order of documents without asking every node for everything.
//!
//! The order is by shard, and inside a shard by the node's own order. A page therefore covers a run of shards: whole
//! ones in the middle, and at most one cut at each end.

use std::ops::Range;

use crate::base::id::ShardId;

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

/// Documents that one answer of a node may be made of, as far as their sizes are known.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    most: u64,
    seen: u64,
    bytes: u64,
}

impl Pace {
    /// Documents in the first answer, of which nothing is known yet.
    const FIRST: u64 = 1000;
    /// The same, where documents come with their vectors, each of which may be tens of thousands of bytes.
    const FIRST_WITH_VECTORS: u64 = 100;
    /// Documents in any answer.
    const MOST: u64 = 5000;
    /// What an answer is to be, in bytes.
    const BYTES: u64 = 8 * 1024 * 1024;

    /// Before the first answer.
    pub fn new(with_vectors: bool) -> Self {
        Self { most: if with_vectors { Self::FIRST_WITH_VECTORS } else { Self::FIRST }, seen: 0, bytes: 0 }
    }

    /// How many documents to ask for next.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// So many documents took so many bytes.
    pub fn saw(&mut self, documents: u64, bytes: u64) {
        self.seen = self.seen.saturating_add(documents);
        self.bytes = self.bytes.saturating_add(bytes);
        if let Some(of_each) = self.bytes.checked_div(self.seen) {
            self.most = (Self::BYTES / of_each.max(1)).clamp(1, Self::MOST);
        }
    }
}

/// Documents that are asked for in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Of these shards, ascending: several only when all of each is wanted.
    pub shards: Vec<ShardId>,
    /// From the first document's position inside the shard.
    pub offset: u64,
    /// Documents altogether.
    pub limit: u64,
    /// Documents of the shard were asked for before: only the node that returned those knows what comes next.
    pub goes_on: bool,
}

/// What is left of a page, to be asked for in pieces.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    /// The next slice last.
    left: Vec<Slice>,
    /// The next slice was begun.
    begun: bool,
}

impl Walk {
    /// All of these slices, ascending by shard.
    pub fn of(slices: Vec<Slice>) -> Self {
        Self { left: slices.into_iter().rev().collect(), begun: false }
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    /// The next documents, at most `most` of them; none: there are no more.
    pub fn next(&mut self, most: u64) -> Option<Step> {
        let most = most.max(1);
        let first = self.left.pop()?;
        let goes_on = std::mem::take(&mut self.begun);
        if first.limit > most {
            self.left.push(Slice { offset: first.offset + most, limit: first.limit - most, whole: false, ..first });
            self.begun = true;
            return Some(Step { shards: vec![first.shard], offset: first.offset, limit: most, goes_on });
        }
        let mut step = Step { shards: vec![first.shard], offset: first.offset, limit: first.limit, goes_on };
        if !first.whole || goes_on {
            return Some(step);
        }
        while let Some(next) = self.left.last().filter(|next| next.whole && step.limit + next.limit <= most) {
            step.shards.push(next.shard);
            step.limit += next.limit;
            self.left.pop();
        }
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_are_as_large_as_the_documents_seen_so_far_allow() {
        let mut pace = Pace::new(true);
        assert_eq!((pace.most(), Pace::new(false).most()), (100, 1000));
        pace.saw(100, 100 * 84_000);
        assert_eq!(pace.most(), 99);
        pace.saw(100_000, 100_000);
        assert_eq!(pace.most(), 5000);
        let mut pace = Pace::new(false);
        pace.saw(0, 0);
        assert_eq!(pace.most(), 1000);
        pace.saw(1, 1 << 40);
        assert_eq!(pace.most(), 1);
    }

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
        /// Steps of any size are the slices, in order, and none is larger than allowed.
        #[test]
        fn steps_are_the_page(numbers in prop::collection::vec(0u64..40, 0..12), offset in 0u64..100, limit in 0u64..200, mosts in prop::collection::vec(0u64..30, 1..8)) {
            let counts = counts(&numbers);
            let wanted = slices(&counts, offset, limit);
            let mut walk = Walk::of(wanted.clone());
            let mut seen: Vec<(ShardId, u64)> = Vec::new();
            for most in mosts.iter().cycle() {
                let before = seen.last().map(|(shard, _)| *shard);
                let Some(step) = walk.next(*most) else { break };
                prop_assert!(step.limit <= (*most).max(1) && step.limit > 0);
                prop_assert_eq!(step.goes_on, before.is_some_and(|before| step.shards.contains(&before)));
                let of_shard = |shard: ShardId| counts[shard.0 as usize].1;
                for shard in &step.shards {
                    let (from, many) = if step.shards.len() > 1 { (0, of_shard(*shard)) } else { (step.offset, step.limit) };
                    seen.extend((from..from + many).map(|position| (*shard, position)));
                }
            }
            prop_assert!(walk.is_done());
            let expected: Vec<(ShardId, u64)> =
                wanted.iter().flat_map(|slice| (slice.offset..slice.offset + slice.limit).map(|position| (slice.shard, position))).collect();
            prop_assert_eq!(seen, expected);
        }

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
