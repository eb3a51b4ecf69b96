//! Applying one task that is not a document addition: what it changes, and the details it leaves.

use milli_core::update::Settings as Builder;
use serde_json::{Map, Value, json};

use super::{Content, Task, documents};
use crate::engine::store::CatalogChange;
use crate::engine::{self, Engine, settings};
use crate::error::{ApiError, ApiResult};

/// What became of a task.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Details that replace the initial ones of the same name.
    pub details: Vec<(&'static str, Value)>,
    /// Changes to the catalog, to be made durable together with the task's end.
    pub changes: Vec<CatalogChange>,
    /// The directory of an index to remove once that is durable.
    pub discard: Option<String>,
}

impl Outcome {
    fn detail(name: &'static str, value: impl Into<Value>) -> Self {
        Self { details: vec![(name, value.into())], ..Self::default() }
    }
}

/// Applies `task`.
///
/// # Errors
/// The error that the task ends with; nothing was applied then.
pub fn apply(engine: &Engine, task: &Task) -> ApiResult<Outcome> {
    let uid = task.index_uid.as_deref().unwrap_or_default();
    match &task.content {
        None => Ok(Outcome::default()),
        Some(Content::Documents { .. }) => Err(ApiError::internal("document additions are applied in groups")),
        Some(Content::DeleteIds(ids)) => {
            let count = documents::delete_ids(engine, uid, &engine.index(uid)?, ids)?;
            Ok(Outcome::detail("deletedDocuments", count))
        }
        Some(Content::DeleteByFilter(filter)) => {
            let count = documents::delete_by_filter(engine, uid, &engine.index(uid)?, filter)?;
            Ok(Outcome::detail("deletedDocuments", count))
        }
        Some(Content::DeleteAll) => {
            let count = documents::delete_all(uid, &engine.index(uid)?)?;
            Ok(Outcome::detail("deletedDocuments", count))
        }
        Some(Content::Settings { settings, creates_index }) => change_settings(engine, uid, settings, *creates_index),
        Some(Content::CreateIndex { primary_key }) => create_index(engine, uid, primary_key.as_deref()),
        Some(Content::UpdateIndex { primary_key }) => {
            let index = engine.index(uid)?;
            if let Some(primary_key) = primary_key {
                set_primary_key(uid, &index, primary_key)?;
            }
            Ok(Outcome::default())
        }
        Some(Content::DeleteIndex) => delete_index(engine, uid),
        Some(Content::Swap(pairs)) => swap(engine, pairs),
        Some(Content::ChangeRule { uid, fields }) => {
            engine.rules().change(uid, fields.as_ref())?;
            Ok(Outcome::default())
        }
        Some(Content::ClearRules) => Ok(Outcome::detail("deletedDocuments", engine.rules().clear()?)),
        Some(Content::Cancel { .. }) => Err(ApiError::internal("cancelations are applied by the queue")),
    }
}

/// The details of a task that failed: what was counted is zero.
pub fn failed_details(task: &Task) -> Vec<(&'static str, Value)> {
    let zero = |name| vec![(name, json!(0))];
    match &task.content {
        Some(Content::Documents { .. }) => zero("indexedDocuments"),
        Some(
            Content::DeleteIds(_)
            | Content::DeleteByFilter(_)
            | Content::DeleteAll
            | Content::DeleteIndex
            | Content::ClearRules,
        ) => zero("deletedDocuments"),
        Some(
            Content::Settings { .. }
            | Content::CreateIndex { .. }
            | Content::UpdateIndex { .. }
            | Content::Swap(_)
            | Content::Cancel { .. }
            | Content::ChangeRule { .. },
        )
        | None => Vec::new(),
    }
}

fn change_settings(
    engine: &Engine,
    uid: &str,
    settings: &Map<String, Value>,
    creates_index: bool,
) -> ApiResult<Outcome> {
    let index = if creates_index { engine.index_or_create(uid)? } else { engine.index(uid)? };
    let mut wtxn = index.write_txn()?;
    let mut builder = Builder::new(&mut wtxn, &index, engine::indexer());
    settings::apply(&mut builder, settings)?;
    builder.execute(|_| (), || false).map_err(|error| ApiError::in_index(uid, error))?;
    wtxn.commit()?;
    Ok(Outcome::default())
}

fn set_primary_key(uid: &str, index: &milli_core::Index, primary_key: &str) -> ApiResult<()> {
    let mut wtxn = index.write_txn()?;
    let mut builder = Builder::new(&mut wtxn, index, engine::indexer());
    builder.set_primary_key(primary_key.to_owned());
    builder.execute(|_| (), || false).map_err(|error| ApiError::in_index(uid, error))?;
    wtxn.commit()?;
    Ok(())
}

fn create_index(engine: &Engine, uid: &str, primary_key: Option<&str>) -> ApiResult<Outcome> {
    if engine.store().index_id(uid)?.is_some() {
        let message = format!("Index `{uid}` already exists.");
        return Err(ApiError::new("index_already_exists", message));
    }
    let (id, index) = engine.prepare_index()?;
    if let Some(primary_key) = primary_key {
        set_primary_key(uid, &index, primary_key)?;
    }
    let change = CatalogChange::Insert { uid: uid.to_owned(), id };
    Ok(Outcome { changes: vec![change], ..Outcome::default() })
}

fn delete_index(engine: &Engine, uid: &str) -> ApiResult<Outcome> {
    let index = engine.index(uid)?;
    let rtxn = index.read_txn()?;
    let count = index.number_of_documents(&rtxn)?;
    Ok(Outcome {
        details: vec![("deletedDocuments", count.into())],
        changes: vec![CatalogChange::Remove(uid.to_owned())],
        discard: engine.store().index_id(uid)?,
    })
}

fn swap(engine: &Engine, pairs: &[(String, String)]) -> ApiResult<Outcome> {
    let mut missing = Vec::new();
    for uid in pairs.iter().flat_map(|(left, right)| [left, right]) {
        if engine.store().index_id(uid)?.is_none() {
            missing.push(uid.clone());
        }
    }
    match missing.as_slice() {
        [] => {}
        [uid] => return Err(ApiError::index_not_found(uid)),
        several => {
            let names: Vec<_> = several.iter().map(|uid| format!("`{uid}`")).collect();
            let message = format!("Indexes {} not found.", names.join(", "));
            return Err(ApiError::new("index_not_found", message));
        }
    }
    let change = |(left, right): &(String, String)| CatalogChange::Swap(left.clone(), right.clone());
    Ok(Outcome { changes: pairs.iter().map(change).collect(), ..Outcome::default() })
}
