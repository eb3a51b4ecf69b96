//! What counts as the same settings. The readings are those of Meilisearch 1.50.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{DEFAULT_TEMPLATE, n, settings};
use crate::settings::{Fingerprint, Settings, holds, initial, strip};

/// As a fresh index of Meilisearch 1.50 reads back, with every feature on.
fn fresh() -> Value {
    json!({
        "displayedAttributes": ["*"], "searchableAttributes": ["*"], "filterableAttributes": [],
        "sortableAttributes": [], "foreignKeys": [],
        "rankingRules": ["words", "typo", "proximity", "attributeRank", "sort", "wordPosition", "exactness"],
        "stopWords": [], "nonSeparatorTokens": [], "separatorTokens": [], "dictionary": [], "synonyms": {},
        "distinctAttribute": null, "proximityPrecision": "byWord",
        "typoTolerance": {
            "enabled": true, "minWordSizeForTypos": {"oneTypo": 5, "twoTypos": 9},
            "disableOnWords": [], "disableOnAttributes": [], "disableOnNumbers": false
        },
        "faceting": {"maxValuesPerFacet": 100, "sortFacetValuesBy": {"*": "alpha"}},
        "pagination": {"maxTotalHits": 1000}, "embedders": {}, "searchCutoffMs": null, "localizedAttributes": null,
        "facetSearch": true, "prefixSearch": "indexingTime",
        "chat": {
            "description": "", "documentTemplate": DEFAULT_TEMPLATE, "documentTemplateMaxBytes": 400,
            "searchParameters": {}
        },
    })
}

fn rest() -> Value {
    json!({
        "source": "rest", "dimensions": 3, "apiKey": "sekriXXXXXX...", "documentTemplate": DEFAULT_TEMPLATE,
        "documentTemplateMaxBytes": 400, "url": "http://e/x", "request": {"a": "{{text}}", "n": null},
        "response": {"b": "{{embedding}}"}, "headers": {"Authorization": "abc"},
        "distribution": {"mean": 0.5, "sigma": 0.1}
    })
}

/// Every setting of 1.50 at something else than its default.
fn full() -> Value {
    json!({
        "displayedAttributes": ["a", "b"], "searchableAttributes": ["b", "a"],
        "filterableAttributes": ["b", {
            "attributePatterns": ["y", "z"],
            "features": {"facetSearch": false, "filter": {"equality": true, "comparison": false}}
        }],
        "sortableAttributes": ["a", "b"], "foreignKeys": [{"foreignIndexUid": "i", "fieldName": "b"}],
        "rankingRules": ["words", "typo", "price:asc"], "stopWords": ["a", "the"],
        "nonSeparatorTokens": ["#", "@"], "separatorTokens": ["&", "|"], "dictionary": ["J. R.", "x"],
        "synonyms": {"a": ["p", "q"], "b": ["x"]}, "distinctAttribute": "sku", "proximityPrecision": "byAttribute",
        "typoTolerance": {
            "enabled": false, "minWordSizeForTypos": {"oneTypo": 4, "twoTypos": 8},
            "disableOnWords": ["a", "b"], "disableOnAttributes": ["c", "d"], "disableOnNumbers": true
        },
        "faceting": {"maxValuesPerFacet": 50, "sortFacetValuesBy": {"*": "count", "a": "alpha"}},
        "pagination": {"maxTotalHits": 7},
        "embedders": {
            "r": rest(), "u": {"source": "userProvided", "dimensions": 3, "binaryQuantized": true},
            "c": {"source": "composite", "indexingEmbedder": rest(), "searchEmbedder": rest()},
            "f": {"source": "rest", "indexingFragments": {"a": {"value": {"x": 1}}}, "searchFragments": {"s": {"value": 2}}},
        },
        "searchCutoffMs": 150,
        "localizedAttributes": [{"attributePatterns": ["a", "b"], "locales": ["eng", "jpn"]}, {"attributePatterns": ["c"], "locales": ["fra"]}],
        "facetSearch": false, "prefixSearch": "disabled",
        "chat": {
            "description": "d", "documentTemplate": "{{doc.a}}", "documentTemplateMaxBytes": 100,
            "searchParameters": {"limit": 3, "sort": ["a:asc", "b:asc"], "hybrid": {"embedder": "r", "semanticRatio": 0.5}}
        },
    })
}

fn of(value: &Value) -> Fingerprint {
    Fingerprint::of(value)
}

