//! Tasks as clients see them.

use serde::Serialize;
use serde_json::value::RawValue;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime, UtcOffset};

use super::{Task, TaskKind, TaskStatus};
use crate::base::error::ErrorBody;
use crate::base::id::TaskUid;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    uid: TaskUid,
    batch_uid: Option<TaskUid>,
    index_uid: Option<&'a str>,
    status: TaskStatus,
    #[serde(rename = "type")]
    kind: TaskKind,
    canceled_by: Option<TaskUid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a RawValue>,
    error: Option<&'a ErrorBody>,
    duration: Option<String>,
    enqueued_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_metadata: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    task_uid: TaskUid,
    index_uid: Option<&'a str>,
    status: TaskStatus,
    #[serde(rename = "type")]
    kind: TaskKind,
    enqueued_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_metadata: Option<&'a str>,
}

impl Task {
    /// The JSON text of `GET /tasks/{uid}`.
    pub fn view(&self) -> String {
        text(&View::from(self))
    }

    /// The JSON text that answers a write: always `enqueued`, whatever has become of it meanwhile.
    pub fn summary(&self) -> String {
        text(&Summary {
            task_uid: self.uid,
            index_uid: self.shown_index(),
            status: TaskStatus::Enqueued,
            kind: self.kind,
            enqueued_at: timestamp(self.enqueued_at),
            custom_metadata: self.custom_metadata.as_deref(),
        })
    }
}

impl<'a> From<&'a Task> for View<'a> {
    fn from(task: &'a Task) -> Self {
        Self {
            uid: task.uid,
            batch_uid: task.batch_uid(),
            index_uid: task.shown_index(),
            status: task.status,
            kind: task.kind,
            canceled_by: task.canceled_by,
            details: task.details.as_deref(),
            error: task.error.as_ref(),
            duration: task.started_at.zip(task.finished_at).and_then(|(start, end)| duration(end - start)),
            enqueued_at: timestamp(task.enqueued_at),
            started_at: task.started_at.map(timestamp),
            finished_at: task.finished_at.map(timestamp),
            custom_metadata: task.custom_metadata.as_deref(),
        }
    }
}

/// Writing strings, numbers and raw JSON cannot fail; an empty object stands for the impossible.
pub(super) fn text(view: &impl Serialize) -> String {
    serde_json::to_string(view).unwrap_or_else(|_| "{}".into())
}

/// RFC 3339 in UTC with as many digits as needed, up to nanoseconds. Years that the format cannot write are cut off.
pub(super) fn timestamp(at: OffsetDateTime) -> String {
    let utc = at.checked_to_offset(UtcOffset::UTC).unwrap_or(at);
    let bound = if utc.year() < 0 { "0000-01-01T00:00:00Z" } else { "9999-12-31T23:59:59.999999999Z" };
    utc.format(&Rfc3339).unwrap_or_else(|_| bound.into())
}

/// ISO 8601 as Meilisearch writes it: days, then seconds with three, six or nine decimals. Negative: none.
pub fn duration(duration: Duration) -> Option<String> {
    if duration.is_negative() {
        return None;
    }
    let day = Duration::DAY.whole_seconds();
    let (days, seconds) = (duration.whole_seconds() / day, duration.whole_seconds() % day);
    let nanos = duration.subsec_nanoseconds();
    let date = if days == 0 { String::new() } else { format!("{days}D") };
    if days != 0 && seconds == 0 && nanos == 0 {
        return Some(format!("P{date}"));
    }
    let decimals = match nanos {
        0 => String::new(),
        n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
        n => format!(".{n:09}"),
    };
    Some(format!("P{date}T{seconds}{decimals}S"))
}
