//! Changes whose effect depends on what a replica holds: deletions by filter, and edits.
//!
//! Each is counted in the step that registers its task, so that whoever compares replicas knows of it.

use miroir_core::task::{TaskKind, TaskQuery, TaskStatus};
use miroir_store::StoreError;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Cluster, Index};

/// Unfinished tasks that are looked at; if there are more, one of them counts as conditional.
const LOOKED_AT: usize = 200;

/// What is known of such changes of an index at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditional {
    /// How many were handed to it.
    pub changes: u64,
    /// Some of them may not have been done by all fresh replicas.
    pub unfinished: bool,
    /// How many were edits.
    pub edits: u64,
    /// Some of these may not have been done by all fresh replicas.
    pub edits_unfinished: bool,
}

/// What the counters of the index move forward by when such a change is registered.
pub(super) fn counts(index: &Index, kind: TaskKind) -> Vec<(String, u64)> {
    let edits = (kind == TaskKind::DocumentEdition).then(|| (edit_counter(index), 1));
    [(counter(index), 1)].into_iter().chain(edits).collect()
}

fn counter(index: &Index) -> String {
    format!("conditional/{}", index.physical)
}

fn edit_counter(index: &Index) -> String {
    format!("edits/{}", index.physical)
}

fn is_by_filter(details: Option<&RawValue>) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Details {
        #[serde(default)]
        original_filter: Option<serde::de::IgnoredAny>,
    }
    details.and_then(|raw| serde_json::from_str::<Details>(raw.get()).ok()?.original_filter).is_some()
}

impl Cluster {
    /// What is known of such changes of an index.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn conditional(&self, index: &Index) -> Result<Conditional, StoreError> {
        let query = TaskQuery {
            statuses: Some([TaskStatus::Enqueued, TaskStatus::Processing].into()),
            kinds: Some([TaskKind::DocumentEdition, TaskKind::DocumentDeletion].into()),
            index_uids: Some([index.uid.clone()].into()),
            limit: LOOKED_AT,
            ..TaskQuery::default()
        };
        // The tasks first: one that ends in between has been counted.
        let open = self.store.tasks(&query).await?;
        let many = open.total > open.tasks.len() as u64;
        let edits_unfinished = many || open.tasks.iter().any(|task| task.kind == TaskKind::DocumentEdition);
        let unfinished = edits_unfinished || open.tasks.iter().any(|task| is_by_filter(task.details.as_deref()));
        let changes = self.store.count(&counter(index)).await?;
        Ok(Conditional { changes, unfinished, edits: self.store.count(&edit_counter(index)).await?, edits_unfinished })
    }
}
