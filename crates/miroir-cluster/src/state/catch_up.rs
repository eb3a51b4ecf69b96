//! Catching up with what other instances have done until now, before a client is refused by what memory says.
//!
//! Instances tell each other of changes, which takes a moment. A client that creates a key, or an index, through one of them
//! and uses it at once through another must not be refused: before an instance says no it asks for a mark, which comes by the
//! same way as the changes and after all that were committed before.
//!
//! Invariant: whoever asks waits at most [`PATIENCE`], however many ask, and for nobody's sake but the store's. One mark is
//! under way at a time, and all who came before it began are served by it: refusals cost the store a bounded number of calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use miroir_core::access::Key;
use miroir_store::Store;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::{Error, State};

/// The longest that a refusal waits for the store.
const PATIENCE: Duration = Duration::from_millis(500);
/// A store that was silent is not waited for again until then: memory has to do.
const SILENCE: Duration = Duration::from_secs(1);

/// Marks that were asked for, and those that came.
pub struct CatchUp {
    begun: AtomicU64,
    /// On its way: the store was asked for it and has answered.
    sent: AtomicU64,
    come: watch::Sender<u64>,
    /// Held by whoever asks the store for a mark.
    asking: tokio::sync::Mutex<()>,
    silent_until: Mutex<Option<Instant>>,
}

impl Default for CatchUp {
    fn default() -> Self {
        Self {
            begun: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            come: watch::Sender::new(0),
            asking: tokio::sync::Mutex::default(),
            silent_until: Mutex::default(),
        }
    }
}

impl CatchUp {
    /// A mark has come, and with it every change from before.
    pub fn came(&self, mark: u64) {
        self.come.send_if_modified(|last| {
            let is_later = mark > *last;
            *last = mark.max(*last);
            is_later
        });
    }

    /// Wait until memory has every change that was committed before this was called. Returns whether it does.
    async fn until_now(&self, store: &dyn Store) -> bool {
        if self.is_silent() {
            return false;
        }
        // Of those that begin from now on the first.
        let wanted = self.begun.load(Ordering::Acquire) + 1;
        let came = timeout(PATIENCE, self.mark(store, wanted)).await.unwrap_or(false);
        let silent = (!came).then(|| Instant::now() + SILENCE);
        *self.silent_until.lock().unwrap_or_else(PoisonError::into_inner) = silent;
        came
    }

    fn is_silent(&self) -> bool {
        let until = *self.silent_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    async fn mark(&self, store: &dyn Store, wanted: u64) -> bool {
        let mut come = self.come.subscribe();
        let asking = tokio::select! {
            found = come.wait_for(|mark| *mark >= wanted) => return found.is_ok(),
            asking = self.asking.lock() => asking,
        };
        // Whoever had the turn before may have given up before the store answered.
        if self.sent.load(Ordering::Acquire) < wanted {
            let mark = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
            if let Err(error) = store.mark(mark).await {
                tracing::debug!(%error, "what others did until now cannot be known: memory has to do");
                return false;
            }
            self.sent.store(mark, Ordering::Release);
        }
        drop(asking);
        come.wait_for(|mark| *mark >= wanted).await.is_ok()
    }
}

impl State {
    /// Before a client is refused: have in memory what other instances have committed until now. Returns whether it
    /// makes sense to look again.
    pub async fn catch_up(&self) -> bool {
        self.store.is_shared() && self.catching_up.until_now(&*self.store).await
    }

    /// The key that a path names, also when another instance made it a moment ago.
    ///
    /// # Errors
    /// As [`crate::Keys::find`].
    pub async fn find_key(&self, text: &str) -> Result<Arc<Key>, Error> {
        match self.keys.find(text) {
            Err(_) if self.catch_up().await => self.keys.find(text),
            found => found,
        }
    }
}

#[cfg(test)]
mod tests {
    use miroir_store::{Change, SqliteStore};

    use super::*;

    /// A store, and somebody who tells of its marks.
    async fn marked_store() -> (Arc<dyn Store>, Arc<CatchUp>) {
        let store = SqliteStore::open(":memory:").await.expect("a store");
        let catching_up = Arc::new(CatchUp::default());
        let (mut watch, known) = (store.watch(), catching_up.clone());
        tokio::spawn(async move {
            while let Some(change) = watch.next().await {
                if let Change::Marked(mark) = change {
                    known.came(mark);
                }
            }
        });
        (store, catching_up)
    }

    #[tokio::test]
    async fn many_who_ask_while_a_mark_is_under_way_share_the_next_one() {
        let (store, catching_up) = marked_store().await;
        assert!(catching_up.until_now(&*store).await);
        let before = catching_up.begun.load(Ordering::Acquire);
        let under_way = catching_up.asking.lock().await;
        let asked = futures_util::future::join_all((0..200).map(|_| catching_up.until_now(&*store)));
        let (caught_up, ()) = tokio::join!(asked, async move { drop(under_way) });
        assert!(caught_up.iter().all(|caught_up| *caught_up));
        assert_eq!(catching_up.begun.load(Ordering::Acquire), before + 1);
    }

    #[tokio::test]
    async fn nobody_waits_long_for_a_store_that_tells_nothing() {
        let store = SqliteStore::open(":memory:").await.expect("a store");
        let catching_up = CatchUp::default();
        let begun = Instant::now();
        let asked = (0..100).map(|_| catching_up.until_now(&*store));
        let caught_up = futures_util::future::join_all(asked).await;
        assert!(caught_up.iter().all(|caught_up| !caught_up));
        assert!(begun.elapsed() < PATIENCE * 2, "{:?}", begun.elapsed());
        let begun = Instant::now();
        assert!(!catching_up.until_now(&*store).await);
        assert!(begun.elapsed() < PATIENCE / 2, "waited again: {:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_holds_up_nobody() {
        let (store, catching_up) = marked_store().await;
        for _ in 0..20 {
            let asked = catching_up.until_now(&*store);
            // Dropped wherever it is after its first step.
            let _ = timeout(Duration::ZERO, asked).await;
        }
        assert!(catching_up.until_now(&*store).await);
    }
}
