//! Settings: what clients set, and the overlay that nodes get besides and clients never see.
//!
//! Invariant: [`strip`] takes away all that [`Settings::overlay`] adds. What a node decides (defaults, normal forms) is
//! never decided here: the committed settings are what a node read back, stripped.

pub mod broadcast;
mod canonical;
mod checks;
pub mod drift;
mod embedders;
pub mod features;
mod fingerprint;
mod floor;
mod overlay;
mod refuse;
mod restore;
mod routes;
mod secrets;
mod shown;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::settings::features::Features;

pub use fingerprint::{Fingerprint, holds};
pub use floor::{Floor, InvalidFloor, MIN_SETTINGS_VERSION, TooStale};
pub use overlay::{Kept, initial, is_overlaid, overlay, reset, strip};
pub use refuse::Refused;
pub use restore::{towards, undo};
pub use routes::{GATED, Gated, SubSetting, Verb, sub_setting, unshown};
pub use secrets::Secrets;
pub use shown::details;

/// As Meilisearch has it. Needed where nodes hold another value, and before any were read back.
const DEFAULT_MAX_VALUES_PER_FACET: u64 = 100;
const DEFAULT_MAX_TOTAL_HITS: u64 = 1000;

/// How the values of a facet are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SortBy {
    /// Numbers, then strings, each ascending.
    #[default]
    Alpha,
    /// Numbers, then strings, each by falling count.
    Count,
}

/// The client's full settings, committed: as a node read them back, without the overlay. Empty until then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(Map<String, Value>);

impl Settings {
    /// One setting, by its name in the whole object.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The JSON text of `GET /settings`.
    pub fn to_json(&self) -> String {
        // A map of strings and values can always be written.
        serde_json::to_string(&self.0).unwrap_or_else(|_| "{}".into())
    }

    /// As [`Settings::to_json`], with the settings of those features alone that are on.
    pub fn to_json_with(&self, features: &Features) -> String {
        let mut shown = self.0.clone();
        for gated in GATED {
            if !features.has(gated.feature) {
                shown.shift_remove(gated.key);
            } else if !shown.is_empty() && !shown.contains_key(gated.key) {
                shown.insert(gated.key.to_owned(), unshown(gated.key));
            }
        }
        Value::Object(shown).to_string()
    }

    /// The attributes displayed, in the client's order. `None`: all of them.
    pub fn displayed(&self) -> Option<Vec<String>> {
        let list = self.get("displayedAttributes")?.as_array()?;
        let names: Vec<String> = list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        (!names.iter().any(|name| name == "*")).then_some(names)
    }

    /// The attributes that are searched. `None`: all of them.
    pub fn searchable(&self) -> Option<Vec<String>> {
        let list = self.get("searchableAttributes")?.as_array()?;
        let names: Vec<String> = list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        (!names.iter().any(|name| name == "*")).then_some(names)
    }

    /// Whether documents can be ordered by their distance from a place.
    pub fn sorts_by_place(&self) -> bool {
        self.strings("sortableAttributes").any(|name| name == "_geo")
    }

    /// The filterable attributes.
    pub fn filterable(&self) -> Option<&Value> {
        self.get("filterableAttributes")
    }

    /// The distinct attribute.
    pub fn distinct(&self) -> Option<&str> {
        self.get("distinctAttribute")?.as_str()
    }

    /// The order of facet values, by facet; `*` is for all facets without their own.
    pub fn sort_facet_values_by(&self) -> BTreeMap<String, SortBy> {
        let by = self.get("faceting").and_then(|faceting| faceting.get("sortFacetValuesBy")).and_then(Value::as_object);
        let order = |by: &Value| {
            if by == "count" { SortBy::Count } else { SortBy::Alpha }
        };
        by.into_iter().flatten().map(|(name, by)| (name.clone(), order(by))).collect()
    }

    /// The most values that a facet shows. Nodes hold more.
    pub fn max_values_per_facet(&self) -> usize {
        self.number("faceting", "maxValuesPerFacet", DEFAULT_MAX_VALUES_PER_FACET)
    }

    /// Whether searches are cut off before the first ranking rule, so that nodes return hits in the order in which they
    /// happen to hold them.
    pub fn ranks_nothing(&self) -> bool {
        self.get("searchCutoffMs").and_then(Value::as_u64) == Some(0)
    }

    /// Hits beyond this rank are not returned.
    pub fn max_total_hits(&self) -> usize {
        self.number("pagination", "maxTotalHits", DEFAULT_MAX_TOTAL_HITS)
    }

    /// Whether a ranking rule sorts by an attribute, as `price:asc` does.
    pub fn ranks_by_attribute(&self) -> bool {
        self.strings("rankingRules").any(|rule| rule.contains(':'))
    }

    fn strings(&self, key: &str) -> impl Iterator<Item = &str> {
        self.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    fn number(&self, section: &str, key: &str, default: u64) -> usize {
        let value = self.get(section).and_then(|section| section.get(key)).and_then(Value::as_u64);
        usize::try_from(value.unwrap_or(default)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests;
