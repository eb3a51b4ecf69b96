//! The search rules that clients want, as the store has them, and what each node was sent of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::id::{IndexUid, NodeId};
use miroir_core::rules::{RuleSet, SearchRule};
use miroir_core::settings::features::Feature;
use miroir_store::{Records, Store, StoreError, Table, TypedTable, View};
use serde_json::Value;
use tokio::sync::Notify;

use crate::state::follow::Follow;
use crate::{Error, State};

const TABLE: TypedTable<SearchRule> = TypedTable::new(Table::Rules);

/// A node's rules by their uid, as it shows them.
pub(crate) type OnNode = BTreeMap<String, Value>;

/// The rules that clients want, and what each node was sent of them.
pub struct RuleRegistry {
    pub(crate) rules: View<SearchRule, Arc<RuleSet>>,
    /// The rules that each live node was sent last, and how the node shows them.
    pub(crate) sent: Mutex<BTreeMap<NodeId, (Arc<RuleSet>, OnNode)>>,
    /// Wakes who tells nodes.
    pub(crate) wake: Notify,
}

impl RuleRegistry {
    /// What the store remembers.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let set = |records: &Records<SearchRule>| Arc::new(rule_set(records));
        Ok(Self { rules: View::load(store, TABLE, set).await?, sent: Mutex::default(), wake: Notify::new() })
    }

    /// The rules as the store has them, for whoever follows its changes.
    pub(crate) fn follow(&self) -> &impl Follow {
        &self.rules
    }

    /// Forget what a node was sent: it may hold something else by now.
    pub(crate) fn forget(&self, node: &NodeId) {
        self.sent().remove(node);
    }

    pub(crate) fn sent(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, (Arc<RuleSet>, OnNode)>> {
        self.sent.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

pub(crate) fn rule_set(records: &Records<SearchRule>) -> RuleSet {
    RuleSet::new(records.values().map(|record| record.value.clone()))
}

impl State {
    /// The rules, none when there is none or when the feature is off.
    pub(crate) fn active_rules(&self) -> Option<Arc<RuleSet>> {
        let rules = self.all_rules();
        Some(rules).filter(|rules| !rules.is_empty() && self.features().has(Feature::DynamicSearchRules))
    }

    pub(crate) fn all_rules(&self) -> Arc<RuleSet> {
        Arc::clone(&self.rules.rules.now())
    }

    /// `GET /dynamic-search-rules/{uid}`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such rule.
    pub fn rule(&self, uid: &IndexUid) -> Result<Value, Error> {
        let missing = || {
            let message = format!("Dynamic search rule `{uid}` not found.");
            Error::Invalid(ErrorBody::new(Code::DynamicSearchRuleNotFound, message))
        };
        self.all_rules().get(uid.as_str()).map(|rule| rule.view()).ok_or_else(missing)
    }

    /// Names of indexes on nodes may have changed: rules that name indexes may have to be told again.
    pub(crate) fn look_at_rules(&self) {
        if !self.rules.rules.now().is_empty() {
            self.rules.wake.notify_one();
        }
    }
}
