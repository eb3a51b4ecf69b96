//! Write lanes: the changes of one index reach all its replicas in one order.
//!
//! Two writes that are sent at the same time would otherwise reach two replicas in different orders and leave them
//! different for ever. A lane is a queue, held only while a change is handed to the nodes' own task queues. Between
//! instances, the lane of an index is a lease: it stays with the instance that used it last until another one wants it,
//! so that an instance that writes alone asks the store for nothing. What is recorded of a change carries the lease's
//! fence: an instance that slept while another took over is refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{join_all, select_all};
use futures_util::stream::FuturesUnordered;
use miroir_core::config::Config;
use miroir_core::id::IndexUid;
use miroir_store::{Fence, Lease, Store};
use tokio::sync::{Notify, OwnedMutexGuard, mpsc};
use tokio::time::Instant;

use super::Error;

/// How long the writes of an index wait for an instance that died.
const TTL: Duration = Duration::from_secs(3);
/// Between two renewals.
const RENEW: Duration = Duration::from_secs(1);
/// A lane that nobody used for so long is given back.
const IDLE: Duration = Duration::from_secs(4);
/// Between two attempts to take a lane, should the word that it is free be lost.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// For the instance that waits, before this one asks for the lane again.
const HEAD_START: Duration = Duration::from_millis(5);
/// Lanes remembered before those that nobody uses are forgotten.
const REMEMBERED: usize = 1000;
/// Wishes of other instances that may wait to be granted. They are told again.
const WISHES: usize = 1024;

/// What a change had to wait for too long.
const BEFORE: &str = "changes of this index that were asked for before";

/// One lane per index that is being written.
pub struct Lanes {
    lanes: Mutex<HashMap<IndexUid, Arc<Lane>>>,
    store: Arc<dyn Store>,
    holder: String,
    /// The longest that a change waits for those before it.
    patience: Duration,
    wish: mpsc::Sender<IndexUid>,
    /// Taken by the keeper.
    wishes: Mutex<Option<mpsc::Receiver<IndexUid>>>,
}

#[derive(Default)]
struct Lane {
    queue: Arc<tokio::sync::Mutex<()>>,
    held: Mutex<Option<Held>>,
    /// Another instance gave it back.
    free: Notify,
}

#[derive(Clone)]
struct Held {
    lease: Lease,
    /// By then another instance may have it.
    until: Instant,
    used: Instant,
}

/// The right to change an index; the next in the lane proceeds when it and its clones are dropped.
#[derive(Clone)]
pub struct Turn {
    _place: Arc<OwnedMutexGuard<()>>,
    /// None: no other instance can have the turn.
    leased: Option<(Arc<Lane>, Lease)>,
    /// Another instance may have changed the index since this one had the lane last.
    pub taken_over: bool,
}

impl Turn {
    /// What is to be recorded under this turn is recorded only while it lasts.
    pub fn fence(&self) -> Option<Fence> {
        self.leased.as_ref().map(|(_, lease)| lease.fence())
    }

    /// Returns when another instance may have the turn.
    pub async fn lost(&self) {
        match &self.leased {
            None => std::future::pending().await,
            Some((lane, lease)) => lane.lost(lease).await,
        }
    }

    /// Whether no other instance can have the turn by now.
    pub fn lasts(&self) -> bool {
        self.leased.as_ref().is_none_or(|(lane, lease)| lane.lasts(lease))
    }
}

/// How long a change may wait for its turn, so that there is time left for the nodes, and to write down what came of it,
/// while its client is still there.
pub fn patience(config: &Config) -> Duration {
    (config.server.request_timeout - config.write.node_timeout) * 9 / 10
}

/// Returns when another instance may have one of these turns.
pub async fn any_lost(turns: &[Turn]) {
    match turns {
        [] => std::future::pending().await,
        turns => drop(select_all(turns.iter().map(|turn| Box::pin(turn.lost()))).await),
    }
}

fn scope_of(index: &IndexUid) -> String {
    format!("lane:{index}")
}

impl Lane {
    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the lease has not ended, nor was it lost.
    fn lasts(&self, lease: &Lease) -> bool {
        self.ends(lease).is_some()
    }

    /// Returns when the lease has ended, or was lost.
    async fn lost(&self, lease: &Lease) {
        while let Some(until) = self.ends(lease) {
            // It may have been renewed by then.
            tokio::time::sleep_until(until).await;
        }
    }

    fn ends(&self, lease: &Lease) -> Option<Instant> {
        let held = self.held();
        held.as_ref().filter(|held| held.lease == *lease && held.until > Instant::now()).map(|held| held.until)
    }

    /// The lease that is good for a while yet.
    fn use_lease(&self) -> Option<Lease> {
        let now = Instant::now();
        let mut held = self.held();
        let held = held.as_mut().filter(|held| held.until > now)?;
        held.used = now;
        Some(held.lease.clone())
    }
}

