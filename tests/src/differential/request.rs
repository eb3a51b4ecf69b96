//! A request as a value that can be made smaller.

use std::fmt;

use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::jwt;

/// A server that requests are sent to. Keys are derived from its master key.
#[derive(Clone, Debug)]
pub struct Server {
    /// With the master key.
    pub client: Client,
    /// What clients of the server call themselves its masters by.
    pub master_key: &'static str,
}

/// Whom a request says it comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Caller {
    /// The holder of the master key.
    #[default]
    Master,
    /// Nobody: no header at all.
    Nobody,
    /// This whole header.
    Header(&'static str),
    /// The key of this uid, which may not exist.
    Key(&'static str),
    /// A token with these claims, signed by the key of this uid.
    Token(&'static str, Value),
}

/// In a path: the value of the key whose uid follows, up to the closing brace.
const KEY_VALUE: &str = "{key:";

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
    /// By whom.
    pub caller: Caller,
}

impl Request {
    /// A request without a body.
    pub fn bare(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: Vec::new(), body: Body::None, caller: Caller::Master }
    }

    /// A request with a JSON body.
    pub fn json(method: &'static str, path: impl Into<String>, body: Value) -> Self {
        Self { method, path: path.into(), query: Vec::new(), body: Body::Json(body), caller: Caller::Master }
    }

    /// Path and encoded query.
    pub fn target(&self) -> String {
        let pairs: Vec<String> =
            self.query.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        if pairs.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, pairs.join("&")) }
    }

    /// Sends it.
    pub fn send(&self, server: &Server) -> Answer {
        let mut target = self.target();
        if let Some((before, rest)) = target.split_once(KEY_VALUE)
            && let Some((uid, after)) = rest.split_once('}')
        {
            target = format!("{before}{}{after}", jwt::key_value(server.master_key, uid));
        }
        let client = &match &self.caller {
            Caller::Master => server.client.clone(),
            Caller::Nobody => Client::anonymous(server.client.base()),
            Caller::Header(text) => server.client.with_header("authorization", text),
            Caller::Key(uid) => Client::new(server.client.base(), &jwt::key_value(server.master_key, uid)),
            Caller::Token(uid, claims) => {
                let mut claims = claims.clone();
                if claims.get("apiKeyUid").is_none() {
                    claims["apiKeyUid"] = json!(uid);
                }
                Client::new(server.client.base(), &jwt::sign(&claims, &jwt::key_value(server.master_key, uid)))
            }
        };
        // As a page would: what it may read is a part of the answer.
        let client = &client.with_header("origin", "https://page.example");
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
        if self.caller != Caller::Master {
            write!(f, " by {:?}", self.caller)?;
        }
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
