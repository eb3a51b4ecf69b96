//! Tasks are weighed, and what came of them is recorded: of all of a round together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use miroir_core::base::id::{IndexUid, NodeId, ShardId, TaskUid};
use miroir_core::write::settlement::{Settlement, settlement};
use miroir_core::write::task::{NodeTask, Task, TaskQuery, TaskStatus};
use miroir_store::Batch;
use time::OffsetDateTime;

use super::finish::tell_what_was_done;
use super::{BY_THEMSELVES, SHOWN, TaskReconciler, WEIGHED, finish};
use crate::state::stale::{Miss, Reason, StaleShards};
use crate::write::weigh::shards_of;
use crate::{Error, Index, Tasks};

/// What a round has found out and not recorded yet.
#[derive(Default)]
pub(super) struct RoundFindings {
    task_updates: Vec<Task>,
    missed: Vec<Miss>,
    /// What becomes of indexes.
    ended: BTreeMap<IndexUid, EndedTask>,
    /// The stale replicas of indexes, as they will be.
    stale: BTreeMap<IndexUid, Arc<StaleShards>>,
}

/// What the ends of an index's tasks change in the catalog.
#[derive(Clone, Default)]
struct EndedTask {
    is_ready: bool,
    primary_key: Option<String>,
}

impl RoundFindings {
    /// Those who are not fresh when the next task of an index is weighed: tasks of one round come one after the other.
    pub(super) fn stale(&mut self, tasks: &Tasks, physical: &IndexUid) -> &mut Arc<StaleShards> {
        self.stale.entry(physical.clone()).or_insert_with(|| tasks.state.stale.of(physical))
    }

    /// This task, and those that have ended and of which the store is not told yet.
    fn ended_with(&self, task: TaskUid) -> BTreeSet<TaskUid> {
        let ended = self.task_updates.iter().filter(|task| task.status.is_final()).map(|task| task.uid);
        ended.chain([task]).collect()
    }

    pub(super) fn miss(&mut self, tasks: &Tasks, missed: Vec<Miss>) {
        for miss in &missed {
            Arc::make_mut(self.stale(tasks, &miss.index)).insert((miss.shard, miss.node.clone()));
        }
        self.missed.extend(missed);
    }
}

impl TaskReconciler {
    /// Weigh the tasks of which there is news. Returns whether any changed.
    ///
    /// # Errors
    /// [`Error::Store`]: nothing of it is forgotten, and it is tried again.
    pub(super) async fn weigh(&mut self) -> Result<bool, Error> {
        let mut taken = self.backlog.take_ready(WEIGHED);
        self.was_full = taken.len() == WEIGHED;
        taken.extend(self.backlog.take_begun(SHOWN));
        let uids: BTreeSet<TaskUid> = taken.iter().copied().chain(self.backlog.by_themselves(BY_THEMSELVES)).collect();
        if uids.is_empty() {
            return Ok(false);
        }
        let weighed = self.weigh_these(&uids).await;
        if weighed.is_err() {
            taken.into_iter().for_each(|uid| self.backlog.put_back(uid));
        }
        weighed
    }

    async fn weigh_these(&mut self, uids: &BTreeSet<TaskUid>) -> Result<bool, Error> {
        let query = TaskQuery { uids: Some(uids.clone()), limit: uids.len(), reverse: true, ..TaskQuery::default() };
        let tasks = self.tasks.state.store.tasks(&query).await?.tasks;
        let there: BTreeSet<TaskUid> =
            tasks.iter().filter(|task| !task.status.is_final()).map(|task| task.uid).collect();
        // Others have ended them, or they were pruned since.
        uids.difference(&there).for_each(|uid| self.backlog.remove(*uid));
        let mut found = RoundFindings::default();
        for mut task in tasks.into_iter().filter(|task| there.contains(&task.uid)) {
            let (status, before) = (task.status, (task.node_tasks.clone(), task.effects.canceler));
            let told = task.details.as_ref().map(|raw| raw.get().to_owned());
            self.backlog.update(&mut task);
            self.conclude(&mut task, &mut found).await?;
            let changed = status != task.status
                || before != (task.node_tasks.clone(), task.effects.canceler)
                || task.details.as_ref().map(|raw| raw.get()) != told.as_deref();
            if changed {
                if status != task.status {
                    self.tasks.state.metrics.task(task.status.name());
                }
                found.task_updates.push(task);
            }
        }
        self.record(found).await
    }

    async fn record(&mut self, found: RoundFindings) -> Result<bool, Error> {
        let RoundFindings { task_updates, missed, ended, stale: _ } = found;
        let tasks = &self.tasks;
        // The catalog first: whoever sees that a task has ended finds what it did.
        if !ended.is_empty() {
            let now = OffsetDateTime::now_utc();
            let change = |index: &mut Index| {
                let Some(EndedTask { is_ready, primary_key }) = ended.get(&index.physical) else { return };
                index.ready |= *is_ready;
                index.updated_at = now;
                if let Some(key) = primary_key {
                    index.primary_key = Some(key.clone());
                    index.pending_key = None;
                }
            };
            tasks.state.catalog.update_all(&ended.keys().cloned().collect(), change).await?;
        }
        if task_updates.is_empty() && missed.is_empty() {
            return Ok(false);
        }
        let finals: Vec<Task> = match tasks.state.has_webhooks() {
            true => task_updates.iter().filter(|task| task.status.is_final()).cloned().collect(),
            false => Vec::new(),
        };
        let are_final: Vec<(TaskUid, bool)> =
            task_updates.iter().map(|task| (task.uid, task.status.is_final())).collect();
        tasks.writes.record_missed(&missed, Batch { task_updates, ..Batch::default() }).await?;
        tasks.state.look_at_rules();
        tasks.state.announce(&finals);
        for (uid, is_final) in are_final {
            if is_final { self.backlog.remove(uid) } else { self.backlog.is_shown(uid) }
        }
        Ok(true)
    }

