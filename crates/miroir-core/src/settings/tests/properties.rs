//! Whatever clients set: nodes and clients stay in step.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::{DEFAULT_TEMPLATE, n, our_rule, settings};
use crate::settings::{Fingerprint, Settings, details, initial, overlay, strip};

fn names() -> impl Strategy<Value = Vec<&'static str>> {
    vec(select(vec!["id", "title", "genre", "_geo", "a.b", "été"]), 0..5)
}

/// Names as a node reads them back: each once.
fn attributes() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(["*"])),
        names().prop_map(|mut names| {
            names.sort_unstable();
            names.dedup();
            json!(names)
        }),
    ]
}

fn rules() -> impl Strategy<Value = Value> {
    let rule = prop_oneof![
        select(vec!["id", "_geo", "*"]).prop_map(|name| json!(name)),
        (names(), any::<bool>()).prop_map(|(names, on)| json!({
            "attributePatterns": names,
            "features": {"facetSearch": on, "filter": {"equality": true, "comparison": on}}
        })),
    ];
    vec(rule, 0..4).prop_map(Value::Array)
}

fn embedders() -> impl Strategy<Value = Value> {
    let template = select(vec![DEFAULT_TEMPLATE, "{{doc.title}}"]);
    let embedder = prop_oneof![
        Just(json!({"source": "userProvided", "dimensions": 3})),
        template.clone().prop_map(|template| json!({"source": "rest", "documentTemplate": template, "headers": {}})),
        template.prop_map(|template| json!({
            "source": "composite",
            "indexingEmbedder": {"source": "openAi", "documentTemplate": template},
            "searchEmbedder": {"source": "openAi"}
        })),
        Just(json!({"source": "rest", "indexingFragments": {"a": {"value": "{{doc.x}}"}}})),
    ];
    btree_map(select(vec!["a", "b"]), embedder, 0..3).prop_map(|map| json!(map))
}

/// Settings in the form in which a node reads them back.
fn committed() -> impl Strategy<Value = Settings> {
    let order = btree_map(select(vec!["*", "genre"]), select(vec!["alpha", "count"]), 0..3);
    let faceting =
        (0..2000_u64, order).prop_map(|(max, order)| json!({"maxValuesPerFacet": max, "sortFacetValuesBy": order}));
    let distinct = option::of(select(vec!["id"])).prop_map(|name| json!(name));
    (attributes(), rules(), faceting, embedders(), distinct, names()).prop_map(
        |(displayed, filterable, faceting, embedders, distinct, stop_words)| {
            settings(json!({
                "displayedAttributes": displayed, "searchableAttributes": ["*"], "filterableAttributes": filterable,
                "stopWords": stop_words, "distinctAttribute": distinct, "faceting": faceting,
                "pagination": {"maxTotalHits": 1000}, "embedders": embedders,
            }))
        },
    )
}

/// What a node holds after a patch: sections merge, the rest is replaced.
fn node_after(mut node: Map<String, Value>, patch: &Value) -> Value {
    for (key, value) in patch.as_object().into_iter().flatten() {
        match (key.as_str(), node.get_mut(key), value) {
            ("faceting", Some(Value::Object(section)), Value::Object(changes)) => section.extend(changes.clone()),
            _ => {
                node.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(node)
}

proptest! {
    #[test]
    fn strip_undoes_overlay(client in committed(), before in committed(), shards in 1..5000_u32, times in 1..9_u32) {
        let patch = Value::Object(client.0.clone());
        for current in [Settings::default(), before] {
            let node = current.overlay(&patch, n(shards), n(times)).expect("names nothing of ours");
            let on_node = node["faceting"]["maxValuesPerFacet"].as_u64().expect("a number");
            prop_assert!(on_node >= client.max_values_per_facet() as u64 && on_node >= 2 * u64::from(shards));
            prop_assert_eq!(&node["filterableAttributes"][0], &our_rule());
            let back = strip(node, &current.kept(Some(&patch)));
            prop_assert_eq!(&back, &client);
            prop_assert_eq!(Fingerprint::of(&Value::Object(back.0)), Fingerprint::of(&patch));
        }
        let node = overlay(&patch, n(shards), n(times)).expect("names nothing of ours");
        let expected = client.on_nodes(n(shards), n(times)).expect("not empty");
        prop_assert_eq!(Fingerprint::of(&expected), Fingerprint::of(&node));
    }

    /// Patch after patch, nodes and client stay in step, whatever subset each patch names.
    #[test]
    fn partial_patches_keep_nodes_and_client_in_step(
        history in vec((committed(), vec(any::<bool>(), 8)), 1..5),
    ) {
        let mut node = initial(n(16), n(4)).as_object().cloned().expect("an object");
        node.insert("embedders".into(), json!({}));
        let mut client = strip(Value::Object(node.clone()), &Settings::default().kept(None));
        for (wanted, mask) in history {
            let chosen = wanted.0.into_iter().zip(mask).filter(|(_, chosen)| *chosen).map(|(member, _)| member);
            let patch = Value::Object(chosen.collect());
            let for_nodes = client.overlay(&patch, n(16), n(4)).expect("names nothing of ours");
            node = node_after(node, &for_nodes).as_object().cloned().expect("an object");
            let expected = settings(node_after(client.0.clone(), &patch));
            client = strip(Value::Object(node.clone()), &client.kept(Some(&patch)));
            prop_assert_eq!(&client, &expected);
        }
    }

    #[test]
    fn no_patch_panics(patch in any_json()) {
        if let Ok(node) = overlay(&patch, n(16), n(4)) {
            let kept = Settings::default().kept(Some(&patch));
            let shown = strip(node, &kept);
            let _ = (shown.displayed(), shown.sort_facet_values_by(), shown.checks(Some(&patch)), shown.kept(Some(&patch)));
        }
        details(&patch);
    }
}

pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let keys = vec![
        "displayedAttributes",
        "filterableAttributes",
        "faceting",
        "maxValuesPerFacet",
        "embedders",
        "e",
        "source",
        "documentTemplate",
        "indexingEmbedder",
        "indexingFragments",
        "sortFacetValuesBy",
        "apiKey",
        "typoTolerance",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(vec!["*", "rest", "composite", "_miroir_shard"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let members = btree_map(select(keys.clone()), inner.clone(), 0..5);
        prop_oneof![vec(inner, 0..4).prop_map(Value::Array), members.prop_map(|members| json!(members))]
    })
}
