//! The time of Redis, as far as we know it without asking.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Redis's milliseconds since 1970 at an instant of ours. Redis was there already when we read it: our idea of its time is
/// late by the way of an answer, never early.
#[derive(Debug)]
pub(super) struct Clock(Mutex<(u64, Instant)>);

impl Clock {
    pub(super) fn new(millis: u64) -> Self {
        Self(Mutex::new((millis, Instant::now())))
    }

    /// An answer came that says so.
    pub(super) fn set(&self, millis: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (millis, Instant::now());
    }

    /// What Redis's clock shows when this time has passed.
    pub(super) fn after(&self, duration: Duration) -> u64 {
        let (millis, read) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = read.elapsed().saturating_add(duration);
        millis.saturating_add(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }
}
