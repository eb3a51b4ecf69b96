//! Waiting for a condition, with a bound.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between the first two looks at a condition. What takes long is looked at less often: tests share their cores with what
/// they wait for.
const PAUSE: Duration = Duration::from_millis(5);
/// Between two looks at most.
const LONG_PAUSE: Duration = Duration::from_millis(60);

/// Calls `probe` until it gives a value; `None` once `bound` has passed.
pub fn poll<T>(bound: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + bound;
    let mut pause = PAUSE;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 5 / 4).min(LONG_PAUSE);
    }
}

/// Calls `probe` until it gives a value.
///
/// # Panics
/// When `bound` passes first; the message says what was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, bound: Duration, probe: impl FnMut() -> Option<T>) -> T {
    match poll(bound, probe) {
        Some(value) => value,
        None => panic!("waited {bound:?} in vain: {what}"),
    }
}

/// Sets a flag when it goes, also by a panic: threads that look at the flag end, and so does whoever joins them.
#[derive(Debug)]
pub struct AtLast<'a>(pub &'a AtomicBool);

impl Drop for AtLast<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
