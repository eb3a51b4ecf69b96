//! Smoothed latency and error rate of one node, per search.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Exponentially weighted by time: an observation loses half its weight every half-life.
pub struct Load {
    half_life: Duration,
    state: Mutex<Smoothed>,
}

#[derive(Clone, Copy, Default)]
struct Smoothed {
    /// Of searches, answered or failed.
    latency: Average,
    /// Of reads of any kind: 1 for each that failed.
    errors: Average,
    /// Of searches that were answered.
    answers: Average,
}

/// A mean that forgets.
#[derive(Clone, Copy, Default)]
struct Average {
    value: f64,
    at: Option<Instant>,
}

impl Average {
    fn add(&mut self, value: f64, half_life: f64) {
        let now = Instant::now();
        let keep = match self.at {
            // Requests in quick succession still count: each takes at least a tenth.
            Some(at) => 0.5_f64.powf((now - at).as_secs_f64() / half_life).min(0.9),
            None => 0.0,
        };
        self.value = self.value * keep + value * (1.0 - keep);
        self.at = Some(now);
    }

    /// What is old fades towards no opinion.
    fn now(&self, half_life: f64) -> f64 {
        self.at.map_or(0.0, |at| self.value * 0.5_f64.powf(at.elapsed().as_secs_f64() / (half_life * 4.0)))
    }
}

impl Load {
    pub fn new(half_life: Duration) -> Self {
        Self { half_life, state: Mutex::default() }
    }

    fn half_life(&self) -> f64 {
        self.half_life.as_secs_f64().max(0.001)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Smoothed, f64) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()), self.half_life())
    }

    /// Record searches that were answered together.
    pub fn answered(&self, elapsed: Duration, searches: u32) {
        let ms = elapsed.as_secs_f64() * 1000.0 / f64::from(searches.max(1));
        self.with(|state, half_life| {
            state.latency.add(ms, half_life);
            state.answers.add(ms, half_life);
            state.errors.add(0.0, half_life);
        });
    }

    /// Record a read that cannot be compared with searches.
    pub fn succeeded(&self) {
        self.with(|state, half_life| state.errors.add(0.0, half_life));
    }

    /// Record a read that failed; of searches, after how long.
    pub fn failed(&self, elapsed: Option<Duration>) {
        self.with(|state, half_life| {
            if let Some(elapsed) = elapsed {
                state.latency.add(elapsed.as_secs_f64() * 1000.0, half_life);
            }
            state.errors.add(1.0, half_life);
        });
    }

    /// Smoothed latency of a search in milliseconds, and the share of failures, so that a node that was slow once is tried
    /// again after a while.
    pub fn estimate(&self) -> (f64, f64) {
        self.with(|state, half_life| (state.latency.now(half_life), state.errors.now(half_life)))
    }

    /// What a search takes that is answered; zero: nobody knows.
    pub fn usual(&self) -> Duration {
        let ms = self.with(|state, half_life| state.answers.now(half_life));
        Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_raises_the_estimate_and_fast_ones_lower_it_again() {
        let load = Load::new(Duration::from_secs(5));
        load.answered(Duration::from_millis(10), 1);
        load.failed(Some(Duration::from_millis(500)));
        let (slow, errors) = load.estimate();
        assert!(slow > 40.0 && errors > 0.05, "{slow} {errors}");
        assert!(load.usual() < Duration::from_millis(11));
        for _ in 0..100 {
            load.answered(Duration::from_millis(10), 1);
        }
        let (fast, errors) = load.estimate();
        assert!(fast < 12.0 && errors < 0.01, "{fast} {errors}");
    }

    #[test]
    fn searches_in_one_request_weigh_as_much_as_each_by_itself() {
        let load = Load::new(Duration::from_secs(5));
        load.answered(Duration::from_millis(320), 32);
        let (latency, errors) = load.estimate();
        assert!((9.0..=10.0).contains(&latency) && errors == 0.0, "{latency} {errors}");
    }

    #[test]
    fn reads_of_documents_tell_of_failures_alone() {
        let load = Load::new(Duration::from_secs(5));
        load.succeeded();
        assert_eq!(load.estimate(), (0.0, 0.0));
        load.failed(None);
        let (latency, errors) = load.estimate();
        assert!(latency == 0.0 && errors > 0.05, "{latency} {errors}");
    }

    #[test]
    fn an_unasked_node_has_no_cost() {
        assert_eq!(Load::new(Duration::from_secs(5)).estimate(), (0.0, 0.0));
    }
}
