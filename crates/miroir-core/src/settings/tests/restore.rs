use serde_json::{Map, Value, json};

use crate::settings::{Secrets, holds, towards, undo};

/// What Meilisearch makes of a patch: sections are merged, null resets.
pub(in crate::settings) fn patched(settings: &Value, patch: &Value) -> Value {
    let mut next = settings.as_object().cloned().unwrap_or_default();
    for (key, value) in patch.as_object().into_iter().flatten() {
        let merged = match (next.get(key), value) {
            (Some(Value::Object(now)), Value::Object(patch)) if key == "embedders" => embedders(now, patch),
            (Some(Value::Object(now)), Value::Object(patch)) if key != "synonyms" => merged(now, patch),
            _ => value.clone(),
        };
        next.insert(key.clone(), merged);
    }
    next.retain(|_, value| !value.is_null());
    Value::Object(next)
}

fn merged(now: &Map<String, Value>, patch: &Map<String, Value>) -> Value {
    let mut next = now.clone();
    next.extend(patch.clone());
    next.retain(|_, value| !value.is_null());
    Value::Object(next)
}

fn embedders(now: &Map<String, Value>, patch: &Map<String, Value>) -> Value {
    let mut next = now.clone();
    for (name, patch) in patch {
        let merged = match (now.get(name), patch) {
            (Some(Value::Object(now)), Value::Object(patch)) => {
                let other = patch.get("source").is_some_and(|source| now.get("source") != Some(source));
                merged(if other { patch } else { now }, patch)
            }
            _ => patch.clone(),
        };
        next.insert(name.clone(), merged);
    }
    next.retain(|_, value| !value.is_null());
    Value::Object(next)
}

fn base() -> Value {
    json!({
        "stopWords": ["old"], "pagination": {"maxTotalHits": 5}, "synonyms": {"a": ["b"]},
        "faceting": {"maxValuesPerFacet": 400, "sortFacetValuesBy": {"*": "alpha"}},
        "embedders": {
            "a": {"source": "userProvided", "dimensions": 3},
            "r": {"source": "rest", "url": "http://e", "apiKey": "secXXXXX..."},
        },
    })
}

fn secrets() -> Secrets {
    Secrets::default().after(&json!({"embedders": {"r": {"apiKey": "secretsecretsecretsecret"}}}))
}

#[test]
fn a_node_is_brought_back_whatever_it_holds() {
    for patch in [
        json!({}),
        json!({"stopWords": ["new"]}),
        json!({"stopWords": null, "pagination": null, "synonyms": null, "embedders": null}),
        json!({"distinctAttribute": "sku", "chat": {"description": "d"}}),
        json!({"embedders": {"b": {"source": "userProvided", "dimensions": 4}, "a": null}}),
        json!({"embedders": {"a": {"source": "rest", "url": "http://other", "apiKey": "x"}}}),
        json!({"embedders": {"a": {"distribution": {"mean": 0.5, "sigma": 0.1}}}}),
        json!({"embedders": {"r": {"apiKey": null, "headers": {"a": "b"}}}}),
        json!({"faceting": {"maxValuesPerFacet": 1, "sortFacetValuesBy": {"*": "count", "x": "alpha"}}}),
    ] {
        let drifted = patched(&base(), &patch);
        let back = patched(&drifted, &towards(&base(), &drifted, &secrets()));
        assert!(holds(&base(), &back), "{patch}: {back}");
        for from in [&drifted, &base()] {
            let back = patched(from, &undo(&base(), &patch, &secrets()));
            assert!(holds(&base(), &back), "{patch}: {back}");
        }
    }
}

#[test]
fn only_what_differs_is_named() {
    assert_eq!(towards(&base(), &base(), &secrets()), json!({}));
    let drifted = patched(&base(), &json!({"stopWords": ["x"], "prefixSearch": "disabled"}));
    assert_eq!(towards(&base(), &drifted, &secrets()), json!({"stopWords": ["old"], "prefixSearch": null}));
    assert_eq!(undo(&base(), &json!({"stopWords": null}), &secrets()), json!({"stopWords": ["old"]}));
    let hidden = json!({"chat": {"description": "d"}, "stopWords": ["old"]});
    assert_eq!(towards(&hidden, &json!({"stopWords": ["old"]}), &secrets()), json!({}), "its feature is off");
}

#[test]
fn nodes_are_never_sent_what_is_shown_of_a_secret() {
    let drifted = patched(&base(), &json!({"embedders": {"r": {"url": "http://other"}}}));
    let key = |secrets: &Secrets| towards(&base(), &drifted, secrets)["embedders"]["r"].get("apiKey").cloned();
    assert_eq!(key(&secrets()), Some(json!("secretsecretsecretsecret")));
    assert_eq!(key(&Secrets::default()), None);
    let nested = json!({"embedders": {"c": {
        "source": "composite", "searchEmbedder": {"source": "rest", "apiKey": "seXXXX..."},
        "indexingEmbedder": {"source": "rest"},
    }}});
    let known = Secrets::default().after(&json!({"embedders": {"c": {"searchEmbedder": {"apiKey": "sesame"}}}}));
    let patch = towards(&nested, &json!({"embedders": {}}), &known);
    assert_eq!(patch["embedders"]["c"]["searchEmbedder"]["apiKey"], json!("sesame"));
}

#[test]
fn secrets_follow_what_clients_send_and_do_not_show() {
    let known = secrets();
    assert_eq!(known.after(&json!({"stopWords": []})), known);
    assert_eq!(known.after(&json!({"embedders": {"r": {"url": "x"}}})), known);
    for patch in
        [json!({"embedders": null}), json!({"embedders": {"r": null}}), json!({"embedders": {"r": {"apiKey": null}}})]
    {
        assert!(known.after(&patch).is_empty(), "{patch}");
    }
    assert!(!format!("{known:?}").contains("secretsecret"));
    let saved = serde_json::to_value(&known).expect("JSON");
    assert_eq!(serde_json::from_value::<Secrets>(saved).expect("secrets"), known);
}
