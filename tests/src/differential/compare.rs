//! When two answers are the same.

use std::collections::BTreeMap;

use serde_json::Value;
use ureq::http::{HeaderName, HeaderValue};

use super::{Request, exceptions};
use crate::binaries;
use crate::client::Answer;

/// What differs between any two servers: times, sizes on disk, versions, and the numbers made up for a request.
const VARYING: [&str; 17] = [
    "key",
    "enqueuedAt",
    "startedAt",
    "finishedAt",
    "createdAt",
    "updatedAt",
    "lastUpdate",
    "duration",
    "processingTimeMs",
    "requestUid",
    "commitSha",
    "commitDate",
    "pkgVersion",
    "databaseSize",
    "usedDatabaseSize",
    "rawDocumentDbSize",
    "avgDocumentSize",
];

/// The answer without the values of what varies (their types stay), in a form where equality means that a client cannot
/// tell: documents in any order unless they are sorted, the values of a facet in theirs.
pub fn normalised(value: &Value, is_sorted: bool) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !exceptions::is_untold(name))
            .map(|(name, value)| (name.clone(), member(name, value, is_sorted)))
            .collect(),
        Value::Array(elements) => elements.iter().map(|element| normalised(element, is_sorted)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn member(name: &str, value: &Value, is_sorted: bool) -> Value {
    match (name, value) {
        // Development nodes refuse what a server refuses, by the same code; their wording is their own.
        ("message", _) if binaries::meilisearch().is_none() => Value::from(kind(value)),
        ("message", Value::String(text)) => Value::from(without_key(text)),
        _ if VARYING.contains(&name) => Value::from(kind(value)),
        ("facetDistribution", Value::Object(facets)) => facets
            .iter()
            .map(|(facet, values)| -> (String, Value) {
                let values = values.as_object().into_iter().flatten();
                (
                    facet.clone(),
                    values
                        .map(|(value, count)| Value::from(vec![value.as_str().into(), count.clone()]))
                        .collect::<Vec<_>>()
                        .into(),
                )
            })
            .collect(),
        ("results", Value::Array(listed)) if !is_sorted && listed.iter().all(is_document) => {
            let mut documents: Vec<Value> = listed.iter().map(|one| normalised(one, is_sorted)).collect();
            documents.sort_by_key(|document| (document["id"].to_string(), document.to_string()));
            Value::Array(documents)
        }
        (_, value) => normalised(value, is_sorted),
    }
}

/// A message without the value of the key that it names.
fn without_key(text: &str) -> String {
    const DIGITS: usize = 64;
    let is_key = |part: &str| part.len() == DIGITS && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts: Vec<&str> = text.split('`').map(|part| if is_key(part) { "<key>" } else { part }).collect();
    parts.join("`")
}

/// Not a task, a batch, an index, a key or the answer to one of several searches: those have an order.
fn is_document(listed: &Value) -> bool {
    !["type", "primaryKey", "batchStrategy", "actions", "hits"].iter().any(|name| listed.get(name).is_some())
}

fn kind(value: &Value) -> &'static str {
    match value {
        // What was recorded is normalised once more.
        Value::String(text) if text == "<null>" => "<null>",
        Value::String(text) if text == "<values>" => "<values>",
        Value::Null => "<null>",
        Value::Bool(_) | Value::Number(_) | Value::String(_) => "<value>",
        Value::Array(_) | Value::Object(_) => "<values>",
    }
}

/// Headers by which servers may be told apart. Others are about the connection, or name something of one's own.
const COMPARED: [&str; 11] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-origin",
    "access-control-max-age",
    "allow",
    "cache-control",
    "content-encoding",
    "location",
    "retry-after",
    "vary",
    "www-authenticate",
];

