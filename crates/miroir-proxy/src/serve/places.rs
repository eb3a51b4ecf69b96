//! Who is connected, and since when they wait.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use miroir_core::config::ConnectionLimits;
use miroir_telemetry::Metrics;
use tokio::sync::Notify;

use super::Held;

/// Why a connection is ended from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// No request came.
    Idle,
    /// A head did not come to its end.
    Head,
    /// Nobody reads the answer.
    Unread,
    /// Somebody else needs the place.
    MadeRoom,
}

impl End {
    const ALL: [Self; 4] = [Self::Idle, Self::Head, Self::Unread, Self::MadeRoom];

    /// For metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Head => "slow_head",
            Self::Unread => "slow_reader",
            Self::MadeRoom => "made_room",
        }
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// No byte of a request has come.
    Waiting,
    /// A part of a head has come.
    Head,
    /// A request is being answered.
    AtWork,
}

/// Milliseconds are packed beside two bits of what is being done.
const BITS: u32 = 2;
const NEVER: u64 = u64::MAX;
/// Connections that may be about to end, beside those that there are at most.
const ENDING: usize = 64;

/// One connection as those see it who look after all of them.
pub struct Watch {
    epoch: Instant,
    /// What it is doing, and since when.
    doing: AtomicU64,
    /// Since when its reader takes nothing of what is there to be sent.
    unread: AtomicU64,
    /// Whoever ends it first says why: 0 nobody yet, else a position among all reasons, plus one.
    end: AtomicU8,
    ending: Notify,
    /// A request holds something that is bounded in number.
    keeps: AtomicBool,
    /// Of answers that were handed on and not sent yet.
    unsent: Mutex<Vec<Held>>,
}

