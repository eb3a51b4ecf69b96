//! A settings patch as a task shows it.

use serde_json::{Value, json};

/// `details` of the task that applies a client's patch: lists of attributes that are reset show `*`, sets are sorted, and keys of
/// embedding services are hidden.
pub fn details(patch: &Value) -> Value {
    let mut shown = patch.clone();
    for key in ["displayedAttributes", "searchableAttributes"] {
        if let Some(list) = shown.get_mut(key).filter(|list| list.is_null()) {
            *list = json!(["*"]);
        }
    }
    for key in ["sortableAttributes", "stopWords", "separatorTokens", "nonSeparatorTokens", "dictionary"] {
        if let Some(Value::Array(words)) = shown.get_mut(key) {
            // Sets, as Meilisearch keeps them.
            words.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            words.dedup();
        }
    }
    if let Some(Value::Array(rules)) = shown.get_mut("filterableAttributes") {
        rules.iter_mut().for_each(spell_out_features);
    }
    if let Some(Value::Object(embedders)) = shown.get_mut("embedders") {
        for embedder in embedders.values_mut() {
            hide_key(embedder);
            for nested in ["indexingEmbedder", "searchEmbedder"] {
                if let Some(nested) = embedder.get_mut(nested) {
                    hide_key(nested);
                }
            }
        }
    }
    shown
}

/// A rule for attributes with all its features, of which clients may leave out any.
fn spell_out_features(rule: &mut Value) {
    let Some(rule) = rule.as_object_mut() else { return };
    let features = rule.get("features");
    let feature = |path: &str, default: bool| {
        features.and_then(|given| given.pointer(path)).and_then(Value::as_bool).unwrap_or(default)
    };
    let spelt_out = json!({
        "facetSearch": feature("/facetSearch", false),
        "filter": { "equality": feature("/filter/equality", true), "comparison": feature("/filter/comparison", false) },
    });
    rule.insert("features".into(), spelt_out);
}

fn hide_key(embedder: &mut Value) {
    if let Some(Value::String(key)) = embedder.get_mut("apiKey") {
        *key = hidden(key);
    }
}

/// The longer the secret, the more of its beginning is shown, as Meilisearch does; never half a character.
fn hidden(secret: &str) -> String {
    let (shown, rest) = match secret.len() {
        0..10 => (0, "XXX..."),
        10..20 => (2, "XXXX..."),
        20..30 => (3, "XXXXX..."),
        _ => (5, "XXXXXX..."),
    };
    let end = (0..=shown).rev().find(|end| secret.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{rest}", secret.get(..end).unwrap_or_default())
}
