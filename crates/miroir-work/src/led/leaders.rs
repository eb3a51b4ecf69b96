//! All led work of an instance: finds the operations of each kind, and has each scope driven.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use miroir_store::{Change, Store, StoreError, Table};
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::sleep;

use super::driver::{Driver, until};
use super::machine::Machine;
use super::operation::is_of_kind;
use crate::{Backoff, Observer, stop};

/// How an instance leads.
#[derive(Clone, Debug)]
pub struct LeadOptions {
    /// Who leads, as others see it. No two runs of an instance may have the same: whoever asks for its own lease gets it.
    pub holder: String,
    /// A lease that is not renewed ends after this.
    pub ttl: Duration,
    /// Between two renewals; well below `ttl`.
    pub renew_every: Duration,
    /// Before something is tried again that did not work.
    pub backoff: Backoff,
    /// Scopes of one kind that are looked after at one time; others come when some are done.
    pub max_scopes: usize,
    /// The longest time between two looks for operations, whatever is told in between.
    pub look_every: Duration,
}

impl LeadOptions {
    /// The defaults, for this holder.
    pub fn new(holder: impl Into<String>) -> Self {
        Self {
            holder: holder.into(),
            ttl: Duration::from_secs(10),
            renew_every: Duration::from_secs(3),
            backoff: Backoff { from: Duration::from_secs(1), to: Duration::from_secs(30) },
            max_scopes: 256,
            look_every: Duration::from_secs(30),
        }
    }
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;
type Runner = Box<dyn FnOnce(watch::Receiver<bool>) -> Running + Send>;

/// The kinds of led work that an instance takes part in.
pub struct Leaders {
    store: Arc<dyn Store>,
    options: LeadOptions,
    led: Arc<Led>,
    runners: Vec<Runner>,
}

impl Leaders {
    /// None yet.
    pub fn new(store: Arc<dyn Store>, options: LeadOptions, observer: Arc<dyn Observer>) -> Self {
        let led = Arc::new(Led { observer, scopes: Mutex::default() });
        Self { store, options, led, runners: Vec::new() }
    }

    /// One more kind.
    #[must_use]
    pub fn with<M: Machine>(mut self, machine: M) -> Self {
        self.led.observer.leads(M::KIND, 0);
        let kind = Kind {
            machine: Arc::new(machine),
            store: self.store.clone(),
            options: self.options.clone(),
            led: self.led.clone(),
        };
        self.runners.push(Box::new(move |stopped| Box::pin(kind.run(stopped))));
        self
    }

    /// Take part until asked to stop. Acts that are under way then are dropped, and leases released, before this ends.
    pub async fn run(self, stopped: watch::Receiver<bool>) {
        let mut running = JoinSet::new();
        for runner in self.runners {
            running.spawn(runner(stopped.clone()));
        }
        stop::asked(stopped).await;
        while running.join_next().await.is_some() {}
    }
}

struct Kind<M> {
    machine: Arc<M>,
    store: Arc<dyn Store>,
    options: LeadOptions,
    led: Arc<Led>,
}

impl<M: Machine> Kind<M> {
    async fn run(self, stopped: watch::Receiver<bool>) {
        // From before the first look, so that nothing that comes after it is missed.
        let mut changes = self.store.watch();
        let mut driven: HashMap<Id, String> = HashMap::new();
        let mut drivers = JoinSet::new();
        loop {
            if let Err(error) = self.start(&mut driven, &mut drivers, &stopped).await {
                tracing::warn!(kind = M::KIND, %error, "the operations cannot be read; trying again");
            }
            let started = until(&mut changes, |change| match change {
                Change::Record { table: Table::Operations, key, version } => {
                    is_of_kind(key, M::KIND) && version.is_some() && !driven.values().any(|scope| scope == key)
                }
                Change::Everything => true,
                Change::Record { .. }
                | Change::Tasks
                | Change::Log(_)
                | Change::Marked(_)
                | Change::LeaseWanted(_)
                | Change::LeaseReleased(_) => false,
            });
            tokio::select! {
                () = stop::asked(stopped.clone()) => break,
                open = started => if !open { break },
                Some(ended) = drivers.join_next_with_id() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(error) => {
                            tracing::error!(kind = M::KIND, %error, "a driver ended in a panic");
                            // It would be begun again at once, for ever.
                            sleep(self.options.backoff.after(1)).await;
                            error.id()
                        }
                    };
                    driven.remove(&id);
                }
                () = sleep(self.options.look_every) => {}
            }
        }
        while drivers.join_next().await.is_some() {}
    }

    /// Have every operation driven that is not.
    async fn start(
        &self,
        driven: &mut HashMap<Id, String>,
        drivers: &mut JoinSet<()>,
        stopped: &watch::Receiver<bool>,
    ) -> Result<(), StoreError> {
        for (scope, _) in self.store.list(Table::Operations).await? {
            let is_driven = driven.values().any(|driven| *driven == scope);
            if driven.len() >= self.options.max_scopes || is_driven || !is_of_kind(&scope, M::KIND) {
                continue;
            }
            let driver = Driver {
                machine: self.machine.clone(),
                store: self.store.clone(),
                scope: scope.clone(),
                options: self.options.clone(),
                led: self.led.clone(),
            };
            let handle = drivers.spawn(driver.run(stopped.clone()));
            driven.insert(handle.id(), scope);
        }
        Ok(())
    }
}

/// What is led here, by kind.
pub(super) struct Led {
    observer: Arc<dyn Observer>,
    scopes: Mutex<BTreeMap<&'static str, usize>>,
}

impl Led {
    /// One more scope of this kind is led, until what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>, kind: &'static str) -> Leading {
        self.change(kind, |scopes| scopes + 1);
        Leading { led: self.clone(), kind }
    }

    fn change(&self, kind: &'static str, change: impl Fn(usize) -> usize) {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        let count = scopes.entry(kind).or_default();
        *count = change(*count);
        // Under the lock, so that the last word is the latest.
        self.observer.leads(kind, *count);
    }
}

/// A scope is led here.
pub(super) struct Leading {
    led: Arc<Led>,
    kind: &'static str,
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.led.change(self.kind, |scopes| scopes.saturating_sub(1));
    }
}
