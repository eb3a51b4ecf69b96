//! The backlog: what is remembered of the tasks that are not finished, so that each is looked at when there is news of it and
//! not otherwise.
//!
//! It is filled with tasks oldest first, and says what to ask of which node: the oldest of its tasks, because nodes
//! work through their queues in order. What nodes say is kept here until the task is weighed as a whole
//! ([`crate::write::settlement`]); that is done for tasks that are *ready*: no node that answers has yet to finish its part.
//!
//! Invariant: a task that has no part to wait for is ready, or was put off by whoever took it, which says until when. What
//! one round costs depends on what it is told and asked for, and not on how many tasks there are.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use crate::base::error::{Code, ErrorBody};
use crate::base::id::{IndexUid, NodeId, TaskUid};
use crate::write::task::{NodeTask, Selection, Task, TaskKind, TaskStatus};

/// The state of a task of a node, as the node last reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTaskState {
    /// Its status there.
    pub status: TaskStatus,
    /// Why it failed.
    pub error: Option<ErrorBody>,
    /// Documents that it deleted.
    pub deleted_documents: Option<u64>,
    /// When the node began.
    pub started_at: Option<OffsetDateTime>,
    /// When it ended.
    pub finished_at: Option<OffsetDateTime>,
}

impl NodeTaskState {
    fn is_there_already(&self) -> bool {
        let error = self.error.as_ref().filter(|_| self.status == TaskStatus::Failed);
        error.is_some_and(|error| error.code == Code::IndexAlreadyExists.name())
    }

    /// The state of a task that its node does not know any more: nobody knows whether or how it ended.
    pub fn lost() -> Self {
        let status = TaskStatus::Canceled;
        Self { status, error: None, deleted_documents: None, started_at: None, finished_at: None }
    }
}

/// A part that a node has or had to do.
#[derive(Debug)]
struct BacklogPart {
    node: NodeId,
    uid: u64,
    ended: bool,
    /// The last state that the node reported. `None`: nothing newer than what the record of the task has.
    state: Option<Box<NodeTaskState>>,
}

/// Who ends a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Whoever has this backlog, when the nodes are done with it.
    WithNodes,
    /// Whoever has this backlog, by itself.
    ByItself,
    /// Somebody else.
    Elsewhere,
}

#[derive(Debug)]
struct Open {
    physical: Option<IndexUid>,
    /// Further indexes that are busy with it.
    also: Box<[IndexUid]>,
    parts: Box<[BacklogPart]>,
    ends: Ends,
    enqueued_at: OffsetDateTime,
    canceler: Option<TaskUid>,
    broadcast: bool,
    /// The task has begun, as far as clients are told.
    shown_begun: bool,
    /// It can be ended by a cancelation.
    is_cancelable: bool,
}

/// Unfinished tasks.
#[derive(Debug, Default)]
pub struct Backlog {
    open: BTreeMap<TaskUid, Open>,
    /// The parts of each node that it has not ended, of tasks that end with nodes, by its own numbers.
    queues: BTreeMap<NodeId, BTreeMap<u64, TaskUid>>,
    by_index: BTreeMap<IndexUid, BTreeSet<TaskUid>>,
    broadcasts: BTreeMap<IndexUid, BTreeSet<TaskUid>>,
    /// Tasks that are done but for a change of settings before them.
    held_up: BTreeMap<IndexUid, BTreeSet<TaskUid>>,
    by_themselves: BTreeSet<TaskUid>,
    elsewhere: BTreeSet<TaskUid>,
    ready: BTreeSet<TaskUid>,
    begun: BTreeSet<TaskUid>,
    /// Weighed without a result: a node that does not answer alone can tell.
    waiting: BTreeSet<TaskUid>,
    cancelations: BTreeMap<TaskUid, Selection>,
    /// Tasks of nodes that are to be canceled.
    to_cancel: BTreeMap<NodeId, BTreeSet<u64>>,
    down: BTreeSet<NodeId>,
    /// Every node of a part; what is remembered of many shares one name.
    names: BTreeSet<NodeId>,
}

/// A cancelation selects tasks that were there before it.
fn selects(cancelation: TaskUid, selection: &Selection, uid: TaskUid) -> bool {
    uid < cancelation && selection.contains(uid)
}

