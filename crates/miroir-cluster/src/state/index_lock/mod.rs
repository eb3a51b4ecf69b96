//! Index write locks: the changes of one index reach all its replicas in one order.
//!
//! Two writes that are sent at the same time would otherwise reach two replicas in different orders and leave them
//! different for ever. Within an instance the lock is a queue, held only while a change is handed to the nodes' own
//! task queues. Among instances it is a lease: it stays with the instance that used it last until another one asks for
//! it, so that an instance that writes alone asks the store for nothing. What is recorded of a change carries the
//! lease's fencing token: the store refuses an instance that slept while another took over. A lease that lapsed instead
//! of being released says that its holder may have died in the midst of a change: the next holder treats the shards of
//! the index as in doubt.

mod guard;
mod keep;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use miroir_core::base::id::IndexUid;
use miroir_core::config::Config;
use miroir_store::{Lease, Store, StoreError};
use tokio::sync::{Notify, OwnedMutexGuard, mpsc};
use tokio::time::Instant;

use crate::Error;

/// An index write lock that was lost while this process slept is noticed together with the answers that came meanwhile.
/// They count: they tell which nodes do what was sent after what others have sent since.
pub const ANSWERED: Duration = Duration::from_millis(100);

pub use guard::{IndexGuard, Left, all_last, any_lost, linger};

/// How long the writes of an index wait for an instance that died.
const TTL: Duration = Duration::from_secs(3);
/// Between two renewals of a lease.
const RENEW: Duration = Duration::from_secs(1);
/// A lock that nobody used for so long is released.
const IDLE: Duration = Duration::from_secs(2);
/// The same where no other instance shares the store: to release the lock costs more than the doubt that it leaves,
/// should this instance be killed.
const IDLE_ALONE: Duration = Duration::from_secs(30);
/// Between two renewals where no other instance shares the store, which forgets leases that ended long ago.
const RENEW_ALONE: Duration = Duration::from_hours(1);
/// For so long a lock is held without being renewed where no other instance shares the store.
const FOR_GOOD: Duration = Duration::from_hours(24 * 365);
/// Between two attempts to get a lock, should the notification that it is free be lost.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Head start of the instance that waits, before this one asks for the lock again.
const HEAD_START: Duration = Duration::from_millis(5);
/// By then whoever held a guard when the instance was asked to stop has dropped it.
const SOON: Duration = Duration::from_secs(2);
/// Locks remembered before those that nobody uses are forgotten.
const REMEMBERED: usize = 1000;
/// Requests of other instances that may wait to be granted. An instance repeats its request until it has the lock.
const REQUESTS: usize = 1024;

/// What a change had to wait for too long.
const BEFORE: &str = "changes of this index that were asked for before";

/// What may not lose the write lock of an index: something of it is still to be written down under that lock.
pub trait KeepsLocks: Send + Sync {
    /// Whether there is something of the index that clients call so.
    fn keeps(&self, index: &IndexUid) -> bool;
}

/// One lock for each index that is being written.
pub struct IndexLocks {
    locks: Mutex<HashMap<IndexUid, Arc<IndexLock>>>,
    store: Arc<dyn Store>,
    holder: String,
    /// The longest that a change waits for those before it.
    patience: Duration,
    /// Locks that other instances have asked for.
    request: mpsc::Sender<IndexUid>,
    since: Instant,
    keeps: Arc<dyn KeepsLocks>,
    /// Taken by [`IndexLocks::keep`].
    requests: Mutex<Option<mpsc::Receiver<IndexUid>>>,
}

#[derive(Default)]
struct IndexLock {
    queue: Arc<tokio::sync::Mutex<()>>,
    held: Mutex<Option<Held>>,
    /// Notified when another instance has released it.
    free: Notify,
}

#[derive(Clone)]
struct Held {
    lease: Lease,
    /// By then another instance may have it.
    until: Instant,
    used: Instant,
    renewed: Instant,
    left: Left,
    /// Since when this instance has it.
    since: Instant,
}

/// How long a change may wait for an index write lock, so that there is time left for the nodes, and to write down what
/// came of it, while its client is still there.
pub fn patience(config: &Config) -> Duration {
    (config.server.request_timeout - config.write.node_timeout) * 9 / 10
}

