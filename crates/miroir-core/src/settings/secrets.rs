//! Keys of embedding services: nodes show only the beginning of them, so whoever must bring a node back to settings has
//! to remember what clients sent.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

const KEY: &str = "apiKey";
const NESTED: [&str; 2] = ["indexingEmbedder", "searchEmbedder"];

/// The keys of an index's embedders, by embedder, or by embedder and half of it (`name/searchEmbedder`).
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secrets(BTreeMap<String, BTreeMap<String, String>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is known after a client's patch.
    #[must_use]
    pub fn after(&self, patch: &Value) -> Self {
        let mut next = self.clone();
        match patch.get("embedders") {
            Some(Value::Null) => next.0.clear(),
            Some(Value::Object(embedders)) => {
                for (name, embedder) in embedders {
                    next.take_key_of(name, embedder);
                }
            }
            Some(_) | None => {}
        }
        next
    }

    fn take_key_of(&mut self, name: &str, embedder: &Value) {
        if embedder.is_null() {
            self.0.remove(name);
            return;
        }
        let keys = self.0.entry(name.to_owned()).or_default();
        let halves = NESTED.iter().map(|half| (*half, embedder.get(half)));
        for (half, place) in std::iter::once(("", Some(embedder))).chain(halves) {
            match place.map(|place| (place.is_null(), place.get(KEY))) {
                Some((true, _) | (false, Some(Value::Null))) => {
                    keys.remove(half);
                }
                Some((false, Some(Value::String(key)))) => {
                    keys.insert(half.to_owned(), key.clone());
                }
                Some((false, _)) | None => {}
            }
        }
        if keys.is_empty() {
            self.0.remove(name);
        }
    }

    /// Put the keys in the place of what nodes show of them. A key that nobody remembers is left out: what nodes show
    /// must never be sent to them.
    pub(super) fn reveal(&self, settings: &mut Value) {
        let Some(Value::Object(embedders)) = settings.get_mut("embedders") else { return };
        for (name, embedder) in embedders {
            let keys = self.0.get(name);
            reveal(embedder, keys.and_then(|keys| keys.get("")));
            for half in NESTED {
                if let Some(half_embedder) = embedder.get_mut(half) {
                    reveal(half_embedder, keys.and_then(|keys| keys.get(half)));
                }
            }
        }
    }
}

fn reveal(embedder: &mut Value, key: Option<&String>) {
    let Value::Object(members) = embedder else { return };
    match (members.get_mut(KEY), key) {
        (Some(shown @ Value::String(_)), Some(key)) => *shown = key.as_str().into(),
        (Some(Value::String(_)), None) => {
            members.shift_remove(KEY);
        }
        (Some(_) | None, _) => {}
    }
}