/// What one edit at `path` makes of the full settings.
fn edited(path: &str, value: &Value) -> Value {
    let mut settings = full();
    *settings.pointer_mut(path).unwrap_or_else(|| panic!("{path} is there")) = value.clone();
    settings
}

/// Every leaf, and how it may be spelt otherwise.
fn leaves<'a>(path: &str, value: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(key, value)| leaves(&format!("{path}/{}", escaped(key)), value, found));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(i, value)| leaves(&format!("{path}/{i}"), value, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            found.push((path.into(), value));
        }
    }
}

fn other(value: &Value) -> Value {
    match value {
        Value::Null => json!("something"),
        Value::Bool(on) => json!(!on),
        Value::Number(number) => json!(number.as_f64().unwrap_or_default() + 1.25),
        Value::String(text) => json!(format!("{text}\u{1}")),
        Value::Array(_) => json!(["something"]),
        Value::Object(_) => json!({"something": "else"}),
    }
}

#[test]
fn every_leaf_of_every_setting_matters() {
    let (whole, start) = (full(), fresh());
    for settings in [&whole, &start] {
        let mut found = Vec::new();
        leaves("", settings, &mut found);
        assert!(found.len() > 30, "{}", found.len());
        for (path, value) in found.into_iter().filter(|(path, _)| !path.ends_with("/apiKey")) {
            let mut changed = settings.clone();
            *changed.pointer_mut(&path).expect("a leaf") = other(value);
            assert_ne!(of(&changed), of(settings), "{path}");
        }
    }
}

#[test]
fn every_setting_is_told_from_its_default() {
    let default = fresh();
    assert_eq!(default.as_object().map(Map::len), Some(super::super::routes::keys().count()));
    for (key, value) in full().as_object().expect("an object") {
        let mut one = default.clone();
        one[key] = value.clone();
        assert_ne!(of(&one), of(&default), "{key}");
        one[key] = default[key].clone();
        assert_eq!(of(&one), of(&default), "{key}");
    }
}

#[test]
fn lists_without_an_order_are_equal_in_any_order_and_no_others_are() {
    let lists = [
        ("/displayedAttributes", true),
        ("/searchableAttributes", false),
        ("/filterableAttributes", false),
        ("/filterableAttributes/1/attributePatterns", true),
        ("/sortableAttributes", true),
        ("/rankingRules", false),
        ("/stopWords", true),
        ("/nonSeparatorTokens", true),
        ("/separatorTokens", true),
        ("/dictionary", true),
        ("/synonyms/a", false),
        ("/typoTolerance/disableOnWords", true),
        ("/typoTolerance/disableOnAttributes", true),
        ("/localizedAttributes", false),
        ("/localizedAttributes/0/attributePatterns", true),
        ("/localizedAttributes/0/locales", true),
        ("/chat/searchParameters/sort", false),
    ];
    for (path, is_set) in lists {
        let whole = full();
        let mut list = whole.pointer(path).and_then(Value::as_array).expect(path).clone();
        list.reverse();
        assert_eq!(of(&edited(path, &Value::Array(list.clone()))) == of(&whole), is_set, "{path}");
        if is_set {
            list.extend(list.clone());
            assert_eq!(of(&edited(path, &Value::Array(list))), of(&whole), "each counts once: {path}");
        }
    }
}

#[test]
fn spellings_of_one_thing_are_equal() {
    let whole = full();
    for (path, value) in [
        ("/pagination/maxTotalHits", json!(7.0)),
        ("/embedders/r/dimensions", json!(3.0)),
        ("/embedders/r/apiKey", json!("othXXXXX...")),
        ("/embedders/c/searchEmbedder/apiKey", json!("whole secret")),
        ("/filterableAttributes/1/features", json!({})),
        ("/filterableAttributes/1/features", json!({"filter": {"comparison": false}})),
    ] {
        assert_eq!(of(&edited(path, &value)), of(&whole), "{path}");
    }
    let secret = rest();
    let mut open = secret.clone();
    open.as_object_mut().expect("an object").shift_remove("apiKey");
    assert_ne!(of(&edited("/embedders/r", &open)), of(&whole), "that there is a key matters");
    open["apiKey"] = Value::Null;
    open["revision"] = Value::Null;
    open["binaryQuantized"] = json!(false);
    let mut absent = open.clone();
    ["apiKey", "revision", "binaryQuantized"].iter().for_each(|key| {
        absent.as_object_mut().expect("an object").shift_remove(*key);
    });
    assert_eq!(of(&edited("/embedders/r", &open)), of(&edited("/embedders/r", &absent)));
    assert_ne!(
        of(&edited("/embedders/r/request", &json!({"a": "{{text}}"}))),
        of(&whole),
        "a null in a request is sent"
    );
    let mut empty = fresh();
    empty["localizedAttributes"] = json!([]);
    assert_eq!(of(&empty), of(&fresh()), "no rule and no rules");
}

