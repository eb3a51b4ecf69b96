//! Tasks as the scripts take them.

use std::sync::Arc;

use miroir_core::base::id::TaskUid;
use miroir_core::write::task::{NewTask, Task, instant};
use time::OffsetDateTime;

use crate::{StoreError, label};

/// The largest whole number up to which the scripts, whose numbers are floating-point numbers, count exactly.
pub(super) const MAX_NUMBER: u64 = (1 << 53) - 1;

/// The nanosecond of a time that there is not.
const NEVER: u32 = u32::MAX;
/// The times of a row: three, of 5 bytes of seconds and 4 of nanoseconds each.
const TIMES: usize = 27;

/// What the scripts keep of a task.
pub(super) struct Row {
    /// Where it belongs when it is new.
    pub(super) label: String,
    /// What it has in common with its group, besides the label: kind, status, whether it has begun, whether it is final.
    pub(super) tail: String,
    /// Who canceled it; empty for nobody.
    pub(super) canceler: String,
    /// When it was enqueued, started, finished.
    pub(super) times: [u8; TIMES],
    /// The task as JSON, with or without its number.
    pub(super) body: Vec<u8>,
}

impl Row {
    pub(super) fn of_new(task: NewTask) -> Result<Self, StoreError> {
        let body = serde_json::to_vec(&task).map_err(|error| StoreError::NewTask(Arc::new(error)))?;
        // The number is not looked at.
        Ok(Self::new(&task.numbered(TaskUid(0)), body))
    }

    pub(super) fn of(task: &Task) -> Result<Self, StoreError> {
        let body =
            serde_json::to_vec(task).map_err(|error| StoreError::Task { uid: task.uid, source: Arc::new(error) })?;
        Ok(Self::new(task, body))
    }

    fn new(task: &Task, body: Vec<u8>) -> Self {
        let (begun, is_final) = (u8::from(task.batch_uid().is_some()), u8::from(task.status.is_final()));
        let canceler = task.canceled_by.filter(|uid| uid.0 <= MAX_NUMBER);
        Self {
            label: label::of(task),
            tail: format!("{} {} {begun}{is_final}", task.kind.name(), task.status.name()),
            canceler: canceler.map(|uid| uid.0.to_string()).unwrap_or_default(),
            times: times([Some(task.enqueued_at), task.started_at, task.finished_at]),
            body,
        }
    }
}

/// Second and nanosecond of an instant, as stores order them.
pub(super) fn split(at: OffsetDateTime) -> (i64, u32) {
    let nanos = instant(at);
    let fraction = u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0);
    (nanos.div_euclid(1_000_000_000), fraction)
}

fn times(all: [Option<OffsetDateTime>; 3]) -> [u8; TIMES] {
    let mut row = [0; TIMES];
    for (place, at) in row.chunks_exact_mut(9).zip(all) {
        let (second, nano) = at.map_or((0, NEVER), split);
        // Big-endian: the lower five bytes hold every second of an instant, also a negative one.
        place[..5].copy_from_slice(&second.to_be_bytes()[3..]);
        place[5..].copy_from_slice(&nano.to_be_bytes());
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_nanoseconds_and_their_sign() {
        let before = OffsetDateTime::UNIX_EPOCH - time::Duration::nanoseconds(1);
        assert_eq!(split(before), (-1, 999_999_999));
        let row = times([Some(before), None, Some(OffsetDateTime::UNIX_EPOCH + time::Duration::nanoseconds(5))]);
        assert_eq!(row[..9], [0xff, 0xff, 0xff, 0xff, 0xff, 0x3b, 0x9a, 0xc9, 0xff]);
        assert_eq!(row[14..18], [0xff; 4]);
        assert_eq!(row[18..], [0, 0, 0, 0, 0, 0, 0, 0, 5]);
    }
}