fn scope_of(index: &IndexUid) -> String {
    format!("index_lock:{index}")
}

/// The index whose lock this scope is about. `None`: it is about something else.
fn index_of(scope: &str) -> Option<IndexUid> {
    scope.strip_prefix("index_lock:")?.parse().ok()
}

impl Held {
    /// Whether a former holder may have left replicas that differ. As long as that is so the lock is not released: the next
    /// holder would not know.
    fn is_unseen(&self) -> bool {
        self.left == Left::Lapsed
    }
}

impl IndexLock {
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

    /// The lease is good until then, if it is still the one.
    fn renewed(&self, lease: &Lease, at: Instant, until: Instant) {
        if let Some(held) = self.held().as_mut().filter(|held| held.lease == *lease) {
            (held.until, held.renewed) = (held.until.max(until), held.renewed.max(at));
        }
    }

    /// What the lock is held by, if the lease has not run out.
    fn in_use(&self) -> Option<Held> {
        let now = Instant::now();
        let mut held = self.held();
        let held = held.as_mut().filter(|held| held.until > now)?;
        held.used = now;
        Some(held.clone())
    }
}

impl IndexLocks {
    /// No locks yet. `holder` is this instance's own name among those that share the store; nobody waits for a lock longer
    /// than `patience`.
    pub fn new(store: Arc<dyn Store>, holder: String, patience: Duration, keeps: Arc<dyn KeepsLocks>) -> Self {
        let (request, requests) = mpsc::channel(REQUESTS);
        let since = Instant::now();
        let requests = Mutex::new(Some(requests));
        Self { locks: Mutex::default(), store, holder, patience, request, since, keeps, requests }
    }

