//! The settler: asks the nodes what became of the tasks that are not finished, in batches, and concludes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use miroir_core::error::{Code, ErrorBody};
use miroir_core::id::{IndexUid, NodeId, ShardId, TaskUid};
use miroir_core::settle::{Settlement, settle};
use miroir_core::task::{NodeTask, Selection, Task, TaskKind, TaskQuery, TaskStatus};
use miroir_store::Batch;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::stale::{Miss, Reason};
use super::weigh::shards_of;
use super::{Cluster, Error};
use crate::node::{Call, TASKS_PER_CALL, ToldTask, Untold, comma_separated};

/// Tasks looked at together.
const PAGE: usize = 256;
/// Between two rounds while something moves; clients that wait for a task see its end within this.
const BUSY: Duration = Duration::from_millis(50);
/// Whoever owns this settles the tasks that are not of one index.
pub(super) const CHORES: &str = "chores";
/// Between two rounds while nothing moves.
const QUIET: Duration = Duration::from_secs(1);

/// The background work of settling.
pub struct Settler {
    pub(super) cluster: Arc<Cluster>,
    /// The cancelations under way.
    canceling: BTreeMap<TaskUid, Selection>,
    /// Tasks of nodes that these have been asked to cancel.
    asked: BTreeSet<(NodeId, u64)>,
    /// When all tasks were counted.
    counted: Option<Instant>,
    /// Indexes that are not there yet and that no task creates, when that was last looked at.
    pub(super) orphans: BTreeSet<IndexUid>,
}

/// What one look at all unfinished tasks, oldest first, has come across so far.
#[derive(Default)]
pub(super) struct Round {
    /// The cancelations that were known before it began.
    canceling: BTreeMap<TaskUid, Selection>,
    /// Those among them with tasks that are not finished, or were not before this round.
    pub(super) unfinished_cancelations: BTreeSet<TaskUid>,
    /// The cancelations met.
    met: BTreeMap<TaskUid, Selection>,
    /// The indexes of tasks that are not finished, each with the first of these.
    pub(super) busy: BTreeMap<IndexUid, TaskUid>,
    /// The first change of settings that is not finished, by the index on the nodes.
    broadcasts: BTreeMap<IndexUid, TaskUid>,
    /// Tasks of nodes that are to be canceled.
    doomed: BTreeSet<(NodeId, u64)>,
    /// Tasks that have ended, of which the store is not told yet.
    ended: BTreeSet<TaskUid>,
}

impl Round {
    /// A cancelation that every task before it has been compared with.
    pub(super) fn has_seen(&self, cancelation: TaskUid) -> bool {
        self.canceling.contains_key(&cancelation)
    }

    /// Which cancelation, if any, is about this task; the first.
    fn canceler(&mut self, task: &Task) -> Option<TaskUid> {
        if task.kind == TaskKind::TaskCancelation {
            self.met.insert(task.uid, task.effects.cancels.clone());
        }
        let about = self.canceling.iter().filter(|(_, selection)| selection.contains(task.uid));
        let about: Vec<TaskUid> = about.map(|(uid, _)| *uid).collect();
        self.unfinished_cancelations.extend(&about);
        about.first().copied()
    }

    /// Its indexes have something to do still.
    fn keep_busy(&mut self, task: &Task) {
        let unveils = task.effects.unveils.iter().flat_map(|unveiling| &unveiling.physical);
        for physical in task.physical.iter().chain(unveils) {
            let first = self.busy.entry(physical.clone()).or_insert(task.uid);
            *first = task.uid.min(*first);
        }
    }

    fn ended_with(&self, task: TaskUid) -> BTreeSet<TaskUid> {
        self.ended.iter().copied().chain([task]).collect()
    }

    /// A task of the index that was asked for earlier is not finished.
    pub(super) fn has_earlier(&self, physical: &IndexUid, task: TaskUid) -> bool {
        self.busy.get(physical).is_some_and(|first| *first < task)
    }

    /// A task that somebody else settles.
    fn take_note_of(&mut self, task: &Task) {
        self.canceler(task);
        self.keep_busy(task);
        if let (Some(_), Some(physical)) = (&task.effects.broadcast, &task.physical) {
            let first = self.broadcasts.entry(physical.clone()).or_insert(task.uid);
            *first = task.uid.min(*first);
        }
    }

