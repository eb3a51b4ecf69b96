//! Faults of documents that later documents of the same batch may make up for, by taking their place.

use std::collections::HashMap;

use super::error::DocumentError;

/// More documents than these at fault are not remembered in the hope that later documents replace them.
const LIMIT: usize = 1000;

/// Faults of one kind, by the hash of the document's id.
#[derive(Debug, Default)]
pub(super) struct Faults(HashMap<u64, (u64, DocumentError)>);

impl Faults {
    /// What a document says of its field: that it is sound, or not; none: it does not have the field. `replaces`: it takes
    /// the place of earlier ones with all of their fields. `order` is its place in the batch.
    pub fn record(
        &mut self,
        hash: u64,
        order: u64,
        said: Option<Result<(), DocumentError>>,
        replaces: bool,
    ) -> Result<(), DocumentError> {
        match said {
            Some(Err(error)) if self.0.len() >= LIMIT => return Err(error),
            Some(Err(error)) => _ = self.0.insert(hash, (order, error)),
            Some(Ok(())) => _ = self.0.remove(&hash),
            None if replaces => _ = self.0.remove(&hash),
            None => {}
        }
        Ok(())
    }

    /// The first that is left.
    pub fn first(self) -> Result<(), DocumentError> {
        match self.0.into_values().min_by_key(|(order, _)| *order) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}
