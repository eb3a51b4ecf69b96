//! How long a part of a read may take, so that every wait ends inside the client's request and others can still step in.
//!
//! Invariant: attempts at one thing after another, each given what [`Attempt::patience`] says, end within what was left
//! before the first; and as long as another replica is left, so is a share of the time for it.

use std::time::Duration;

/// Of a request's time, what is kept for making an answer of what has come.
const KEPT_SHARE: u32 = 20;
/// More is never kept.
const KEPT_AT_MOST: Duration = Duration::from_secs(1);
/// A node is waited for as long as it has lately taken for as much, so many times over.
const SLOWER_THAN_USUAL: u32 = 3;

/// The time in which all that a request waits for has to come, when the client is answered within `limit` in any case.
pub fn inside(limit: Duration) -> Duration {
    limit.saturating_sub((limit / KEPT_SHARE).min(KEPT_AT_MOST))
}

/// One node that is asked for a part of a read.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// What is left of the request's time.
    pub left: Duration,
    /// How long one node may take for one search.
    pub one: Duration,
    /// Searches that the node does one after the other.
    pub searches: u32,
    /// How long it has taken for one lately; zero: nobody knows.
    pub usual: Duration,
    /// Other replicas that can be asked, one after the other, for all that this one is asked for.
    pub others: u32,
}

impl Attempt {
    /// Whether the node is waited for as long however many of so many replicas there are beside it.
    pub fn is_short(&self, replicas: u32) -> bool {
        self.searches <= 1 && self.one.saturating_mul(replicas) <= self.left
    }

    /// How long the node is waited for.
    ///
    /// The last replica there is may take as long for each of the searches as for a single one. Any other may take as long
    /// as a single search, however many it is asked for: whoever is silent is found out as soon. Only a node that is known
    /// to need longer for so many is given longer, since what is slow everywhere is not to be done twice.
    pub fn patience(&self) -> Duration {
        let searches = self.searches.max(1);
        let all = self.one.saturating_mul(searches);
        if self.others == 0 {
            return all.min(self.left);
        }
        let usual = self.usual.saturating_mul(searches).saturating_mul(SLOWER_THAN_USUAL);
        let share = self.left / self.others.saturating_add(1);
        usual.clamp(self.one, all).min(share)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn many_searches_fail_over_as_soon_as_one_unless_they_are_known_to_take_longer() {
        let of =
            |searches, usual, others| Attempt { left: ms(29_000), one: ms(5000), searches, usual: ms(usual), others };
        assert_eq!(of(1, 0, 1).patience(), ms(5000));
        assert_eq!(of(6, 0, 1).patience(), ms(5000));
        assert_eq!(of(32, 20, 1).patience(), ms(5000));
        assert_eq!(of(20, 100, 1).patience(), ms(6000));
        assert_eq!(of(32, 900, 1).patience(), ms(14_500));
        assert_eq!(of(4, 0, 0).patience(), ms(20_000));
        assert_eq!(of(32, 0, 0).patience(), ms(29_000));
    }

    #[test]
    fn what_a_request_waits_for_ends_before_it() {
        assert_eq!(inside(ms(30_000)), ms(29_000));
        assert_eq!(inside(ms(1000)), ms(950));
        assert_eq!(inside(Duration::ZERO), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn replicas_that_are_tried_one_after_the_other_end_in_time(
            left in 0u64..100_000, one in 1u64..40_000, searches in 0u32..40, usual in 0u64..10_000, others in 0u32..8,
        ) {
            let mut left = ms(left);
            let before = left;
            let mut spent = Duration::ZERO;
            for others in (0..=others).rev() {
                let attempt = Attempt { left, one: ms(one), searches, usual: ms(usual), others };
                let patience = attempt.patience();
                prop_assert!(patience <= left);
                prop_assert!(others == 0 || left - patience >= left / (others + 1) * others);
                prop_assert!(left.is_zero() || !patience.is_zero() || left < ms(1));
                left -= patience;
                spent += patience;
            }
            prop_assert!(spent <= before);
        }

        #[test]
        fn a_short_attempt_depends_on_no_other_replica(left in 0u64..100_000, one in 1u64..40_000, replicas in 1u32..8) {
            let of = |others| Attempt { left: ms(left), one: ms(one), searches: 1, usual: ms(900), others };
            if of(0).is_short(replicas) {
                for others in 0..replicas {
                    prop_assert_eq!(of(others).patience(), ms(one));
                }
            }
        }

        #[test]
        fn a_request_keeps_some_time_to_answer(limit in 1u64..10_000_000) {
            prop_assert!(inside(ms(limit)) < ms(limit));
        }
    }
}
