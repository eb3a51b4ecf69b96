//! Keeps the leases of index write locks: renews those that are used, releases the others, and those that another
//! instance waits for.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use miroir_core::base::id::IndexUid;
use tokio::time::Instant;

use super::{HEAD_START, Held, IDLE, IDLE_ALONE, IndexLock, IndexLocks, RENEW, RENEW_ALONE, SOON, TTL, index_of};

impl IndexLocks {
    /// Renew the leases of locks that are used, and release what other instances ask for, for ever.
    pub async fn keep(&self) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut requests) = requests else { return };
        let mut ticks = tokio::time::interval(RENEW);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut leaving, mut wanted) = (FuturesUnordered::new(), BTreeSet::new());
        let mut renewals = FuturesUnordered::new();
        loop {
            tokio::select! {
                // A store that is slow holds up no later attempt.
                _ = ticks.tick() => renewals.extend(self.held().into_iter().map(|lock| self.renew_one(lock))),
                Some(index) = requests.recv() => {
                    if wanted.insert(index.clone()) {
                        leaving.push(self.hand_over(index));
                    }
                }
                Some(index) = leaving.next(), if !leaving.is_empty() => {
                    wanted.remove(&index);
                }
                Some(()) = renewals.next(), if !renewals.is_empty() => {}
            }
        }
    }

    fn held(&self) -> Vec<Arc<IndexLock>> {
        self.locks().values().filter(|lock| lock.held().is_some()).cloned().collect()
    }

    async fn renew_one(&self, lock: Arc<IndexLock>) {
        let Some(held) = lock.held().clone() else { return };
        let idle = if self.store.is_shared() { IDLE } else { IDLE_ALONE };
        if held.used.elapsed() > idle
            && !self.owes(&held)
            && !held.is_unseen()
            && let Ok(_place) = lock.queue.try_lock()
        {
            self.release(&lock).await;
            return;
        }
        if !self.store.is_shared() && held.renewed.elapsed() < RENEW_ALONE {
            return;
        }
        let asked = Instant::now();
        let Ok(renewed) = tokio::time::timeout(TTL, self.store.renew(&held.lease, TTL)).await else { return };
        match renewed {
            Ok(true) => lock.renewed(&held.lease, asked, asked + self.lasts()),
            // The store refuses what is recorded under the guard that may be out.
            Ok(false) => _ = lock.held().take_if(|now| now.lease == held.lease),
            Err(error) => {
                tracing::debug!(%error, scope = held.lease.scope, "the lease of an index write lock could not be renewed")
            }
        }
    }

    /// Release the lock of an index to the instance that asks for it. Changes of this instance that wait already go first.
    async fn hand_over(&self, index: IndexUid) -> IndexUid {
        let lock = self.entry(&index);
        let _place = lock.queue.lock().await;
        let held = lock.held().clone();
        if held.is_some_and(|held| !self.owes(&held)) {
            self.release(&lock).await;
            tokio::time::sleep(HEAD_START).await;
        }
        index
    }

    /// Something of the index is still to be written down.
    fn owes(&self, held: &Held) -> bool {
        index_of(&held.lease.scope).is_some_and(|index| self.keeps.keeps(&index))
    }

    /// Release a lock. One under which something is in doubt is left to lapse, so that the next holder knows. The
    /// caller holds the lock.
    async fn release(&self, lock: &IndexLock) {
        let Some(held) = lock.held().take() else { return };
        if held.is_unseen() || self.owes(&held) {
            return;
        }
        if let Err(error) = self.store.release(&held.lease).await {
            tracing::debug!(%error, scope = held.lease.scope, "an index write lock could not be released; its lease ends by itself");
        }
    }

    /// Release every lock: the instance stops, and whoever holds a guard drops it soon. What is under way for longer
    /// than that is in doubt.
    pub async fn close(&self) {
        let locks: Vec<Arc<IndexLock>> = self.locks().values().cloned().collect();
        let releases = locks.iter().map(|lock| async move {
            // Also one that is just being handed over.
            if let Ok(_place) = tokio::time::timeout(SOON, lock.queue.lock()).await {
                self.release(lock).await;
            }
        });
        join_all(releases).await;
    }
}
