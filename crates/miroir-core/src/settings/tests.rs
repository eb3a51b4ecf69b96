mod drift;
mod fingerprint;
mod properties;
pub(in crate::settings) mod restore;

use std::num::NonZeroU32;

use serde_json::{Value, json};

use super::{Refused, Settings, SubSetting, Verb, details, initial, overlay, reset, strip, sub_setting};
use crate::settings::SortBy;

const DEFAULT_TEMPLATE: &str = "{% for field in fields %}{% if field.is_searchable and field.value != nil %}{{ field.name }}: {{ field.value }}\n{% endif %}{% endfor %}";

fn n(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

fn settings(value: Value) -> Settings {
    serde_json::from_value(value).expect("an object")
}

fn over(current: &Settings, patch: Value) -> Value {
    current.overlay(&patch, n(16), n(4)).expect("not refused")
}

fn plain(patch: Value) -> Value {
    over(&Settings::default(), patch)
}

fn our_rule() -> Value {
    json!({
        "attributePatterns": ["_miroir_shard"],
        "features": {"facetSearch": false, "filter": {"equality": true, "comparison": false}}
    })
}

#[test]
fn what_the_client_does_not_mention_stays_unmentioned() {
    let patch = json!({"stopWords": ["the"], "unknown": 1, "pagination": {"maxTotalHits": 5}});
    assert_eq!(plain(patch.clone()), patch);
    assert_eq!(plain(json!({})), json!({}));
}

#[test]
fn our_filter_rule_comes_first() {
    let client = json!(["genre", {"attributePatterns": ["*"], "features": {}}]);
    let expected = json!([our_rule(), "genre", {"attributePatterns": ["*"], "features": {}}]);
    assert_eq!(plain(json!({"filterableAttributes": client}))["filterableAttributes"], expected);
    assert_eq!(plain(json!({"filterableAttributes": null}))["filterableAttributes"], json!([our_rule()]));
    assert_eq!(plain(json!({"filterableAttributes": []}))["filterableAttributes"], json!([our_rule()]));
}

#[test]
fn nodes_display_everything_and_count_more_facet_values() {
    assert_eq!(plain(json!({"displayedAttributes": ["a"]})), json!({"displayedAttributes": ["*"]}));
    assert_eq!(plain(json!({"displayedAttributes": null})), json!({"displayedAttributes": ["*"]}));
    let max = |client: Value| {
        plain(json!({"faceting": {"maxValuesPerFacet": client}}))["faceting"]["maxValuesPerFacet"].clone()
    };
    assert_eq!(max(json!(50)), json!(200));
    assert_eq!(max(json!(3)), json!(32), "room for twice the shards");
    assert_eq!(max(json!(null)), json!(400));
    assert_eq!(max(json!(u64::MAX)), json!(u64::MAX));
    assert_eq!(
        plain(json!({"faceting": null})),
        json!({"faceting": {"maxValuesPerFacet": 400, "sortFacetValuesBy": null}})
    );
    let order = json!({"faceting": {"sortFacetValuesBy": {"a": "count"}}});
    assert_eq!(plain(order.clone()), order);
}

#[test]
fn a_wrong_type_reaches_the_node_as_it_is() {
    for patch in [
        json!({"displayedAttributes": 3}),
        json!({"displayedAttributes": ["a", 3]}),
        json!({"displayedAttributes": {"a": 1}}),
        json!({"filterableAttributes": "genre"}),
        json!({"faceting": 3}),
        json!({"faceting": {"maxValuesPerFacet": "many"}}),
        json!({"faceting": {"maxValuesPerFacet": -1}}),
        json!({"faceting": {"maxValuesPerFacet": 1.5}}),
        json!({"embedders": 3}),
        json!({"embedders": {"e": 3, "gone": null}}),
        json!({"embedders": {"e": {"source": "rest", "documentTemplate": 3}}}),
        json!([1]),
        json!(null),
    ] {
        assert_eq!(plain(patch.clone()), patch);
    }
}

#[test]
fn embedders_that_embed_documents_get_a_template_without_our_fields() {
    let template =
        |patch: Value| plain(json!({"embedders": {"e": patch}}))["embedders"]["e"]["documentTemplate"].clone();
    for source in ["openAi", "huggingFace", "ollama", "rest"] {
        let ours = template(json!({"source": source}));
        let text = ours.as_str().expect("a template");
        assert!(
            text.contains(r#"field.name != "_miroir_shard""#) && text.contains(r#"field.name != "_miroir_updated_at""#)
        );
        assert_eq!(template(json!({"source": source, "documentTemplate": null})), ours);
        assert_eq!(template(json!({"source": source, "documentTemplate": DEFAULT_TEMPLATE})), ours);
        assert_eq!(template(json!({"source": source, "documentTemplate": "{{doc.a}}"})), json!("{{doc.a}}"));
    }
    assert_eq!(template(json!({"source": "userProvided", "dimensions": 3})), json!(null));
    let fragments = json!({"source": "rest", "indexingFragments": {"a": {"value": "{{doc.x}}"}}});
    assert_eq!(template(fragments), json!(null), "Meilisearch takes either fragments or a template");
}

#[test]
fn only_the_indexing_half_of_a_composite_embedder_gets_a_template() {
    let composite =
        json!({"source": "composite", "indexingEmbedder": {"source": "rest"}, "searchEmbedder": {"source": "rest"}});
    let out = plain(json!({"embedders": {"e": composite}}));
    let embedder = &out["embedders"]["e"];
    assert!(embedder["indexingEmbedder"]["documentTemplate"].is_string());
    assert_eq!(
        (&embedder["documentTemplate"], &embedder["searchEmbedder"]),
        (&json!(null), &json!({"source": "rest"}))
    );

    let back = strip(out, &Settings::default().kept(None));
    let shown = back.get("embedders").expect("there");
    assert_eq!(shown["e"]["indexingEmbedder"]["documentTemplate"], json!(DEFAULT_TEMPLATE));
}

#[test]
fn a_template_that_the_patch_does_not_mention_stays() {
    let current = settings(json!({"embedders": {
        "own": {"source": "rest", "documentTemplate": "{{doc.a}}"},
        "default": {"source": "rest", "documentTemplate": DEFAULT_TEMPLATE},
        "given": {"source": "userProvided", "dimensions": 3},
        "pieces": {"source": "rest", "indexingFragments": {"a": {"value": "{{doc.x}}"}}},
    }}));
    let template = |name: &str, patch: Value| {
        over(&current, json!({"embedders": {name: patch}}))["embedders"][name]["documentTemplate"].clone()
    };
    assert_eq!(template("own", json!({"url": "http://other"})), json!(null));
    assert_eq!(template("own", json!({"source": "rest", "url": "http://other"})), json!(null));
    assert_eq!(template("default", json!({"source": "rest"})), json!(null), "nodes hold ours");
    assert_eq!(template("given", json!({"dimensions": 4})), json!(null));
    assert_eq!(template("pieces", json!({"url": "http://other"})), json!(null));
    assert!(template("own", json!({"documentTemplate": null})).is_string());
    assert!(template("given", json!({"source": "rest"})).is_string());
    assert!(template("new", json!({"dimensions": 4})).is_string(), "the source is openAi by default");
    assert_eq!(plain(json!({"embedders": {"e": {"url": "x"}}})), json!({"embedders": {"e": {"url": "x"}}}));
}

#[test]
fn inert_characters_are_refused_in_tokens_and_welcome_elsewhere() {
    for key in ["separatorTokens", "nonSeparatorTokens", "dictionary"] {
        let refused = overlay(&json!({key: ["a", "x\u{2058}y"]}), n(16), n(4));
        assert_eq!(refused, Err(Refused::InertCharacters { key }));
        let other = json!({key: ["\u{2057}", "\u{205E}"]});
        assert_eq!(plain(other.clone()), other);
    }
    plain(json!({"stopWords": ["\u{2058}"], "synonyms": {"\u{2058}": ["a"]}}));
}

#[test]
fn naming_a_field_of_ours_is_refused_with_a_code_of_ours() {
    for patch in [
        json!({"displayedAttributes": ["a", "_miroir_shard"]}),
        json!({"searchableAttributes": ["_miroir_shard"]}),
        json!({"filterableAttributes": ["_miroir_updated_at"]}),
        json!({"filterableAttributes": [{"attributePatterns": ["_miroir_shard"]}]}),
        json!({"sortableAttributes": ["_miroir_shard"]}),
        json!({"rankingRules": ["words", "_miroir_shard:asc"]}),
        json!({"distinctAttribute": "_miroir_shard"}),
        json!({"localizedAttributes": [{"attributePatterns": ["_miroir_shard.x"], "locales": ["eng"]}]}),
        json!({"typoTolerance": {"disableOnAttributes": ["_miroir_shard"]}}),
        json!({"faceting": {"sortFacetValuesBy": {"_miroir_shard": "count"}}}),
        json!({"embedders": {"e": {"documentTemplate": "{{doc._miroir_shard}}"}}}),
    ] {
        let refused = overlay(&patch, n(16), n(4)).expect_err("a field of ours");
        assert_eq!(refused.body().code, "miroir_reserved_field", "{patch}");
    }
    plain(
        json!({"sortableAttributes": ["_miroir_shards", "miroir_shard", "_miroir_expires_at"], "filterableAttributes": ["*"]}),
    );
}

#[test]
fn what_a_fresh_node_reads_back_shows_as_defaults() {
    let node = json!({
        "displayedAttributes": ["*"],
        "searchableAttributes": ["*"],
        "filterableAttributes": initial(n(16), n(4))["filterableAttributes"],
        "faceting": {"maxValuesPerFacet": 400, "sortFacetValuesBy": {"*": "alpha"}},
    });
    let shown = strip(node, &Settings::default().kept(None));
    let expected = json!({
        "displayedAttributes": ["*"],
        "searchableAttributes": ["*"],
        "filterableAttributes": [],
        "faceting": {"maxValuesPerFacet": 100, "sortFacetValuesBy": {"*": "alpha"}},
    });
    assert_eq!(serde_json::from_str::<Value>(&shown.to_json()).expect("JSON"), expected);
    assert_eq!(initial(n(1000), n(4))["faceting"]["maxValuesPerFacet"], json!(2000));
    assert_eq!(strip(json!(null), &Settings::default().kept(None)), Settings::default());
}

#[test]
fn only_our_rule_is_taken_away() {
    let node = json!({"filterableAttributes": ["a", our_rule()]});
    let shown = strip(node, &Settings::default().kept(None));
    assert_eq!(shown.get("filterableAttributes"), Some(&json!(["a", our_rule()])), "it is not where we put it");
}

#[test]
fn what_nodes_do_not_hold_is_kept_in_normal_form() {
    let current = settings(json!({"displayedAttributes": ["a", "b"], "faceting": {"maxValuesPerFacet": 7}}));
    let shown = |patch: Option<Value>| {
        let node = json!({"displayedAttributes": ["*"], "faceting": {"maxValuesPerFacet": 400}});
        let settings = strip(node, &current.kept(patch.as_ref()));
        (settings.get("displayedAttributes").cloned().expect("there"), settings.max_values_per_facet())
    };
    assert_eq!(shown(None), (json!(["a", "b"]), 7));
    assert_eq!(shown(Some(json!({"stopWords": []}))), (json!(["a", "b"]), 7));
    assert_eq!(shown(Some(json!({"displayedAttributes": ["c", "b", "c"]}))), (json!(["c", "b"]), 7));
    assert_eq!(shown(Some(json!({"displayedAttributes": ["c", "*"]}))), (json!(["*"]), 7));
    assert_eq!(shown(Some(json!({"displayedAttributes": []}))), (json!([]), 7));
    assert_eq!(shown(Some(json!({"displayedAttributes": null, "faceting": null}))), (json!(["*"]), 100));
    assert_eq!(shown(Some(json!({"faceting": {"maxValuesPerFacet": null}}))), (json!(["a", "b"]), 100));
    assert_eq!(shown(Some(json!({"faceting": {"maxValuesPerFacet": 9}}))), (json!(["a", "b"]), 9));
    assert_eq!(shown(Some(json!({"faceting": {"sortFacetValuesBy": null}}))), (json!(["a", "b"]), 7));
}

#[test]
fn reads_find_what_they_need() {
    let none = Settings::default();
    assert_eq!(
        (none.displayed(), none.distinct(), none.max_values_per_facet(), none.max_total_hits()),
        (None, None, 100, 1000)
    );
    assert!(!none.checks(None).geo && !none.ranks_by_attribute() && none.sort_facet_values_by().is_empty());
    let some = settings(json!({
        "displayedAttributes": ["a"], "distinctAttribute": "d", "pagination": {"maxTotalHits": 7},
        "faceting": {"maxValuesPerFacet": 3, "sortFacetValuesBy": {"*": "alpha", "x": "count"}},
        "rankingRules": ["words", "price:asc"],
    }));
    assert_eq!((some.displayed(), some.distinct()), (Some(vec!["a".to_owned()]), Some("d")));
    assert_eq!((some.max_values_per_facet(), some.max_total_hits(), some.ranks_by_attribute()), (3, 7, true));
    let orders: Vec<_> = some.sort_facet_values_by().into_iter().collect();
    assert_eq!(orders, [("*".to_owned(), SortBy::Alpha), ("x".to_owned(), SortBy::Count)]);
    assert_eq!(settings(json!({"displayedAttributes": ["*"]})).displayed(), None);
}

#[test]
fn geo_is_enabled_by_its_plain_name_alone() {
    let geo = |key: &str, rule: Value| settings(json!({ key: [rule] })).checks(None).geo;
    assert!(geo("filterableAttributes", json!("_geo")) && geo("sortableAttributes", json!("_geo")));
    for rule in [json!("*"), json!("_geo*"), json!({"attributePatterns": ["_geo"]}), json!("_geojson")] {
        assert!(!geo("filterableAttributes", rule.clone()), "{rule}");
    }
}

#[test]
fn every_sub_setting_has_its_route_and_verb() {
    assert_eq!(sub_setting("ranking-rules"), Some(SubSetting { key: "rankingRules", verb: Verb::Put }));
    let patched = ["typo-tolerance", "faceting", "pagination", "embedders", "chat"];
    for name in patched {
        assert_eq!(sub_setting(name).map(|setting| setting.verb), Some(Verb::Patch), "{name}");
    }
    assert_eq!(super::routes::keys().count(), 22);
    assert_eq!((sub_setting("rankingRules"), sub_setting("")), (None, None));
}

#[test]
fn a_reset_names_every_setting_and_shows_as_meilisearch_shows_it() {
    let patch = reset(&settings(json!({"stopWords": ["a"], "ofTomorrow": 1})));
    let members = patch.as_object().expect("an object");
    assert_eq!(members.len(), 21);
    assert!(!members.contains_key("foreignKeys"), "a node without the feature would refuse it");
    assert!(members.values().all(Value::is_null));
    let shown = details(&patch);
    assert_eq!((&shown["displayedAttributes"], &shown["searchableAttributes"]), (&json!(["*"]), &json!(["*"])));
    assert_eq!(shown["stopWords"], json!(null));
}

#[test]
fn a_task_hides_keys_of_embedding_services() {
    let key = |key: &str| {
        let patch = json!({"embedders": {"e": {"apiKey": key, "searchEmbedder": {"apiKey": key}}, "gone": null}});
        let shown = details(&patch);
        assert_eq!(shown["embedders"]["e"]["apiKey"], shown["embedders"]["e"]["searchEmbedder"]["apiKey"]);
        shown["embedders"]["e"]["apiKey"].as_str().expect("text").to_owned()
    };
    assert_eq!(key("secret"), "XXX...");
    assert_eq!(key("secretsecret"), "seXXXX...");
    assert_eq!(key("secretsecretsecretsecret"), "secXXXXX...");
    assert_eq!(key("secretsecretsecretsecretsecret"), "secreXXXXXX...");
    assert_eq!(key("\u{1F600}\u{1F600}\u{1F600}"), "XXXX...");
}

#[test]
fn rules_for_attributes_show_all_their_features() {
    let patch =
        json!({"filterableAttributes": ["id", {"attributePatterns": ["t*"], "features": {"facetSearch": true}}]});
    let features = json!({"facetSearch": true, "filter": {"equality": true, "comparison": false}});
    assert_eq!(
        details(&patch),
        json!({"filterableAttributes": ["id", {"attributePatterns": ["t*"], "features": features}]})
    );
}
