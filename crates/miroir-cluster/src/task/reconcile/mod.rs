//! The task reconciler: asks the nodes, in batches, what became of the tasks that are not finished, and ends those that
//! nodes have done.
//!
//! What is unfinished is in memory (`core::backlog`), filled from the store oldest first and followed from there. A round
//! asks each node for the oldest of its tasks, weighs those tasks of which there is news, and records what came of all of
//! them together.
//!
//! Invariant: what a round costs is bounded by the constants here, whatever the number of unfinished tasks.

mod conclude;
mod finish;
mod listen;

pub(crate) use finish::finish;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use miroir_core::base::id::{IndexUid, NodeId, TaskUid};
use miroir_core::write::backlog::Backlog;
use miroir_core::write::task::{TaskKind, TaskQuery};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::state::stored_work::unfinished;
use crate::{Error, Tasks};

/// Unfinished tasks that are remembered. Later ones wait in the store until earlier ones are finished.
const REMEMBERED: usize = 100_000;
/// Tasks read from the store in one round that were not known before.
const LOADED: usize = 1000;
/// Tasks whose end by others is noticed in one round.
const SWEPT: usize = 2000;
/// Tasks weighed in one round, for which there is news.
const WEIGHED: usize = 512;
/// Tasks shown in one round to have begun.
const SHOWN: usize = 128;
/// Tasks that no node does and that are looked at in one round.
const BY_THEMSELVES: usize = 64;
/// Tasks that wait for a node which does not answer and are weighed again in one round.
const RECONSIDERED: usize = 64;
/// Between two rounds while something moves; clients that wait for a task see its end within this.
const BUSY: Duration = Duration::from_millis(50);
/// The instance that owns this name reconciles the tasks that are not of one index.
pub(crate) const BUILTIN_TASKS: &str = "builtin_tasks";
/// Between two rounds while nothing moves.
const QUIET: Duration = Duration::from_secs(1);

/// The background work that reconciles tasks with those of nodes.
pub struct TaskReconciler {
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) backlog: Backlog,
    /// All tasks up to this number are remembered, as far as they are unfinished.
    loaded: Option<TaskUid>,
    /// And there are no later ones.
    is_complete: bool,
    /// There are, and room for them.
    has_more: bool,
    /// Those who shared the work when it was shared out.
    sharers: Vec<String>,
    /// How often everything may have changed unnoticed.
    gaps: u64,
    /// Up to this number it was looked what others have ended.
    swept: Option<TaskUid>,
    reconsidered: Option<TaskUid>,
    /// When what is done now and then was done.
    now_and_then: Option<Instant>,
    /// As many tasks as can be were weighed in the last round: there may be more.
    pub(crate) was_full: bool,
    /// Indexes that are not there yet and that no task creates, when that was last looked at.
    pub(crate) orphans: BTreeSet<IndexUid>,
}

impl TaskReconciler {
    /// The task reconciler of this instance.
    pub fn new(tasks: Arc<Tasks>) -> Self {
        Self {
            tasks,
            backlog: Backlog::default(),
            loaded: None,
            is_complete: false,
            has_more: false,
            sharers: Vec::new(),
            gaps: 0,
            swept: None,
            reconsidered: None,
            now_and_then: None,
            was_full: false,
            orphans: BTreeSet::new(),
        }
    }

    /// Reconcile for ever; to stop, the caller drops the future.
    pub async fn run(mut self) {
        let mut pause = BUSY;
        loop {
            let begun = Instant::now();
            pause = match self.round().await {
                Ok(true) => BUSY,
                Ok(false) => (pause * 2).min(QUIET),
                Err(error) => {
                    tracing::error!(%error, "a round of the task reconciler failed; trying again");
                    QUIET
                }
            };
            if self.has_more || self.was_full {
                pause = pause.min(BUSY / 5);
            }
            // A round that took long is not followed by the next at once: nodes and clients want to get on, too.
            let least = (BUSY / 5).max(begun.elapsed() / 2).min(BUSY);
            tokio::select! {
                () = tokio::time::sleep(pause.max(least)) => {}
                () = self.tasks.state.registered.notified() => {
                    pause = BUSY;
                    tokio::time::sleep(least).await;
                }
            }
        }
    }

