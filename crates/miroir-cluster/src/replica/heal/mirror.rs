//! One mirror at work: does what the machine says, and tells it what came of it.
//!
//! Invariant: what a node is sent here is sent only while the operation is led here, and what is recorded shows the token
//! of the lease.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use miroir_core::base::id::NodeId;
use miroir_core::replica::mirror::{
    Done, Failure, Mirror, MirrorEvent, MirrorFacts, MirrorRecord, MirrorStep, Policy, Subject,
};
use miroir_store::{Batch, Fence};
use tokio::time::{Instant, sleep, timeout_at};

use super::facts::MirrorSituation;
use super::write_pause::WritePause;
use crate::clock::now_ms;
use crate::write::access::{Document, Failed, Replica};
use crate::{Error, Index, Replicas};

/// Before the store is asked again that could not be read.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// How a mirror ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MirrorEnd {
    /// The replica is equal to the fresh ones, and on the list of stale ones no more.
    Equal,
    /// There is nothing to mirror any more.
    Superseded(&'static str),
    /// The replica is as stale as before.
    Failed(String),
    /// Its target does not answer: it goes on when that is back.
    Away,
}

/// How far a mirror is, for whoever looks at it from outside.
#[derive(Clone, Debug)]
pub(super) struct Watched(Arc<Mutex<MirrorRecord>>);

impl Watched {
    pub fn new(record: MirrorRecord) -> Self {
        Self(Arc::new(Mutex::new(record)))
    }

    pub fn record(&self) -> MirrorRecord {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn is_sent(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_sent()
    }

    fn update(&self, record: &MirrorRecord) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != *record {
            known.clone_from(record);
        }
    }
}

/// A mirror and whoever runs it.
pub(super) struct Runner {
    replicas: Arc<Replicas>,
    subject: Subject,
    mirror: Mirror,
    watched: Watched,
    /// The token of the operation.
    lead: Fence,
    /// The documents that were read or fetched last.
    last: HashMap<String, Bytes>,
    pause: Option<WritePause>,
    /// When it is given up.
    until: Instant,
    /// Since when the target has not answered.
    away: Option<Instant>,
    /// What was counted.
    counted: (u64, u64, u64),
}

impl Runner {
    /// `untouched`: nobody ever ran this mirror, and its record was saved.
    pub fn new(replicas: Arc<Replicas>, watched: Watched, lead: Fence, untouched: bool) -> Self {
        let config = &replicas.state.config.rebalancer;
        let record = watched.record();
        let progress = record.progress;
        // On nodes with much to do a round takes long, and clients that delete by filter spoil each: they are held soon.
        let policy = Policy { documents_per_second: config.documents_per_second, rounds: 2, ..Policy::default() };
        let until = Instant::now() + config.migration_timeout;
        let subject = record.subject.clone();
        let begin = if untouched { Mirror::begin_with } else { Mirror::resume };
        let mirror = begin(record, policy, replicas.state.write_timeout(), now_ms());
        let counted = (progress.copied, progress.deleted, progress.bytes);
        Self { replicas, subject, mirror, watched, lead, last: HashMap::new(), pause: None, until, away: None, counted }
    }

    /// Until it is over.
    pub async fn run(mut self) -> MirrorEnd {
        loop {
            if Instant::now() > self.until {
                return MirrorEnd::Failed("it took longer than rebalancer.migration_timeout_s".into());
            }
            let (index, facts) = match self.replicas.mirror_facts(&self.subject).await {
                Ok(MirrorSituation::Stale(index, facts)) => (index, facts),
                Ok(MirrorSituation::Superseded(why)) => return MirrorEnd::Superseded(why),
                Err(error) => {
                    tracing::debug!(%error, "a mirror waits for the store");
                    sleep(STORE_PAUSE).await;
                    continue;
                }
            };
            if self.is_away(&facts) {
                return MirrorEnd::Away;
            }
            self.keep_pause(&facts);
            let step = self.mirror.next(&facts);
            if !self.mirror.is_paused() && !matches!(step, MirrorStep::Done(_)) {
                self.pause = None;
            }
            match step {
                MirrorStep::Wait(pause) => sleep(pause).await,
                MirrorStep::GiveUp(failure) => return MirrorEnd::Failed(said(&failure)),
                MirrorStep::Done(done) => {
                    if let Some(ended) = self.conclude(&index, &done).await {
                        return ended;
                    }
                }
                step @ (MirrorStep::Barrier
                | MirrorStep::Drain(_)
                | MirrorStep::Count(_)
                | MirrorStep::Read { .. }
                | MirrorStep::Fetch { .. }
                | MirrorStep::Put(_)
                | MirrorStep::Delete(_)
                | MirrorStep::Await(_)
                | MirrorStep::PauseWrites) => self.take_step(&index, step, &facts).await,
            }
            self.record_progress();
        }
    }

