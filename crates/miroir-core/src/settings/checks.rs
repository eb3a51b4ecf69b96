//! What documents are checked for, read from the settings that nodes have.

use serde_json::{Map, Value};

use super::Settings;
use crate::document::{Checks, Embedder};

impl Settings {
    /// What documents are checked for under these settings, and under a change of them that nodes were told already. It
    /// may be the client's patch, or what nodes got.
    pub fn checks(&self, change: Option<&Value>) -> Checks {
        let after = |key: &str| change.and_then(|change| change.get(key)).or_else(|| self.get(key));
        // Only by their plain names; patterns that match them do not count, as in Meilisearch.
        let names = |key: &str, name: &str| {
            let list = after(key).and_then(Value::as_array);
            list.is_some_and(|list| list.iter().any(|attribute| attribute == name))
        };
        Checks {
            geo: names("filterableAttributes", "_geo") || names("sortableAttributes", "_geo"),
            geojson: names("filterableAttributes", "_geojson"),
            embedders: embedders(self.get("embedders"), change.and_then(|change| change.get("embedders"))),
        }
    }
}

fn embedders(current: Option<&Value>, change: Option<&Value>) -> Vec<Embedder> {
    let none = Map::new();
    let current = current.and_then(Value::as_object).unwrap_or(&none);
    let change = match change {
        None => &none,
        Some(Value::Object(change)) => change,
        // All of them are taken away.
        Some(_) => return Vec::new(),
    };
    let kept = current.iter().filter(|(name, _)| !change.contains_key(*name)).map(|(name, value)| (name, value, None));
    let changed = change.iter().map(|(name, value)| (name, current.get(name).unwrap_or(&Value::Null), Some(value)));
    let mut after: Vec<Embedder> =
        kept.chain(changed).filter_map(|(name, before, change)| embedder(name, before, change)).collect();
    after.sort_by(|a, b| a.name.cmp(&b.name));
    after
}

/// An embedder after a change; none: there is none.
fn embedder(name: &str, before: &Value, change: Option<&Value>) -> Option<Embedder> {
    let changed = |key: &str| change.and_then(|change| change.get(key));
    if change.is_some_and(Value::is_null) {
        return None;
    }
    let (old, new) = (before.get("source"), changed("source"));
    let is_another = new.is_some() && new != old;
    let after = |key: &str| changed(key).or_else(|| before.get(key).filter(|_| !is_another));
    let source = after("source").and_then(Value::as_str).unwrap_or_default();
    if source == "composite" {
        // It is the one for documents that they are checked against.
        let before = before.get("indexingEmbedder").filter(|_| !is_another).unwrap_or(&Value::Null);
        return embedder(name, before, Some(changed("indexingEmbedder").unwrap_or(&Value::Object(Map::new()))));
    }
    let dimensions = after("dimensions").and_then(Value::as_u64);
    Some(Embedder {
        name: name.to_owned(),
        dimensions: dimensions.and_then(|dimensions| usize::try_from(dimensions).ok()),
        is_user_provided: source == "userProvided",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(value: Value) -> Settings {
        serde_json::from_value(value).expect("settings")
    }

    fn named(checks: &Checks) -> Vec<(&str, Option<usize>, bool)> {
        checks.embedders.iter().map(|e| (e.name.as_str(), e.dimensions, e.is_user_provided)).collect()
    }

    #[test]
    fn only_plain_names_make_nodes_check_places() {
        let geo = |value: Value| settings(value).checks(None).geo;
        assert!(
            geo(json!({ "filterableAttributes": ["_geo"] })) && geo(json!({ "sortableAttributes": ["a", "_geo"] }))
        );
        assert!(!geo(json!({ "filterableAttributes": ["*", { "attributePatterns": ["_geo"] }, "_geojson"] })));
        assert!(settings(json!({ "filterableAttributes": ["_geojson"] })).checks(None).geojson);
        assert!(!settings(json!({ "sortableAttributes": ["_geojson"] })).checks(None).geojson);
    }

    #[test]
    fn a_change_that_nodes_were_told_counts() {
        let base = settings(json!({
            "filterableAttributes": ["_geo"],
            "embedders": {
                "a": { "source": "userProvided", "dimensions": 3 },
                "b": { "source": "rest", "dimensions": 4 },
            },
        }));
        assert_eq!(named(&base.checks(None)), [("a", Some(3), true), ("b", Some(4), false)]);
        let after = base.checks(Some(&json!({
            "filterableAttributes": null,
            "embedders": { "a": null, "b": { "source": "userProvided", "dimensions": 2 }, "c": { "source": "ollama" } },
        })));
        assert!(!after.geo);
        assert_eq!(named(&after), [("b", Some(2), true), ("c", None, false)]);
        let after =
            base.checks(Some(&json!({ "embedders": { "b": { "source": "ollama" }, "a": { "dimensions": 5 } } })));
        assert_eq!(named(&after), [("a", Some(5), true), ("b", None, false)]);
        assert!(base.checks(Some(&json!({ "embedders": null }))).embedders.is_empty());
        let nested = settings(json!({ "embedders": { "d": {
            "source": "composite", "indexingEmbedder": { "source": "rest", "dimensions": 7 },
        } } }));
        assert_eq!(named(&nested.checks(None)), [("d", Some(7), false)]);
    }
}
