//! All rules, and what a change makes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pin_order::PinOrder;
use super::{RuleListing, RulePatch, SearchRule};
use crate::base::id::IndexUid;

/// What a task does to the rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleChange {
    /// Makes or changes one.
    Update {
        /// The rule that is changed.
        uid: IndexUid,
        /// What of it.
        rule: RulePatch,
    },
    /// Deletes one, if it is there.
    Delete {
        /// The rule that goes.
        uid: IndexUid,
    },
    /// Deletes all.
    Clear,
}

/// All rules at one moment.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: BTreeMap<IndexUid, Arc<SearchRule>>,
    pub(super) pin_order: PinOrder,
}

impl RuleSet {
    /// These rules.
    pub fn new(rules: impl IntoIterator<Item = SearchRule>) -> Self {
        Self::of(rules.into_iter().map(|rule| (rule.uid.clone(), Arc::new(rule))).collect())
    }

    fn of(rules: BTreeMap<IndexUid, Arc<SearchRule>>) -> Self {
        let pin_order = PinOrder::of(rules.values());
        Self { rules, pin_order }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// One of them.
    pub fn get(&self, uid: &str) -> Option<&Arc<SearchRule>> {
        let uid: IndexUid = uid.parse().ok()?;
        self.rules.get(&uid)
    }

    /// All of them, in the order of their numbers.
    pub fn by_number(&self) -> Vec<&Arc<SearchRule>> {
        let mut rules: Vec<&Arc<SearchRule>> = self.rules.values().collect();
        rules.sort_by_key(|rule| rule.number);
        rules
    }

    /// The rules after a change.
    #[must_use]
    pub fn changed(&self, change: &RuleChange) -> Self {
        let mut rules = self.rules.clone();
        match change {
            RuleChange::Update { uid, rule } => {
                let mut next = match rules.get(uid) {
                    Some(known) => SearchRule::clone(known),
                    None => SearchRule::new(uid.clone(), self.free_number()),
                };
                rule.clone().apply(&mut next.fields);
                rules.insert(uid.clone(), Arc::new(next));
            }
            RuleChange::Delete { uid } => {
                rules.remove(uid);
            }
            RuleChange::Clear => rules.clear(),
        }
        Self::of(rules)
    }

    fn free_number(&self) -> u32 {
        let taken = self.by_number();
        let gap = taken.iter().zip(0u32..).find(|(rule, number)| rule.number != *number);
        gap.map_or(u32::try_from(taken.len()).unwrap_or(u32::MAX), |(_, number)| number)
    }

    /// The page of a listing that searches for no words, and how many rules it would list.
    pub fn page(&self, listing: &RuleListing) -> (Vec<Value>, usize) {
        let rules = self.by_number();
        // As one server finds them: once a rule says whether it is active, those that do not say are neither.
        let any_says = rules.iter().any(|rule| rule.fields.active.is_some());
        let says = |rule: &SearchRule| if any_says { rule.fields.active.flatten() } else { Some(true) };
        let listed = rules.iter().filter(|rule| listing.active.is_none_or(|active| says(rule) == Some(active)));
        let page = listed.clone().skip(listing.offset).take(listing.limit).map(|rule| rule.view()).collect();
        (page, listed.count())
    }
}
