//! What the line of changes of an index's settings means for writes of its documents.

use miroir_core::base::id::IndexUid;
use miroir_core::document::Checks;
use miroir_core::settings::broadcast::{Line, Phase};
use miroir_work::led;
use tokio::time::Instant;

use crate::state::index_lock::{IndexGuard, patience};
use crate::{Error, Index, Writer, Writes};

/// The kind of led work that changes settings, by which its operations are stored.
pub(crate) const KIND: &str = "settings_broadcast";

impl Writes {
    /// What nodes check of documents that they get now: by the settings that were committed, and by a change of them that
    /// they were told already.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn checks_of(&self, index: &Index) -> Result<Checks, Error> {
        let line = if index.changing { self.line_of(index).await? } else { None };
        let told = line.and_then(|line| line.current);
        let told = told.filter(|change| change.record.phase() != Phase::GoingBack);
        Ok(index.settings.checks(told.as_ref().map(|change| &change.record.proposal.patch)))
    }

    async fn line_of(&self, index: &Index) -> Result<Option<Line>, Error> {
        let stored = led::stored_as::<Line>(&*self.state.store, KIND, Some(index.physical.as_str())).await?;
        Ok(stored.map(|line| line.value.record))
    }
}

impl Writer {
    /// Wait for the write lock of an index until nodes have been told all changes of what may be filtered by that were
    /// asked for before.
    ///
    /// # Errors
    /// As [`Writes::lock_index`]; [`Error::Overloaded`] when it takes longer than a client waits.
    pub(crate) async fn lock_index_behind_settings(&self, uid: &IndexUid) -> Result<IndexGuard, Error> {
        let begun = Instant::now();
        loop {
            let guard = self.lock_index(uid).await?;
            let Some(index) = self.state.catalog.get(uid) else { return Ok(guard) };
            match self.line_of(&index).await? {
                Some(line) if line.filters_later() => {}
                Some(_) | None => return Ok(guard),
            }
            if begun.elapsed() > patience(&self.state.config) {
                return Err(Error::Overloaded("changes of the settings of this index that were asked for before"));
            }
            self.stand_back(guard).await;
        }
    }
}
