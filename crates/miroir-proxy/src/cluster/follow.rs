//! What instances hold in memory follows the store: each hears of the others' changes and reads them again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use miroir_store::{Change, StoreError, Table, View};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Cluster;

/// Before an outage of the store is looked at again.
const PAUSE: Duration = Duration::from_millis(250);

/// A table in memory that can be brought up to date.
#[async_trait]
pub trait Follow: Send + Sync {
    /// Read a record again, unless memory has this version of it.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn record(&self, key: &str, version: Option<u64>) -> Result<(), StoreError>;

    /// Read everything again.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn everything(&self) -> Result<(), StoreError>;
}

#[async_trait]
impl<T, V> Follow for View<T, V>
where
    T: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    async fn record(&self, key: &str, version: Option<u64>) -> Result<(), StoreError> {
        self.refresh(key, version).await
    }

    async fn everything(&self) -> Result<(), StoreError> {
        self.reload().await
    }
}

impl Cluster {
    /// Follow the store's changes until it is closed.
    pub async fn follow_store(self: Arc<Self>) {
        let mut watch = self.store.watch();
        // What changed before the watch began.
        let mut behind = self.store.is_shared();
        loop {
            if behind {
                match self.catch_up().await {
                    Ok(()) => behind = false,
                    Err(error) => {
                        tracing::warn!(%error, "what other instances changed cannot be read; trying again");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                continue;
            }
            let Some(change) = watch.next().await else { return };
            behind = !self.take_note(change).await;
        }
    }

    /// Returns false when everything has to be read again.
    async fn take_note(&self, change: Change) -> bool {
        match change {
            Change::Record { table, key, version } => {
                let Some(view) = self.view_of(table) else { return true };
                let read = view.record(&key, version).await;
                if table == Table::Rules {
                    self.look_at_rules();
                }
                if let Err(error) = &read {
                    tracing::warn!(%error, %table, key, "a changed record cannot be read; reading everything");
                }
                read.is_ok()
            }
            Change::Tasks => {
                self.registered.notify_one();
                true
            }
            Change::LeaseWanted(scope) => {
                self.lanes.give_up(&scope);
                true
            }
            Change::LeaseReleased(scope) => {
                self.lanes.try_again(&scope);
                true
            }
            Change::Log(_) => true,
            Change::Everything => false,
        }
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        for table in Table::ALL {
            if let Some(view) = self.view_of(*table) {
                view.everything().await?;
            }
        }
        self.registered.notify_one();
        Ok(())
    }

    /// The tables that every instance holds in memory.
    pub(super) fn view_of(&self, table: Table) -> Option<&dyn Follow> {
        match table {
            Table::Catalog => Some(self.catalog.follow()),
            Table::Topology => Some(self.fleet.follow()),
            Table::StaleReplicas => Some(self.stale.follow()),
            Table::Keys => Some(self.keys.follow()),
            Table::Leftovers => Some(self.leftovers.follow()),
            Table::Features => Some(self.features.follow()),
            Table::Webhooks => Some(self.webhooks.follow()),
            Table::Rules => Some(self.rules.follow()),
            Table::Peers | Table::Operations | Table::Jobs | Table::AntiEntropy | Table::Meta => None,
        }
    }
}
