//! Holding the writes of an index for a moment: its turn, which is given back by itself in time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use miroir_store::Fence;
use tokio::time::Instant;

use super::super::lanes::Turn;

/// Writes are held while it lives, and at most until it has run out.
pub(super) struct Held {
    turn: Arc<Mutex<Option<Turn>>>,
    fence: Fence,
    until: Instant,
}

impl Held {
    /// Hold on to a turn for so long. It is given back then, whatever whoever holds this is waiting for.
    pub fn on_to(turn: Turn, bound: Duration) -> Self {
        let until = Instant::now() + bound;
        let fence = turn.fence();
        let turn = Arc::new(Mutex::new(Some(turn)));
        let watched = Arc::downgrade(&turn);
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            if let Some(turn) = watched.upgrade() {
                turn.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
        });
        Self { turn, fence, until }
    }

    /// When it runs out.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Whether writes are held still.
    pub fn lasts(&self) -> bool {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// What is recorded under it is recorded only while nobody else has the turn.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }
}
