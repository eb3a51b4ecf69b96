//! How fast documents may be moved.

use std::time::Duration;

/// A bucket that fills with time. Times are milliseconds of any clock that does not go back.
#[derive(Clone, Debug, PartialEq)]
pub struct Throttle {
    /// Documents a second; none: as fast as it goes.
    rate: Option<u32>,
    /// What may be taken now; below zero after more was taken than there was.
    available: f64,
    filled_at: u64,
}

impl Throttle {
    /// A bucket that is full: a second's worth.
    pub fn new(documents_per_second: Option<u32>, now: u64) -> Self {
        let rate = documents_per_second.filter(|rate| *rate > 0);
        Self { rate, available: f64::from(rate.unwrap_or_default()), filled_at: now }
    }

    /// How long to wait before the next documents may be taken; none: not at all.
    pub fn wait(&mut self, now: u64) -> Option<Duration> {
        let rate = f64::from(self.rate?);
        let passed = now.saturating_sub(self.filled_at) as f64 / 1000.0;
        self.available = (self.available + passed * rate).min(rate);
        self.filled_at = self.filled_at.max(now);
        // At least a millisecond, or the caller would ask again at once.
        (self.available <= 0.0).then(|| Duration::from_millis((-self.available / rate * 1000.0).ceil().max(1.0) as u64))
    }

    /// Documents were taken; a whole page at once, so that it may be more than there was.
    pub fn take(&mut self, documents: u64) {
        if self.rate.is_some() {
            self.available -= documents as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_more_than_the_rate_and_one_page_pass(rate in 1u32..5000, pages in prop::collection::vec(1u64..500, 1..100)) {
            let mut throttle = Throttle::new(Some(rate), 0);
            let (mut now, mut taken, largest) = (0, 0, pages.iter().copied().max().unwrap_or_default());
            for page in pages {
                while let Some(wait) = throttle.wait(now) {
                    now += u64::try_from(wait.as_millis()).expect("short");
                }
                throttle.take(page);
                taken += page;
                let allowed = u64::from(rate) + now * u64::from(rate) / 1000 + largest + 1;
                prop_assert!(taken <= allowed, "{taken} of {allowed} after {now} ms");
            }
        }
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut throttle = Throttle::new(None, 0);
        throttle.take(1_000_000);
        assert_eq!(throttle.wait(0), None);
        assert_eq!(Throttle::new(Some(0), 0).wait(0), None);
    }
}
