//! One scope, and an instance that wants to lead it.

use std::sync::Arc;

use miroir_store::{Change, Lease, Store, Watch};
use tokio::sync::watch;
use tokio::time::Instant;

use super::leaders::{LeadOptions, Led};
use super::machine::{Leadership, Machine};
use crate::hold::hold;
use crate::stop;

/// How leading ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// There is nothing left to lead.
    Done,
    /// Somebody else may lead by now.
    Lost,
    /// The store is closed, or the instance stops.
    Stopped,
}

/// Tries to lead a scope, and drives its operation while it does.
pub(super) struct Driver<M> {
    pub(super) machine: Arc<M>,
    pub(super) store: Arc<dyn Store>,
    pub(super) scope: String,
    pub(super) options: LeadOptions,
    pub(super) led: Arc<Led>,
}

impl<M: Machine> Driver<M> {
    /// Until there is no operation any more, or the instance stops.
    pub(super) async fn run(self, stopped: watch::Receiver<bool>) {
        let mut changes = self.store.watch();
        loop {
            let next = tokio::select! {
                biased;
                () = stop::asked(stopped.clone()) => None,
                next = self.candidate(&mut changes) => next,
            };
            let Some((lease, since)) = next else { return };
            match self.lead(&lease, since, &mut changes, stopped.clone()).await {
                End::Lost => {}
                End::Done | End::Stopped => return,
            }
        }
    }

    async fn lead(&self, lease: &Lease, since: Instant, changes: &mut Watch, stopped: watch::Receiver<bool>) -> End {
        let (scope, token) = (&self.scope, lease.token);
        tracing::info!(%scope, token, "leading");
        let leading = self.led.begin(M::KIND);
        let (lead, mut beside) = Leadership::new(lease.clone());
        // Whether the lease is still held is asked first, each time: a process that was stopped in between must not go
        // on with what it was about to do.
        let end = tokio::select! {
            biased;
            () = hold(&*self.store, lease, self.options.ttl, self.options.renew_every, since) => End::Lost,
            () = stop::asked(stopped) => End::Stopped,
            end = self.drive(&lead, changes) => end,
            () = beside.go_on() => End::Lost,
        };
        drop((leading, beside));
        self.machine.left(scope);
        match end {
            End::Lost => tracing::warn!(%scope, token, "leading no more: the lease was lost"),
            End::Done => tracing::info!(%scope, token, "the operation is over"),
            End::Stopped => tracing::info!(%scope, token, "leading no more: stopping"),
        }
        // One that somebody else has by now stays theirs.
        if let Err(error) = self.store.release(lease).await {
            tracing::warn!(%scope, %error, "a lease could not be released; it ends by itself");
        }
        end
    }
}

/// Wait for a change that matters. False: the store is closed.
pub(super) async fn until(changes: &mut Watch, matters: impl Fn(&Change) -> bool) -> bool {
    while let Some(change) = changes.next().await {
        if matters(&change) {
            return true;
        }
    }
    false
}
