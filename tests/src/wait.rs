//! Waiting for a condition, with a bound.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(15);

/// Calls `probe` until it gives a value; `None` once `bound` has passed.
pub fn poll<T>(bound: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + bound;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(PAUSE);
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