    async fn conclude(&mut self, task: &mut Task, found: &mut RoundFindings) -> Result<(), Error> {
        if task.node_tasks.is_empty() {
            return self.run_builtin_task(task).await;
        }
        let tasks = self.tasks.clone();
        let stale = task.physical.as_ref().map(|physical| found.stale(&tasks, physical).clone()).unwrap_or_default();
        let is_fresh =
            |shard, node: &NodeId| !stale.contains(&(shard, node.clone())) && tasks.state.node(node).is_some();
        match settlement(&task.node_tasks, |node| self.backlog.is_down(node), is_fresh) {
            Settlement::Enqueued => {}
            Settlement::Processing => {
                task.status = TaskStatus::Processing;
                let pending = |part: &NodeTask| !part.status.is_final() && !self.backlog.is_down(&part.node);
                if !task.node_tasks.iter().any(pending) {
                    self.backlog.wait(task.uid);
                }
            }
            Settlement::Final { .. } if self.backlog.hold_up(task.uid) => task.status = TaskStatus::Processing,
            Settlement::Final { status, error, done, stale } => {
                if !self.apply_effects(task, status, found).await? {
                    task.status = TaskStatus::Processing;
                    self.backlog.put_back(task.uid);
                    return Ok(());
                }
                found.miss(&tasks, self.missed_by(task, stale));
                if let Some(cut_over) = &task.effects.cuts_over {
                    tasks.state.catalog.cut_over(&cut_over.token).await?;
                }
                finish(task, status, error);
                tell_what_was_done(task, &done);
            }
        }
        Ok(())
    }

    fn missed_by(&self, task: &Task, by: Vec<(NodeId, BTreeSet<ShardId>)>) -> Vec<Miss> {
        let index = task.physical.as_ref().and_then(|physical| self.tasks.state.catalog.by_physical(physical));
        let Some(index) = index else { return Vec::new() };
        let topology = self.tasks.state.topology();
        let replicas = by.into_iter().flat_map(|(node, shards)| {
            let all = || shards_of(&topology, index.shards, &node);
            let shards: Vec<ShardId> = if shards.is_empty() { all() } else { shards.into_iter().collect() };
            shards.into_iter().map(move |shard| (shard, node.clone()))
        });
        // Who has ceased to take the shard's writes since is no replica that could be healed.
        let replicas = replicas.filter(|(shard, node)| topology.takes_writes(index.shards, *shard, node));
        let miss = |(shard, node)| Miss {
            index: index.physical.clone(),
            shard,
            node,
            reason: Reason::FailedTask,
            arrives_until: None,
        };
        replicas.map(miss).collect()
    }

    /// What the end of a task changes in the catalog. Returns false when it cannot be done yet.
    async fn apply_effects(&self, task: &Task, status: TaskStatus, found: &mut RoundFindings) -> Result<bool, Error> {
        let tasks = &self.tasks;
        let index = task.physical.as_ref().and_then(|physical| tasks.state.catalog.by_physical(physical));
        let Some(index) = index else { return Ok(true) };
        // As it will be when what was found out before is recorded.
        let before = found.ended.get(&index.physical).cloned().unwrap_or_default();
        let is_ready = index.ready || before.is_ready;
        let effects = &task.effects;
        let succeeded = status == TaskStatus::Succeeded && task.error.is_none();
        if effects.creates_index {
            let made = |t: &&NodeTask| t.shards.is_empty() && t.status == TaskStatus::Succeeded;
            if !task.node_tasks.iter().any(|t| made(&t)) {
                return tasks.give_up_index(&index, &found.ended_with(task.uid)).await;
            }
            if !is_ready && !tasks.adopt_settings(&index, &succeeded_nodes(task)).await? {
                return Ok(false);
            }
        } else if !is_ready {
            // Whoever waits for this task finds the index.
            let is_created = !self.has_loaded(task.uid) || self.backlog.is_busy(&index.physical, task.uid);
            if is_created || !tasks.complete(&index.physical).await? {
                return Ok(false);
            }
        }
        let key = effects.primary_key.clone().filter(|_| succeeded);
        if key.is_none()
            && before.primary_key.is_none()
            && index.pending_key.is_some()
            && !tasks.give_back_key(&index, &found.ended_with(task.uid)).await?
        {
            return Ok(false);
        }
        let ended = found.ended.entry(index.physical.clone()).or_default();
        ended.is_ready |= effects.creates_index;
        ended.primary_key = key.or_else(|| ended.primary_key.take());
        Ok(true)
    }
}

/// The nodes whose index-wide parts all succeeded.
fn succeeded_nodes(task: &Task) -> Vec<NodeId> {
    let index_wide = || task.node_tasks.iter().filter(|t| t.shards.is_empty());
    let failed: BTreeSet<&NodeId> =
        index_wide().filter(|t| t.status != TaskStatus::Succeeded).map(|t| &t.node).collect();
    let nodes: BTreeSet<&NodeId> = index_wide().map(|t| &t.node).collect();
    nodes.difference(&failed).map(|node| (*node).clone()).collect()
}
