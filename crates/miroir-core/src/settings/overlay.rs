//! What nodes get in place of what the client set, and the way back.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{DEFAULT_MAX_VALUES_PER_FACET, Refused, Settings, embedders, refuse, routes};
use crate::base::inert::SHARD_FIELD;

/// The setting that nodes never get.
const FOREIGN_KEYS: &str = "foreignKeys";

/// What nodes do not hold as the client set it, in normal form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// A list of names.
    displayed: Value,
    /// A number.
    max_values_per_facet: Value,
    /// A list; none: no foreign keys were ever set.
    #[serde(default)]
    foreign_keys: Option<Value>,
}

/// What a facet's bound becomes on nodes.
#[derive(Clone, Copy)]
struct FacetBound {
    shards: NonZeroU32,
    multiplier: NonZeroU32,
}

impl FacetBound {
    /// Several times the client's, so that counts of values at its edge are known from every shard; and room for all
    /// shards, twice, where our own field is the facet.
    fn on_nodes(self, client: u64) -> Value {
        let all_shards = u64::from(self.shards.get()).saturating_mul(2);
        client.saturating_mul(self.multiplier.get().into()).max(all_shards).into()
    }
}

/// The overlay over a patch of an index that has no settings yet, see [`Settings::overlay`].
///
/// # Errors
/// As [`Settings::overlay`].
pub fn overlay(patch: &Value, shards: NonZeroU32, multiplier: NonZeroU32) -> Result<Value, Refused> {
    Settings::default().overlay(patch, shards, multiplier)
}

impl Settings {
    /// A client's patch as nodes get it. `self` is what the patch will change: an embedder that has a template keeps it
    /// when the patch names none.
    ///
    /// What is of the wrong type is left as it is, so that a node refuses it in its own words.
    ///
    /// # Errors
    /// [`Refused`] when the patch names fields of ours, or would make inert characters part of words.
    pub fn overlay(&self, patch: &Value, shards: NonZeroU32, multiplier: NonZeroU32) -> Result<Value, Refused> {
        let Value::Object(patch) = patch else {
            return Ok(patch.clone());
        };
        refuse::check(patch)?;
        let bound = FacetBound { shards, multiplier };
        let member = |(key, value): (&String, &Value)| {
            let value = match key.as_str() {
                "filterableAttributes" => filterable(value),
                "displayedAttributes" => displayed(value),
                "faceting" => faceting(value, bound),
                "embedders" => embedders::overlay(value, self.get("embedders")),
                _ => value.clone(),
            };
            (key.clone(), value)
        };
        // A node would put documents of its own part in place of ids: Miroir does that, of the whole.
        let is_told = |(key, value): &(&String, &Value)| *key != FOREIGN_KEYS || foreign_keys(value).is_none();
        Ok(Value::Object(patch.iter().filter(is_told).map(member).collect()))
    }

    /// What nodes hold when they hold these settings, all of them; none before any were read back.
    pub fn on_nodes(&self, shards: NonZeroU32, multiplier: NonZeroU32) -> Option<Value> {
        // What was committed was not refused.
        let all = Value::Object(self.0.clone());
        if self.is_empty() { None } else { Self::default().overlay(&all, shards, multiplier).ok() }
    }

    /// What nodes do not hold, after a patch was applied that nodes accepted.
    pub fn kept(&self, patch: Option<&Value>) -> Kept {
        let displayed = match patch.and_then(|patch| patch.get("displayedAttributes")) {
            Some(patched) => Some(patched),
            None => self.get("displayedAttributes"),
        };
        let current = self.get("faceting").and_then(|faceting| faceting.get("maxValuesPerFacet"));
        let max = match patch.and_then(|patch| patch.get("faceting")) {
            Some(Value::Object(faceting)) => faceting.get("maxValuesPerFacet").or(current),
            Some(Value::Null) => None,
            Some(_) | None => current,
        };
        let max = max.and_then(Value::as_u64).unwrap_or(DEFAULT_MAX_VALUES_PER_FACET);
        let foreign = match patch.and_then(|patch| patch.get(FOREIGN_KEYS)) {
            Some(patched) => foreign_keys(patched),
            None => self.get(FOREIGN_KEYS).and_then(foreign_keys),
        };
        Kept { displayed: normalised(displayed), max_values_per_facet: max.into(), foreign_keys: foreign }
    }
}

/// Our rule: equality is all that shard filters need, and the first matching rule wins. Nothing filters by the time of
/// the last write, and to index it would cost a node 8 % of its ingest throughput.
fn our_rule() -> Value {
    json!({
        "attributePatterns": [SHARD_FIELD],
        "features": { "facetSearch": false, "filter": { "equality": true, "comparison": false } },
    })
}