impl Backlog {
    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// When the oldest was enqueued.
    pub fn oldest(&self) -> Option<OffsetDateTime> {
        self.open.first_key_value().map(|(_, open)| open.enqueued_at)
    }

    /// Add an unfinished task. One that is there already stays as it is.
    pub fn add(&mut self, task: &Task, ours: bool) {
        if self.open.contains_key(&task.uid) {
            return;
        }
        let cuts_over = task.effects.cuts_over.iter().flat_map(|cut_over| &cut_over.physical);
        let shared = |index: &IndexUid| self.by_index.get_key_value(index).map_or(index, |(known, _)| known).clone();
        self.names.extend(
            task.node_tasks
                .iter()
                .map(|part| &part.node)
                .filter(|node| !self.names.contains(*node))
                .cloned()
                .collect::<Vec<_>>(),
        );
        let part = |part: &NodeTask| BacklogPart {
            node: self.names.get(&part.node).unwrap_or(&part.node).clone(),
            uid: part.uid,
            ended: part.status.is_final(),
            state: None,
        };
        let open = Open {
            physical: task.physical.as_ref().map(shared),
            also: cuts_over.map(shared).collect(),
            parts: task.node_tasks.iter().map(part).collect(),
            ends: Ends::Elsewhere,
            enqueued_at: task.enqueued_at,
            canceler: task.effects.canceler,
            broadcast: task.effects.broadcast.is_some(),
            shown_begun: task.status != TaskStatus::Enqueued,
            is_cancelable: !task.node_tasks.is_empty() || task.waits_in_queue(),
        };
        for index in open.indexes() {
            self.by_index.entry(index.clone()).or_default().insert(task.uid);
        }
        if let (true, Some(physical)) = (open.broadcast, &open.physical) {
            self.broadcasts.entry(physical.clone()).or_default().insert(task.uid);
        }
        self.open.insert(task.uid, open);
        self.give(task.uid, ours);
        if task.kind == TaskKind::TaskCancelation {
            self.cancel(task.uid, task.effects.cancels.clone());
        }
        let canceler = self.cancelations.iter().find(|(uid, selection)| selects(**uid, selection, task.uid));
        if let Some(canceler) = canceler.map(|(canceler, _)| *canceler) {
            self.request_cancel(task.uid, canceler);
        }
    }

    /// A cancelation is under way, be the tasks that it is about here or not.
    pub fn cancel(&mut self, cancelation: TaskUid, selection: Selection) {
        if self.cancelations.contains_key(&cancelation) {
            return;
        }
        let hit: Vec<TaskUid> =
            selection.ranges().flat_map(|(first, last)| self.open.range(first..=last)).map(|(uid, _)| *uid).collect();
        hit.into_iter().filter(|uid| *uid < cancelation).for_each(|uid| self.request_cancel(uid, cancelation));
        self.cancelations.insert(cancelation, selection);
    }

    fn request_cancel(&mut self, uid: TaskUid, canceler: TaskUid) {
        let Some(open) = self.open.get_mut(&uid) else { return };
        if !open.is_cancelable || open.ends == Ends::Elsewhere {
            return;
        }
        open.canceler = open.canceler.or(Some(canceler));
        for part in open.parts.iter().filter(|part| !part.ended) {
            self.to_cancel.entry(part.node.clone()).or_default().insert(part.uid);
        }
    }

    /// Whether tasks that a cancelation is about are unfinished.
    pub fn has_selected(&self, cancelation: TaskUid, selection: &Selection) -> bool {
        let mut open = selection.ranges().filter_map(|(first, last)| self.open.range(first..=last).next());
        open.any(|(uid, _)| *uid < cancelation)
    }

    /// The first of the cancelations under way that is about a task.
    pub fn canceler(&self, uid: TaskUid) -> Option<TaskUid> {
        self.open.get(&uid)?.canceler
    }

    /// At most so many tasks of a node to be canceled, each once.
    pub fn take_to_cancel(&mut self, node: &NodeId, limit: usize) -> Vec<u64> {
        let Some(to_cancel) = self.to_cancel.get_mut(node) else { return Vec::new() };
        let taken: Vec<u64> = to_cancel.iter().take(limit).copied().collect();
        taken.iter().for_each(|uid| _ = to_cancel.remove(uid));
        if to_cancel.is_empty() {
            self.to_cancel.remove(node);
        }
        taken
    }

