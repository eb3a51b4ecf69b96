//! Dynamic search rules: documents pinned to positions of answers while conditions hold.
//!
//! Nodes evaluate them, since only they know the words that a query is made of; each node pins those documents that it
//! holds. Here: what a rule is, how clients change it, what nodes are told of it, and the order that one server would
//! give to the pins of several nodes.

mod patch;
mod pin_order;
mod place;
mod set;

pub use patch::{RuleListing, RulePatch};
pub use pin_order::Pins;
pub(crate) use place::{Pinned, Queue};
pub use set::{RuleChange, RuleSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::base::id::IndexUid;

/// The index that tasks of rules name, as one server does. No client can have an index of this name.
pub const RULES_INDEX: &str = ".meili_dsr";

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchRule {
    /// The client's name of it.
    pub uid: IndexUid,
    /// The lowest number that was free when it was made. Rules of one precedence are in the order of their numbers.
    pub number: u32,
    /// What clients have set so far. Nodes are told no more than that, since to them what was never set and what was set to
    /// nothing is not the same.
    pub fields: RulePatch,
}

/// When a rule applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// The time of the search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeCondition>,
    /// The words of the search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<QueryCondition>,
}

/// From when to when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeCondition {
    /// Not before.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub start: Option<OffsetDateTime>,
    /// Not after.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub end: Option<OffsetDateTime>,
}

/// For which queries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryCondition {
    /// For those without words, or for those with words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_empty: Option<bool>,
    /// For those that have all of these words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

/// A document and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleAction {
    /// Which document.
    pub selector: Selector,
    /// What is done with it.
    pub action: Action,
}

/// A document of one index, or of any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// The index, as clients call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_uid: Option<IndexUid>,
    /// The document.
    pub id: String,
}

/// What is done with a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Action {
    /// It stands at this position of the answer, counted from 0.
    Pin {
        /// The place among the hits, from 0 on.
        position: u32,
    },
}

impl SearchRule {
    /// A rule that does nothing yet.
    pub fn new(uid: IndexUid, number: u32) -> Self {
        Self { uid, number, fields: RulePatch::default() }
    }

    /// As clients see it.
    pub fn view(&self) -> Value {
        let fields = &self.fields;
        let mut view = json!({ "uid": self.uid });
        if let Some(Some(description)) = &fields.description {
            view["description"] = json!(description);
        }
        if let Some(precedence) = self.precedence() {
            view["precedence"] = json!(precedence);
        }
        view["active"] = json!(self.is_active());
        view["conditions"] = json!(fields.conditions.clone().flatten().unwrap_or_default());
        view["actions"] = json!(self.actions());
        view
    }

    /// Lowest first; rules without one are last.
    pub fn precedence(&self) -> Option<u64> {
        self.fields.precedence.flatten()
    }

    /// Whether it does anything.
    pub fn is_active(&self) -> bool {
        self.fields.active.flatten().unwrap_or(true)
    }

    /// What it does, in this order.
    pub fn actions(&self) -> &[RuleAction] {
        self.fields.actions.as_ref().and_then(Option::as_deref).unwrap_or_default()
    }

    /// When it does.
    pub fn conditions(&self) -> Option<&Conditions> {
        self.fields.conditions.as_ref().and_then(Option::as_ref)
    }

    /// As nodes have to know it. `physical` gives the nodes' name of an index; actions on an index that has none are left
    /// out. What would be nothing where nodes want something is what it stands for.
    #[must_use]
    pub fn for_nodes(&self, physical: impl Fn(&IndexUid) -> Option<IndexUid>) -> Self {
        let on_nodes = |action: &RuleAction| {
            let index_uid = match &action.selector.index_uid {
                None => None,
                Some(uid) => Some(physical(uid)?),
            };
            let selector = Selector { index_uid, id: action.selector.id.clone() };
            Some(RuleAction { selector, action: action.action.clone() })
        };
        let mut told = self.clone();
        let fields = &mut told.fields;
        fields.active = fields.active.map(|active| active.or(Some(true)));
        fields.actions = fields.actions.take().map(|_| Some(self.actions().iter().filter_map(on_nodes).collect()));
        fields.conditions = fields.conditions.take().map(|conditions| Some(conditions.unwrap_or_default()));
        told
    }
}

#[cfg(test)]
mod tests;