    fn locks(&self) -> MutexGuard<'_, HashMap<IndexUid, Arc<IndexLock>>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, index: &IndexUid) -> Arc<IndexLock> {
        let mut locks = self.locks();
        // Those that nobody holds or waits for are forgotten, so that the map stays as small as the traffic.
        if locks.len() > REMEMBERED {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1 || lock.held().is_some());
        }
        locks.entry(index.clone()).or_default().clone()
    }

    fn known(&self, scope: &str) -> Option<(IndexUid, Arc<IndexLock>)> {
        let index = index_of(scope)?;
        let lock = self.locks().get(&index).cloned()?;
        Some((index, lock))
    }

    /// Wait for the lock of an index, first come first served.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Overloaded`] when those before it, here or in another instance, take too long.
    pub async fn lock(&self, index: &IndexUid) -> Result<IndexGuard, Error> {
        self.lock_within(index, self.patience).await
    }

    /// The lock of an index, if nobody else holds it or waits for it.
    ///
    /// # Errors
    /// As [`IndexLocks::lock`].
    pub async fn try_lock(&self, index: &IndexUid) -> Result<IndexGuard, Error> {
        self.lock_within(index, Duration::ZERO).await
    }

    async fn lock_within(&self, index: &IndexUid, patience: Duration) -> Result<IndexGuard, Error> {
        let begun = Instant::now();
        let lock = self.entry(index);
        let place = tokio::time::timeout(patience, lock.queue.clone().lock_owned());
        let place = Arc::new(place.await.map_err(|_| Error::Overloaded(BEFORE))?);
        let in_use = match lock.in_use() {
            Some(held) => Some(held),
            None => self.hold_on(&lock).await?,
        };
        let Held { lease, left, since, .. } = match in_use {
            Some(held) => held,
            None => self.acquire(&lock, &place, &scope_of(index), begun + patience).await?,
        };
        let quiet_for = lease.lapsed.map(|lapsed| match self.store.is_shared() {
            // Whoever had it sent nothing new after its end, and broke off what was under way a moment later.
            true => (lapsed + since.elapsed()).saturating_sub(ANSWERED),
            // It was not, but who had it was not there beside this instance.
            false => (lapsed + since.elapsed()).min(self.since.elapsed()),
        });
        Ok(IndexGuard { _place: place, index: index.clone(), lock, lease, quiet_for, left })
    }

    /// The indexes whose locks lapsed, so that their holders may have been in the midst of a change, and the leases
    /// that ended.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn lapsed(&self) -> Result<Vec<(IndexUid, Lease)>, StoreError> {
        let lapsed = self.store.lapsed_leases().await?;
        // Also this instance's own that it does not hold any more: it let the lease lapse on purpose.
        let is_held = |lease: &Lease| lease.holder == self.holder && self.holds(&lease.scope);
        let left = lapsed.into_iter().filter(|lease| !is_held(lease));
        Ok(left.filter_map(|lease| Some((index_of(&lease.scope)?, lease))).collect())
    }

    /// The indexes whose lapsed locks this instance has taken over, without having dealt with what their holders left.
    pub fn unseen(&self) -> Vec<IndexUid> {
        let locks = self.locks();
        let unseen = locks.iter().filter(|(_, lock)| lock.held().as_ref().is_some_and(Held::is_unseen));
        unseen.map(|(index, _)| index.clone()).collect()
    }

    fn holds(&self, scope: &str) -> bool {
        self.known(scope).is_some_and(|(_, lock)| lock.held().is_some())
    }

    /// A lease that has ended because the store was away, and that nobody else has taken since, goes on.
    async fn hold_on(&self, lock: &IndexLock) -> Result<Option<Held>, Error> {
        let ended = lock.held().as_ref().filter(|held| !held.is_unseen()).map(|held| held.lease.clone());
        let Some(lease) = ended else { return Ok(None) };
        let asked = Instant::now();
        if !self.store.renew(&lease, TTL).await? {
            return Ok(None);
        }
        lock.renewed(&lease, asked, asked + self.lasts());
        Ok(lock.in_use())
    }

    async fn acquire(
        &self,
        lock: &Arc<IndexLock>,
        place: &Arc<OwnedMutexGuard<()>>,
        scope: &str,
        until: Instant,
    ) -> Result<Held, Error> {
        loop {
            let free = lock.free.notified();
            if let Some(held) = self.ask(lock, place, scope).await? {
                return Ok(held);
            }
            if Instant::now() >= until {
                return Err(Error::Overloaded(BEFORE));
            }
            tokio::select! {
                () = free => {}
                () = tokio::time::sleep(ASK_AGAIN) => {}
            }
        }
    }

    /// Ask the store for the lease. It is kept also when nobody waits for it any more: a lease that nobody knows of
    /// would look like one whose holder died.
    async fn ask(
        &self,
        lock: &Arc<IndexLock>,
        place: &Arc<OwnedMutexGuard<()>>,
        scope: &str,
    ) -> Result<Option<Held>, Error> {
        let (store, holder, lasts) = (self.store.clone(), self.holder.clone(), self.lasts());
        let (lock, place, scope) = (lock.clone(), place.clone(), scope.to_owned());
        let asking = tokio::spawn(async move {
            let asked = Instant::now();
            let lease = store.acquire(&scope, &holder, TTL).await?;
            let held = lease.map(|lease| {
                let left = if lease.lapsed.is_some() { Left::Lapsed } else { Left::Unseen };
                let now = Instant::now();
                Held { lease, until: asked + lasts, used: now, renewed: asked, left, since: now }
            });
            if let Some(held) = &held {
                *lock.held() = Some(held.clone());
            }
            drop(place);
            Ok(held)
        });
        asking.await.map_err(|_| StoreError::Closed)?
    }

    /// For how long a lock is held that nobody renews.
    fn lasts(&self) -> Duration {
        if self.store.is_shared() { TTL } else { FOR_GOOD }
    }

    /// Another instance asks for the lock that this scope is about, if it is about one.
    pub fn give_up(&self, scope: &str) {
        let held = self.known(scope).filter(|(_, lock)| lock.held().is_some());
        if let Some((index, _)) = held {
            // When too many requests wait, the other instance repeats its own.
            let _ = self.request.try_send(index);
        }
    }

    /// Another instance released the lock that this scope is about, if it is about one.
    pub fn try_again(&self, scope: &str) {
        if let Some((_, lock)) = self.known(scope) {
            lock.free.notify_waiters();
        }
    }
}
