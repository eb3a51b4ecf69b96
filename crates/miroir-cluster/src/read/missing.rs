//! Reads of an index that is not there. A server says first what is wrong with the request itself, and that the index is
//! missing only of one that it could have answered.

use miroir_core::base::id::IndexUid;
use miroir_core::settings::Floor;
use miroir_core::write::task::TaskKind;

use crate::read::refusal::Original;
use crate::read::versions::Reading;
use crate::{Error, Index, Reads};

impl Reads {
    /// The index of a read, which the client asked for as `original`.
    ///
    /// # Errors
    /// What a server says of the request, or [`Error::IndexNotFound`]; as [`Reads::begin_read`].
    pub(crate) async fn index_to_read(
        &self,
        uid: &IndexUid,
        floor: Floor,
        original: &Original,
    ) -> Result<Reading, Error> {
        match self.state.find_index(uid).await {
            Err(missing) => Err(self.said_before_missing(uid, original, missing).await),
            Ok(index) => self.begin_read(index, floor).await,
        }
    }

    /// What it means that nobody answered for shards of these indexes: nodes delete an index before the catalog does.
    pub(crate) async fn missing_or<'a>(&self, error: Error, indexes: impl Iterator<Item = &'a Index>) -> Error {
        for index in indexes {
            let deleted = match self.state.catalog.by_physical(&index.physical) {
                None => Ok(true),
                Some(known) => {
                    self.state.is_busy(std::slice::from_ref(&known.uid), Some(TaskKind::IndexDeletion)).await
                }
            };
            if matches!(deleted, Ok(true)) {
                return Error::IndexNotFound(index.uid.to_string());
            }
        }
        error
    }
}
