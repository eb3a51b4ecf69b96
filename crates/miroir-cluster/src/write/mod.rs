//! What clients change of documents and indexes: sent to every node that has to have it, weighed, and recorded before the
//! client is answered.

pub mod access;
pub mod compact;
pub mod conditional;
pub mod debts;
pub mod delete;
pub mod edit;
pub mod erase;
pub mod fan_out;
pub mod ingest;
pub mod keys;
pub mod lifecycle;
pub mod parts;
pub mod rename;
pub mod settings_line;
pub mod takeover;
pub mod undertake;
pub mod weigh;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use miroir_core::base::inert::next_stamp;
use tokio_util::task::TaskTracker;

use crate::clock::now_ms;
use crate::{Reads, State};
use debts::Debts;

/// What changes documents and indexes.
pub struct Writes {
    pub(crate) state: Arc<State>,
    pub(crate) reads: Arc<Reads>,
    /// What clients asked to be changed, until it is recorded.
    undertakings: TaskTracker,
    debts: Arc<Debts>,
    last_stamp_ms: AtomicU64,
}

impl Writes {
    pub(crate) fn new(state: Arc<State>, reads: Arc<Reads>, debts: Arc<Debts>) -> Self {
        Self { state, reads, undertakings: TaskTracker::new(), debts, last_stamp_ms: AtomicU64::new(0) }
    }

    /// Returns when no change is under way that a client has asked for. None may be asked for any more.
    pub async fn everything_recorded(&self) {
        self.undertakings.close();
        self.undertakings.wait().await;
        self.debts.none().await;
    }

    /// Milliseconds for `_miroir_updated_at`: the clock, but strictly increasing within this instance. `None`: nothing
    /// reads it, and documents are to bear none.
    pub(crate) fn stamp(&self) -> Option<u64> {
        if !self.state.config.anti_entropy.enabled {
            return None;
        }
        let clock = now_ms();
        let advance = |previous| Some(next_stamp(clock, previous));
        let previous = self.last_stamp_ms.fetch_update(Ordering::AcqRel, Ordering::Acquire, advance);
        Some(next_stamp(clock, previous.unwrap_or_else(|previous| previous)))
    }
}
