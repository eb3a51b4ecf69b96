//! Applying document tasks with the engine.
//!
//! Invariant: either every task of a group is applied and has a result, or nothing was applied.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bumpalo::Bump;
use memmap2::{Mmap, MmapMut};
use milli_core::documents::PrimaryKey;
use milli_core::progress::Progress;
use milli_core::update::ClearDocuments;
use milli_core::update::new::indexer;
use milli_core::{Error as EngineError, Filter, Index, InternalError, UserError};
use roaring::RoaringBitmap;
use serde_json::Value;

use super::Method;
use crate::engine::{self, Engine};
use crate::error::{ApiError, ApiResult};

/// One document payload.
#[derive(Debug)]
pub struct Addition {
    /// Replace or merge.
    pub method: Method,
    /// The documents, one JSON object after the other.
    pub payload: Mmap,
}

/// Reads a payload file. `None` is the empty payload.
///
/// # Errors
/// When the file cannot be read.
pub fn read_payload(path: Option<&Path>) -> std::io::Result<Mmap> {
    let Some(path) = path else { return MmapMut::map_anon(0)?.make_read_only() };
    let mut file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    // Read into anonymous memory rather than mapped: a file that changes under a mapping would be undefined behaviour.
    let mut memory = MmapMut::map_anon(length)?;
    file.read_exact(&mut memory)?;
    memory.make_read_only()
}

/// Writes the documents of `additions` in order, in one transaction. Each payload has its own result: how many distinct
/// documents it holds, or why it was refused.
///
/// # Errors
/// When the engine refuses the group as a whole; nothing was applied then.
pub fn add(
    engine: &Engine,
    uid: &str,
    index: &Index,
    primary_key: Option<&str>,
    additions: &[Addition],
) -> ApiResult<Vec<Result<u64, ApiError>>> {
    let in_index = |error: EngineError| ApiError::in_index(uid, error);
    let arena = Bump::new();
    let rtxn = index.read_txn()?;
    let known_fields = index.fields_ids_map(&rtxn)?;
    let mut fields = known_fields.clone();
    let mut operation = indexer::DocumentOperation::new();
    for addition in additions {
        match addition.method {
            Method::Replace => operation.replace_documents(&addition.payload),
            Method::Merge => operation.update_documents(&addition.payload),
        }
        .map_err(in_index)?;
    }
    let (changes, stats, primary_key) = operation
        .into_changes(&arena, index, &rtxn, primary_key, &mut fields, &|| false, Progress::default())
        .map_err(in_index)?;
    let results: Vec<Result<u64, ApiError>> = stats
        .into_iter()
        .zip(additions)
        .map(|(stats, addition)| match stats.error {
            // Where there are no documents, no key is wrong for them.
            Some(_) if addition.payload.is_empty() => Ok(0),
            Some(error) => Err(ApiError::from(EngineError::UserError(error))),
            None => Ok(stats.document_count),
        })
        .collect();
    if results.iter().any(Result::is_ok) {
        let mut wtxn = index.write_txn()?;
        let embedders = engine.embedders().of(index, &wtxn).map_err(in_index)?;
        indexer::index(
            &mut wtxn,
            index,
            pool()?,
            engine::indexer().grenad_parameters(),
            &known_fields,
            fields,
            primary_key,
            &changes,
            embedders,
            &|| false,
            &Progress::default(),
        )
        .map_err(in_index)?;
        wtxn.commit()?;
    }
    Ok(results)
}

fn pool() -> ApiResult<&'static milli_core::ThreadPoolNoAbort> {
    engine::indexer()
        .thread_pool
        .as_ref()
        .ok_or_else(|| ApiError::internal("the indexing threads could not be started"))
}

/// Deletes the documents with these ids; unknown ids are no error. Returns how many were deleted.
///
/// # Errors
/// When the engine fails; nothing was deleted then.
pub fn delete_ids(engine: &Engine, uid: &str, index: &Index, ids: &[String]) -> ApiResult<u64> {
    let rtxn = index.read_txn()?;
    let known = index.external_documents_ids();
    let mut to_delete = RoaringBitmap::new();
    for id in ids {
        // Longer keys cannot exist, and the store refuses to look for them.
        if id.len() <= 511 && !id.is_empty() {
            to_delete.extend(known.get(&rtxn, id)?);
        }
    }
    drop(rtxn);
    delete_internal(engine, uid, index, to_delete)
}

/// Deletes the documents that `filter` finds. Returns how many were deleted.
///
/// # Errors
/// `invalid_document_filter` when the index cannot evaluate the filter, or when the engine fails.
pub fn delete_by_filter(engine: &Engine, uid: &str, index: &Index, filter: &Value) -> ApiResult<u64> {
    let rtxn = index.read_txn()?;
    let as_document_filter = |error: EngineError| match &error {
        EngineError::UserError(UserError::InvalidFilter(_)) => {
            ApiError::in_index(uid, error).with_code("invalid_document_filter")
        }
        EngineError::UserError(_) | EngineError::InternalError(_) | EngineError::IoError(_) => {
            let api = ApiError::in_index(uid, error);
            if api.code == "invalid_search_filter" { api.with_code("invalid_document_filter") } else { api }
        }
    };
    let to_delete = match Filter::from_json(filter).map_err(as_document_filter)? {
        Some(filter) => filter.evaluate(&rtxn, index).map_err(as_document_filter)?,
        None => RoaringBitmap::new(),
    };
    drop(rtxn);
    delete_internal(engine, uid, index, to_delete)
}

fn delete_internal(engine: &Engine, uid: &str, index: &Index, to_delete: RoaringBitmap) -> ApiResult<u64> {
    if to_delete.is_empty() {
        return Ok(0);
    }
    let in_index = |error: EngineError| ApiError::in_index(uid, error);
    let count = to_delete.len();
    let arena = Bump::new();
    let rtxn = index.read_txn()?;
    let known_fields = index.fields_ids_map(&rtxn)?;
    let mut fields = known_fields.clone();
    // Documents exist, so the primary key is known.
    let missing = InternalError::DatabaseMissingEntry { db_name: "main", key: Some("primary-key") };
    let primary_key = index.primary_key(&rtxn)?.ok_or_else(|| in_index(missing.into()))?;
    let primary_key =
        PrimaryKey::new_or_insert(primary_key, &mut fields).map_err(|error| in_index(EngineError::UserError(error)))?;
    let mut deletion = indexer::DocumentDeletion::new();
    deletion.delete_documents_by_docids(to_delete);
    let changes = deletion.into_changes(&arena, primary_key);
    let mut wtxn = index.write_txn()?;
    let embedders = engine.embedders().of(index, &wtxn).map_err(in_index)?;
    indexer::index(
        &mut wtxn,
        index,
        pool()?,
        engine::indexer().grenad_parameters(),
        &known_fields,
        fields,
        None,
        &changes,
        embedders,
        &|| false,
        &Progress::default(),
    )
    .map_err(in_index)?;
    wtxn.commit()?;
    Ok(count)
}

/// Deletes every document. Returns how many there were.
///
/// # Errors
/// When the engine fails; nothing was deleted then.
pub fn delete_all(uid: &str, index: &Index) -> ApiResult<u64> {
    let mut wtxn = index.write_txn()?;
    let count = ClearDocuments::new(&mut wtxn, index).execute().map_err(|error| ApiError::in_index(uid, error))?;
    wtxn.commit()?;
    Ok(count)
}
