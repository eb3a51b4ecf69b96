//! Settings that the overlay cannot carry.

use serde_json::{Map, Value};
use thiserror::Error;

use super::embedders;
use crate::base::error::{Code, ErrorBody};
use crate::base::inert::{SHARD_FIELD, UPDATED_AT_FIELD, contains_inert};

/// Settings that the overlay cannot carry.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// They would become part of words, and our fields would be found by searches.
    #[error("`{key}` must not contain the characters U+2055 to U+205D: they are reserved.")]
    InertCharacters {
        /// Which setting.
        key: &'static str,
    },
    /// Sorting, searching or filtering by a field of ours would let it show.
    #[error("`{key}` must not name `{SHARD_FIELD}` or `{UPDATED_AT_FIELD}`: these fields are reserved.")]
    ReservedField {
        /// Which setting.
        key: &'static str,
    },
}

impl Refused {
    /// As clients see it.
    pub fn body(&self) -> ErrorBody {
        ErrorBody::new(Code::MiroirReservedField, self.to_string())
    }
}

const TOKENS: [&str; 3] = ["separatorTokens", "nonSeparatorTokens", "dictionary"];

/// The settings whose strings, at any depth, are names of attributes or rules about them.
const ATTRIBUTES: [&str; 8] = [
    "displayedAttributes",
    "searchableAttributes",
    "filterableAttributes",
    "sortableAttributes",
    "rankingRules",
    "distinctAttribute",
    "localizedAttributes",
    "foreignKeys",
];

/// Refuse what names our fields or our characters. Patterns that merely match our fields are harmless: our own rule
/// comes first.
pub(super) fn check(patch: &Map<String, Value>) -> Result<(), Refused> {
    for key in TOKENS {
        if patch.get(key).is_some_and(|tokens| any_string(tokens, &contains_inert)) {
            return Err(Refused::InertCharacters { key });
        }
    }
    for key in ATTRIBUTES {
        if patch.get(key).is_some_and(|names| any_string(names, &is_ours)) {
            return Err(Refused::ReservedField { key });
        }
    }
    let within = |section: &str, key: &str| patch.get(section).and_then(|section| section.get(key));
    if within("typoTolerance", "disableOnAttributes").is_some_and(|names| any_string(names, &is_ours)) {
        return Err(Refused::ReservedField { key: "typoTolerance" });
    }
    let orders = within("faceting", "sortFacetValuesBy").and_then(Value::as_object);
    if orders.is_some_and(|orders| orders.keys().any(|name| is_ours(name))) {
        return Err(Refused::ReservedField { key: "faceting" });
    }
    if patch.get("embedders").is_some_and(embedders::template_naming_ours) {
        return Err(Refused::ReservedField { key: "embedders" });
    }
    Ok(())
}

/// A field of ours, what lies within it, or a ranking rule by it.
fn is_ours(name: &str) -> bool {
    [SHARD_FIELD, UPDATED_AT_FIELD]
        .into_iter()
        .any(|ours| name.strip_prefix(ours).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ':'])))
}

/// The text speaks of a field of ours.
pub(super) fn names_ours(text: &str) -> bool {
    text.contains(SHARD_FIELD) || text.contains(UPDATED_AT_FIELD)
}

/// JSON that was parsed is not too deep to descend.
fn any_string(value: &Value, test: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => test(text),
        Value::Array(items) => items.iter().any(|item| any_string(item, test)),
        Value::Object(members) => members.values().any(|member| any_string(member, test)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
