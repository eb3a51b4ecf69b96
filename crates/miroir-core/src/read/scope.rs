//! What a node's part of a read is confined to, besides the client's own filter.
//!
//! Invariant: what confines a read stands in elements of their own in front of the client's. Meilisearch parses each
//! element by itself and joins them with AND, so that no text of a client can reach beyond its own element.

use std::collections::BTreeSet;

use crate::base::json;

/// The filters that Miroir adds to a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The shards asked for; `None` when the node holds no others.
    pub shards: Option<&'a str>,
    /// What the client may see: a raw JSON filter, a string or an array, as a tenant token's rule has it.
    pub rule: Option<&'a [u8]>,
    /// Attributes that the node has never met and is therefore not to search in, as the request names them.
    pub unmet: Option<&'a BTreeSet<String>>,
}

impl<'a> Scope<'a> {
    /// Confined to shards alone.
    pub fn of_shards(shards: Option<&'a str>) -> Self {
        Self { shards, ..Self::default() }
    }

    /// A raw list of attributes to search in without those that the node has never met; `None`: it is sent as it is.
    pub fn searched_on(&self, raw: &[u8]) -> Option<Vec<String>> {
        let unmet = self.unmet.filter(|unmet| !unmet.is_empty())?;
        let asked: Vec<String> = serde_json::from_slice(raw).ok()?;
        Some(asked.into_iter().filter(|name| !unmet.contains(name)).collect())
    }

    /// Whether nothing is added to the filter.
    pub fn is_open(&self) -> bool {
        self.shards.is_none() && self.rule.is_none_or(|rule| rule == b"null")
    }

    /// Appends one JSON array: the shards, the rule, the client's filter.
    pub fn filter_into(&self, client: Option<&[u8]>, out: &mut Vec<u8>) {
        out.push(b'[');
        let start = out.len();
        if let Some(shards) = self.shards {
            json::quote_into(shards, out);
        }
        for filter in [self.rule, client].into_iter().flatten() {
            clauses_into(filter, start, out);
        }
        out.push(b']');
    }
}

/// Appends a filter as further elements of the array that began at `start`.
fn clauses_into(raw: &[u8], start: usize, out: &mut Vec<u8>) {
    let mut push = |clause: &[u8]| {
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(clause);
    };
    match json::elements(raw) {
        Ok(clauses) => clauses.flatten().for_each(push),
        Err(_) if raw == b"null" => {}
        // Not an array, hence a string, or for a node to refuse.
        Err(_) => push(raw),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn joined(scope: Scope<'_>, client: Option<&Value>) -> Value {
        let client = client.map(Value::to_string);
        let mut out = Vec::new();
        scope.filter_into(client.as_deref().map(str::as_bytes), &mut out);
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn shards_come_first_then_the_rule_then_the_client() {
        let rule = br#"["t = 1", ["u = 2", "u = 3"]]"#;
        let scope = Scope { shards: Some("s"), rule: Some(rule), unmet: None };
        assert_eq!(joined(scope, Some(&json!("a = 1"))), json!(["s", "t = 1", ["u = 2", "u = 3"], "a = 1"]));
        let scope = Scope { rule: Some(b"\"t = 1\""), ..Scope::default() };
        assert_eq!(joined(scope, Some(&json!([["a", "b"]]))), json!(["t = 1", ["a", "b"]]));
        assert_eq!(joined(scope, None), json!(["t = 1"]));
        assert!(Scope { rule: Some(b"null"), ..Scope::default() }.is_open());
        assert_eq!(
            joined(Scope { shards: Some("s"), rule: Some(b"null"), unmet: None }, Some(&Value::Null)),
            json!(["s"])
        );
    }

    proptest! {
        #[test]
        fn no_client_text_leaves_its_element(text in ".*", rule in ".*") {
            let rule = Value::from(rule);
            let raw = rule.to_string();
            let scope = Scope { shards: Some("ours"), rule: Some(raw.as_bytes()), unmet: None };
            prop_assert_eq!(joined(scope, Some(&Value::from(text.clone()))), json!(["ours", rule, text]));
        }
    }
}
