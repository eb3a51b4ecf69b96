//! Waiting to lead.

use std::time::Duration;

use miroir_store::{Change, Lease, StoreError, Table, Watch};
use tokio::time::{Instant, sleep};

use super::driver::{Driver, until};
use super::machine::Machine;

/// Beyond the end of somebody else's lease, so that it has ended when we ask.
const MARGIN: Duration = Duration::from_millis(5);

/// What came of asking for the lease.
enum Asked {
    Leads(Lease),
    /// Somebody else does, for at least so long.
    Held(Duration),
    /// There is no operation.
    Nothing,
}

impl<M: Machine> Driver<M> {
    /// Wait for the lease; with it comes a moment before it was asked for. Returns `None` once there is no operation to lead.
    pub(super) async fn candidate(&self, changes: &mut Watch) -> Option<(Lease, Instant)> {
        loop {
            let since = Instant::now();
            let wait = match self.ask().await {
                Ok(Asked::Leads(lease)) => return Some((lease, since)),
                Ok(Asked::Nothing) | Err(StoreError::Closed) => return None,
                Ok(Asked::Held(wait)) => wait + MARGIN,
                Err(error) => {
                    tracing::warn!(scope = %self.scope, %error, "nobody can tell who leads; trying again");
                    self.options.renew_every
                }
            };
            let scope = &self.scope;
            let freed = until(changes, |change| match change {
                Change::LeaseReleased(released) => released == scope,
                Change::Record { table, key, version } => {
                    *table == Table::Operations && key == scope && version.is_none()
                }
                Change::Everything => true,
                Change::Tasks | Change::Log(_) | Change::Marked(_) | Change::LeaseWanted(_) => false,
            });
            tokio::select! {
                open = freed => if !open { return None },
                () = sleep(wait) => {}
            }
        }
    }

    async fn ask(&self) -> Result<Asked, StoreError> {
        if self.store.get(Table::Operations, &self.scope).await?.is_none() {
            return Ok(Asked::Nothing);
        }
        // Looked at first: asking for a lease tells its holder that it is wanted.
        let held = self.store.leases().await?.into_iter().find(|held| held.lease.scope == self.scope);
        if let Some(other) = held.filter(|held| held.lease.holder != self.options.holder) {
            return Ok(Asked::Held(other.ends_in));
        }
        let acquired = self.store.acquire(&self.scope, &self.options.holder, self.options.ttl).await?;
        Ok(acquired.map_or(Asked::Held(Duration::ZERO), Asked::Leads))
    }
}
