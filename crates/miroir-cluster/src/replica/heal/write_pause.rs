//! The write pause of an index: its write lock is held for a moment, and released by itself at the deadline.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use miroir_store::Fence;
use tokio::time::Instant;

use crate::state::index_lock::IndexGuard;

/// Writes are paused while this lives, and at most until the deadline.
pub(super) struct WritePause {
    guard: Arc<Mutex<Option<IndexGuard>>>,
    fence: Fence,
    until: Instant,
}

impl WritePause {
    /// Pause writes under a guard for at most so long. The guard is dropped then, whatever the owner of this waits for.
    pub fn new(guard: IndexGuard, bound: Duration) -> Self {
        let until = Instant::now() + bound;
        let fence = guard.fence();
        let guard = Arc::new(Mutex::new(Some(guard)));
        let watched = Arc::downgrade(&guard);
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            if let Some(guard) = watched.upgrade() {
                guard.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
        });
        Self { guard, fence, until }
    }

    /// The deadline.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Whether writes are paused still.
    pub fn lasts(&self) -> bool {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// What is recorded under it is recorded only while nobody else holds the lock.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }
}