    /// Whether its target has not answered for a while; then there is no use in waiting here.
    fn is_away(&mut self, facts: &MirrorFacts) -> bool {
        /// A node that is examined after a hiccup is back soon.
        const PATIENCE: Duration = Duration::from_secs(2);
        match facts.target_live {
            true => {
                self.away = None;
                false
            }
            false => self.away.get_or_insert_with(Instant::now).elapsed() > PATIENCE,
        }
    }

    /// Tell the machine when the write pause has ended.
    fn keep_pause(&mut self, facts: &MirrorFacts) {
        if self.pause.as_ref().is_some_and(|pause| !pause.lasts()) {
            self.pause = None;
            self.mirror.advance(MirrorEvent::PauseEnded, facts);
        }
    }

    /// Do a step, and tell the machine what came of it. While writes are paused, the step is bounded by the deadline of
    /// the pause.
    async fn take_step(&mut self, index: &Arc<Index>, step: MirrorStep, before: &MirrorFacts) {
        let writes = matches!(step, MirrorStep::Put(_) | MirrorStep::Delete(_));
        let event = match self.pause.as_ref().map(WritePause::until) {
            None => self.make_way(index, step).await,
            Some(until) => match timeout_at(until, self.act(index, step)).await {
                Ok(event) => event,
                Err(_elapsed) => {
                    self.pause = None;
                    let facts = MirrorFacts { now: now_ms(), ..before.clone() };
                    self.mirror.advance(MirrorEvent::PauseEnded, &facts);
                    if writes {
                        // It may be done yet.
                        self.mirror.advance(MirrorEvent::Failed(self.subject.target.clone()), &facts);
                    }
                    return;
                }
            },
        };
        let event = match event {
            Ok(event) => event,
            Err((node, Failed::Unanswered(why))) => {
                tracing::debug!(%node, why, index = %index.uid, shard = %self.subject.shard, "a mirror was not answered");
                MirrorEvent::Failed(node)
            }
            Err((_, Failed::TooLarge(_))) => MirrorEvent::TooLarge,
            Err((node, Failed::Refused(why))) => match node == self.subject.target {
                true => MirrorEvent::Rejected(why),
                false => MirrorEvent::Failed(node),
            },
        };
        // The clock has moved, and what was known before the step does for what it says.
        self.mirror.advance(event, &MirrorFacts { now: now_ms(), ..before.clone() });
    }

    async fn act(&mut self, index: &Arc<Index>, step: MirrorStep) -> Result<MirrorEvent, (NodeId, Failed)> {
        let target = self.subject.target.clone();
        match step {
            MirrorStep::Barrier => Ok(self.pass(index).await),
            MirrorStep::Drain(node) => {
                self.on(index, &node)?.drain().await.map(|()| MirrorEvent::Drained).map_err(|e| (node, e))
            }
            MirrorStep::Count(node) => {
                self.on(index, &node)?.count().await.map(MirrorEvent::Counted).map_err(|e| (node, e))
            }
            MirrorStep::Read { node, window, depth } => {
                let page = self.on(index, &node)?.page(window, depth).await;
                let (documents, bytes) = page.map_err(|error| (node, error))?;
                Ok(MirrorEvent::Page(self.keep(documents), bytes))
            }
            MirrorStep::Fetch { node, ids } => {
                let (documents, bytes) = self.on(index, &node)?.fetch(&ids).await.map_err(|error| (node, error))?;
                Ok(MirrorEvent::Fetched(self.keep(documents), bytes))
            }
            MirrorStep::Put(ids) => {
                let documents: Vec<Bytes> = ids.iter().filter_map(|id| self.last.get(id).cloned()).collect();
                let put = self.on(index, &target)?.put(documents).await;
                put.map(MirrorEvent::Accepted).map_err(|error| (target, error))
            }
            MirrorStep::Delete(ids) => {
                let deleted = self.on(index, &target)?.delete(&ids).await;
                deleted.map(MirrorEvent::Accepted).map_err(|error| (target, error))
            }
            MirrorStep::Await(tasks) => {
                let done = self.on(index, &target)?.done(&tasks).await;
                done.map(|()| MirrorEvent::Finished).map_err(|error| (target, error))
            }
            MirrorStep::PauseWrites => Ok(self.pause_writes(index).await),
            // Whoever calls this has dealt with them.
            MirrorStep::Wait(_) | MirrorStep::Done(_) | MirrorStep::GiveUp(_) => Ok(MirrorEvent::PauseEnded),
        }
    }

    fn on(&self, index: &Arc<Index>, node: &NodeId) -> Result<Replica, (NodeId, Failed)> {
        self.replicas.writes.replica(index, self.subject.shard, node).map_err(|error| (node.clone(), error))
    }

    /// Keep what may have to be put.
    fn keep(&mut self, documents: Vec<Document>) -> Vec<miroir_core::replica::digest::Copied> {
        self.last.clear();
        let keep = |Document { copied, raw }| {
            self.last.insert(copied.id.clone(), raw);
            copied
        };
        documents.into_iter().map(keep).collect()
    }

