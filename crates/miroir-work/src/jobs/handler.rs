//! Who does the jobs of a kind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use miroir_store::{Batch, Job};
use serde_json::Value;
use thiserror::Error;

/// Does jobs of one kind, a chunk at a time.
#[async_trait]
pub trait JobHandler: Send + Sync + 'static {
    /// Do the next chunk of this job, from where its cursor stands.
    ///
    /// It may be dropped at any point where it waits, and a chunk that was not saved is done again, here or elsewhere. What
    /// is in the effects is there exactly once; anything else that a chunk does must bear being done twice. A chunk should
    /// take seconds, for the job is not given to others in between, and wait now and then, for the heart beats only while
    /// it waits.
    ///
    /// # Errors
    /// Why the chunk was not done.
    async fn chunk(&self, id: &str, job: &Job) -> Result<Chunk, NotDone>;
}

/// A chunk that was done.
#[derive(Debug)]
pub enum Chunk {
    /// There is more to do.
    Next {
        /// From where.
        cursor: Value,
        /// What is to be written together with the cursor.
        effects: Batch,
    },
    /// It was the last.
    Done {
        /// What is to be written together with the end of the job.
        effects: Batch,
    },
}

/// Why a chunk was not done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotDone {
    /// It may work later.
    #[error("{0}")]
    Yet(String),
    /// It will never work: the job has failed.
    #[error("{0}")]
    Ever(String),
}

/// The kinds of jobs that an instance does.
#[derive(Clone, Default)]
pub struct Handlers(BTreeMap<&'static str, Arc<dyn JobHandler>>);

impl Handlers {
    /// One more kind.
    #[must_use]
    pub fn with(mut self, kind: &'static str, handler: impl JobHandler) -> Self {
        self.0.insert(kind, Arc::new(handler));
        self
    }

    /// All kinds.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.0.keys().copied().collect()
    }

    pub(super) fn of(&self, kind: &str) -> Option<&Arc<dyn JobHandler>> {
        self.0.get(kind)
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