impl Lanes {
    /// No lanes yet. `holder` is this instance's own name among those that share the store; nobody waits for a turn longer
    /// than `patience`.
    pub fn new(store: Arc<dyn Store>, holder: String, patience: Duration) -> Self {
        let (wish, wishes) = mpsc::channel(WISHES);
        Self { lanes: Mutex::default(), store, holder, patience, wish, wishes: Mutex::new(Some(wishes)) }
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<IndexUid, Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane(&self, index: &IndexUid) -> Arc<Lane> {
        let mut lanes = self.lanes();
        // Those that nobody holds or waits for are forgotten, so that the map stays as small as the traffic.
        if lanes.len() > REMEMBERED {
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1 || lane.held().is_some());
        }
        lanes.entry(index.clone()).or_default().clone()
    }

    fn known(&self, scope: &str) -> Option<(IndexUid, Arc<Lane>)> {
        let index: IndexUid = scope.strip_prefix("lane:")?.parse().ok()?;
        let lane = self.lanes().get(&index).cloned()?;
        Some((index, lane))
    }

    /// Wait for the turn, first come first served.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Overloaded`] when those before it, here or in another instance, take too long.
    pub async fn turn(&self, index: &IndexUid) -> Result<Turn, Error> {
        let begun = Instant::now();
        let lane = self.lane(index);
        let place = tokio::time::timeout(self.patience, lane.queue.clone().lock_owned());
        let place = Arc::new(place.await.map_err(|_| Error::Overloaded(BEFORE))?);
        if !self.store.is_shared() {
            return Ok(Turn { _place: place, leased: None, taken_over: false });
        }
        if let Some(lease) = lane.use_lease() {
            return Ok(Turn { _place: place, leased: Some((lane, lease)), taken_over: false });
        }
        let lease = self.acquire(&lane, &scope_of(index), begun).await?;
        Ok(Turn { _place: place, leased: Some((lane, lease)), taken_over: true })
    }

    async fn acquire(&self, lane: &Lane, scope: &str, begun: Instant) -> Result<Lease, Error> {
        loop {
            let asked = Instant::now();
            let free = lane.free.notified();
            if let Some(lease) = self.store.acquire(scope, &self.holder, TTL).await? {
                *lane.held() = Some(Held { lease: lease.clone(), until: asked + TTL, used: Instant::now() });
                return Ok(lease);
            }
            if begun.elapsed() > self.patience {
                return Err(Error::Overloaded(BEFORE));
            }
            tokio::select! {
                () = free => {}
                () = tokio::time::sleep(ASK_AGAIN) => {}
            }
        }
    }

    /// Another instance wants the lane of this scope, if it is one.
    pub fn give_up(&self, scope: &str) {
        let held = self.known(scope).filter(|(_, lane)| lane.held().is_some());
        if let Some((index, _)) = held {
            // When too many wait, it is wished for again.
            let _ = self.wish.try_send(index);
        }
    }

    /// Another instance gave back the lane of this scope, if it is one.
    pub fn try_again(&self, scope: &str) {
        if let Some((_, lane)) = self.known(scope) {
            lane.free.notify_waiters();
        }
    }

    /// Renew the leases of lanes that are used, and give up what others want, for ever.
    pub async fn keep(&self) {
        let wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut wishes) = wishes else { return };
        let mut ticks = tokio::time::interval(RENEW);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut leaving = FuturesUnordered::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => self.renew().await,
                Some(index) = wishes.recv() => leaving.push(self.hand_over(index)),
                Some(()) = leaving.next(), if !leaving.is_empty() => {}
            }
        }
    }

    async fn renew(&self) {
        let held: Vec<Arc<Lane>> = self.lanes().values().filter(|lane| lane.held().is_some()).cloned().collect();
        join_all(held.iter().map(|lane| self.renew_one(lane))).await;
    }

    async fn renew_one(&self, lane: &Lane) {
        let Some(held) = lane.held().clone() else { return };
        if held.used.elapsed() > IDLE
            && let Ok(_place) = lane.queue.try_lock()
        {
            self.release(lane).await;
            return;
        }
        let asked = Instant::now();
        match self.store.renew(&held.lease, TTL).await {
            Ok(true) => {
                if let Some(held) = lane.held().as_mut() {
                    held.until = asked + TTL;
                }
            }
            // Whoever has the turn now is refused by the fence.
            Ok(false) => *lane.held() = None,
            Err(error) => tracing::debug!(%error, scope = held.lease.scope, "a lane could not be renewed"),
        }
    }

    /// Those of this instance that wait already go first.
    async fn hand_over(&self, index: IndexUid) {
        let lane = self.lane(&index);
        let _place = lane.queue.lock().await;
        if lane.held().is_some() {
            self.release(&lane).await;
            tokio::time::sleep(HEAD_START).await;
        }
    }

    /// Whoever calls this has the turn.
    async fn release(&self, lane: &Lane) {
        let held = lane.held().take();
        if let Some(held) = held
            && let Err(error) = self.store.release(&held.lease).await
        {
            tracing::debug!(%error, scope = held.lease.scope, "a lane could not be given back; it ends by itself");
        }
    }

    /// Give back every lane: the instance stops.
    pub async fn close(&self) {
        let lanes: Vec<Arc<Lane>> = self.lanes().values().cloned().collect();
        join_all(lanes.iter().map(|lane| self.release(lane))).await;
    }
}
