//! Which tasks a listing asks for. [`TaskQuery::matches`] is the definition; stores answer by index and must agree.

use std::collections::BTreeSet;

use time::OffsetDateTime;

use super::{Task, TaskKind, TaskStatus};
use crate::base::id::{IndexUid, TaskUid};

/// How many tasks a page has when the client does not say.
const DEFAULT_LIMIT: usize = 20;

/// An open interval of time; both bounds are left out of it, as in Meilisearch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// Later than this.
    pub after: Option<OffsetDateTime>,
    /// Earlier than this.
    pub before: Option<OffsetDateTime>,
}

impl TimeRange {
    /// Nothing is left out.
    pub fn is_unbounded(&self) -> bool {
        self.after.is_none() && self.before.is_none()
    }

    /// An unbounded range contains everything, also what has no time; a bounded one does not.
    pub fn contains(&self, at: Option<OffsetDateTime>) -> bool {
        match at.map(instant) {
            None => self.is_unbounded(),
            Some(at) => {
                self.after.is_none_or(|after| at > instant(after))
                    && self.before.is_none_or(|before| at < instant(before))
            }
        }
    }
}

/// Nanoseconds since 1970, as stores order times: it saturates in the years 1677 and 2262.
pub fn instant(at: OffsetDateTime) -> i64 {
    let nanos = at.unix_timestamp_nanos();
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

/// The filters and the page of a task listing. `None` filters nothing; an empty set matches nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // named as the parameters of the API are
pub struct TaskQuery {
    pub uids: Option<BTreeSet<TaskUid>>,
    pub batch_uids: Option<BTreeSet<TaskUid>>,
    pub statuses: Option<BTreeSet<TaskStatus>>,
    pub kinds: Option<BTreeSet<TaskKind>>,
    pub index_uids: Option<BTreeSet<IndexUid>>,
    pub canceled_by: Option<BTreeSet<TaskUid>>,
    /// Only tasks that are in a batch already.
    pub begun: bool,
    pub enqueued: TimeRange,
    pub started: TimeRange,
    pub finished: TimeRange,
    /// The page begins with this task, or the next that matches.
    pub from: Option<TaskUid>,
    /// The most tasks in the page.
    pub limit: usize,
    /// Oldest first instead of newest first.
    pub reverse: bool,
}

impl Default for TaskQuery {
    /// The first page of all tasks.
    fn default() -> Self {
        Self {
            uids: None,
            batch_uids: None,
            statuses: None,
            kinds: None,
            index_uids: None,
            canceled_by: None,
            begun: false,
            enqueued: TimeRange::default(),
            started: TimeRange::default(),
            finished: TimeRange::default(),
            from: None,
            limit: DEFAULT_LIMIT,
            reverse: false,
        }
    }
}

impl TaskQuery {
    /// The task passes the filters, on whatever page it stands.
    pub fn matches(&self, task: &Task) -> bool {
        let among = |set: &Option<BTreeSet<TaskUid>>, uid: Option<TaskUid>| {
            set.as_ref().is_none_or(|set| uid.is_some_and(|uid| set.contains(&uid)))
        };
        among(&self.uids, Some(task.uid))
            && among(&self.batch_uids, task.batch_uid())
            && among(&self.canceled_by, task.canceled_by)
            && (!self.begun || task.batch_uid().is_some())
            && self.statuses.as_ref().is_none_or(|set| set.contains(&task.status))
            && self.kinds.as_ref().is_none_or(|set| set.contains(&task.kind))
            && self.index_uids.as_ref().is_none_or(|set| task.indexes().any(|uid| set.contains(uid)))
            && self.enqueued.contains(Some(task.enqueued_at))
            && self.started.contains(task.started_at)
            && self.finished.contains(task.finished_at)
    }

    /// The task does not come before where the page begins.
    pub fn is_reached(&self, uid: TaskUid) -> bool {
        match (self.from, self.reverse) {
            (None, _) => true,
            (Some(from), false) => uid <= from,
            (Some(from), true) => uid >= from,
        }
    }
}

/// A page of a task listing.
#[derive(Clone, Debug, Default)]
pub struct TaskPage {
    /// In the order asked for, at most `limit`.
    pub tasks: Vec<Task>,
    /// How many tasks pass the filters, on whatever page.
    pub total: u64,
    /// Where the next page begins; none on the last page.
    pub next: Option<TaskUid>,
}
