//! Client priority: what copies and compares replicas makes way for clients.
//!
//! While nobody asks for anything, mirrors work as fast as they can, several at once. As soon as clients are active, all of
//! it in this instance asks nodes for one page at a time together, and rests for half as long as that took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Clients that have sent nothing for so long are not active.
const GONE: Duration = Duration::from_millis(500);
/// The longest rest.
const REST: Duration = Duration::from_secs(1);

/// Whether clients are active, and the one slot for background work while they are.
pub struct ClientPriority {
    since: Instant,
    /// Milliseconds from `since` to the last request of a client, and one more. 0: there was none.
    last_seen: AtomicU64,
    one: Semaphore,
}

impl Default for ClientPriority {
    fn default() -> Self {
        Self { since: Instant::now(), last_seen: AtomicU64::new(0), one: Semaphore::new(1) }
    }
}

impl ClientPriority {
    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// A client reads or writes.
    pub fn client_seen(&self) {
        self.last_seen.store(self.now(), Ordering::Relaxed);
    }

    /// Whether a client reads or writes.
    pub fn clients_active(&self) -> bool {
        let last_seen = self.last_seen.load(Ordering::Relaxed);
        last_seen > 0 && u128::from(self.now() - last_seen.min(self.now())) < GONE.as_millis()
    }

    /// Wait for the slot for background work. `None`: no client is active, and nothing has to wait.
    pub async fn slot(&self) -> Option<BackgroundSlot<'_>> {
        if !self.clients_active() {
            return None;
        }
        // It is never closed.
        let permit = self.one.acquire().await.ok()?;
        Some(BackgroundSlot { _permit: permit, begun: Instant::now() })
    }
}

/// The slot for background work: no other background work asks nodes while it is held.
pub struct BackgroundSlot<'a> {
    _permit: SemaphorePermit<'a>,
    begun: Instant,
}

impl BackgroundSlot<'_> {
    /// Give the slot back after a rest of half the time that it was held.
    pub async fn rest(self) {
        tokio::time::sleep((self.begun.elapsed() / 2).min(REST)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_are_slots_only_while_clients_are_active() {
        let client_priority = ClientPriority::default();
        assert!(client_priority.slot().await.is_none());
        client_priority.client_seen();
        let slot = client_priority.slot().await;
        assert!(slot.is_some());
        let second = tokio::time::timeout(Duration::from_millis(20), client_priority.slot()).await;
        assert!(second.is_err(), "one at a time");
        drop(slot);
        assert!(client_priority.slot().await.is_some());
        tokio::time::sleep(GONE + Duration::from_millis(5)).await;
        assert!(client_priority.slot().await.is_none());
    }
}
