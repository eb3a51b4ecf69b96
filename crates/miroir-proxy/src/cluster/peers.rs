//! The instances that share a store: who is alive, and who of them does what.
//!
//! Invariant: an instance that its peers count out has stopped accepting writes before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use miroir_core::id::Epoch;
use miroir_core::ownership::owner;
use miroir_store::{Batch, Records, Store, StoreError, Table, TypedTable, View};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::follow::Follow;
use super::{Cluster, Error};

/// Between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// An instance that was not heard of for so long is gone.
const GONE: Duration = Duration::from_secs(15);
/// An instance that could not be heard for so long accepts no writes.
const ISOLATED: Duration = Duration::from_secs(10);

/// An instance, as it says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Where it listens, for operators.
    pub address: String,
    /// The topology it acts on.
    pub epoch: Epoch,
    /// Its release.
    pub version: String,
    /// When it started.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

const TABLE: TypedTable<Peer> = TypedTable::new(Table::Peers);

/// This instance and its peers.
pub struct Peers {
    me: String,
    store: Arc<dyn Store>,
    /// The ids of the living, this instance among them, ascending.
    alive: View<Peer, Vec<String>>,
    since: OffsetDateTime,
    heard: Mutex<Instant>,
}

impl Peers {
    /// Whoever is alive, and this instance, which nobody has heard of yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Arc<dyn Store>, me: String) -> Result<Self, StoreError> {
        let own = me.clone();
        let alive = move |records: &Records<Peer>| {
            let mut ids: Vec<String> = records.keys().cloned().chain([own.clone()]).collect();
            ids.sort();
            ids.dedup();
            ids
        };
        let alive = View::load(store.clone(), TABLE, alive).await?;
        Ok(Self { me, store, alive, since: OffsetDateTime::now_utc(), heard: Mutex::new(Instant::now()) })
    }

    /// The peers as the store has them, for whoever follows its changes.
    pub(super) fn follow(&self) -> &impl Follow {
        &self.alive
    }

    /// This instance's own name.
    pub fn me(&self) -> &str {
        &self.me
    }

    /// Whether this instance is the one that takes care of a thing.
    pub fn owns(&self, thing: &str) -> bool {
        owner(thing, &self.alive.now()) == Some(self.me.as_str())
    }

    /// The others that have said so lately, by id.
    pub fn others(&self) -> Vec<(String, Peer)> {
        let state = self.alive.now();
        let others = state.records().iter().filter(|(id, _)| **id != self.me);
        others.map(|(id, record)| (id.clone(), record.value.clone())).collect()
    }

    /// How many there are, this instance among them.
    pub fn count(&self) -> usize {
        self.alive.now().len()
    }

    fn heard(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Refuse while the others may have counted this instance out.
    ///
    /// # Errors
    /// [`Error::Isolated`].
    pub fn require_heard(&self) -> Result<(), Error> {
        match self.heard() {
            silent if self.store.is_shared() && silent > ISOLATED => Err(Error::Isolated { silent }),
            _ => Ok(()),
        }
    }

    /// Tell the others that this instance lives, and learn who else does.
    async fn beat(&self, peer: &Peer) -> Result<(), StoreError> {
        let asked = Instant::now();
        let writes = vec![TABLE.put_for(&self.me, peer, GONE)?];
        self.store.commit(Batch { writes, ..Batch::default() }).await?;
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        // Those who fell silent are gone without a word.
        self.alive.reload().await
    }

    /// Tell the others that this instance is about to end.
    pub async fn leave(&self) {
        if !self.store.is_shared() {
            return;
        }
        let writes = vec![TABLE.delete(&self.me)];
        if let Err(error) = self.store.commit(Batch { writes, ..Batch::default() }).await {
            tracing::debug!(%error, "the peers could not be told; they will notice");
        }
    }
}

impl Cluster {
    /// This instance, as it says of itself.
    pub fn as_peer(&self) -> Peer {
        Peer {
            address: self.config.server.listen.to_string(),
            epoch: self.topology().epoch,
            version: env!("CARGO_PKG_VERSION").into(),
            since: self.peers.since,
        }
    }

    /// Be heard, for ever.
    pub async fn keep_in_touch(self: Arc<Self>) {
        if !self.store.is_shared() {
            self.metrics.peers(1);
            return;
        }
        let mut ticks = tokio::time::interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.peers.beat(&self.as_peer()).await {
                tracing::warn!(%error, silent_s = self.peers.heard().as_secs(), "the peers cannot be told that this instance lives");
            }
            self.metrics.peers(self.peers.count());
        }
    }
}
