//! The worker: claims jobs and has them done, several at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use miroir_store::{Change, Jobs, Table, Watch};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::handler::Handlers;
use super::slice;
use crate::{Backoff, Observer, stop};

/// Jobs of kinds that no handler is registered for are counted together.
const OTHER: &str = "other";

/// How an instance works.
#[derive(Clone, Copy, Debug)]
pub struct WorkerOptions {
    /// Jobs done at one time.
    pub concurrency: usize,
    /// Between two heartbeats of a claim; well below the time to live of claims.
    pub heartbeat: Duration,
    /// How long a job is kept before others get their turn; the chunk that was begun is done.
    pub slice: Duration,
    /// Before a job is tried again that did not work.
    pub backoff: Backoff,
    /// The least time between two looks at the jobs.
    pub pace: Duration,
    /// The longest time between two looks, whatever is told in between.
    pub look_every: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            concurrency: 2,
            heartbeat: Duration::from_secs(10),
            slice: Duration::from_secs(10),
            backoff: Backoff::default(),
            pace: Duration::from_millis(250),
            look_every: Duration::from_secs(10),
        }
    }
}

/// Claims jobs of the kinds that it has handlers for.
pub struct Worker {
    jobs: Jobs,
    handlers: Handlers,
    holder: String,
    options: WorkerOptions,
    observer: Arc<dyn Observer>,
}

impl Worker {
    /// A worker; `holder` is what operators see on its claims.
    pub fn new(
        jobs: Jobs,
        handlers: Handlers,
        holder: impl Into<String>,
        options: WorkerOptions,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self { jobs, handlers, holder: holder.into(), options, observer }
    }

    /// Work until asked to stop. Chunks that are under way then are dropped and their jobs given back, before this ends.
    pub async fn run(self, stopped: watch::Receiver<bool>) {
        // From before the first look, so that nothing that comes after it is missed.
        let mut changes = self.jobs.store().watch();
        let mut running = JoinSet::new();
        while !*stopped.borrow() {
            let looked = Instant::now();
            let wait = self.look(&mut running, &stopped).await;
            let Some(wait) = wait else { continue };
            tokio::select! {
                () = stop::asked(stopped.clone()) => break,
                // Not before the store is open again, which it never is.
                open = news(&mut changes), if running.len() < self.options.concurrency => if !open { break },
                Some(ended) = running.join_next() => report(ended),
                () = sleep(wait) => {}
            }
            tokio::select! {
                () = stop::asked(stopped.clone()) => break,
                () = sleep_until(looked + self.options.pace) => {}
            }
        }
        while let Some(ended) = running.join_next().await {
            report(ended);
        }
    }

    /// Take a job if there is one to take and somebody free to do it. Returns `None` if there may be more jobs to
    /// take at once, and otherwise when to look again.
    async fn look(&self, running: &mut JoinSet<()>, stopped: &watch::Receiver<bool>) -> Option<Duration> {
        while let Some(ended) = running.try_join_next() {
            report(ended);
        }
        let is_busy = running.len() >= self.options.concurrency;
        let kinds = if is_busy { Vec::new() } else { self.handlers.kinds() };
        let since = Instant::now();
        let look = match self.jobs.claim(&kinds, &self.holder).await {
            Ok(look) => look,
            Err(error) => {
                tracing::warn!(%error, "the jobs cannot be read; trying again");
                return Some(self.options.backoff.after(1));
            }
        };
        self.count(&look.open);
        let again = look.look_again.map_or(self.options.look_every, |wait| wait.min(self.options.look_every));
        let claim = match look.claim {
            Some(claim) => claim,
            None => return Some(again),
        };
        if let Some(handler) = self.handlers.of(&claim.job().kind) {
            tracing::debug!(job = claim.id(), kind = claim.job().kind, "a job was claimed");
            running.spawn(slice::serve(claim, since, handler.clone(), self.options, stopped.clone()));
        }
        None
    }

    fn count(&self, open: &BTreeMap<String, usize>) {
        let mut other: usize = open.values().sum();
        for kind in self.handlers.kinds() {
            let of_kind = open.get(kind).copied().unwrap_or(0);
            other -= of_kind;
            self.observer.queue_depth(kind, of_kind);
        }
        self.observer.queue_depth(OTHER, other);
    }
}

/// Something happened that may free a job. False: the store is closed.
async fn news(changes: &mut Watch) -> bool {
    loop {
        match changes.next().await {
            None => return false,
            Some(Change::Record { table: Table::Jobs, .. } | Change::Everything) => return true,
            Some(Change::LeaseReleased(scope)) if Jobs::is_claim(&scope) => return true,
            Some(
                Change::Record { .. }
                | Change::Tasks
                | Change::Log(_)
                | Change::Marked(_)
                | Change::LeaseWanted(_)
                | Change::LeaseReleased(_),
            ) => {}
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a job's handler ended in a panic; the job is tried again when its claim has ended");
    }
}
