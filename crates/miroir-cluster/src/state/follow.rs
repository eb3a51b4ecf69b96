//! What instances hold in memory follows the store: each is notified of the others' changes and reads them again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use miroir_core::base::id::IndexUid;
use miroir_core::write::task::{Task, TaskStatus};
use miroir_store::{Change, StoreError, Table, View};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, State};

/// Before an outage of the store is looked at again.
const PAUSE: Duration = Duration::from_millis(250);

/// A table in memory that can be brought up to date.
#[async_trait]
pub trait Follow: Send + Sync {
    /// Read a record again, unless memory has this version of it.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn record(&self, key: &str, version: Option<u64>) -> Result<(), StoreError>;

    /// Read everything again.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn everything(&self) -> Result<(), StoreError>;
}

#[async_trait]
impl<T, V> Follow for View<T, V>
where
    T: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    async fn record(&self, key: &str, version: Option<u64>) -> Result<(), StoreError> {
        self.refresh(key, version).await
    }

    async fn everything(&self) -> Result<(), StoreError> {
        self.reload().await
    }
}

impl State {
    /// Follow the store's changes until it is closed.
    pub async fn follow_store(self: Arc<Self>) {
        let mut watch = self.store.watch();
        // What changed before the watch began.
        let mut outdated = self.store.is_shared();
        loop {
            if outdated {
                match self.reload_all().await {
                    Ok(()) => outdated = false,
                    Err(error) => {
                        tracing::warn!(%error, "what other instances changed cannot be read; trying again");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                continue;
            }
            let Some(change) = watch.next().await else { return };
            outdated = !self.handle_change(change).await;
        }
    }

    /// Apply a change that another instance has made. Returns false when everything has to be read again.
    async fn handle_change(&self, change: Change) -> bool {
        match change {
            Change::Record { table, key, version } => {
                let Some(view) = self.view_of(table) else { return true };
                let read = view.record(&key, version).await;
                if table == Table::Rules {
                    self.look_at_rules();
                }
                if let Err(error) = &read {
                    tracing::warn!(%error, %table, key, "a changed record cannot be read; reading everything");
                }
                read.is_ok()
            }
            Change::Tasks => {
                self.registered.notify_one();
                true
            }
            Change::LeaseWanted(scope) => {
                self.index_locks.give_up(&scope);
                true
            }
            Change::LeaseReleased(scope) => {
                self.index_locks.try_again(&scope);
                true
            }
            Change::Log(_) => true,
            Change::Marked(mark) => {
                self.catching_up.came(mark);
                true
            }
            Change::Everything => false,
        }
    }

    /// Know what the end of tasks changed before a client is told of it: settings that were committed, replicas that
    /// missed a write. Whoever wrote it, this instance or another, told the store first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn catch_up_with(&self, tasks: &[Task]) -> Result<(), Error> {
        let ended = || tasks.iter().filter(|task| task.status.is_final());
        let missed: BTreeSet<&IndexUid> = ended()
            .filter(|task| task.node_tasks.iter().any(|node_task| node_task.status != TaskStatus::Succeeded))
            .filter_map(|task| task.physical.as_ref())
            .collect();
        for physical in missed {
            self.stale.refresh(physical).await?;
        }
        let committed: BTreeSet<IndexUid> = ended().filter_map(|task| self.unknown_settings(task)).collect();
        for uid in committed {
            self.catalog.refresh(&uid).await?;
        }
        Ok(())
    }

    /// The name of the index, when a task committed settings of it that memory does not know.
    fn unknown_settings(&self, task: &Task) -> Option<IndexUid> {
        let version = task.effects.broadcast.as_ref()?.version?;
        match self.catalog.by_physical(task.physical.as_ref()?) {
            Some(index) => Some(index).filter(|index| index.settings_version < version).map(|index| index.uid.clone()),
            None => task.index_uid.clone(),
        }
    }

    async fn reload_all(&self) -> Result<(), StoreError> {
        for table in Table::ALL {
            if let Some(view) = self.view_of(*table) {
                view.everything().await?;
            }
        }
        self.gaps.fetch_add(1, Ordering::AcqRel);
        self.registered.notify_one();
        Ok(())
    }

    /// The tables that every instance holds in memory.
    pub(crate) fn view_of(&self, table: Table) -> Option<&dyn Follow> {
        match table {
            Table::Catalog => Some(self.catalog.follow()),
            Table::Topology => Some(self.fleet.follow()),
            Table::StaleReplicas => Some(self.stale.follow()),
            Table::Keys => Some(self.keys.follow()),
            Table::Tombstones => Some(self.tombstones.follow()),
            Table::Features => Some(self.features.follow()),
            Table::Webhooks => Some(self.webhooks.follow()),
            Table::Rules => Some(self.rules.follow()),
            Table::Peers | Table::Operations | Table::Jobs | Table::AntiEntropy | Table::Meta => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Cluster;
    use std::num::NonZeroU32;

    use miroir_core::base::id::{NodeId, ShardId, TaskUid};
    use miroir_core::write::task::{BroadcastTask, NewTask, NodeTask, TaskKind};
    use miroir_store::{Batch, TypedTable};
    use time::OffsetDateTime;

    use super::*;
    use crate::state::catalog::Index;
    use crate::state::stale::{Miss, Reason, StaleReplicas};
    use crate::testing::instance;

    /// What a change leaves in the store before this instance's memory knows of it.
    async fn committed(cluster: &Cluster) -> Task {
        let uid: IndexUid = "films".parse().expect("a uid");
        let mut index = Index::new(uid.clone(), uid.clone(), None, NonZeroU32::MIN);
        index.ready = true;
        cluster.state.catalog.insert(index.clone(), Batch::default()).await.expect("written");
        index.settings_version = 1;
        let table = TypedTable::<Index>::new(Table::Catalog);
        let elsewhere = StaleReplicas::load(cluster.state.store.clone()).await.expect("read");
        let miss = Miss {
            index: uid.clone(),
            shard: ShardId(0),
            node: NodeId::new("a"),
            reason: Reason::FailedTask,
            arrives_until: None,
        };
        let with = Batch { writes: vec![table.put("films", &index).expect("JSON")], ..Batch::default() };
        elsewhere.miss(&[miss], with).await.expect("written");
        let node_task = NodeTask {
            node: NodeId::new("a"),
            uid: 0,
            shards: Vec::new(),
            status: TaskStatus::Failed,
            error: None,
            deleted_documents: None,
        };
        let mut task = NewTask::new(TaskKind::SettingsUpdate, OffsetDateTime::now_utc()).numbered(TaskUid(0));
        (task.physical, task.status, task.node_tasks) = (Some(uid), TaskStatus::Succeeded, vec![node_task]);
        task.effects.broadcast = Some(BroadcastTask { token: "t".into(), version: Some(1) });
        task
    }

    #[tokio::test]
    async fn whoever_sees_that_a_task_has_ended_finds_what_it_did() {
        let cluster = instance().await;
        let task = committed(&cluster).await;
        let uid: IndexUid = "films".parse().expect("a uid");
        let seen = || {
            (cluster.state.catalog.read(&uid).map(|index| index.settings_version), cluster.state.stale.of(&uid).len())
        };
        assert_eq!(seen(), (Some(0), 0), "memory knew already");
        let open = Task { status: TaskStatus::Processing, ..task.clone() };
        cluster.state.catch_up_with(&[open]).await.expect("read");
        assert_eq!(seen(), (Some(0), 0), "asked the store for a task that has not ended");
        cluster.state.catch_up_with(&[task]).await.expect("read");
        assert_eq!(seen(), (Some(1), 1));
    }
}
