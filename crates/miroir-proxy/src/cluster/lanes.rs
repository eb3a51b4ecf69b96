//! Write lanes: the changes of one index reach all its replicas in one order.
//!
//! Two writes that are sent at the same time would otherwise reach two replicas in different orders and leave them
//! different for ever. A lane is a queue, held only while a change is handed to the nodes' own task queues. The lane of an
//! index is a lease, too: it stays with the instance that used it last until another one wants it, so that an instance that
//! writes alone asks the store for nothing. What is recorded of a change carries the lease's fence: an instance that slept
//! while another took over is refused. A lease that was not given back says that whoever had it ended in the midst of
//! changes, perhaps: who takes it over has that in doubt.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{join_all, select_all};
use futures_util::stream::FuturesUnordered;
use miroir_core::config::Config;
use miroir_core::id::{IndexUid, ShardId};
use miroir_store::{Fence, Lease, Store, StoreError};
use tokio::sync::{Notify, OwnedMutexGuard, mpsc};
use tokio::time::Instant;

use super::Error;
use super::debts::Debts;
use super::parts::ANSWERED;
use crate::node::Lasts;

/// How long the writes of an index wait for an instance that died.
const TTL: Duration = Duration::from_secs(3);
/// Between two renewals.
const RENEW: Duration = Duration::from_secs(1);
/// A lane that nobody used for so long is given back.
const IDLE: Duration = Duration::from_secs(2);
/// The same where no other instance can have it: giving it back costs more than a doubt, should this one be killed.
const IDLE_ALONE: Duration = Duration::from_secs(30);
/// Between two renewals where no other instance can have the lane. The store forgets what ended long ago.
const RENEW_ALONE: Duration = Duration::from_hours(1);
/// For so long a lane is held without being renewed where no other instance can have it.
const FOR_GOOD: Duration = Duration::from_hours(24 * 365);
/// Between two attempts to take a lane, should the word that it is free be lost.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// For the instance that waits, before this one asks for the lane again.
const HEAD_START: Duration = Duration::from_millis(5);
/// By then whoever had a turn when the instance stopped has given it up.
const SOON: Duration = Duration::from_secs(2);
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
    since: Instant,
    debts: Arc<Debts>,
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
    renewed: Instant,
    left: Left,
    /// Since when this instance has it.
    since: Instant,
}

/// What is known of what others have done to an index before this instance had its lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// Whoever had it did not give it back, and nobody has looked at what that may mean.
    Lapsed,
    /// Nobody has looked.
    Unseen,
    /// Replicas of these shards may differ, and it cannot be said which one is to be kept. None: everything is known.
    InDoubt(Arc<BTreeSet<ShardId>>),
}

impl Left {
    /// Nothing is left to be looked at.
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::InDoubt(shards) if shards.is_empty())
    }

    /// Whether this shard's replicas may differ.
    pub fn is_in_doubt(&self, shard: ShardId) -> bool {
        match self {
            Self::Lapsed | Self::Unseen => true,
            Self::InDoubt(shards) => shards.contains(&shard),
        }
    }
}

/// The right to change an index; the next in the lane proceeds when it and its clones are dropped.
#[derive(Clone)]
pub struct Turn {
    _place: Arc<OwnedMutexGuard<()>>,
    index: IndexUid,
    lane: Arc<Lane>,
    lease: Lease,
    quiet_for: Option<Duration>,
    left: Left,
}

impl Turn {
    /// What is to be recorded under this turn is recorded only while it lasts.
    pub fn fence(&self) -> Fence {
        self.lease.fence()
    }

    /// Which index.
    pub fn index(&self) -> &IndexUid {
        &self.index
    }

    /// What others may have left of the index.
    pub fn left(&self) -> &Left {
        &self.left
    }

    /// For how long at least nothing was sent by who had the lane and did not give it back. None: it was given back, or that
    /// was seen to.
    pub fn quiet_for(&self) -> Option<Duration> {
        self.quiet_for.filter(|_| self.left == Left::Lapsed)
    }

