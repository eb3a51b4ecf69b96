//! Whether a node that has returned has its own disk, as far as that can be told at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;
use miroir_core::base::id::NodeId;
use miroir_core::replica::recovery::{Doubt, Glance, OLDEST, Remembered, at_a_glance};
use miroir_core::write::task::TaskQuery;
use miroir_node::{Call, Node};
use miroir_store::{StoreError, Table, TypedTable, Write};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{Error, Reads};

/// Tasks that are looked through for the newest ones of a node.
pub(crate) const TASKS: usize = 200;

const TABLE: TypedTable<Readmitted> = TypedTable::new(Table::Meta);

/// When a node was readmitted with another disk.
#[derive(Serialize, Deserialize)]
struct Readmitted {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

fn key(node: &NodeId) -> String {
    format!("readmitted/{node}")
}

/// The write by which it is remembered when a node was readmitted that had forgotten tasks.
pub(crate) fn readmission(node: &NodeId, at: OffsetDateTime) -> Result<Write, StoreError> {
    TABLE.put(&key(node), &Readmitted { at })
}

impl Reads {
    /// Ask a node what it says at once, and compare that with what is remembered of it.
    pub(crate) async fn glance_at(&self, node: &Arc<Node>) -> Result<Result<(), Doubt>, Error> {
        let patience = self.state.read_timeout();
        let lost = |error| Error::answer(&node.member.id, error);
        let remembered = self.remembered_of(node).await?;
        let version = node.version(patience).await.map_err(lost)?;
        let newest_task = node.ask_newest_task(patience).await.map_err(lost)?;
        let held = node.indexes(patience).await.map_err(lost)?;
        let indexes = held.into_iter().filter_map(|index| Some((index.uid.parse().ok()?, index.primary_key))).collect();
        let known: Vec<u64> = remembered.task.iter().map(|(uid, _)| *uid).collect();
        let task = match known.is_empty() {
            true => None,
            false => node.these_tasks(&known, patience).await.map_err(lost)?.pop(),
        };
        let task = task.and_then(|task| task.index_uid?.parse().ok());
        Ok(at_a_glance(&remembered, &Glance { version, newest_task, task, indexes }))
    }

    /// Those of the nodes that answer and hold all that they had accepted, as far as that can be told.
    pub(crate) async fn nodes_that_are_whole(&self, among: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let nodes = self.state.nodes();
        let live = among.iter().filter_map(|id| nodes.get(id)).filter(|node| node.health.state().is_live()).cloned();
        let probes = live.map(|node| async move {
            let is_whole = match node.was_seen() {
                true => self.remembers_its_tasks(&node).await,
                false => matches!(self.glance_at(&node).await, Ok(Ok(()))),
            };
            is_whole.then(|| node.member.id.clone())
        });
        let probes: Vec<_> = probes.map(FutureExt::boxed).collect();
        join_all(probes).await.into_iter().flatten().collect()
    }

    /// Whether a node that was looked at is there, and has the disk that it had, as far as it tells.
    async fn remembers_its_tasks(&self, node: &Node) -> bool {
        let known = node.newest_task();
        match node.ask_newest_task(self.state.config.health.timeout).await {
            Ok(newest) => newest >= known,
            // It may be there all the same.
            Err(_) => {
                let health = Call::get("health", "/health", self.state.config.health.timeout).checking();
                node.call(health).await.is_ok_and(|reply| reply.status == 200)
            }
        }
    }

    pub(crate) async fn readmitted_at(&self, node: &NodeId) -> Result<Option<OffsetDateTime>, Error> {
        Ok(TABLE.get(&*self.state.store, &key(node)).await?.map(|record| record.value.at))
    }

    async fn remembered_of(&self, node: &Node) -> Result<Remembered, Error> {
        let id = &node.member.id;
        let page = self.state.store.tasks(&TaskQuery { limit: TASKS, ..TaskQuery::default() }).await?;
        let since = self.readmitted_at(id).await?;
        let since_then = page.tasks.iter().filter(|task| since.is_none_or(|since| task.enqueued_at > since));
        let its_task = |of: &NodeId, task: &miroir_core::write::task::Task| {
            let uid = task.node_tasks.iter().filter(|task| task.node == *of).map(|task| task.uid).max()?;
            Some((uid, task.physical.clone()?))
        };
        let task = since_then.filter_map(|task| its_task(id, task)).max();
        let ready = self.state.indexes();
        Ok(Remembered {
            oldest: OLDEST,
            newest_task: node.newest_task().max(task.as_ref().map(|(uid, _)| *uid)),
            task,
            indexes: ready.iter().map(|index| (index.physical.clone(), index.primary_key.clone())).collect(),
        })
    }
}
