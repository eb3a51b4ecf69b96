//! Smoothed latency and error rate of one node.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Exponentially weighted by time: an observation loses half its weight every half-life.
pub struct Load {
    half_life: Duration,
    state: Mutex<Smoothed>,
}

#[derive(Clone, Copy)]
struct Smoothed {
    latency_ms: f64,
    errors: f64,
    at: Option<Instant>,
}

impl Load {
    pub fn new(half_life: Duration) -> Self {
        Self { half_life, state: Mutex::new(Smoothed { latency_ms: 0.0, errors: 0.0, at: None }) }
    }

    /// Take note of one answered or failed request.
    pub fn record(&self, elapsed: Duration, failed: bool) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let latency_ms = elapsed.as_secs_f64() * 1000.0;
        let failed = f64::from(u8::from(failed));
        let keep = match state.at {
            // Requests in quick succession still count: each takes at least a tenth.
            Some(at) => 0.5_f64.powf((now - at).as_secs_f64() / self.half_life.as_secs_f64().max(0.001)).min(0.9),
            None => 0.0,
        };
        state.latency_ms = state.latency_ms * keep + latency_ms * (1.0 - keep);
        state.errors = state.errors * keep + failed * (1.0 - keep);
        state.at = Some(now);
    }

    /// Smoothed latency in milliseconds, and the share of failures. What is old fades towards no opinion,
    /// so that a node that was slow once is tried again.
    pub fn estimate(&self) -> (f64, f64) {
        let state = *self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(at) = state.at else { return (0.0, 0.0) };
        let age = at.elapsed().as_secs_f64() / (self.half_life.as_secs_f64().max(0.001) * 4.0);
        let weight = 0.5_f64.powf(age);
        (state.latency_ms * weight, state.errors * weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_raises_the_estimate_and_fast_ones_lower_it_again() {
        let load = Load::new(Duration::from_secs(5));
        load.record(Duration::from_millis(10), false);
        load.record(Duration::from_millis(500), true);
        let (slow, errors) = load.estimate();
        assert!(slow > 40.0 && errors > 0.05, "{slow} {errors}");
        for _ in 0..100 {
            load.record(Duration::from_millis(10), false);
        }
        let (fast, errors) = load.estimate();
        assert!(fast < 12.0 && errors < 0.01, "{fast} {errors}");
    }

    #[test]
    fn an_unasked_node_has_no_cost() {
        assert_eq!(Load::new(Duration::from_secs(5)).estimate(), (0.0, 0.0));
    }
}