    /// That was looked at: these shards are in doubt still.
    pub fn settle(&mut self, in_doubt: BTreeSet<ShardId>) {
        self.note(Left::InDoubt(Arc::new(in_doubt)));
    }

    /// The name is another index's from now on, of which nothing is known.
    pub fn forget(&mut self) {
        self.note(Left::Unseen);
    }

    fn note(&mut self, left: Left) {
        self.left = left;
        if let Some(held) = self.lane.held().as_mut().filter(|held| held.lease == self.lease) {
            held.left = self.left.clone();
        }
    }

    /// Returns when another instance may have the turn.
    pub async fn lost(&self) {
        self.lane.lost(&self.lease).await;
    }

    /// Whether no other instance can have the turn by now.
    pub fn lasts(&self) -> bool {
        self.lane.lasts(&self.lease)
    }
}

/// Leases of lanes that have to last. They prolong no turn.
struct Holds(Vec<(Arc<Lane>, Lease)>);

impl fmt::Debug for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(_, lease)| lease)).finish()
    }
}

impl Lasts for Holds {
    fn lasts(&self) -> bool {
        self.0.iter().all(|(lane, lease)| lane.lasts(lease))
    }
}

/// What has to last while anything is sent in these turns.
pub fn all_last(turns: &[Turn]) -> Arc<dyn Lasts> {
    Arc::new(Holds(turns.iter().map(|turn| (turn.lane.clone(), turn.lease.clone())).collect()))
}

/// How long a change may wait for its turn, so that there is time left for the nodes, and to write down what came of it,
/// while its client is still there.
pub fn patience(config: &Config) -> Duration {
    (config.server.request_timeout - config.write.node_timeout) * 9 / 10
}