    /// The nodes that answer and have tasks to be canceled.
    pub fn nodes_to_cancel_on(&self) -> Vec<NodeId> {
        self.to_cancel.keys().filter(|node| !self.down.contains(*node)).cloned().collect()
    }

    /// The request to cancel these tasks did not reach the node: it is to be sent again for those that have not ended.
    pub fn cancel_again(&mut self, node: &NodeId, uids: &[u64]) {
        let queue = self.queues.get(node);
        let open: Vec<u64> =
            uids.iter().copied().filter(|uid| queue.is_some_and(|queue| queue.contains_key(uid))).collect();
        if !open.is_empty() {
            self.to_cancel.entry(node.clone()).or_default().extend(open);
        }
    }

    /// Say of each index whether its tasks are to be ended here; none: of tasks that are not one index's.
    pub fn own(&mut self, ours: impl Fn(Option<&IndexUid>) -> bool) {
        let changed: Vec<(TaskUid, bool)> = self
            .open
            .iter()
            .map(|(uid, open)| (*uid, open, ours(open.physical.as_ref())))
            .filter(|(_, open, ours)| open.ends != open.ending(*ours))
            .map(|(uid, _, ours)| (uid, ours))
            .collect();
        for (uid, ours) in changed {
            self.give(uid, ours);
            let canceler = self.cancelations.iter().find(|(canceler, selection)| selects(**canceler, selection, uid));
            if let Some(canceler) = canceler.map(|(canceler, _)| *canceler) {
                self.request_cancel(uid, canceler);
            }
        }
    }

    fn give(&mut self, uid: TaskUid, ours: bool) {
        self.withdraw(uid);
        let Some(open) = self.open.get_mut(&uid) else { return };
        open.ends = open.ending(ours);
        match open.ends {
            Ends::Elsewhere => _ = self.elsewhere.insert(uid),
            Ends::ByItself => _ = self.by_themselves.insert(uid),
            Ends::WithNodes => {
                for part in open.parts.iter().filter(|part| !part.ended) {
                    self.queues.entry(part.node.clone()).or_default().insert(part.uid, uid);
                }
                self.look(uid);
            }
        }
    }

    /// Nothing is to be done about it.
    fn withdraw(&mut self, uid: TaskUid) {
        let Some(open) = self.open.get(&uid) else { return };
        for part in &open.parts {
            unqueue(&mut self.queues, &part.node, part.uid);
            remove_to_cancel(&mut self.to_cancel, &part.node, part.uid);
        }
        for set in [&mut self.elsewhere, &mut self.by_themselves, &mut self.ready, &mut self.begun, &mut self.waiting] {
            set.remove(&uid);
        }
        if let Some(physical) = &open.physical {
            leave(&mut self.held_up, physical, uid);
        }
    }

    /// The task has ended, or is not there any more.
    pub fn remove(&mut self, uid: TaskUid) {
        self.withdraw(uid);
        self.cancelations.remove(&uid);
        let Some(open) = self.open.remove(&uid) else { return };
        for index in open.indexes() {
            leave(&mut self.by_index, index, uid);
        }
        if let (true, Some(physical)) = (open.broadcast, &open.physical) {
            leave(&mut self.broadcasts, physical, uid);
            self.ready.extend(self.held_up.remove(physical).unwrap_or_default());
        }
    }

    /// Nothing is remembered.
    pub fn clear(&mut self) {
        let down = std::mem::take(&mut self.down);
        *self = Self { down, ..Self::default() };
    }

    /// These nodes do not answer, and all others do. What waited for one that is among them now need not wait for it.
    pub fn are_down(&mut self, down: BTreeSet<NodeId>) {
        if down == self.down {
            return;
        }
        let failed: BTreeSet<NodeId> = down.difference(&self.down).cloned().collect();
        self.down = down;
        self.ready.append(&mut self.waiting);
        for node in failed {
            let waited: BTreeSet<TaskUid> =
                self.queues.get(&node).into_iter().flat_map(BTreeMap::values).copied().collect();
            waited.into_iter().for_each(|uid| self.look(uid));
        }
    }

    /// Whether a node does not answer.
    pub fn is_down(&self, node: &NodeId) -> bool {
        self.down.contains(node)
    }

