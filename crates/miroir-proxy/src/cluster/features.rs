//! Experimental features: what clients want is in the store; nodes are told, those that were away when they are back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use http::Method;
use miroir_core::error::{Code, ErrorBody};
use miroir_core::features::{Feature, Features};
use miroir_core::id::NodeId;
use miroir_store::{Edit, Records, Store, StoreError, Table, TypedTable, View};
use serde_json::Value;

use super::follow::Follow;
use super::read::refused;
use super::{Cluster, Error, Writer};
use crate::node::{Call, Node};

const TABLE: TypedTable<Features> = TypedTable::new(Table::Features);
/// There is one set of features.
const KEY: &str = "wanted";
/// Attempts of one change against those of other instances.
const ATTEMPTS: usize = 16;

/// What is wanted, and who was told.
pub struct FeatureRegistry {
    /// None: nobody has ever asked for anything; nodes are left as they are.
    wanted: View<Features, Option<Features>>,
    /// What each live node was last told. A node that fails is forgotten here: it may come back with another disk.
    told: Mutex<BTreeMap<NodeId, Features>>,
    /// One change at a time.
    change: tokio::sync::Mutex<()>,
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
    pub(super) fn follow(&self) -> &impl Follow {
        &self.wanted
    }

    fn wanted(&self) -> Option<Features> {
        Option::clone(&self.wanted.now())
    }

    /// Nobody knows what a node was told.
    pub(super) fn forget(&self, node: &NodeId) {
        self.record_sent(node, None);
    }

    fn was_told(&self, node: &NodeId, features: &Features) -> bool {
        let told = self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        told.get(node) == Some(features)
    }

    fn record_sent(&self, node: &NodeId, features: Option<&Features>) {
        let mut told = self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match features {
            Some(features) => told.insert(node.clone(), features.clone()),
            None => told.remove(node),
        };
    }
}

impl Writer {
    /// `PATCH /experimental-features`. Live nodes are told first: what one of them refuses is refused, and those that took
    /// it are told otherwise.
    ///
    /// # Errors
    /// The first refusal; [`Error::Store`].
    pub async fn change_features(&self, patch: &Value) -> Result<Features, Error> {
        let _one_at_a_time = self.features.change.lock().await;
        for _ in 0..ATTEMPTS {
            if self.store.is_shared() {
                self.features.wanted.refresh(KEY, None).await?;
            }
            let before = self.features.wanted();
            if let Some(changed) = self.try_features(before, patch).await? {
                return Ok(changed);
            }
        }
        Err(Error::Overloaded("changes of experimental features"))
    }

    /// Change what was wanted before. None: somebody else has changed that meanwhile, and the nodes are to be told of both.
    async fn try_features(&self, wanted: Option<Features>, patch: &Value) -> Result<Option<Features>, Error> {
        let before = wanted.clone().unwrap_or_default();
        let next = before.patched(patch).map_err(Error::Invalid)?;
        if next == before {
            return Ok(Some(next));
        }
        let nodes = self.nodes();
        let live: Vec<&Arc<Node>> = nodes.values().filter(|node| node.health.state().is_live()).collect();
        let answers = join_all(live.iter().map(|node| self.tell(node, &next))).await;
        if let Some(refusal) = answers.into_iter().find_map(Result::err) {
            for undone in join_all(live.iter().map(|node| self.tell(node, &before))).await {
                if let Err(error) = undone {
                    tracing::warn!(%error, "a node keeps features that others refused until it is told again");
                }
            }
            return Err(refusal);
        }
        let plan = |records: &Records<Features>| {
            let as_planned = records.get(KEY).map(|record| &record.value) == wanted.as_ref();
            let edit = if as_planned { Edit::put(KEY, next.clone()) } else { Edit::nothing() };
            Ok::<_, StoreError>((edit, as_planned))
        };
        let (as_planned, _) = self.features.wanted.change(plan).await?;
        Ok(as_planned.then_some(next))
    }
}

impl Cluster {
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
    pub(super) async fn has_feature(&self, feature: Feature) -> bool {
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

    /// Tell a node what is wanted. A node that is not reached is told later.
    async fn tell(&self, node: &Node, features: &Features) -> Result<(), Error> {
        let id = &node.member.id;
        let body = features.for_nodes().to_string().into_bytes();
        let call = Call::json("features", Method::PATCH, "/experimental-features", body, self.read_timeout());
        match node.call(call).await {
            Ok(reply) if reply.status == 200 => {
                self.features.record_sent(id, Some(features));
                Ok(())
            }
            Ok(reply) if reply.status == 404 || reply.status == 405 => {
                let message = format!("Node `{id}` does not know experimental features.");
                Err(Error::Invalid(ErrorBody::new(Code::MiroirUnsupported, message)))
            }
            // "Not implemented" is a decision, too.
            Ok(reply) if reply.status < 500 || reply.status == 501 => Err(refused(&reply)),
            Ok(reply) => {
                self.features.record_sent(id, None);
                tracing::warn!(node = %id, status = reply.status, "a node could not be told of features");
                Ok(())
            }
            Err(error) => {
                self.features.record_sent(id, None);
                tracing::warn!(node = %id, %error, "a node could not be told of features");
                Ok(())
            }
        }
    }

    /// Tell a node that missed it what is wanted.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn catch_up_features(&self, node: &Node) -> Result<(), Error> {
        let id = &node.member.id;
        if !node.health.state().is_live() {
            self.features.record_sent(id, None);
            return Ok(());
        }
        self.bring_features_to(node).await
    }

    /// The same, of a node that does not count yet.
    pub(super) async fn bring_features_to(&self, node: &Node) -> Result<(), Error> {
        let _one_at_a_time = self.features.change.lock().await;
        let Some(wanted) = self.features.wanted() else { return Ok(()) };
        let id = &node.member.id;
        if self.features.was_told(id, &wanted) { Ok(()) } else { self.tell(node, &wanted).await }
    }
}
