//! Tasks and other work as the store has them.

use std::collections::BTreeSet;

use miroir_core::base::id::{IndexUid, TaskUid};
use miroir_core::write::task::{Task, TaskKind, TaskPage, TaskQuery, TaskStatus};
use miroir_store::{HeldLease, JobOptions, Jobs, ListedJob};

use crate::{Error, Index, State};

/// Tasks of an index that are looked through for those that wait for it.
const WAITING: usize = 1000;

/// Tasks that have not ended.
pub(crate) fn unfinished() -> TaskQuery {
    TaskQuery { statuses: Some([TaskStatus::Enqueued, TaskStatus::Processing].into()), ..TaskQuery::default() }
}

impl State {
    /// A page of tasks. What those that have ended changed is known before it is returned.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage, Error> {
        let page = self.store.tasks(query).await?;
        self.catch_up_with(&page.tasks).await?;
        Ok(page)
    }

    /// A task, when there is one of this number and this may be seen. What it changed is known before it is returned.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn task(&self, uid: TaskUid, may_be_seen: impl Fn(&Task) -> bool) -> Result<Option<Task>, Error> {
        let found = self.store.task(uid).await?.filter(may_be_seen);
        self.catch_up_with(found.as_slice()).await?;
        Ok(found)
    }

    /// The leases that have not ended.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn leases(&self) -> Result<Vec<HeldLease>, Error> {
        Ok(self.store.leases().await?)
    }

    /// The jobs of the background, open and ended.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn jobs(&self) -> Result<Vec<ListedJob>, Error> {
        Ok(Jobs::new(self.store.clone(), JobOptions::default()).list().await?)
    }

    /// Tasks of these indexes are under way, of this kind or of any.
    pub(crate) async fn is_busy(&self, uids: &[IndexUid], kind: Option<TaskKind>) -> Result<bool, Error> {
        let query = TaskQuery {
            kinds: kind.map(|kind| [kind].into()),
            index_uids: Some(uids.iter().cloned().collect()),
            limit: 0,
            ..unfinished()
        };
        Ok(self.store.tasks(&query).await?.total > 0)
    }

    /// Tasks wait for the index that are none of these.
    pub(crate) async fn is_awaited(&self, index: &Index, but: &BTreeSet<TaskUid>) -> Result<bool, Error> {
        let query = TaskQuery { index_uids: Some([index.uid.clone()].into()), limit: WAITING, ..unfinished() };
        let page = self.store.tasks(&query).await?;
        let waits =
            page.tasks.iter().any(|task| !but.contains(&task.uid) && task.physical.as_ref() == Some(&index.physical));
        Ok(waits || page.total > WAITING as u64)
    }
}