/// The headers of an answer that are compared, by name; several of one name stand one after the other.
pub fn compared_headers<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, Vec<String>> {
    let mut compared: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        if !COMPARED.contains(&name.as_str()) {
            continue;
        }
        let mut value = value.to_owned();
        if name == "allow" {
            // In any order.
            let mut methods: Vec<&str> = value.split(',').map(str::trim).collect();
            methods.sort_unstable();
            value = methods.join(", ");
        }
        compared.entry(name).or_default().push(value);
    }
    compared
}

/// Of an answer what a client can tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub kind: String,
    /// Of the other headers those that are compared.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The body, normalised; text that is no JSON as it is.
    pub body: Value,
}

impl Seen {
    /// What is seen of the answer to this request.
    pub fn of(request: &Request, answer: &Answer) -> Self {
        let kind = answer.header("content-type").unwrap_or("none").to_owned();
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let headers: Vec<(String, String)> = answer.headers.iter().map(text).collect();
        let headers = compared_headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let is_sorted = exceptions::keeps_order(request);
        let body = if answer.body.is_null() {
            Value::from(answer.text.as_str())
        } else if exceptions::is_approximate(request) {
            without_hits(normalised(&answer.body, is_sorted))
        } else {
            normalised(&answer.body, is_sorted)
        };
        Self { status: answer.status, kind, headers, body }
    }

    /// How the two differ, if they do.
    pub fn difference(&self, reference: &Self) -> Option<String> {
        (self != reference).then(|| {
            let text = |seen: &Self| format!("{} {} {:?} {}", seen.status, seen.kind, seen.headers, seen.body);
            let (ours, theirs) = (text(self), text(reference));
            let common = ours.chars().zip(theirs.chars()).take_while(|(a, b)| a == b).count();
            format!("   candidate {}\n   reference {}", around(&ours, common), around(&theirs, common))
        })
    }
}

/// How the two differ, if they do. Bodies that are no JSON are compared as text.
pub fn difference(request: &Request, candidate: &Answer, reference: &Answer) -> Option<String> {
    let (mut candidate, mut reference) = (Seen::of(request, candidate), Seen::of(request, reference));
    if binaries::meilisearch().is_none() {
        // Development nodes speak to Miroir and to no browser.
        candidate.headers.clear();
        reference.headers.clear();
    }
    candidate.difference(&reference)
}

/// The number of hits in place of them.
fn without_hits(mut body: Value) -> Value {
    if let Some(hits) = body.get_mut("hits") {
        *hits = hits.as_array().map_or(0, Vec::len).into();
    }
    body
}

/// The text near its character `at`.
fn around(text: &str, at: usize) -> String {
    const BEFORE: usize = 160;
    const SHOWN: usize = 400;
    let start = at.saturating_sub(BEFORE);
    let part: String = text.chars().skip(start).take(SHOWN).collect();
    if start > 0 { format!("...{part}") } else { part }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_client_can_tell_counts_and_nothing_else() {
        let same = |a: Value, b: Value| normalised(&a, false) == normalised(&b, false);
        assert!(same(json!({ "a": 1, "processingTimeMs": 3 }), json!({ "processingTimeMs": 0, "a": 1 })));
        assert!(!same(json!({ "processingTimeMs": 3 }), json!({ "processingTimeMs": null })));
        assert!(same(
            json!({ "results": [{ "id": 1 }, { "id": 2 }] }),
            json!({ "results": [{ "id": 2 }, { "id": 1 }] })
        ));
        assert!(!same(json!({ "hits": [{ "id": 1 }, { "id": 2 }] }), json!({ "hits": [{ "id": 2 }, { "id": 1 }] })));
        assert_ne!(
            normalised(&json!({ "results": [{ "id": 1 }, { "id": 2 }] }), true),
            normalised(&json!({ "results": [{ "id": 2 }, { "id": 1 }] }), true)
        );
        let facets = |first: &str, second: &str| json!({ "facetDistribution": { "f": { first: 1, second: 1 } } });
        assert!(!same(facets("a", "b"), facets("b", "a")));
    }
}
