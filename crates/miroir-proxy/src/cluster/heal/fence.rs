//! Holding the writes of an index for a moment: its write lock, which is released by itself in time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use miroir_store::Fence;
use tokio::time::Instant;

use super::super::index_lock::IndexGuard;

/// Writes are held while it lives, and at most until it has run out.
pub(super) struct Held {
    guard: Arc<Mutex<Option<IndexGuard>>>,
    fence: Fence,
    until: Instant,
}

impl Held {
    /// Keep a guard for so long. It is dropped then, whatever the owner of this is waiting for.
    pub fn on_to(guard: IndexGuard, bound: Duration) -> Self {
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

    /// When it runs out.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Whether writes are held still.
    pub fn lasts(&self) -> bool {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// What is recorded under it is recorded only while nobody else holds the lock.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }
}
