//! The mirror pool: the mirrors to one node that run at one time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use miroir_core::replica::mirror::{MirrorRecord, Subject};
use miroir_work::led::Leadership;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::mirror::{MirrorEnd, Runner, Watched};
use crate::Replicas;

/// A mirror's place: the index and the shard.
pub(super) type Place = (String, u32);

pub(super) fn place(subject: &Subject) -> Place {
    (subject.index.to_string(), subject.shard.0)
}

/// Mirrors that go on beside the rounds of the leader, and end when this is dropped.
pub(super) struct MirrorPool {
    /// The fencing token of the lease under which the mirrors were begun.
    token: u64,
    end: mpsc::UnboundedSender<(Subject, MirrorEnd)>,
    ended: mpsc::UnboundedReceiver<(Subject, MirrorEnd)>,
    alive: DropGuard,
    watched: BTreeMap<Place, Watched>,
    /// Mirrors whose records were saved under this lease and which nobody ever ran.
    untouched: BTreeSet<Place>,
}

impl MirrorPool {
    /// An empty pool.
    pub fn under(token: u64) -> Self {
        let (end, ended) = mpsc::unbounded_channel();
        let (alive, watched, untouched) = (CancellationToken::new().drop_guard(), BTreeMap::new(), BTreeSet::new());
        Self { token, end, ended, alive, watched, untouched }
    }

    /// Whether the pool belongs to the lease with this token.
    pub fn is_under(&self, token: u64) -> bool {
        self.token == token
    }

    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether there is room for one more, of so many at a time. One that waits for its target to store what it was sent
    /// is not in the way of another, so that the target always has something to do, in large batches.
    pub fn has_room(&self, most: usize) -> bool {
        let busy = self.watched.values().filter(|watched| !watched.is_sent()).count();
        busy < most && self.len() < most.saturating_mul(2)
    }

    pub fn has(&self, subject: &Subject) -> bool {
        self.watched.contains_key(&place(subject))
    }

    /// The record of a mirror that nobody ever ran is about to be saved.
    pub fn announce(&mut self, subject: &Subject) {
        self.untouched.insert(place(subject));
    }

    /// Run one more mirror, whose record was saved.
    pub fn begin(&mut self, replicas: &Arc<Replicas>, record: MirrorRecord, lead: &Leadership) {
        let subject = record.subject.clone();
        let watched = Watched::new(record);
        self.watched.insert(place(&subject), watched.clone());
        let untouched = self.untouched.remove(&place(&subject));
        let runner = Runner::new(replicas.clone(), watched, lead.fence(), untouched);
        let (end, is_over) = (self.end.clone(), self.alive.token().clone());
        lead.beside(async move {
            if let Some(ended) = is_over.run_until_cancelled(runner.run()).await {
                // Nobody may want to know any more.
                drop(end.send((subject, ended)));
            }
        });
    }

    /// Wait for the next mirror that ends. Returns its record and how it ended. `None`: no mirror runs.
    pub async fn ended(&mut self) -> Option<(MirrorRecord, MirrorEnd)> {
        if self.watched.is_empty() {
            return None;
        }
        // This holds a sender.
        let (subject, ended) = self.ended.recv().await?;
        let watched = self.watched.remove(&place(&subject))?;
        Some((watched.record(), ended))
    }

    /// The records of the mirrors that run: how far each has come.
    pub fn records(&self) -> impl Iterator<Item = MirrorRecord> {
        self.watched.values().map(Watched::record)
    }
}
