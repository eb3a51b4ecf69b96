//! What SQLite's errors mean to us.

use std::sync::Arc;

use rusqlite::{Error, ErrorCode};

use crate::StoreError;

/// The meaning of an error of SQLite.
#[allow(clippy::wildcard_enum_match_arm)] // the library's codes, of which only these are told apart
pub(super) fn failure(error: Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked,
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupted(error.to_string()),
        _ => StoreError::Unavailable(Arc::new(error)),
    }
}