    /// The nodes that have something to tell.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.queues.keys().filter(|node| !self.down.contains(*node)).cloned().collect()
    }

    /// Every node that has or had a part of a task, since nothing was remembered.
    pub fn known_nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.names.iter()
    }

    /// The oldest tasks of a node that it has not ended, after this one.
    pub fn oldest_on(&self, node: &NodeId, after: Option<u64>, limit: usize) -> Vec<u64> {
        let Some(queue) = self.queues.get(node) else { return Vec::new() };
        let from = after.map_or(0, |after| after.saturating_add(1));
        queue.range(from..).take(limit).map(|(uid, _)| *uid).collect()
    }

    /// A node has reported the state of one of its tasks. Returns whether that is news.
    pub fn report(&mut self, node: &NodeId, uid: u64, state: NodeTaskState) -> bool {
        let Some(task) = self.queues.get(node).and_then(|queue| queue.get(&uid)).copied() else { return false };
        let Some(open) = self.open.get_mut(&task) else { return false };
        let part = open.parts.iter_mut().find(|part| part.node == *node && part.uid == uid);
        let Some(part) = part.filter(|part| part.state.as_deref() != Some(&state)) else { return false };
        let (ended, begun) = (state.status.is_final(), state.status != TaskStatus::Enqueued);
        part.ended = ended;
        part.state = Some(Box::new(state));
        if ended {
            unqueue(&mut self.queues, node, uid);
            remove_to_cancel(&mut self.to_cancel, node, uid);
        }
        if begun && !open.shown_begun {
            self.begun.insert(task);
        }
        self.look(task);
        ended || begun
    }

    fn look(&mut self, uid: TaskUid) {
        let Some(open) = self.open.get(&uid).filter(|open| open.ends == Ends::WithNodes) else { return };
        if open.parts.iter().all(|part| part.ended || self.down.contains(&part.node)) {
            self.ready.insert(uid);
            self.waiting.remove(&uid);
        }
    }

    /// At most so many that are ready, the oldest first. They are ready no more, unless they are put back.
    pub fn take_ready(&mut self, limit: usize) -> Vec<TaskUid> {
        let taken = take(&mut self.ready, limit);
        taken.iter().for_each(|uid| _ = self.begun.remove(uid));
        taken
    }

    /// At most so many that some node has begun and clients have not been told so.
    pub fn take_begun(&mut self, limit: usize) -> Vec<TaskUid> {
        take(&mut self.begun, limit)
    }

    /// Whether there is something to take.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty() || !self.begun.is_empty()
    }

    /// It could not be done yet: it is ready still.
    pub fn put_back(&mut self, uid: TaskUid) {
        if self.open.contains_key(&uid) {
            self.ready.insert(uid);
        }
    }

    /// It was weighed, and a node that does not answer alone can tell.
    pub fn wait(&mut self, uid: TaskUid) {
        if self.open.contains_key(&uid) {
            self.waiting.insert(uid);
        }
    }

    /// Look again at some of those that wait for a node, the oldest first, after this one. Returns the last.
    pub fn reconsider(&mut self, after: Option<TaskUid>, limit: usize) -> Option<TaskUid> {
        let from = after.map_or(TaskUid(0), |after| TaskUid(after.0.saturating_add(1)));
        let again: Vec<TaskUid> = self.waiting.range(from..).take(limit).copied().collect();
        again.iter().for_each(|uid| _ = self.waiting.remove(uid));
        self.ready.extend(&again);
        again.last().copied()
    }

    /// It is shown to have begun.
    pub fn is_shown(&mut self, uid: TaskUid) {
        if let Some(open) = self.open.get_mut(&uid) {
            open.shown_begun = true;
        }
    }

    /// A change of the settings of its index that was asked for before it has not ended: then it is put off until that has.
    pub fn hold_up(&mut self, uid: TaskUid) -> bool {
        let physical = self.open.get(&uid).and_then(|open| open.physical.clone());
        let Some(physical) = physical.filter(|physical| first(&self.broadcasts, physical).is_some_and(|it| it < uid))
        else {
            return false;
        };
        self.held_up.entry(physical).or_default().insert(uid);
        true
    }

    /// Whether there are unfinished tasks of an index.
    pub fn has_tasks_of(&self, physical: &IndexUid) -> bool {
        self.by_index.contains_key(physical)
    }

    /// Whether tasks of an index that were asked for before this one are unfinished.
    pub fn is_busy(&self, physical: &IndexUid, before: TaskUid) -> bool {
        first(&self.by_index, physical).is_some_and(|first| first < before)
    }

    /// The oldest tasks that end by themselves.
    pub fn by_themselves(&self, limit: usize) -> Vec<TaskUid> {
        self.by_themselves.iter().take(limit).copied().collect()
    }

    /// Whether there are tasks that somebody else ends.
    pub fn has_others(&self) -> bool {
        !self.elsewhere.is_empty()
    }

    /// Of the tasks after one number and up to another, these alone are unfinished: others have ended the rest.
    pub fn are_open(&mut self, after: Option<TaskUid>, through: TaskUid, open: &BTreeSet<TaskUid>) {
        let from = after.map_or(TaskUid(0), |after| TaskUid(after.0.saturating_add(1)));
        if from > through {
            return;
        }
        let ended: Vec<TaskUid> =
            self.open.range(from..=through).map(|(uid, _)| *uid).filter(|uid| !open.contains(uid)).collect();
        ended.into_iter().for_each(|uid| self.remove(uid));
    }

    /// Write into a task what nodes have said of it.
    pub fn update(&self, task: &mut Task) {
        let Some(open) = self.open.get(&task.uid) else { return };
        task.effects.canceler = task.effects.canceler.or(open.canceler);
        for node_task in &mut task.node_tasks {
            let part = open.parts.iter().find(|part| part.node == node_task.node && part.uid == node_task.uid);
            let Some(state) = part.and_then(|part| part.state.as_deref()) else { continue };
            node_task.status = state.status;
            node_task.error.clone_from(&state.error);
            if node_task.shards.is_empty() && state.is_there_already() {
                // An index was to be made, and is there: made by what came before, or by a request whose answer was lost.
                (node_task.status, node_task.error) = (TaskStatus::Succeeded, None);
            }
            node_task.deleted_documents = state.deleted_documents;
            if let Some(started) = state.started_at {
                task.started_at = Some(task.started_at.map_or(started, |known| known.min(started)));
            }
            if let Some(finished) = state.finished_at {
                task.finished_at = Some(task.finished_at.map_or(finished, |known| known.max(finished)));
            }
        }
    }
}