#[test]
fn what_is_absent_is_at_its_default() {
    let rules = json!({"rankingRules": fresh()["rankingRules"]});
    assert_eq!(of(&rules), of(&fresh()));
    for (key, _) in fresh().as_object().expect("an object").iter().filter(|(key, _)| *key != "rankingRules") {
        let mut less = fresh();
        less.as_object_mut().expect("an object").shift_remove(key);
        assert_eq!(of(&less), of(&fresh()), "{key}");
    }
}

#[test]
fn a_setting_whose_feature_is_off_is_not_compared() {
    let mut read = full();
    for key in ["chat", "foreignKeys"] {
        read.as_object_mut().expect("an object").shift_remove(key);
        assert!(holds(&full(), &read) && !holds(&read, &full()), "{key}");
    }
    read["stopWords"] = json!([]);
    assert!(!holds(&full(), &read));
    let mut shown = full();
    shown["chat"]["description"] = json!("other");
    assert!(!holds(&full(), &shown));
}

/// Without the overlay nothing else gets lost, and what nodes are expected to hold is what they hold.
#[test]
fn settings_survive_the_way_to_a_node_and_back() {
    for client in [full(), fresh()] {
        let committed = settings(client.clone());
        let node = committed.on_nodes(n(16), n(4)).expect("committed");
        assert_ne!(of(&node), of(&client), "the overlay shows");
        let back = strip(node.clone(), &committed.kept(Some(&client)));
        assert_eq!(back, committed);
        assert_eq!(back.on_nodes(n(16), n(4)).map(|node| of(&node)), Some(of(&node)));
    }
    assert_eq!(Settings::default().on_nodes(n(16), n(4)), None);
    let untouched = strip(initial(n(16), n(4)), &Settings::default().kept(None));
    assert_eq!(untouched.on_nodes(n(16), n(4)).map(|node| of(&node)), Some(of(&initial(n(16), n(4)))));
}

#[test]
fn a_fingerprint_is_the_same_in_every_release() {
    let small = json!({"stopWords": ["b", "a"], "distinctAttribute": null, "rankingRules": ["words"]});
    assert_eq!(of(&small), of(&json!({"rankingRules": ["words"], "stopWords": ["a", "b"]})));
    // printf '{"rankingRules":["words"],"stopWords":["a","b"]}' | sha256sum
    assert_eq!(of(&small).as_str(), "8912b4427044fb782e95b36c56498f3c4eb15e3a1ed1b7960034dfff5100e2ee");
}

/// Keys in another order, at every depth.
fn shuffled(value: &Value, seed: u64) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> =
                members.iter().map(|(key, value)| (key.clone(), shuffled(value, seed))).collect();
            members.sort_by_key(|(key, _)| xxhash_rust::xxh64::xxh64(key.as_bytes(), seed));
            members.into_iter().collect()
        }
        Value::Array(items) => items.iter().map(|item| shuffled(item, seed)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

proptest! {
    #[test]
    fn the_order_of_keys_never_matters(seed: u64) {
        prop_assert_eq!(of(&shuffled(&full(), seed)), of(&full()));
    }

    #[test]
    fn the_order_of_sets_never_matters(mut words in proptest::collection::vec("[a-z]{1,3}", 0..8), seed: u64) {
        for key in ["stopWords", "sortableAttributes", "dictionary", "separatorTokens", "nonSeparatorTokens"] {
            let before = json!({key: words});
            words.sort_by_key(|word| xxhash_rust::xxh64::xxh64(word.as_bytes(), seed));
            prop_assert_eq!(of(&json!({key: words})), of(&before));
        }
    }

    #[test]
    fn no_settings_are_too_odd(value in super::properties::any_json()) {
        prop_assert_eq!(of(&value), of(&value.clone()));
        prop_assert!(holds(&value, &value));
    }
}
