//! One process at a time: an instance holds in memory what is in its file, and would not see what another one writes.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::StoreError;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Held on a file beside the store, until the process ends or this is dropped.
pub(super) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Wait for the lock for so long. Blocks the thread.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process keeps it.
    pub(super) fn take(store: &Path, within: Duration) -> Result<Self, StoreError> {
        let unavailable = |error: std::io::Error| StoreError::Unavailable(Arc::new(error));
        let mut path = OsString::from(store);
        path.push(".lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(unavailable)?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if begun.elapsed() < within => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => return Err(StoreError::Locked),
                Err(TryLockError::Error(error)) => return Err(unavailable(error)),
            }
        }
    }
}
