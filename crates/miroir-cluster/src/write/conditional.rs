//! Changes whose effect depends on what a replica holds: deletions by filter, and edits.
//!
//! Each is counted in the step that registers its task, or in which it is written down who may have it without one, so that
//! whoever compares replicas knows of it.

use miroir_core::write::task::{TaskKind, TaskQuery};
use miroir_store::StoreError;

use crate::state::stored_work::unfinished;
use crate::{Index, Writes};

/// What is known of such changes of an index at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditional {
    /// How many were handed to it.
    pub changes: u64,
    /// How many were edits.
    pub edits: u64,
    /// Some of these may not have been done by all fresh replicas.
    pub edits_unfinished: bool,
}

/// What the counters of the index move forward by when a change is recorded of which nobody knows what it was.
pub(crate) fn counts_of_unknown(index: &Index) -> Vec<(String, u64)> {
    counts(index, TaskKind::DocumentEdition)
}

/// What the counters of the index move forward by when such a change is recorded.
pub(crate) fn counts(index: &Index, kind: TaskKind) -> Vec<(String, u64)> {
    let edits = (kind == TaskKind::DocumentEdition).then(|| (edit_counter(index), 1));
    [(counter(index), 1)].into_iter().chain(edits).collect()
}

/// What goes with the index.
pub(crate) fn counters(index: &Index) -> Vec<String> {
    vec![counter(index), edit_counter(index)]
}

fn counter(index: &Index) -> String {
    format!("conditional/{}", index.physical)
}

fn edit_counter(index: &Index) -> String {
    format!("edits/{}", index.physical)
}

impl Writes {
    /// What is known of such changes of an index.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn conditional(&self, index: &Index) -> Result<Conditional, StoreError> {
        let query = TaskQuery {
            kinds: Some([TaskKind::DocumentEdition].into()),
            index_uids: Some([index.uid.clone()].into()),
            limit: 1,
            ..unfinished()
        };
        // The tasks first: one that ends in between has been counted.
        let edits_unfinished = self.state.store.tasks(&query).await?.total > 0;
        let changes = self.state.store.count(&counter(index)).await?;
        Ok(Conditional { changes, edits: self.state.store.count(&edit_counter(index)).await?, edits_unfinished })
    }
}