    /// An earlier change of the index's settings has not ended: whoever waits for the task relies on that, too.
    fn is_held_up(&self, task: &Task) -> bool {
        let first = task.physical.as_ref().and_then(|physical| self.broadcasts.get(physical));
        first.is_some_and(|first| *first < task.uid)
    }
}

type Heard = BTreeMap<(NodeId, u64), ToldTask>;

impl Settler {
    /// The settler of this instance.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster, canceling: BTreeMap::new(), asked: BTreeSet::new(), counted: None, orphans: BTreeSet::new() }
    }

    /// Settle until told to stop; the caller drops the future.
    pub async fn run(mut self) {
        let mut pause = BUSY;
        loop {
            pause = match self.round().await {
                Ok(true) => BUSY,
                Ok(false) => (pause * 2).min(QUIET),
                Err(error) => {
                    tracing::error!(%error, "settling tasks failed; trying again");
                    QUIET
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.cluster.registered.notified() => {
                    pause = BUSY;
                    tokio::time::sleep(BUSY / 5).await;
                }
            }
        }
    }

    /// Look at every unfinished task once. Returns whether any changed.
    async fn round(&mut self) -> Result<bool, Error> {
        let mut round = Round { canceling: std::mem::take(&mut self.canceling), ..Round::default() };
        let mut after: Option<TaskUid> = None;
        let mut changed = false;
        let mut oldest = Duration::ZERO;
        loop {
            let page = self.cluster.store.unsettled_tasks(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            if let (None, Some(first)) = (after, page.first()) {
                oldest = (OffsetDateTime::now_utc() - first.enqueued_at).try_into().unwrap_or_default();
            }
            after = Some(last.uid);
            let full = page.len() == PAGE;
            changed |= self.settle_page(page, &mut round).await?;
            if !full {
                break;
            }
        }
        // A cancelation that was met for the first time is looked at again soon.
        changed |= round.met.keys().any(|uid| !round.has_seen(*uid));
        self.canceling = round.met;
        self.cancel_on_nodes(round.doomed).await;
        self.cluster.metrics.task_backlog(oldest);
        if self.counted.is_none_or(|counted| counted.elapsed() >= QUIET) {
            self.counted = Some(Instant::now());
            let all = TaskQuery { limit: 1, ..TaskQuery::default() };
            self.cluster.metrics.tasks_remembered(self.cluster.store.tasks(&all).await?.total);
            self.complete_orphans(&round.busy).await?;
        }
        Ok(changed)
    }

    async fn settle_page(&self, tasks: Vec<Task>, round: &mut Round) -> Result<bool, Error> {
        // Changes of settings end with their broadcasts.
        let ours = |task: &Task| task.effects.broadcast.is_none() && self.owns(task);
        let (tasks, others): (Vec<Task>, Vec<Task>) = tasks.into_iter().partition(ours);
        for task in &others {
            round.take_note_of(task);
        }
        let heard = self.listen(&tasks).await;
        let mut settled = Vec::new();
        let mut missed: Vec<Miss> = Vec::new();
        for mut task in tasks {
            let before = (task.status, task.node_tasks.clone(), task.effects.canceler);
            let told = task.details.as_ref().map(|raw| raw.get().to_owned());
            let may_be_canceled = !task.node_tasks.is_empty() || task.waits_in_queue();
            task.effects.canceler = before.2.or(round.canceler(&task).filter(|_| may_be_canceled));
            update(&mut task, &heard);
            self.conclude(&mut task, &mut missed, round).await?;
            if task.status.is_final() {
                round.ended.insert(task.uid);
            } else {
                round.keep_busy(&task);
                round.doomed.extend(to_cancel(&task));
            }
            if (task.status, &task.node_tasks, task.effects.canceler) != (before.0, &before.1, before.2)
                || task.details.as_ref().map(|raw| raw.get()) != told.as_deref()
            {
                if task.status != before.0 {
                    self.cluster.metrics.task(task.status.name());
                }
                settled.push(task);
            }
        }
        if settled.is_empty() {
            return Ok(false);
        }
        let ended: Vec<Task> = match self.cluster.has_webhooks() {
            true => settled.iter().filter(|task| task.status.is_final()).cloned().collect(),
            false => Vec::new(),
        };
        self.cluster.record_missed(&missed, Batch { settled, ..Batch::default() }).await?;
        round.ended.clear();
        self.cluster.look_at_rules();
        self.cluster.announce(&ended);
        Ok(true)
    }

    /// The tasks of one index are settled by one instance.
    fn owns(&self, task: &Task) -> bool {
        self.cluster.peers.owns(task.physical.as_ref().map_or(CHORES, IndexUid::as_str))
    }

    /// Ask each node once for all of its tasks that matter here.
    async fn listen(&self, tasks: &[Task]) -> Heard {
        let mut open: BTreeMap<&NodeId, Vec<u64>> = BTreeMap::new();
        for node_task in tasks.iter().flat_map(|task| &task.node_tasks) {
            if !node_task.status.is_final() && self.cluster.is_live(&node_task.node) {
                open.entry(&node_task.node).or_default().push(node_task.uid);
            }
        }
        let calls = open.iter().flat_map(|(node, uids)| uids.chunks(TASKS_PER_CALL).map(move |chunk| (*node, chunk)));
        let answers = join_all(calls.map(|(node, uids)| self.ask(node, uids))).await;
        answers.into_iter().flatten().collect()
    }

    async fn ask(&self, node: &NodeId, uids: &[u64]) -> Vec<((NodeId, u64), ToldTask)> {
        let Some(known) = self.cluster.node(node) else { return Vec::new() };
        match known.these_tasks(uids, self.cluster.read_timeout()).await {
            Ok(tasks) => complete(node, uids, tasks),
            Err(Untold::Unanswered(error)) => {
                tracing::debug!(%node, %error, "a node does not tell of its tasks");
                Vec::new()
            }
            Err(error) => {
                tracing::warn!(%node, %error, "a node does not tell of its tasks");
                Vec::new()
            }
        }
    }

    async fn conclude(&self, task: &mut Task, missed: &mut Vec<Miss>, round: &Round) -> Result<(), Error> {
        if task.node_tasks.is_empty() {
            return self.do_chore(task, round).await;
        }
        let stale = task.physical.as_ref().map(|physical| self.cluster.stale.of(physical)).unwrap_or_default();
        let is_fresh =
            |shard, node: &NodeId| !stale.contains(&(shard, node.clone())) && self.cluster.node(node).is_some();
        match settle(&task.node_tasks, |node| !self.cluster.is_live(node), is_fresh) {
            Settlement::Enqueued => {}
            Settlement::Processing => task.status = TaskStatus::Processing,
            Settlement::Final { .. } if round.is_held_up(task) => task.status = TaskStatus::Processing,
            Settlement::Final { status, error, stale } => {
                if !self.apply_effects(task, status, round).await? {
                    task.status = TaskStatus::Processing;
                    return Ok(());
                }
                missed.extend(self.missed_by(task, stale));
                if let Some(unveiling) = &task.effects.unveils {
                    self.cluster.catalog.unveil(&unveiling.token).await?;
                }
                finish(task, status, error);
            }
        }
        Ok(())
    }

    fn missed_by(&self, task: &Task, by: Vec<(NodeId, BTreeSet<ShardId>)>) -> Vec<Miss> {
        let index = task.physical.as_ref().and_then(|physical| self.cluster.catalog.by_physical(physical));
        let Some(index) = index else { return Vec::new() };
        let topology = self.cluster.topology();
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

    /// Once asked, a node need not be asked again; one that was not reached is, in the next round.
    async fn cancel_on_nodes(&mut self, doomed: BTreeSet<(NodeId, u64)>) {
        self.asked.retain(|task| doomed.contains(task));
        let mut by_node: BTreeMap<&NodeId, Vec<u64>> = BTreeMap::new();
        for (node, uid) in doomed.iter().filter(|task| !self.asked.contains(task)) {
            if self.cluster.is_live(node) {
                by_node.entry(node).or_default().push(*uid);
            }
        }
        let chunks = by_node.iter().flat_map(|(node, uids)| uids.chunks(TASKS_PER_CALL).map(move |uids| (*node, uids)));
        let asked = join_all(chunks.map(|(node, uids)| self.cancel_on_node(node, uids))).await;
        self.asked.extend(asked.into_iter().flatten());
    }

    async fn cancel_on_node(&self, node: &NodeId, uids: &[u64]) -> Vec<(NodeId, u64)> {
        let Some(known) = self.cluster.node(node) else { return Vec::new() };
        let path = format!("/tasks/cancel?uids={}", comma_separated(uids));
        let call = Call::bare("cancel_tasks", Method::POST, path, self.cluster.read_timeout());
        match known.ask(call).await {
            Ok(_) => uids.iter().map(|uid| (node.clone(), *uid)).collect(),
            Err(error) => {
                tracing::warn!(%node, %error, "a node does not cancel tasks");
                Vec::new()
            }
        }
    }

    /// What the end of a task changes in the catalog. Returns false when it cannot be done yet.
    async fn apply_effects(&self, task: &Task, status: TaskStatus, round: &Round) -> Result<bool, Error> {
        let cluster = &self.cluster;
        let index = task.physical.as_ref().and_then(|physical| cluster.catalog.by_physical(physical));
        let Some(index) = index else { return Ok(true) };
        let effects = &task.effects;
        let succeeded = status == TaskStatus::Succeeded && task.error.is_none();
        if effects.creates_index {
            let made = |t: &&NodeTask| t.shards.is_empty() && t.status == TaskStatus::Succeeded;
            if !task.node_tasks.iter().any(|t| made(&t)) {
                return cluster.give_up_index(&index, &round.ended_with(task.uid)).await;
            }
            if !index.ready && !cluster.adopt_settings(&index, &succeeded_nodes(task)).await? {
                return Ok(false);
            }
        } else if !index.ready {
            // Whoever waits for this task finds the index.
            let is_created = round.has_earlier(&index.physical, task.uid);
            if is_created || !cluster.complete(&index.physical).await? {
                return Ok(false);
            }
        }
        let key = effects.primary_key.clone().filter(|_| succeeded);
        if key.is_none()
            && index.pending_key.is_some()
            && !cluster.give_back_key(&index, &round.ended_with(task.uid)).await?
        {
            return Ok(false);
        }
        cluster
            .catalog
            .update(&index.physical, |index| {
                index.ready |= effects.creates_index;
                index.updated_at = OffsetDateTime::now_utc();
                if let Some(key) = &key {
                    index.primary_key = Some(key.clone());
                    index.pending_key = None;
                }
            })
            .await?;
        Ok(true)
    }
}

/// A task that a live node does not know is lost: the node came back with another disk.
fn complete(node: &NodeId, uids: &[u64], tasks: Vec<ToldTask>) -> Vec<((NodeId, u64), ToldTask)> {
    let known: BTreeSet<u64> = tasks.iter().map(|task| task.uid).collect();
    let lost = uids.iter().filter(|uid| !known.contains(uid)).map(|uid| ToldTask::lost(*uid));
    tasks.into_iter().chain(lost).map(|task| ((node.clone(), task.uid), task)).collect()
}

/// The nodes whose index-wide parts all succeeded.
fn succeeded_nodes(task: &Task) -> Vec<NodeId> {
    let index_wide = || task.node_tasks.iter().filter(|t| t.shards.is_empty());
    let failed: BTreeSet<&NodeId> =
        index_wide().filter(|t| t.status != TaskStatus::Succeeded).map(|t| &t.node).collect();
    let nodes: BTreeSet<&NodeId> = index_wide().map(|t| &t.node).collect();
    nodes.difference(&failed).map(|node| (*node).clone()).collect()
}

fn update(task: &mut Task, heard: &Heard) {
    for node_task in &mut task.node_tasks {
        let Some(told) = heard.get(&(node_task.node.clone(), node_task.uid)) else { continue };
        node_task.status = told.status;
        node_task.error.clone_from(&told.error);
        if node_task.shards.is_empty() && is_there_already(told) {
            // An index was to be made, and is there: made by what came before, or by a request whose answer was lost.
            (node_task.status, node_task.error) = (TaskStatus::Succeeded, None);
        }
        node_task.deleted_documents = told.details.as_ref().and_then(|details| details.deleted_documents);
        if let Some(started) = told.started_at {
            task.started_at = Some(task.started_at.map_or(started, |known| known.min(started)));
        }
        if let Some(finished) = told.finished_at {
            task.finished_at = Some(task.finished_at.map_or(finished, |known| known.max(finished)));
        }
    }
}

fn is_there_already(told: &ToldTask) -> bool {
    let error = told.error.as_ref().filter(|_| told.status == TaskStatus::Failed);
    error.is_some_and(|error| error.code == Code::IndexAlreadyExists.name())
}

/// What of a task is to be canceled on nodes.
fn to_cancel(task: &Task) -> Vec<(NodeId, u64)> {
    if task.effects.canceler.is_none() {
        return Vec::new();
    }
    let open = task.node_tasks.iter().filter(|node_task| !node_task.status.is_final());
    open.map(|node_task| (node_task.node.clone(), node_task.uid)).collect()
}

pub(super) fn finish(task: &mut Task, status: TaskStatus, error: Option<ErrorBody>) {
    let now = OffsetDateTime::now_utc();
    // A task that was doomed when it was taken stays so.
    let doomed = task.error.is_some();
    task.status = if doomed { TaskStatus::Failed } else { status };
    task.error = task.error.take().or(error).map(|mut error| {
        error.message = miroir_core::strip::message(&error.message);
        if let Some((physical, uid)) = task.physical.as_ref().zip(task.index_uid.as_ref()) {
            error.message = miroir_core::strip::index_name(&error.message, physical.as_str(), uid.as_str());
        }
        error
    });
    task.started_at = task.started_at.or(Some(now));
    task.finished_at = task.finished_at.or(Some(now));
    if task.status == TaskStatus::Canceled {
        task.canceled_by = task.effects.canceler;
    }
    if task.status == TaskStatus::Succeeded
        && let Some(details) = task.effects.details.take()
    {
        task.details = Some(details);
    }
    if task.effects.counts_deletions && (task.kind != TaskKind::DocumentEdition || task.status == TaskStatus::Succeeded)
    {
        task.details = with_deletions(task).or_else(|| task.details.take());
    }
    if matches!(task.status, TaskStatus::Failed | TaskStatus::Canceled) {
        task.details = task.details.take().map(uncounted);
    }
}

/// The details of a task that did nothing: what was not counted is zero.
fn uncounted(details: Box<RawValue>) -> Box<RawValue> {
    const COUNTS: [&str; 3] = ["indexedDocuments", "deletedDocuments", "editedDocuments"];
    let Ok(mut shown) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(details.get()) else {
        return details;
    };
    // Of an edition only the edited ones are counted then, as by one server.
    let counts = if shown.contains_key("editedDocuments") { &COUNTS[2..] } else { &COUNTS[..2] };
    for count in counts {
        if let Some(value) = shown.get_mut(*count).filter(|value| value.is_null()) {
            *value = 0.into();
        }
    }
    serde_json::value::to_raw_value(&shown).unwrap_or(details)
}

/// Every replica reports what it deleted: a document counts once.
fn with_deletions(task: &Task) -> Option<Box<RawValue>> {
    let mut details: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(task.details.as_ref()?.get()).ok()?;
    let replicas: usize = task.node_tasks.iter().map(|t| t.shards.len()).sum();
    let shards: BTreeSet<ShardId> = task.node_tasks.iter().flat_map(|t| t.shards.iter().copied()).collect();
    let told: u64 = task.node_tasks.iter().filter_map(|t| t.deleted_documents).sum();
    let copies = replicas as f64 / shards.len().max(1) as f64;
    let deleted = (told as f64 / copies.max(1.0)).round() as u64;
    if task.kind == TaskKind::DocumentEdition {
        // Nodes give one number for both.
        details.insert("editedDocuments".into(), deleted.into());
    }
    details.insert("deletedDocuments".into(), deleted.into());
    serde_json::value::to_raw_value(&details).ok()
}

#[cfg(test)]
mod tests {
    use miroir_core::task::{BroadcastTask, NewTask};

    use super::*;

    fn task(uid: u64, index: &str, broadcast: bool) -> Task {
        let mut task = NewTask::new(TaskKind::SettingsUpdate, OffsetDateTime::UNIX_EPOCH).numbered(TaskUid(uid));
        task.physical = index.parse().ok();
        task.effects.broadcast = broadcast.then(|| BroadcastTask { token: uid.to_string(), version: None });
        task
    }

    #[test]
    fn what_comes_after_a_change_of_settings_ends_after_it() {
        let mut round = Round::default();
        for noted in [task(7, "a", true), task(5, "a", true), task(3, "a", false), task(4, "b", false)] {
            round.take_note_of(&noted);
        }
        let held: Vec<u64> = (0..10).filter(|uid| round.is_held_up(&task(*uid, "a", false))).collect();
        assert_eq!(held, [6, 7, 8, 9]);
        assert!(!round.is_held_up(&task(9, "b", false)));
        assert!(!round.is_held_up(&NewTask::new(TaskKind::IndexSwap, OffsetDateTime::UNIX_EPOCH).numbered(TaskUid(9))));
    }
}
