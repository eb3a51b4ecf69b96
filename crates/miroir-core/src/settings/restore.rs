//! The patch that brings a node to given settings, whatever it holds now.
//!
//! `PATCH` merges sections member by member, so what a node holds too much has to be named, and set to null.

use serde_json::{Map, Value};

use super::Secrets;
use super::canonical::{canonical_setting, hidden_in};

/// The patch that makes a node hold `wanted` that now shows `read`; both as nodes hold them. Only what differs is named,
/// so that nothing else is indexed anew.
pub fn towards(wanted: &Value, read: &Value, secrets: &Secrets) -> Value {
    let hidden: Vec<&str> = hidden_in(read).collect();
    let patch = patch(wanted, read, |key, wanted, read| {
        !hidden.contains(&key) && canonical_setting(key, wanted) != canonical_setting(key, read)
    });
    revealed(patch, secrets)
}

/// The patch that makes a node hold `wanted` that may or may not have applied `proposal` to it. Every setting that the
/// proposal touches is named, the secret ones with it.
pub fn undo(wanted: &Value, proposal: &Value, secrets: &Secrets) -> Value {
    let touched = |key: &str, _: &Value, _: &Value| proposal.get(key).is_some();
    revealed(patch(wanted, proposal, touched), secrets)
}

fn revealed(mut patch: Value, secrets: &Secrets) -> Value {
    secrets.reveal(&mut patch);
    patch
}

fn patch(wanted: &Value, now: &Value, differs: impl Fn(&str, &Value, &Value) -> bool) -> Value {
    let mut patch = Map::new();
    let none = Map::new();
    let (wanted, now) = (wanted.as_object().unwrap_or(&none), now.as_object().unwrap_or(&none));
    let more = now.keys().filter(|key| !wanted.contains_key(*key));
    for key in wanted.keys().chain(more) {
        let is = now.get(key).unwrap_or(&Value::Null);
        let should = wanted.get(key).unwrap_or(&Value::Null);
        if differs(key, should, is) {
            patch.insert(key.clone(), setting(key, should, is));
        }
    }
    Value::Object(patch)
}

fn setting(key: &str, wanted: &Value, now: &Value) -> Value {
    match key {
        "embedders" => members(wanted, now, |_, wanted, now| embedder(wanted, now)),
        "typoTolerance" | "pagination" | "chat" => members(wanted, now, |_, wanted, now| section(wanted, now)),
        "faceting" => section(wanted, now),
        _ => wanted.clone(),
    }
}

fn section(wanted: &Value, now: &Value) -> Value {
    members(wanted, now, |_, wanted, _| wanted.clone())
}

/// Each member of either, null where only the node has it.
fn members(wanted: &Value, now: &Value, member: impl Fn(&str, &Value, &Value) -> Value) -> Value {
    let (Value::Object(wanted), Value::Object(now)) = (wanted, now) else { return wanted.clone() };
    let is = |key: &String| now.get(key).unwrap_or(&Value::Null);
    let mut all: Map<String, Value> =
        wanted.iter().map(|(key, value)| (key.clone(), member(key, value, is(key)))).collect();
    for key in now.keys().filter(|key| !wanted.contains_key(*key)) {
        all.insert(key.clone(), Value::Null);
    }
    Value::Object(all)
}

/// Meilisearch forgets what a former source had, and refuses to be told so of members that the new one does not have.
fn embedder(wanted: &Value, now: &Value) -> Value {
    let same_source = now.get("source").is_none_or(|source| wanted.get("source") == Some(source));
    if !same_source {
        return wanted.clone();
    }
    members(wanted, now, |key, wanted, now| match key {
        "indexingEmbedder" | "searchEmbedder" => embedder(wanted, now),
        "indexingFragments" | "searchFragments" => section(wanted, now),
        _ => wanted.clone(),
    })
}