/// Whether a node that reads this back was given the overlay. It gets all of it in one step.
pub fn is_overlaid(read: &Value) -> bool {
    let rules = read.get("filterableAttributes").and_then(Value::as_array);
    rules.is_some_and(|rules| rules.iter().any(is_our_rule))
}

fn is_our_rule(rule: &Value) -> bool {
    let patterns = rule.get("attributePatterns").and_then(Value::as_array);
    patterns.is_some_and(|patterns| patterns.iter().any(|pattern| pattern == SHARD_FIELD))
}

/// The list of foreign keys as Meilisearch writes it; none when it is not of the form that a node accepts.
fn foreign_keys(client: &Value) -> Option<Value> {
    let text = |key: &Value, name| key.get(name).filter(|text| text.is_string()).cloned();
    let key = |key: &Value| {
        let members = key.as_object()?;
        let (index, field) = (text(key, "foreignIndexUid")?, text(key, "fieldName")?);
        (members.len() == 2).then(|| json!({ "foreignIndexUid": index, "fieldName": field }))
    };
    match client {
        Value::Null => Some(json!([])),
        Value::Array(keys) => keys.iter().map(key).collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => None,
    }
}

fn filterable(client: &Value) -> Value {
    match client {
        Value::Null => json!([our_rule()]),
        Value::Array(rules) => std::iter::once(our_rule()).chain(rules.iter().cloned()).collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => client.clone(),
    }
}

fn displayed(client: &Value) -> Value {
    let names = client.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    if client.is_null() || names { json!(["*"]) } else { client.clone() }
}

fn faceting(client: &Value, bound: FacetBound) -> Value {
    let default = || bound.on_nodes(DEFAULT_MAX_VALUES_PER_FACET);
    match client {
        Value::Null => json!({ "maxValuesPerFacet": default(), "sortFacetValuesBy": null }),
        Value::Object(members) => {
            let mut members = members.clone();
            if let Some(max) = members.get_mut("maxValuesPerFacet") {
                match max.as_u64() {
                    Some(client) => *max = bound.on_nodes(client),
                    None if max.is_null() => *max = default(),
                    None => {}
                }
            }
            Value::Object(members)
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => client.clone(),
    }
}

/// What a fresh index needs on nodes.
pub fn initial(shards: NonZeroU32, multiplier: NonZeroU32) -> Value {
    let max = FacetBound { shards, multiplier }.on_nodes(DEFAULT_MAX_VALUES_PER_FACET);
    json!({
        "displayedAttributes": ["*"],
        "filterableAttributes": [our_rule()],
        "faceting": { "maxValuesPerFacet": max },
    })
}

/// The client's patch that puts everything back to its default; what the settings have besides the known ones, too.
pub fn reset(current: &Settings) -> Value {
    // Settings of optional features are named only where nodes have shown that they know them.
    let always = routes::keys().filter(|key| !matches!(*key, "chat" | "foreignKeys")).map(str::to_owned);
    let patch: Map<String, Value> = always.chain(current.0.keys().cloned()).map(|key| (key, Value::Null)).collect();
    Value::Object(patch)
}

/// What clients see of the settings that a node reads back.
pub fn strip(node: Value, kept: &Kept) -> Settings {
    let Value::Object(mut settings) = node else {
        return Settings::default();
    };
    if let Some(Value::Array(rules)) = settings.get_mut("filterableAttributes")
        && rules.first().is_some_and(is_our_rule)
    {
        rules.remove(0);
    }
    settings.insert("displayedAttributes".into(), kept.displayed.clone());
    match &kept.foreign_keys {
        Some(keys) => drop(settings.insert(FOREIGN_KEYS.into(), keys.clone())),
        None => drop(settings.shift_remove(FOREIGN_KEYS)),
    }
    if let Some(Value::Object(faceting)) = settings.get_mut("faceting") {
        faceting.insert("maxValuesPerFacet".into(), kept.max_values_per_facet.clone());
    }
    if let Some(embedders) = settings.get_mut("embedders") {
        embedders::strip(embedders);
    }
    Settings(settings)
}

/// As Meilisearch reads a list of attributes back: each once, and `*` stands alone.
fn normalised(list: Option<&Value>) -> Value {
    let names: Vec<&str> = match list {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => vec!["*"],
    };
    if names.contains(&"*") {
        return json!(["*"]);
    }
    let mut seen = std::collections::HashSet::new();
    names.into_iter().filter(|name| seen.insert(*name)).collect()
}