    /// Look once at all of which there may be news. Returns whether anything moved.
    pub(crate) async fn round(&mut self) -> Result<bool, Error> {
        let gaps = self.tasks.state.gaps.load(Ordering::Acquire);
        if gaps != self.gaps {
            // Numbers of tasks may mean others now.
            self.backlog.clear();
            (self.gaps, self.loaded, self.swept, self.reconsidered) = (gaps, None, None, None);
        }
        let mut moved = self.load().await?;
        self.sweep().await?;
        self.share_out();
        let nodes = self.tasks.state.nodes();
        let down = nodes.keys().filter(|node| !self.tasks.state.is_live(node)).cloned();
        let gone = self.backlog.known_nodes().filter(|node| !nodes.contains_key(*node)).cloned();
        let down: BTreeSet<NodeId> = down.chain(gone).collect();
        self.backlog.are_down(down);
        moved |= self.listen().await;
        moved |= self.weigh().await?;
        self.cancel_on_nodes().await;
        let age = self.backlog.oldest().map(|oldest| OffsetDateTime::now_utc() - oldest);
        self.tasks.state.metrics.task_backlog(age.and_then(|age| age.try_into().ok()).unwrap_or_default());
        if self.now_and_then.is_none_or(|then| then.elapsed() >= QUIET) {
            self.now_and_then = Some(Instant::now());
            self.reconsidered = self.backlog.reconsider(self.reconsidered, RECONSIDERED);
            self.look_for_cancelations().await?;
            if self.is_complete {
                self.complete_orphans().await?;
            }
            let all = TaskQuery { limit: 1, ..TaskQuery::default() };
            self.tasks.state.metrics.tasks_remembered(self.tasks.state.store.tasks(&all).await?.total);
        }
        Ok(moved)
    }

    /// Remember tasks that are not known yet, oldest first.
    async fn load(&mut self) -> Result<bool, Error> {
        let room = REMEMBERED.saturating_sub(self.backlog.len()).min(LOADED);
        if room == 0 {
            (self.is_complete, self.has_more) = (false, false);
            return Ok(false);
        }
        let page = self.tasks.state.store.unfinished_tasks(self.loaded, room).await?;
        self.is_complete = page.len() < room;
        self.has_more = !self.is_complete;
        self.loaded = page.last().map(|task| task.uid).or(self.loaded);
        for task in &page {
            self.backlog.add(task, self.tasks.reconciles(task.physical.as_ref()));
        }
        Ok(!page.is_empty())
    }

    /// Forget tasks that others have ended.
    async fn sweep(&mut self) -> Result<(), Error> {
        let Some(loaded) = self.loaded.filter(|_| self.backlog.has_others()) else { return Ok(()) };
        let open = self.tasks.state.store.unfinished_uids(self.swept, SWEPT).await?;
        let last = open.last().copied().filter(|last| open.len() == SWEPT && *last < loaded);
        let through = last.unwrap_or(loaded);
        self.backlog.are_open(self.swept, through, &open.into_iter().collect());
        self.swept = last;
        Ok(())
    }

    /// The tasks of one index are reconciled by one instance.
    fn share_out(&mut self) {
        let sharers = self.tasks.state.peers.ids();
        if sharers != self.sharers {
            self.sharers = sharers;
            let tasks = &self.tasks;
            self.backlog.own(|physical| tasks.reconciles(physical));
        }
    }

    /// Where not all tasks are remembered, cancelations may be among the others, and concern those that are.
    async fn look_for_cancelations(&mut self) -> Result<(), Error> {
        if self.is_complete {
            return Ok(());
        }
        let open = TaskQuery {
            kinds: Some([TaskKind::TaskCancelation].into()),
            limit: WEIGHED,
            reverse: true,
            ..unfinished()
        };
        for task in self.tasks.state.store.tasks(&open).await?.tasks {
            self.backlog.cancel(task.uid, task.effects.cancels);
        }
        Ok(())
    }

    /// Whether everything up to this number is remembered.
    pub(crate) fn has_loaded(&self, uid: TaskUid) -> bool {
        self.loaded.is_some_and(|loaded| uid <= loaded)
    }
}

impl Tasks {
    /// Whether this instance reconciles the tasks of an index. `None`: those that are not of one index.
    fn reconciles(&self, physical: Option<&IndexUid>) -> bool {
        self.state.peers.owns(physical.map_or(BUILTIN_TASKS, IndexUid::as_str))
    }
}

#[cfg(test)]
mod tests;
