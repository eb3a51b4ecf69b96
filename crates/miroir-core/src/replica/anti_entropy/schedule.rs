//! When a pass is due, how deep it goes, and which shards it takes.

use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::base::id::{IndexUid, ShardId};
use crate::replica::digest::Depth;

/// How often: `every 6h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule(Duration);

/// The text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a schedule; write `every 30s`, `every 15m`, `every 6h` or `every 1d`")]
pub struct InvalidSchedule(pub String);

impl FromStr for Schedule {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSchedule(text.to_owned());
        let every = text.trim().strip_prefix("every ").ok_or_else(invalid)?.trim();
        let digits = every.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let seconds: u64 = match every.get(digits.len()..) {
            Some("s") => 1,
            Some("m") => 60,
            Some("h") => 3600,
            Some("d") => 86_400,
            Some(_) | None => return Err(invalid()),
        };
        let count = digits.trim().parse::<u64>().ok().filter(|count| *count > 0);
        let total = count.and_then(|count| count.checked_mul(seconds)).ok_or_else(invalid)?;
        Ok(Self(Duration::from_secs(total)))
    }
}

impl Schedule {
    /// Between the beginnings of two passes.
    pub fn interval(self) -> Duration {
        self.0
    }

    /// How long until the next pass; none: it is due. Times are milliseconds since 1970, by clocks that may differ.
    pub fn wait(self, last_began: Option<u64>, now: u64) -> Option<Duration> {
        let passed = Duration::from_millis(now.saturating_sub(last_began?));
        self.0.checked_sub(passed).filter(|wait| !wait.is_zero())
    }
}

/// How deep pass number `pass` goes, counted from 1: every `deep_every`-th looks at contents, none if that is 0.
pub fn depth_of(pass: u64, deep_every: u64) -> Depth {
    match pass.checked_rem(deep_every) {
        Some(0) => Depth::Content,
        Some(_) | None => Depth::Stamps,
    }
}

/// The shards of one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// In this order.
    pub shards: Vec<(IndexUid, ShardId)>,
    /// The one behind which the next pass begins; none: it begins from the start.
    pub cursor: Option<(IndexUid, ShardId)>,
}

/// Which of the shards that an instance owns are taken: `most` of them (0: all), behind those of the last pass.
pub fn select(mut owned: Vec<(IndexUid, ShardId)>, cursor: Option<&(IndexUid, ShardId)>, most: usize) -> Selection {
    owned.sort();
    owned.dedup();
    if most == 0 || most >= owned.len() {
        return Selection { shards: owned, cursor: None };
    }
    let begin = cursor.map_or(0, |last| owned.partition_point(|shard| shard <= last));
    let count = owned.len();
    owned.rotate_left(begin % count);
    owned.truncate(most);
    let cursor = owned.last().cloned();
    Selection { shards: owned, cursor }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn schedules_are_read() {
        for (text, seconds) in [("every 6h", 21_600), ("every 30s", 30), (" every 15 m", 900), ("every 1d", 86_400)] {
            assert_eq!(text.parse::<Schedule>().map(Schedule::interval), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "6h", "every", "every h", "every 0h", "every -1h", "every 1w", "every 99999999999999999999d"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pass_is_due_an_interval_after_the_last_one_began() {
        let schedule: Schedule = "every 10s".parse().expect("a schedule");
        assert_eq!(schedule.wait(None, 0), None);
        assert_eq!(schedule.wait(Some(1000), 4000), Some(Duration::from_secs(7)));
        assert_eq!(schedule.wait(Some(1000), 11_000), None);
        assert_eq!(schedule.wait(Some(9000), 1000), Some(Duration::from_secs(10)), "another clock");
    }

    #[test]
    fn every_nth_pass_is_deep() {
        let deep: Vec<u64> = (1..=12).filter(|pass| depth_of(*pass, 4) == Depth::Content).collect();
        assert_eq!(deep, [4, 8, 12]);
        assert!((1..=12).all(|pass| depth_of(pass, 0) == Depth::Stamps));
    }

    proptest! {
        #[test]
        fn passes_take_every_shard_in_turn(count in 1u32..40, most in 0usize..12) {
            let uid: IndexUid = "movies".parse().expect("a uid");
            let owned: Vec<_> = (0..count).rev().map(|shard| (uid.clone(), ShardId(shard))).collect();
            let (mut cursor, mut taken) = (None, vec![0; count as usize]);
            let each = if most == 0 { count as usize } else { most.min(count as usize) };
            let passes = (count as usize).div_ceil(each);
            for _ in 0..passes {
                let selection = select(owned.clone(), cursor.as_ref(), most);
                prop_assert_eq!(selection.shards.len(), each);
                selection.shards.iter().for_each(|(_, shard)| taken[shard.0 as usize] += 1);
                cursor = selection.cursor;
            }
            prop_assert!(taken.iter().all(|times| (1..=2).contains(times)), "{:?}", taken);
        }
    }
}
