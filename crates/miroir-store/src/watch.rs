//! Watching the store: who changed what. A hint to read again, never the truth itself.

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::Table;

/// Changes that one watcher may lag behind before it is told to read everything again.
const BACKLOG: usize = 4096;

/// Something that changed, here or in another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A record was written at this version, or deleted.
    Record {
        /// The table of the record.
        table: Table,
        /// The key of the record.
        key: String,
        /// The version that it has now; `None`: it was deleted.
        version: Option<u64>,
    },
    /// Tasks were registered or updated.
    Tasks,
    /// A log has a new entry.
    Log(String),
    /// A lease that others wait for is wanted: whoever holds it may release it early.
    LeaseWanted(String),
    /// A lease was released.
    LeaseReleased(String),
    /// All changes were told that had been committed when [`crate::Store::mark`] was called with this.
    Marked(u64),
    /// Changes were missed: everything may have changed.
    Everything,
}

/// One watcher's view of the changes, from when it began.
#[derive(Debug)]
pub struct Watch(broadcast::Receiver<Change>);

impl Watch {
    /// The next change; none once the store is closed. Safe to give up waiting for.
    pub async fn next(&mut self) -> Option<Change> {
        match self.0.recv().await {
            Ok(change) => Some(change),
            Err(RecvError::Lagged(_)) => Some(Change::Everything),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Where a backend tells its watchers. They see the end when this and all clones are gone.
#[derive(Clone, Debug)]
pub(crate) struct Announcer(broadcast::Sender<Change>);

impl Announcer {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch(self.0.subscribe())
    }

    pub(crate) fn tell(&self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            // Nobody watching is no fault.
            let _ = self.0.send(change);
        }
    }
}
