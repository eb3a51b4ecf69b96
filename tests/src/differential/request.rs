//! A request as a value that can be made smaller.

use std::fmt;

use serde_json::Value;

use crate::binaries;
use crate::client::{Answer, Client};

/// What a request carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// No body and no content type.
    None,
    /// JSON.
    Json(Value),
    /// Anything, under this content type; none when it is empty.
    Raw(String, &'static str),
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// GET, POST, ...
    pub method: &'static str,
    /// Without the query.
    pub path: String,
    /// Names and values, not encoded.
    pub query: Vec<(String, String)>,
    /// What is sent.
    pub body: Body,
}

impl Request {
    /// A request without a body.
    pub fn bare(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: Vec::new(), body: Body::None }
    }

    /// A request with a JSON body.
    pub fn json(method: &'static str, path: impl Into<String>, body: Value) -> Self {
        Self { method, path: path.into(), query: Vec::new(), body: Body::Json(body) }
    }

    /// Whether two servers can be expected to answer alike.
    ///
    /// Servers list documents in orders of their own: only whole lists and empty ones can be compared. And counting by
    /// offset they stop to weigh hits against a threshold when the page is full.
    pub fn is_comparable(&self) -> bool {
        if binaries::meilisearch().is_none() && !self.is_known_to_development_nodes() {
            return false;
        }
        let Body::Json(body) = &self.body else { return true };
        if body.get("rankingScoreThreshold").is_some() && body.get("page").is_none() {
            return false;
        }
        !self.path.ends_with("/documents/fetch")
            || matches!(body["limit"].as_u64(), Some(0 | 1000..))
            || !body.is_object()
    }

    /// Development nodes do what Miroir asks of nodes, with an older engine. They do not read documents as CSV, judge
    /// what is no document, know `skipCreation`, list tasks by every filter, or count what a threshold leaves as a server
    /// does.
    fn is_known_to_development_nodes(&self) -> bool {
        let is_write = self.method != "GET" && self.path.ends_with("/documents");
        let documents = match &self.body {
            Body::Json(Value::Array(documents)) => documents.iter().all(Value::is_object),
            Body::Json(_) => false,
            Body::Raw(_, kind) => *kind == "application/x-ndjson",
            Body::None => true,
        };
        let threshold = matches!(&self.body, Body::Json(body) if body.get("rankingScoreThreshold").is_some());
        let is_plain = |(name, value): &(String, String)| name == "limit" && value.parse::<u32>().is_ok();
        let listed = self.path != "/tasks" || self.query.iter().all(is_plain);
        let odd = |(name, value): &(String, String)| {
            matches!(name.as_str(), "skipCreation" | "csvDelimiter") || (name == "sort" && value.is_empty())
        };
        (!is_write || documents) && !threshold && listed && !self.query.iter().any(odd)
    }

    /// Path and encoded query.
    pub fn target(&self) -> String {
        let pairs: Vec<String> =
            self.query.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        if pairs.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, pairs.join("&")) }
    }

    /// Sends it.
    pub fn send(&self, client: &Client) -> Answer {
        let target = self.target();
        match &self.body {
            Body::None => client.send(self.method, &target, None, &[]),
            Body::Json(value) => client.call(self.method, &target, value),
            Body::Raw(text, "") => client.send(self.method, &target, Some(text.as_bytes()), &[]),
            Body::Raw(text, kind) => {
                client.send(self.method, &target, Some(text.as_bytes()), &[("content-type", kind)])
            }
        }
    }

    /// Requests that are a little smaller: one query parameter, member, element or half of a text less.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for at in 0..self.query.len() {
            let mut request = self.clone();
            request.query.remove(at);
            all.push(request);
        }
        if let Body::Json(value) = &self.body {
            all.extend(smaller(value).into_iter().map(|value| Self { body: Body::Json(value), ..self.clone() }));
        }
        all
    }

    /// The smallest request, by single steps, for which `differs` holds, as it does for this one.
    #[must_use]
    pub fn shrunk(&self, mut differs: impl FnMut(&Self) -> bool) -> Self {
        let mut smallest = self.clone();
        // Each step makes the request smaller: this ends.
        while let Some(next) = smallest.smaller().into_iter().find(|request| differs(request)) {
            smallest = next;
        }
        smallest
    }
}

fn smaller(value: &Value) -> Vec<Value> {
    match value {
        Value::Object(members) => {
            let without = members.keys().map(|key| {
                let mut fewer = members.clone();
                fewer.remove(key);
                Value::Object(fewer)
            });
            let within = members.iter().flat_map(|(key, value)| {
                smaller(value).into_iter().map(move |value| {
                    let mut changed = members.clone();
                    changed.insert(key.clone(), value);
                    Value::Object(changed)
                })
            });
            without.chain(within).collect()
        }
        Value::Array(elements) => {
            let without = (0..elements.len()).map(|at| {
                let mut fewer = elements.clone();
                fewer.remove(at);
                Value::Array(fewer)
            });
            let within = elements.iter().enumerate().flat_map(|(at, value)| {
                smaller(value).into_iter().map(move |value| {
                    let mut changed = elements.clone();
                    changed[at] = value;
                    Value::Array(changed)
                })
            });
            without.chain(within).collect()
        }
        Value::String(text) if text.contains(' ') => text
            .split(' ')
            .enumerate()
            .map(|(at, _)| {
                let kept = text.split(' ').enumerate().filter(|(other, _)| *other != at).map(|(_, word)| word);
                Value::String(kept.collect::<Vec<_>>().join(" "))
            })
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target())?;
        match &self.body {
            Body::None => Ok(()),
            Body::Json(value) => write!(f, "\n   {value}"),
            Body::Raw(text, kind) => write!(f, "\n   {kind}: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_shown_by_the_smallest_request() {
        let mut request = Request::json("POST", "/x", json!({ "a": [1, 2], "b": { "c": "one two" }, "d": 4 }));
        request.query = vec![("p".into(), "1".into())];
        let shrunk = request.shrunk(|request| match &request.body {
            Body::Json(body) => body["b"]["c"].as_str().is_some_and(|text| text.contains("two")),
            Body::None | Body::Raw(..) => false,
        });
        assert_eq!(shrunk, Request::json("POST", "/x", json!({ "b": { "c": "two" } })));
    }

    #[test]
    fn queries_are_encoded() {
        let mut request = Request::bare("GET", "/x");
        request.query = vec![("filter".into(), "a = \"é\"".into())];
        assert_eq!(request.target(), "/x?filter=a%20%3D%20%22%C3%A9%22");
    }
}