impl Open {
    fn indexes(&self) -> impl Iterator<Item = &IndexUid> {
        self.physical.iter().chain(&self.also)
    }

    fn ending(&self, ours: bool) -> Ends {
        match (ours && !self.broadcast, self.parts.is_empty()) {
            (false, _) => Ends::Elsewhere,
            (true, true) => Ends::ByItself,
            (true, false) => Ends::WithNodes,
        }
    }
}

fn take(set: &mut BTreeSet<TaskUid>, limit: usize) -> Vec<TaskUid> {
    let taken: Vec<TaskUid> = set.iter().take(limit).copied().collect();
    taken.iter().for_each(|uid| _ = set.remove(uid));
    taken
}

fn first(sets: &BTreeMap<IndexUid, BTreeSet<TaskUid>>, index: &IndexUid) -> Option<TaskUid> {
    sets.get(index).and_then(|set| set.first()).copied()
}

fn leave(sets: &mut BTreeMap<IndexUid, BTreeSet<TaskUid>>, index: &IndexUid, uid: TaskUid) {
    if let Some(set) = sets.get_mut(index) {
        set.remove(&uid);
        if set.is_empty() {
            sets.remove(index);
        }
    }
}

fn unqueue(queues: &mut BTreeMap<NodeId, BTreeMap<u64, TaskUid>>, node: &NodeId, uid: u64) {
    if let Some(queue) = queues.get_mut(node) {
        queue.remove(&uid);
        if queue.is_empty() {
            queues.remove(node);
        }
    }
}

fn remove_to_cancel(to_cancel: &mut BTreeMap<NodeId, BTreeSet<u64>>, node: &NodeId, uid: u64) {
    if let Some(of_node) = to_cancel.get_mut(node) {
        of_node.remove(&uid);
        if of_node.is_empty() {
            to_cancel.remove(node);
        }
    }
}

#[cfg(test)]
mod tests;
