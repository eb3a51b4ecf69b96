//! The experimental features that clients want, as the store has them, and what each node was told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use miroir_core::base::id::NodeId;
use miroir_core::settings::features::{Feature, Features};
use miroir_store::{Records, Store, StoreError, Table, TypedTable, View};

use crate::state::follow::Follow;
use crate::{Error, State};

const TABLE: TypedTable<Features> = TypedTable::new(Table::Features);
/// There is one set of features.
pub(crate) const KEY: &str = "wanted";

/// What is wanted, and who was told.
pub struct FeatureRegistry {
    /// None: nobody has ever asked for anything; nodes are left as they are.
    pub(crate) wanted: View<Features, Option<Features>>,
    /// What each live node was last told. A node that fails is forgotten here: it may come back with another disk.
    told: Mutex<BTreeMap<NodeId, Features>>,
    /// One change at a time.
    pub(crate) change: tokio::sync::Mutex<()>,
}

impl FeatureRegistry {
    /// What the store remembers.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let wanted = |records: &Records<Features>| records.get(KEY).map(|record| record.value.clone());
        Ok(Self {
            wanted: View::load(store, TABLE, wanted).await?,
            told: Mutex::default(),
            change: tokio::sync::Mutex::default(),
        })
    }

    /// The features as the store has them, for whoever follows its changes.
    pub(crate) fn follow(&self) -> &impl Follow {
        &self.wanted
    }

    pub(crate) fn wanted(&self) -> Option<Features> {
        Option::clone(&self.wanted.now())
    }

    /// Nobody knows what a node was told.
    pub(crate) fn forget(&self, node: &NodeId) {
        self.record_sent(node, None);
    }

    pub(crate) fn was_told(&self, node: &NodeId, features: &Features) -> bool {
        let told = self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        told.get(node) == Some(features)
    }

    pub(crate) fn record_sent(&self, node: &NodeId, features: Option<&Features>) {
        let mut told = self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match features {
            Some(features) => told.insert(node.clone(), features.clone()),
            None => told.remove(node),
        };
    }
}

impl State {
    /// The features that clients want.
    pub fn features(&self) -> Features {
        self.features.wanted().unwrap_or_default()
    }

    /// The features that clients want, whoever was asked for them last; while the store is away, as memory has it.
    pub async fn fresh_features(&self) -> Features {
        self.catch_up().await;
        self.features()
    }

    /// Whether clients want a feature, also when another instance was asked for it a moment ago.
    pub(crate) async fn has_feature(&self, feature: Feature) -> bool {
        self.features().has(feature) || (self.catch_up().await && self.features().has(feature))
    }

    /// Refuse an action whose feature is off, in Meilisearch's words.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub async fn require(&self, feature: Feature, action: &str) -> Result<(), Error> {
        let is_on = self.has_feature(feature).await;
        if is_on { Ok(()) } else { Err(Error::Invalid(feature.required_for(action))) }
    }
}
