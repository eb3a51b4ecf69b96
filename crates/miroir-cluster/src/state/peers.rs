//! The instances that share a store: who is alive, and who of them does what.
//!
//! Invariant: an instance that its peers evict was isolated before: it has stopped accepting writes, and says that it
//! is not ready. What it had under way is recorded under the fence of its guard, or is in doubt.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use miroir_core::base::id::Epoch;
use miroir_core::config::PeerDiscoveryConfig;
use miroir_core::membership::ownership::owner;
use miroir_node::NodeClient;
use miroir_store::{Batch, Store, StoreError, Table, TypedTable};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use crate::clock::rfc3339;
use crate::state::discovery::Discovery;
use crate::{Error, State};

/// Between two looks at the epoch that is acknowledged.
const LOOK: Duration = Duration::from_millis(50);

/// An instance, as it says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Where it listens, for operators.
    pub address: String,
    /// The topology it acts on, with nothing under way that it began on an older one.
    pub epoch: Epoch,
    /// Its release.
    pub version: String,
    /// When it started.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

impl Peer {
    /// As operators and other instances see it. `own`: it is the one that answers.
    pub fn view(&self, id: &str, own: bool) -> miroir_api::Peer {
        miroir_api::Peer {
            id: id.to_owned(),
            own,
            address: self.address.clone(),
            epoch: self.epoch.0,
            version: self.version.clone(),
            since: rfc3339(self.since),
        }
    }

    /// What another instance says of itself. `None`: its start is no time.
    pub fn read(view: &miroir_api::Peer) -> Option<Self> {
        let since = OffsetDateTime::parse(&view.since, &Rfc3339).ok()?;
        let miroir_api::Peer { address, epoch, version, .. } = view.clone();
        Some(Self { address, epoch: Epoch(epoch), version, since })
    }
}

const TABLE: TypedTable<Peer> = TypedTable::new(Table::Peers);

/// Who lives.
#[derive(Default)]
struct Living {
    /// Of all, this instance among them, ascending.
    ids: Vec<String>,
    others: BTreeMap<String, Peer>,
}

/// This instance and its peers.
pub struct Peers {
    me: String,
    store: Arc<dyn Store>,
    living: ArcSwap<Living>,
    since: OffsetDateTime,
    /// When the last heartbeat that the store has taken was begun.
    last_contact: Mutex<Instant>,
    /// As [`PeerDiscoveryConfig::evicted_after`].
    gone: Duration,
    /// As [`PeerDiscoveryConfig::isolated_after`].
    isolated: Duration,
}

impl Peers {
    /// The instances that have a heartbeat in the store, and this one, which has none yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Arc<dyn Store>, me: String, config: &PeerDiscoveryConfig) -> Result<Self, StoreError> {
        let peers = Self {
            me,
            store,
            living: ArcSwap::default(),
            since: OffsetDateTime::now_utc(),
            last_contact: Mutex::new(Instant::now()),
            gone: config.evicted_after(),
            isolated: config.isolated_after(),
        };
        let others = peers.in_store().await?;
        peers.set_others(others);
        Ok(peers)
    }

    /// This instance's own name.
    pub fn me(&self) -> &str {
        &self.me
    }

    /// Whether this instance is the one that takes care of a thing.
    pub fn owns(&self, thing: &str) -> bool {
        owner(thing, &self.living.load().ids) == Some(self.me.as_str())
    }

    /// The others that have said so lately, by id.
    pub fn others(&self) -> BTreeMap<String, Peer> {
        self.living.load().others.clone()
    }

    /// Their names, this instance's among them, ascending.
    pub fn ids(&self) -> Vec<String> {
        self.living.load().ids.clone()
    }

    /// How many there are, this instance among them.
    pub fn count(&self) -> usize {
        self.living.load().ids.len()
    }

    /// Time since the last contact.
    fn silent_for(&self) -> Duration {
        self.last_contact.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Refuse while this instance is isolated, so that it has no write under way when the others evict it.
    ///
    /// # Errors
    /// [`Error::Isolated`].
    pub fn require_contact(&self) -> Result<(), Error> {
        match self.silent_for() {
            silent if self.store.is_shared() && silent > self.isolated => Err(Error::Isolated { silent }),
            _ => Ok(()),
        }
    }

    /// Time since the last contact, if the others have evicted this instance: they may have moved shards without
    /// waiting for it. `None`: they have not.
    pub fn evicted_for(&self) -> Option<Duration> {
        Some(self.silent_for()).filter(|silent| self.store.is_shared() && *silent > self.gone)
    }

    /// Write a heartbeat into the store.
    async fn beat(&self, peer: &Peer) -> Result<(), StoreError> {
        let asked = Instant::now();
        let writes = vec![TABLE.put_for(&self.me, peer, self.gone)?];
        self.store.commit(Batch { writes, ..Batch::default() }).await?;
        *self.last_contact.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        Ok(())
    }

    /// All that have said lately that they live, by id, as the store has it.
    pub(crate) async fn in_store(&self) -> Result<BTreeMap<String, Peer>, StoreError> {
        Ok(TABLE.list(&*self.store).await?.into_iter().map(|(id, record)| (id, record.value)).collect())
    }

    fn set_others(&self, mut others: BTreeMap<String, Peer>) {
        others.remove(&self.me);
        let mut ids: Vec<String> = others.keys().cloned().chain([self.me.clone()]).collect();
        ids.sort();
        self.living.store(Arc::new(Living { ids, others }));
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

impl State {
    /// This instance, as it says of itself.
    pub fn as_peer(&self) -> Peer {
        Peer {
            address: self.config.server.listen.to_string(),
            epoch: self.acknowledged_epoch(),
            version: env!("CARGO_PKG_VERSION").into(),
            since: self.peers.since,
        }
    }

    async fn acknowledgement_after(&self, told: Epoch) {
        while self.acknowledged_epoch() <= told {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Send heartbeats and read those of the others, for ever. `client` asks the instances that `discovery` finds.
    pub async fn keep_in_touch(self: Arc<Self>, mut discovery: Option<Discovery>, client: NodeClient) {
        self.metrics.peers(self.peers.count());
        if !self.store.is_shared() {
            return;
        }
        let mut ticks = tokio::time::interval(self.config.peer_discovery.heartbeat);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Whoever leads a change of the topology waits for its acknowledgement.
            let told = self.acknowledged_epoch();
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.acknowledgement_after(told) => {}
            }
            let mut beaten = self.peers.beat(&self.as_peer()).await;
            match &mut discovery {
                Some(discovery) => self.peers.set_others(discovery.ask(&client).await),
                None => match self.peers.in_store().await {
                    Ok(others) => self.peers.set_others(others),
                    Err(error) => beaten = beaten.and(Err(error)),
                },
            }
            if let Err(error) = beaten {
                let silent_s = self.peers.silent_for().as_secs();
                tracing::warn!(%error, silent_s, "no heartbeat could be sent to the peers");
            }
            self.metrics.peers(self.peers.count());
        }
    }
}