    /// Pause the writes of the index, once both sides have nearly done theirs, and wait until they have.
    async fn pause_writes(&mut self, index: &Arc<Index>) -> MirrorEvent {
        let Some(source) = self.mirror.source().cloned() else { return MirrorEvent::PauseEnded };
        let target = self.subject.target.clone();
        if let Err((node, _)) = self.drain_both(index, &source, &target).await {
            return MirrorEvent::Failed(node);
        }
        let Ok(Some((guard, _))) = self.replicas.writes.lock_physical(&index.physical).await else {
            return MirrorEvent::PauseEnded;
        };
        let pause = WritePause::new(guard, self.replicas.state.config.rebalancer.fence_max);
        match timeout_at(pause.until(), self.drain_both(index, &source, &target)).await {
            Ok(Ok(())) => {}
            Ok(Err((node, _))) => return MirrorEvent::Failed(node),
            Err(_elapsed) => return MirrorEvent::PauseEnded,
        }
        self.pause = Some(pause);
        MirrorEvent::WritesPaused
    }

    async fn drain_both(&self, index: &Arc<Index>, source: &NodeId, target: &NodeId) -> Result<(), (NodeId, Failed)> {
        let drain = async |node: &NodeId| self.on(index, node)?.drain().await.map_err(|error| (node.clone(), error));
        tokio::try_join!(drain(source), drain(target)).map(drop)
    }

    /// Wait until the write that is under way is recorded: it was handed to all replicas by then.
    async fn pass(&self, index: &Arc<Index>) -> MirrorEvent {
        match self.replicas.writes.lock_physical(&index.physical).await {
            Ok(_) => MirrorEvent::Passed,
            Err(error) => {
                tracing::debug!(%error, index = %index.uid, "a mirror waits for the index write lock");
                sleep(STORE_PAUSE).await;
                MirrorEvent::Failed(self.mirror.source().unwrap_or(&self.subject.target).clone())
            }
        }
    }

    /// Act, in the slot for background work while clients are active. The mirror does not rest while writes are paused.
    async fn make_way(&mut self, index: &Arc<Index>, step: MirrorStep) -> Result<MirrorEvent, (NodeId, Failed)> {
        let replicas = self.replicas.clone();
        let needs_slot = matches!(
            step,
            MirrorStep::Read { .. } | MirrorStep::Fetch { .. } | MirrorStep::Put(_) | MirrorStep::Delete(_)
        );
        let slot = if needs_slot && self.pause.is_none() { replicas.state.client_priority.slot().await } else { None };
        let event = self.act(index, step).await;
        if let Some(slot) = slot {
            slot.rest().await;
        }
        event
    }

    /// Both are equal: say so, if what was known then still holds. Returns `None` if another round is needed.
    async fn conclude(&mut self, index: &Arc<Index>, done: &Done) -> Option<MirrorEnd> {
        let healed = self.take_off_the_list(index, done).await;
        self.pause = None;
        match healed {
            Ok(true) => Some(MirrorEnd::Equal),
            Ok(false) => {
                self.mirror.go_on();
                None
            }
            Err(error) => {
                tracing::debug!(%error, index = %index.uid, "a replica that is fresh could not be recorded as such yet");
                self.mirror.go_on();
                sleep(STORE_PAUSE).await;
                None
            }
        }
    }

    async fn take_off_the_list(&self, index: &Arc<Index>, done: &Done) -> Result<bool, Error> {
        let mut fences = vec![self.lead.clone()];
        let guard = match &self.pause {
            Some(pause) => {
                fences.push(pause.fence());
                None
            }
            None => self.replicas.writes.lock_physical(&index.physical).await?,
        };
        if let Some((guard, _)) = &guard {
            fences.push(guard.fence());
        }
        let MirrorSituation::Stale(_, facts) = self.replicas.mirror_facts(&self.subject).await? else {
            return Ok(false);
        };
        if (facts.misses, facts.conditional) != (done.misses, done.conditional) {
            return Ok(false);
        }
        let Subject { index, shard, target } = &self.subject;
        let with = Batch { fences, ..Batch::default() };
        Ok(self.replicas.state.stale.heal(index, *shard, target, done.misses, with).await?)
    }

    /// Tell operators how far it is.
    fn record_progress(&mut self) {
        let record = self.mirror.record();
        let (copied, deleted, bytes) = self.counted;
        let progress = &record.progress;
        self.counted = (progress.copied, progress.deleted, progress.bytes);
        self.replicas.state.metrics.mirrored(
            progress.copied.saturating_sub(copied),
            progress.deleted.saturating_sub(deleted),
            progress.bytes.saturating_sub(bytes),
        );
        self.watched.update(record);
    }
}

fn said(failure: &Failure) -> String {
    failure.to_string()
}