/// Keep these turns until then, as long as they last.
pub async fn linger(until: Instant, turns: &[Turn]) {
    tokio::select! {
        () = tokio::time::sleep_until(until) => {}
        () = any_lost(turns) => {}
    }
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

/// The index whose lane this scope is, if it is one.
fn index_of(scope: &str) -> Option<IndexUid> {
    scope.strip_prefix("lane:")?.parse().ok()
}

impl Held {
    /// Replicas may differ, and nobody knows but who takes this over should it not be given back.
    fn is_unseen(&self) -> bool {
        self.left == Left::Lapsed
    }
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

    /// The lease is good until then, if it is still the one.
    fn renewed(&self, lease: &Lease, at: Instant, until: Instant) {
        if let Some(held) = self.held().as_mut().filter(|held| held.lease == *lease) {
            (held.until, held.renewed) = (held.until.max(until), held.renewed.max(at));
        }
    }

    /// The lane, if its lease is good for a while yet.
    fn in_use(&self) -> Option<Held> {
        let now = Instant::now();
        let mut held = self.held();
        let held = held.as_mut().filter(|held| held.until > now)?;
        held.used = now;
        Some(held.clone())
    }
}

impl Lanes {
    /// No lanes yet. `holder` is this instance's own name among those that share the store; nobody waits for a turn longer
    /// than `patience`.
    pub fn new(store: Arc<dyn Store>, holder: String, patience: Duration, debts: Arc<Debts>) -> Self {
        let (wish, wishes) = mpsc::channel(WISHES);
        let since = Instant::now();
        Self { lanes: Mutex::default(), store, holder, patience, wish, since, debts, wishes: Mutex::new(Some(wishes)) }
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
        let index = index_of(scope)?;
        let lane = self.lanes().get(&index).cloned()?;
        Some((index, lane))
    }

    /// Wait for the turn, first come first served.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Overloaded`] when those before it, here or in another instance, take too long.
    pub async fn turn(&self, index: &IndexUid) -> Result<Turn, Error> {
        self.turn_within(index, self.patience).await
    }

    /// The turn, if nobody else has it or waits for it.
    ///
    /// # Errors
    /// As [`Lanes::turn`].
    pub async fn turn_if_free(&self, index: &IndexUid) -> Result<Turn, Error> {
        self.turn_within(index, Duration::ZERO).await
    }

    async fn turn_within(&self, index: &IndexUid, patience: Duration) -> Result<Turn, Error> {
        let begun = Instant::now();
        let lane = self.lane(index);
        let place = tokio::time::timeout(patience, lane.queue.clone().lock_owned());
        let place = Arc::new(place.await.map_err(|_| Error::Overloaded(BEFORE))?);
        let in_use = match lane.in_use() {
            Some(held) => Some(held),
            None => self.hold_on(&lane).await?,
        };
        let Held { lease, left, since, .. } = match in_use {
            Some(held) => held,
            None => self.acquire(&lane, &place, &scope_of(index), begun + patience).await?,
        };
        let quiet_for = lease.lapsed.map(|lapsed| match self.store.is_shared() {
            // Whoever had it sent nothing new after its end, and broke off what was under way a moment later.
            true => (lapsed + since.elapsed()).saturating_sub(ANSWERED),
            // It was not, but who had it was not there beside this instance.
            false => (lapsed + since.elapsed()).min(self.since.elapsed()),
        });
        Ok(Turn { _place: place, index: index.clone(), lane, lease, quiet_for, left })
    }

    /// The indexes whose lanes somebody has lost who may have been in the midst of a change, and the leases that ended.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn lapsed(&self) -> Result<Vec<(IndexUid, Lease)>, StoreError> {
        let lapsed = self.store.lapsed_leases().await?;
        // Also this instance's own that it does not hold any more: it was left so on purpose.
        let is_held = |lease: &Lease| lease.holder == self.holder && self.holds(&lease.scope);
        let left = lapsed.into_iter().filter(|lease| !is_held(lease));
        Ok(left.filter_map(|lease| Some((index_of(&lease.scope)?, lease))).collect())
    }

    /// Those of which this instance has taken over the lane so, and has not seen to what that may mean.
    pub fn unseen(&self) -> Vec<IndexUid> {
        let lanes = self.lanes();
        let unseen = lanes.iter().filter(|(_, lane)| lane.held().as_ref().is_some_and(Held::is_unseen));
        unseen.map(|(index, _)| index.clone()).collect()
    }

    fn holds(&self, scope: &str) -> bool {
        self.known(scope).is_some_and(|(_, lane)| lane.held().is_some())
    }

    /// A lease that has ended because the store was away, and that nobody else has taken since, goes on.
    async fn hold_on(&self, lane: &Lane) -> Result<Option<Held>, Error> {
        let ended = lane.held().as_ref().filter(|held| !held.is_unseen()).map(|held| held.lease.clone());
        let Some(lease) = ended else { return Ok(None) };
        let asked = Instant::now();
        if !self.store.renew(&lease, TTL).await? {
            return Ok(None);
        }
        lane.renewed(&lease, asked, asked + self.lasts());
        Ok(lane.in_use())
    }

    async fn acquire(
        &self,
        lane: &Arc<Lane>,
        place: &Arc<OwnedMutexGuard<()>>,
        scope: &str,
        until: Instant,
    ) -> Result<Held, Error> {
        loop {
            let free = lane.free.notified();
            if let Some(held) = self.ask(lane, place, scope).await? {
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

    /// Ask the store for the lane. What it gives is the lane's also when nobody waits for it any more: a lease that nobody
    /// knows of would look like one that was left.
    async fn ask(
        &self,
        lane: &Arc<Lane>,
        place: &Arc<OwnedMutexGuard<()>>,
        scope: &str,
    ) -> Result<Option<Held>, Error> {
        let (store, holder, lasts) = (self.store.clone(), self.holder.clone(), self.lasts());
        let (lane, place, scope) = (lane.clone(), place.clone(), scope.to_owned());
        let asking = tokio::spawn(async move {
            let asked = Instant::now();
            let lease = store.acquire(&scope, &holder, TTL).await?;
            let held = lease.map(|lease| {
                let left = if lease.lapsed.is_some() { Left::Lapsed } else { Left::Unseen };
                let now = Instant::now();
                Held { lease, until: asked + lasts, used: now, renewed: asked, left, since: now }
            });
            if let Some(held) = &held {
                *lane.held() = Some(held.clone());
            }
            drop(place);
            Ok(held)
        });
        asking.await.map_err(|_| StoreError::Closed)?
    }

    /// For how long a lane is held that nobody keeps up.
    fn lasts(&self) -> Duration {
        if self.store.is_shared() { TTL } else { FOR_GOOD }
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
        let (mut leaving, mut wanted) = (FuturesUnordered::new(), BTreeSet::new());
        let mut renewals = FuturesUnordered::new();
        loop {
            tokio::select! {
                // A store that is slow holds up no later attempt.
                _ = ticks.tick() => renewals.extend(self.held().into_iter().map(|lane| self.renew_one(lane))),
                Some(index) = wishes.recv() => {
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

    fn held(&self) -> Vec<Arc<Lane>> {
        self.lanes().values().filter(|lane| lane.held().is_some()).cloned().collect()
    }

    async fn renew_one(&self, lane: Arc<Lane>) {
        let Some(held) = lane.held().clone() else { return };
        let idle = if self.store.is_shared() { IDLE } else { IDLE_ALONE };
        if held.used.elapsed() > idle
            && !self.owes(&held)
            && !held.is_unseen()
            && let Ok(_place) = lane.queue.try_lock()
        {
            self.release(&lane).await;
            return;
        }
        if !self.store.is_shared() && held.renewed.elapsed() < RENEW_ALONE {
            return;
        }
        let asked = Instant::now();
        let Ok(renewed) = tokio::time::timeout(TTL, self.store.renew(&held.lease, TTL)).await else { return };
        match renewed {
            Ok(true) => lane.renewed(&held.lease, asked, asked + self.lasts()),
            // Whoever has the turn now is refused by the fence.
            Ok(false) => _ = lane.held().take_if(|now| now.lease == held.lease),
            Err(error) => tracing::debug!(%error, scope = held.lease.scope, "a lane could not be renewed"),
        }
    }

    /// Those of this instance that wait already go first.
    async fn hand_over(&self, index: IndexUid) -> IndexUid {
        let lane = self.lane(&index);
        let _place = lane.queue.lock().await;
        let held = lane.held().clone();
        if held.is_some_and(|held| !self.owes(&held)) {
            self.release(&lane).await;
            tokio::time::sleep(HEAD_START).await;
        }
        index
    }

    /// Something of the index is still to be written down.
    fn owes(&self, held: &Held) -> bool {
        index_of(&held.lease.scope).is_some_and(|index| self.debts.owe(&index))
    }

    /// Give a lane back; what is in doubt in it is left to whoever takes it over when it has ended. The caller has the turn.
    async fn release(&self, lane: &Lane) {
        let Some(held) = lane.held().take() else { return };
        if held.is_unseen() || self.owes(&held) {
            return;
        }
        if let Err(error) = self.store.release(&held.lease).await {
            tracing::debug!(%error, scope = held.lease.scope, "a lane could not be given back; it ends by itself");
        }
    }

    /// Give back every lane: the instance stops, and whoever has a turn gives it up soon. What is under way for longer than
    /// that is in doubt.
    pub async fn close(&self) {
        let lanes: Vec<Arc<Lane>> = self.lanes().values().cloned().collect();
        let releases = lanes.iter().map(|lane| async move {
            // Also one that is just being handed over.
            if let Ok(_place) = tokio::time::timeout(SOON, lane.queue.lock()).await {
                self.release(lane).await;
            }
        });
        join_all(releases).await;
    }
}
