//! The settings that have a route of their own.

use serde_json::{Value, json};

use crate::settings::features::Feature;

/// How a setting is changed by its own route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The body replaces it.
    Put,
    /// The body is merged into it.
    Patch,
}

/// A setting with a route of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubSetting {
    /// Its name in the whole object.
    pub key: &'static str,
    /// How it is changed.
    pub verb: Verb,
}

const fn put(key: &'static str) -> SubSetting {
    SubSetting { key, verb: Verb::Put }
}

const fn patch(key: &'static str) -> SubSetting {
    SubSetting { key, verb: Verb::Patch }
}

/// By the last segment of the route, in the order of the whole object. The routes of `foreign-keys` and `chat` are
/// there even when the feature is off: a node says so.
const SUB_SETTINGS: &[(&str, SubSetting)] = &[
    ("displayed-attributes", put("displayedAttributes")),
    ("searchable-attributes", put("searchableAttributes")),
    ("filterable-attributes", put("filterableAttributes")),
    ("sortable-attributes", put("sortableAttributes")),
    ("foreign-keys", put("foreignKeys")),
    ("ranking-rules", put("rankingRules")),
    ("stop-words", put("stopWords")),
    ("non-separator-tokens", put("nonSeparatorTokens")),
    ("separator-tokens", put("separatorTokens")),
    ("dictionary", put("dictionary")),
    ("synonyms", put("synonyms")),
    ("distinct-attribute", put("distinctAttribute")),
    ("proximity-precision", put("proximityPrecision")),
    ("typo-tolerance", patch("typoTolerance")),
    ("faceting", patch("faceting")),
    ("pagination", patch("pagination")),
    ("embedders", patch("embedders")),
    ("search-cutoff-ms", put("searchCutoffMs")),
    ("localized-attributes", put("localizedAttributes")),
    ("facet-search", put("facetSearch")),
    ("prefix-search", put("prefixSearch")),
    ("chat", patch("chat")),
];

/// A setting that nodes show only while its feature is on, with its feature and what is said when it is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gated {
    /// Its name in the whole object.
    pub key: &'static str,
    /// What it needs.
    pub feature: Feature,
    /// What a client wanted.
    pub action: &'static str,
}

/// The settings behind features.
pub const GATED: &[Gated] = &[
    Gated { key: "chat", feature: Feature::ChatCompletions, action: "setting `chat` in the index settings" },
    Gated { key: "foreignKeys", feature: Feature::ForeignKeys, action: "setting `foreignKeys` in the index settings" },
];

/// What the route of a setting answers when nodes did not show it.
pub fn unshown(key: &str) -> Value {
    match key {
        "foreignKeys" => json!([]),
        "chat" => json!({
            "description": "",
            "documentTemplate": "{% for field in fields %}{% if field.is_searchable and field.value != nil %}{{ field.name }}: {{ field.value }}\n{% endif %}{% endfor %}",
            "documentTemplateMaxBytes": 400,
            "searchParameters": {},
        }),
        _ => Value::Null,
    }
}

/// The setting behind the last segment of a route.
pub fn sub_setting(route: &str) -> Option<SubSetting> {
    SUB_SETTINGS.iter().find(|(name, _)| *name == route).map(|(_, setting)| *setting)
}

/// The names of all settings.
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    SUB_SETTINGS.iter().map(|(_, setting)| setting.key)
}
