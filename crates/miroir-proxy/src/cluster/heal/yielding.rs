//! What copies and compares replicas makes way for clients.
//!
//! While nobody asks for anything, mirrors work as fast as they can, several at once. As soon as clients are there, all of
//! it in this instance asks nodes for one page at a time together, and rests for half as long as that took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Clients that have sent nothing for so long are not there.
const GONE: Duration = Duration::from_millis(500);
/// The longest rest.
const REST: Duration = Duration::from_secs(1);

/// Whether clients are there, and whose turn it is while they are.
pub struct Yielding {
    since: Instant,
    /// Milliseconds from `since` to the last request of a client, and one more. 0: there was none.
    last_seen: AtomicU64,
    one: Semaphore,
}

impl Default for Yielding {
    fn default() -> Self {
        Self { since: Instant::now(), last_seen: AtomicU64::new(0), one: Semaphore::new(1) }
    }
}

impl Yielding {
    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// A client reads or writes.
    pub fn client_is_there(&self) {
        self.last_seen.store(self.now(), Ordering::Relaxed);
    }

    /// Whether a client reads or writes.
    pub fn clients_are_there(&self) -> bool {
        let last_seen = self.last_seen.load(Ordering::Relaxed);
        last_seen > 0 && u128::from(self.now() - last_seen.min(self.now())) < GONE.as_millis()
    }

    /// The turn to do something while clients are there; none: they are not.
    pub async fn turn(&self) -> Option<Turn<'_>> {
        if !self.clients_are_there() {
            return None;
        }
        // It is never closed.
        let permit = self.one.acquire().await.ok()?;
        Some(Turn { _permit: permit, begun: Instant::now() })
    }
}

/// Nobody else does anything while it lasts.
pub struct Turn<'a> {
    _permit: SemaphorePermit<'a>,
    begun: Instant,
}

impl Turn<'_> {
    /// Rest for half as long as it took.
    pub async fn rest(self) {
        tokio::time::sleep((self.begun.elapsed() / 2).min(REST)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_are_turns_only_while_clients_are_there() {
        let yielding = Yielding::default();
        assert!(yielding.turn().await.is_none());
        yielding.client_is_there();
        let turn = yielding.turn().await;
        assert!(turn.is_some());
        let second = tokio::time::timeout(Duration::from_millis(20), yielding.turn()).await;
        assert!(second.is_err(), "one at a time");
        drop(turn);
        assert!(yielding.turn().await.is_some());
        tokio::time::sleep(GONE + Duration::from_millis(5)).await;
        assert!(yielding.turn().await.is_none());
    }
}
