//! The canonical form of settings as nodes read them back: equal exactly when nothing that has a meaning differs.
//!
//! Meilisearch itself sorts most sets before it shows them; the others are sorted here. Lists whose order decides
//! something keep it: rules of which the first match wins, ranking rules, searchable attributes, and synonyms, of which
//! a search takes only the first fifty.

use std::sync::LazyLock;

use serde_json::{Map, Number, Value, json};

use super::routes::{GATED, unshown};

/// What means the same as not being there. Ranking rules are not among them: their default differs between releases.
static DEFAULTS: LazyLock<Value> = LazyLock::new(|| {
    let mut defaults = json!({
        "displayedAttributes": ["*"],
        "searchableAttributes": ["*"],
        "filterableAttributes": [],
        "sortableAttributes": [],
        "stopWords": [],
        "nonSeparatorTokens": [],
        "separatorTokens": [],
        "dictionary": [],
        "synonyms": {},
        "proximityPrecision": "byWord",
        "typoTolerance": {
            "enabled": true,
            "minWordSizeForTypos": { "oneTypo": 5, "twoTypos": 9 },
            "disableOnWords": [],
            "disableOnAttributes": [],
            "disableOnNumbers": false,
        },
        "faceting": { "maxValuesPerFacet": 100, "sortFacetValuesBy": { "*": "alpha" } },
        "pagination": { "maxTotalHits": 1000 },
        "embedders": {},
        "localizedAttributes": [],
        "facetSearch": true,
        "prefixSearch": "indexingTime",
    });
    for gated in GATED {
        defaults[gated.key] = plain(&unshown(gated.key));
    }
    defaults
});

/// The canonical form: keys sorted, sets sorted, numbers in one spelling, no secrets, nothing that is at its default.
pub(super) fn canonical(settings: &Value) -> Value {
    let Value::Object(members) = settings else { return plain(settings) };
    let mut members = sorted(members, setting);
    without_defaults(&mut members, &DEFAULTS);
    Value::Object(members)
}

/// One setting, by its name in the whole object; a default is null.
pub(super) fn canonical_setting(key: &str, value: &Value) -> Value {
    let mut members = Map::from_iter([(key.to_owned(), setting(key, value))]);
    without_defaults(&mut members, &DEFAULTS);
    members.remove(key).unwrap_or(Value::Null)
}

/// Settings that show only while their feature is on, which this reading of a node does not show.
pub(super) fn hidden_in(read: &Value) -> impl Iterator<Item = &'static str> {
    GATED.iter().map(|gated| gated.key).filter(|key| read.get(key).is_none())
}

fn setting(key: &str, value: &Value) -> Value {
    match key {
        "displayedAttributes"
        | "sortableAttributes"
        | "stopWords"
        | "nonSeparatorTokens"
        | "separatorTokens"
        | "dictionary" => set(value),
        "filterableAttributes" => each(value, |rule| members_of(rule, filter_rule)),
        "localizedAttributes" => each(value, |rule| members_of(rule, |_, value| set(value))),
        "typoTolerance" => members_of(value, |key, value| match key {
            "disableOnWords" | "disableOnAttributes" => set(value),
            _ => plain(value),
        }),
        "embedders" => members_of(value, |_, embedder| self::embedder(embedder)),
        _ => plain(value),
    }
}

fn filter_rule(key: &str, value: &Value) -> Value {
    match key {
        "attributePatterns" => set(value),
        "features" => {
            let has = |path: &str, default: bool| value.pointer(path).and_then(Value::as_bool).unwrap_or(default);
            json!({
                "facetSearch": has("/facetSearch", false),
                "filter": { "comparison": has("/filter/comparison", false), "equality": has("/filter/equality", true) },
            })
        }
        _ => plain(value),
    }
}

/// That there is a key of a service has a meaning; what nodes show of it has not.
fn embedder(embedder: &Value) -> Value {
    let mut embedder = members_of(embedder, |key, value| match key {
        "apiKey" => Value::from(!value.is_null()),
        "indexingEmbedder" | "searchEmbedder" => self::embedder(value),
        // Templates of bodies: a null in them is a null that is sent.
        "request" | "response" | "indexingFragments" | "searchFragments" => verbatim(value),
        _ => plain(value),
    });
    if let Value::Object(members) = &mut embedder {
        let unset = |key: &str, value: &Value| match key {
            "apiKey" | "binaryQuantized" => value == &Value::Bool(false),
            "headers" | "indexingFragments" | "searchFragments" => value.as_object().is_some_and(Map::is_empty),
            _ => false,
        };
        members.retain(|key, value| !unset(key, value));
    }
    embedder
}

fn sorted(members: &Map<String, Value>, canonical: impl Fn(&str, &Value) -> Value) -> Map<String, Value> {
    let mut members: Vec<(&String, &Value)> = members.iter().collect();
    members.sort_unstable_by_key(|(key, _)| *key);
    let members = members.into_iter().map(|(key, value)| (key.clone(), canonical(key, value)));
    members.filter(|(_, value)| !value.is_null()).collect()
}

/// What is not an object stays what it is.
fn members_of(value: &Value, canonical: impl Fn(&str, &Value) -> Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(sorted(members, canonical)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => plain(value),
    }
}

fn each(value: &Value, canonical: impl Fn(&Value) -> Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(canonical).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => plain(value),
    }
}

/// A list whose order has no meaning.
fn set(value: &Value) -> Value {
    let Value::Array(items) = value else { return plain(value) };
    let mut items: Vec<Value> = items.iter().map(plain).collect();
    items.sort_by_cached_key(Value::to_string);
    items.dedup();
    Value::Array(items)
}

/// Keys sorted, numbers in one spelling; a member that is null is not there.
fn plain(value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
        Value::Number(number) => Value::Number(spelt(number)),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(members) => Value::Object(sorted(members, |_, value| plain(value))),
    }
}

/// As [`plain`], but nulls stay.
fn verbatim(value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
        Value::Number(number) => Value::Number(spelt(number)),
        Value::Array(items) => items.iter().map(verbatim).collect(),
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> =
                members.iter().map(|(key, value)| (key.clone(), verbatim(value))).collect();
            members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            members.into_iter().collect()
        }
    }
}

/// `1.0` and `1` are one number. Beyond 2^53 a float does not name one whole number.
fn spelt(number: &Number) -> Number {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => Number::from(float as i64),
        _ => number.clone(),
    }
}

/// Take away what equals its default; a section with nothing left in it goes as well.
fn without_defaults(members: &mut Map<String, Value>, defaults: &Value) {
    members.retain(|key, value| {
        let Some(default) = defaults.get(key) else { return true };
        match (&mut *value, default) {
            (Value::Object(section), Value::Object(_)) => {
                without_defaults(section, default);
                !section.is_empty()
            }
            _ => value != default,
        }
    });
}