impl Watch {
    fn new(epoch: Instant) -> Self {
        let watch = Self {
            epoch,
            doing: AtomicU64::new(0),
            unread: AtomicU64::new(NEVER),
            end: AtomicU8::new(0),
            ending: Notify::new(),
            keeps: AtomicBool::new(false),
            unsent: Mutex::default(),
        };
        watch.does(Doing::Waiting);
        watch
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX >> BITS)
    }

    fn does(&self, doing: Doing) {
        let code = match doing {
            Doing::Waiting => 0,
            Doing::Head => 1,
            Doing::AtWork => 2,
        };
        self.doing.store(self.now() << BITS | code, Ordering::Relaxed);
    }

    fn doing(&self) -> (Doing, u64) {
        let packed = self.doing.load(Ordering::Relaxed);
        let doing = match packed & 3 {
            0 => Doing::Waiting,
            1 => Doing::Head,
            _ => Doing::AtWork,
        };
        (doing, packed >> BITS)
    }

    /// Bytes have come.
    pub fn touch(&self) {
        if self.doing().0 == Doing::Waiting {
            self.does(Doing::Head);
        }
    }

    /// A whole head has come.
    pub fn at_work(&self) {
        self.does(Doing::AtWork);
    }

    /// The request at work has got one of the permits of requests: its connection does not make room.
    pub fn keep(&self) {
        self.keeps.store(true, Ordering::Relaxed);
    }

    /// The whole answer has been handed on. It holds this until it has been sent.
    pub fn answered(&self, held: Held) {
        if !held.is_empty() {
            self.unsent.lock().unwrap_or_else(PoisonError::into_inner).push(held);
        }
        self.keeps.store(false, Ordering::Relaxed);
        self.does(Doing::Waiting);
    }

    /// All that was handed on has been given to the system.
    pub fn flushed(&self) {
        self.reader_reads();
        let sent = std::mem::take(&mut *self.unsent.lock().unwrap_or_else(PoisonError::into_inner));
        drop(sent);
    }

    /// There is something to be sent, and no room for it.
    pub fn reader_waits(&self) {
        let _ = self.unread.compare_exchange(NEVER, self.now(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// There was room for something.
    pub fn reader_reads(&self) {
        self.unread.store(NEVER, Ordering::Relaxed);
    }

    /// Resolves when the connection is to be ended.
    pub async fn ended(&self) -> End {
        loop {
            let notified = self.ending.notified();
            let end = self.end.load(Ordering::Acquire);
            match End::ALL.get(usize::from(end).wrapping_sub(1)) {
                Some(end) => return *end,
                None => notified.await,
            }
        }
    }

    /// Whether nobody had ended it yet.
    fn end(&self, end: End) -> bool {
        let code = End::ALL.iter().position(|known| *known == end).and_then(|at| u8::try_from(at + 1).ok());
        let first = self.end.compare_exchange(0, code.unwrap_or(1), Ordering::AcqRel, Ordering::Acquire).is_ok();
        self.ending.notify_one();
        first
    }

    fn is_ending(&self) -> bool {
        self.end.load(Ordering::Acquire) > 0
    }

    /// Since when it does what it does, if it can make room: as long as it keeps no permit. There are more connections
    /// than permits.
    fn idles_since(&self) -> Option<u64> {
        (!self.keeps.load(Ordering::Relaxed) && self.is_sent()).then(|| self.doing().1)
    }

    fn is_sent(&self) -> bool {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn overdue(&self, limits: &ConnectionLimits) -> Option<End> {
        let now = self.now();
        let is_past = |since: u64, limit: Duration| Duration::from_millis(now.saturating_sub(since)) > limit;
        let unread = self.unread.load(Ordering::Relaxed);
        if unread != NEVER && is_past(unread, limits.write_timeout) {
            return Some(End::Unread);
        }
        match self.doing() {
            (Doing::Waiting, since) if self.is_sent() && is_past(since, limits.idle_timeout) => Some(End::Idle),
            (Doing::Head, since) if is_past(since, limits.head_timeout) => Some(End::Head),
            (Doing::Waiting | Doing::Head | Doing::AtWork, _) => None,
        }
    }
}

/// There is no place.
pub enum Full {
    /// Until one of those that are about to end has ended.
    OfEnding,
    /// All connections keep permits.
    OfWork,
}

/// All connections.
pub struct Places {
    limits: ConnectionLimits,
    metrics: Metrics,
    epoch: Instant,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    watches: HashMap<u64, Arc<Watch>>,
}

/// A connection's place among all; dropped, it is free.
pub struct Place {
    places: Arc<Places>,
    number: u64,
    watch: Arc<Watch>,
}

impl Place {
    pub fn watch(&self) -> Arc<Watch> {
        self.watch.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().watches.remove(&self.number);
        self.places.metrics.outside().connection_leaves();
    }
}

impl Places {
    pub fn new(limits: ConnectionLimits, metrics: Metrics) -> Self {
        Self { limits, metrics, epoch: Instant::now(), taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often [`Places::end_overdue`] is to be called.
    pub fn sweep_interval(&self) -> Duration {
        let shortest = self.limits.head_timeout.min(self.limits.idle_timeout).min(self.limits.write_timeout);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// A place.
    ///
    /// # Errors
    /// [`Full`].
    pub fn take(self: &Arc<Self>) -> Result<Place, Full> {
        let mut taken = self.taken();
        let most = self.limits.max_connections.get();
        if taken.watches.len() >= most.saturating_add(ENDING) {
            return Err(Full::OfEnding);
        }
        if taken.watches.len() >= most && !self.make_room_among(&taken) {
            self.metrics.outside().connection_ended("no_room");
            return Err(Full::OfWork);
        }
        let (number, watch) = (taken.next, Arc::new(Watch::new(self.epoch)));
        taken.next += 1;
        taken.watches.insert(number, watch.clone());
        self.metrics.outside().connection_begins();
        Ok(Place { places: self.clone(), number, watch })
    }

    /// Ends the connection that waits longest.
    pub fn make_room(&self) {
        self.make_room_among(&self.taken());
    }

    /// Whether enough connections are about to end for one more.
    fn make_room_among(&self, taken: &Taken) -> bool {
        let ending = taken.watches.values().filter(|watch| watch.is_ending()).count();
        if taken.watches.len().saturating_sub(ending) < self.limits.max_connections.get() {
            return true;
        }
        let waiting = taken.watches.values().filter(|watch| !watch.is_ending());
        let longest = waiting.filter_map(|watch| Some((watch.idles_since()?, watch))).min_by_key(|(since, _)| *since);
        let Some((_, watch)) = longest else { return false };
        self.end(watch, End::MadeRoom);
        true
    }

    /// Ends those that have waited too long.
    pub fn end_overdue(&self) {
        for watch in self.taken().watches.values().filter(|watch| !watch.is_ending()) {
            if let Some(end) = watch.overdue(&self.limits) {
                self.end(watch, end);
            }
        }
    }

    fn end(&self, watch: &Watch, end: End) {
        if watch.end(end) {
            self.metrics.outside().connection_ended(end.name());
        }
    }
}
