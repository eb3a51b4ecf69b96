//! What a client asks to be changed is the instance's own undertaking, and not the request's.
//!
//! A change that waits for an index write lock is dropped when its client leaves; nothing of it was sent.
//!
//! Invariant: what has begun to reach nodes goes on until it is recorded: whatever becomes of the client, of the time that
//! its request has, or of the code that makes the change. Its index guards are dropped after that. Only a
//! [`Writer`] tells nodes what a client wants changed, and only [`Writes::undertake`] makes one.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use miroir_core::base::id::{IndexUid, ShardId};
use miroir_core::membership::topology::Topology;
use miroir_store::Batch;
use miroir_telemetry::RequestId;
use time::OffsetDateTime;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument;

use crate::state::index_lock::{IndexGuard, linger};
use crate::write::debts::Unrecorded;
use crate::write::parts::{NodePart, PartOutcome};
use crate::{Error, Index, Writes};

/// Until who has stood back looks again.
const STAND_BACK: Duration = Duration::from_millis(50);

/// The wing of writes, for whoever makes the change that a client asked for.
pub struct Writer {
    writes: Arc<Writes>,
    hand: Arc<Mutex<Hand>>,
    /// Nobody waits for it any more.
    left: Arc<AtomicBool>,
}

/// Whoever waits for a change.
struct Waits(Arc<AtomicBool>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What a change holds until it is recorded.
#[derive(Default)]
struct Hand {
    guards: Vec<IndexGuard>,
    /// Nodes may have something of it.
    has_begun: bool,
    sent: Option<Unrecorded>,
    /// The guards are kept until then.
    lingers_until: Option<Instant>,
}

impl Deref for Writer {
    type Target = Writes;

    fn deref(&self) -> &Writes {
        &self.writes
    }
}

impl Writer {
    fn hand(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wait for the write lock of an index. It is released when the change is recorded.
    ///
    /// # Errors
    /// As [`Writes::lock_index`].
    pub(crate) async fn lock_index(&self, uid: &IndexUid) -> Result<IndexGuard, Error> {
        let guard = self.writes.lock_index(uid).await?;
        self.is_wanted()?;
        self.hand().guards.push(guard.clone());
        Ok(guard)
    }

    /// Wait for the write locks of several indexes together.
    ///
    /// # Errors
    /// As [`Writes::lock_index`].
    pub(crate) async fn lock_indexes<'a>(
        &self,
        uids: impl IntoIterator<Item = &'a IndexUid>,
    ) -> Result<Vec<IndexGuard>, Error> {
        let guards = self.writes.lock_indexes(uids).await?;
        self.is_wanted()?;
        self.hand().guards.extend(guards.iter().cloned());
        Ok(guards)
    }

    /// Whether to begin, now that the lock is held: what nobody waits for any more is not begun, for its client may
    /// have gone on to its next change by another way, which then came first.
    ///
    /// # Errors
    /// [`Error::ClientLeft`].
    fn is_wanted(&self) -> Result<(), Error> {
        let is_idle = !self.hand().has_begun && self.left.load(Ordering::Acquire);
        if is_idle { Err(Error::ClientLeft) } else { Ok(()) }
    }

    /// Release the locks for a moment, before anything was sent under them.
    pub(crate) async fn stand_back(&self, guard: IndexGuard) {
        debug_assert!(self.hand().sent.is_none(), "what was sent is recorded under its guard");
        drop(guard);
        self.hand().guards.clear();
        tokio::time::sleep(STAND_BACK).await;
    }

    /// The guards of the index write locks that it holds.
    pub(crate) fn guards(&self) -> Vec<IndexGuard> {
        self.hand().guards.clone()
    }

    /// From now on nodes may have these parts. What is known of them is recorded in one step with the batch, which holds the
    /// fences of the guards.
    ///
    /// # Errors
    /// [`Error::Store`] when it cannot be written down what an earlier change has left behind, and [`Error::NoQuorum`] when it
    /// cannot be said which replicas of a shard differ from which by that: then nothing is sent.
    pub(crate) async fn sends(
        &self,
        index: &Index,
        topology: &Arc<Topology>,
        touched: &[ShardId],
        parts: &[NodePart],
        recorded_with: Batch,
    ) -> Result<(), Error> {
        let guards = self.guards();
        if let Some(guard) = guards.iter().find(|guard| *guard.index() == index.uid) {
            self.pay_debts(guard, &index.physical).await?;
        }
        let shards = in_doubt(&guards, &index.uid, touched);
        if !shards.is_empty() {
            return Err(Error::NoQuorum { shards });
        }
        let (index, topology) = (index.clone(), topology.clone());
        let touched = touched.to_vec();
        let parts = parts.iter().map(|part| PartOutcome::unknown(part.node.clone())).collect();
        let at = OffsetDateTime::now_utc();
        let names = guards.iter().map(|guard| guard.index().clone()).collect();
        let mut hand = self.hand();
        hand.has_begun = true;
        hand.sent = Some(Unrecorded { index, names, topology, touched, at, parts, recorded_with });
        Ok(())
    }

    /// Their answers are known.
    pub(crate) fn answered(&self, outcomes: &[PartOutcome]) {
        if let Some(sent) = &mut self.hand().sent {
            sent.parts = outcomes.iter().map(PartOutcome::kept).collect();
        }
    }

    /// It may arrive until then where nobody would notice: the guards are kept so long, if there is anything to wait for.
    pub(crate) fn lingers(&self, until: Option<Instant>) {
        let mut hand = self.hand();
        hand.lingers_until = hand.lingers_until.max(until);
    }

    /// What has to be known of it is in the store.
    pub(crate) fn recorded(&self) {
        self.hand().sent = None;
    }

    /// Write down what the change has left behind, however it ended; if the store is away, later.
    async fn see_to_the_end(&self) {
        let Some(sent) = self.hand().sent.take() else { return };
        let until = self.record_or_owe(sent).await;
        self.lingers(until);
    }
}

impl Writes {
    /// Make a change that a client asked for. Whoever waits for this may leave at any moment: the change goes on. `holding`
    /// is given up when it is through.
    ///
    /// # Errors
    /// Those of the change; [`Error::Internal`] when it panics; [`Error::Overloaded`] when the instance takes no more of them.
    pub async fn undertake<T, F, H>(self: &Arc<Self>, holding: H, change: impl FnOnce(Writer) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
        H: Send + 'static,
    {
        // Whoever waits for all that is under way waits for what has such a token.
        let token = self.undertakings.token();
        if self.undertakings.is_closed() {
            return Err(Error::Overloaded("this instance is stopping"));
        }
        let left = Arc::<AtomicBool>::default();
        let _waits = Waits(left.clone());
        let writer = Writer { writes: self.clone(), hand: Arc::default(), left: left.clone() };
        let supervisor = Writer { writes: self.clone(), hand: writer.hand.clone(), left };
        let change = AssertUnwindSafe(change(writer)).catch_unwind();
        let (tell, told) = oneshot::channel();
        let undertaking = async move {
            let made = change.await;
            supervisor.see_to_the_end().await;
            let lingers_until = supervisor.hand().lingers_until;
            // Nobody may be there any more.
            if let Some(until) = lingers_until {
                drop(tell.send(made));
                linger(until, &supervisor.guards()).await;
                drop((supervisor, holding, token));
            } else {
                drop((supervisor, holding, token));
                drop(tell.send(made));
            }
        };
        tokio::spawn(RequestId::carried(undertaking).in_current_span());
        // The panic hook has said more.
        let panicked = || Error::Internal("a change panicked".into());
        told.await.map_err(|_| panicked())?.map_err(|_| panicked())?
    }
}

/// Those of the shards of which it cannot be said what others have left.
fn in_doubt(guards: &[IndexGuard], index: &IndexUid, touched: &[ShardId]) -> BTreeSet<ShardId> {
    let of_index = guards.iter().filter(|guard| guard.index() == index);
    let in_doubt = |shard: &&ShardId| of_index.clone().any(|guard| guard.left().is_in_doubt(**shard));
    touched.iter().filter(in_doubt).copied().collect()
}

#[cfg(test)]
mod tests {
    use crate::Cluster;
    use std::num::NonZeroU32;

    use miroir_core::base::id::NodeId;
    use tokio::sync::{Notify, Semaphore};

    use super::*;
    use crate::testing::mirrored;

    async fn index_in(cluster: &Cluster) -> Index {
        let uid: IndexUid = "films".parse().expect("a uid");
        let index = Index::new(uid.clone(), uid, None, NonZeroU32::new(2).expect("not zero"));
        cluster.state.catalog.insert(index.clone(), Batch::default()).await.expect("written");
        index
    }

    /// Both nodes may have got something.
    async fn send(writer: &Writer, index: &Index) {
        let topology = writer.state.ensure_placement(index.shards).await.expect("placed");
        let parts = ["a", "b"].map(|node| NodePart { node: NodeId::new(node), steps: Vec::new() });
        let touched = [ShardId(0), ShardId(1)];
        writer.sends(index, &topology, &touched, &parts, Batch::default()).await.expect("nothing is owed");
    }

    #[tokio::test]
    async fn a_change_goes_on_when_nobody_waits_for_it_and_holds_what_it_was_given() {
        let cluster = mirrored().await;
        let (go_on, done) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let places = Arc::new(Semaphore::new(1));
        let place = places.clone().try_acquire_owned().expect("it is free");
        let (told, noted) = (go_on.clone(), done.clone());
        let undertaken = cluster.writes.undertake(place, |_| async move {
            told.notified().await;
            noted.store(true, Ordering::Release);
            Ok(())
        });
        tokio::time::timeout(Duration::from_millis(20), undertaken).await.expect_err("it waits");
        assert_eq!(places.available_permits(), 0, "the place was given back");
        go_on.notify_one();
        cluster.writes.everything_recorded().await;
        assert!(done.load(Ordering::Acquire));
        assert_eq!(places.available_permits(), 1, "the place was kept");
    }

    #[tokio::test]
    async fn a_change_that_panics_is_an_error_and_what_it_sent_is_accounted_for() {
        let cluster = mirrored().await;
        let index = index_in(&cluster).await;
        let change = index.clone();
        let answer: Result<(), Error> = cluster
            .writes
            .undertake((), |writer| async move {
                let _guard = writer.lock_index(&change.uid).await?;
                send(&writer, &change).await;
                panic!("a bug");
            })
            .await;
        assert!(matches!(answer, Err(Error::Internal(_))), "{answer:?}");
        // Of each shard one replica is what the other is compared with.
        let stale = cluster.state.stale.of(&index.physical);
        let shards: Vec<ShardId> = stale.iter().map(|(shard, _)| *shard).collect();
        assert_eq!(shards, [ShardId(0), ShardId(1)], "{stale:?}");
        assert!(cluster.state.stale_replicas().iter().all(|replica| replica.quiet_at.is_some()), "it may arrive yet");
    }

    #[tokio::test]
    async fn a_change_whose_client_leaves_before_its_turn_is_not_made() {
        let cluster = mirrored().await;
        let index = index_in(&cluster).await;
        let taken = cluster.writes.lock_index(&index.uid).await.expect("free");
        let made = Arc::new(AtomicBool::new(false));
        let (waiting, noted) = (index.clone(), made.clone());
        let undertaken = cluster.writes.undertake((), |writer| async move {
            let _guard = writer.lock_index(&waiting.uid).await?;
            noted.store(true, Ordering::Release);
            Ok(())
        });
        tokio::time::timeout(Duration::from_millis(20), undertaken).await.expect_err("it waits for the lock");
        drop(taken);
        cluster.writes.everything_recorded().await;
        assert!(!made.load(Ordering::Acquire), "nobody wanted it any more");
    }

    #[tokio::test]
    async fn nothing_is_sent_to_a_shard_of_which_nobody_can_say_what_was_left() {
        let cluster = mirrored().await;
        let index = index_in(&cluster).await;
        let touching = async |shard: u32| {
            let index = index.clone();
            let change = async move |writer: Writer| {
                writer.lock_index(&index.uid).await?;
                writer.hand().guards[0].resolve(BTreeSet::from([ShardId(1)]));
                let topology = writer.state.ensure_placement(index.shards).await?;
                writer.sends(&index, &topology, &[ShardId(shard)], &[], Batch::default()).await?;
                writer.recorded();
                Ok(())
            };
            cluster.writes.undertake((), change).await
        };
        assert!(touching(0).await.is_ok());
        let refused = touching(1).await;
        assert!(
            matches!(&refused, Err(Error::NoQuorum { shards }) if *shards == BTreeSet::from([ShardId(1)])),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn the_turn_is_given_up_after_what_was_sent_is_known() {
        let cluster = mirrored().await;
        let index = index_in(&cluster).await;
        let change = index.clone();
        let first = cluster.writes.undertake((), |writer| async move {
            drop(writer.lock_index(&change.uid).await?);
            send(&writer, &change).await;
            Err::<(), _>(Error::Internal("it went wrong".into()))
        });
        let second = cluster.writes.undertake((), |writer| async move {
            let _guard = writer.lock_index(&"films".parse().expect("a uid")).await?;
            Ok(writer.state.stale.of(&"films".parse().expect("a uid")).len())
        });
        let begun = Instant::now();
        let (first, second) = tokio::join!(first, second);
        assert!(first.is_err());
        assert_eq!(second.expect("it got the lock"), 2);
        // Each shard has a fresh replica that may get it yet.
        assert!(begun.elapsed() >= cluster.state.write_timeout(), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn nothing_new_is_undertaken_when_all_was_waited_for() {
        let cluster = mirrored().await;
        cluster.writes.everything_recorded().await;
        let refused = cluster.writes.undertake((), |_| async { Ok(()) }).await;
        assert!(matches!(refused, Err(Error::Overloaded(_))), "{refused:?}");
    }
}
