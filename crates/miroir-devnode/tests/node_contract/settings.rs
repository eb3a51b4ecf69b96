//! Settings: written in parts or as a whole, read back as the engine understood them.

use serde_json::{Value, json};

use crate::server::Server;

/// Every setting that Miroir handles, with its route, its verb and a value that differs from the default.
fn table() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    vec![
        ("displayedAttributes", "displayed-attributes", "PUT", json!(["id", "x"])),
        ("searchableAttributes", "searchable-attributes", "PUT", json!(["x", "id"])),
        ("filterableAttributes", "filterable-attributes", "PUT", json!(["x"])),
        ("sortableAttributes", "sortable-attributes", "PUT", json!(["x"])),
        ("rankingRules", "ranking-rules", "PUT", json!(["typo", "words", "price:asc"])),
        ("stopWords", "stop-words", "PUT", json!(["a", "the"])),
        ("nonSeparatorTokens", "non-separator-tokens", "PUT", json!(["#"])),
        ("separatorTokens", "separator-tokens", "PUT", json!(["&sep"])),
        ("dictionary", "dictionary", "PUT", json!(["J. R. R."])),
        ("synonyms", "synonyms", "PUT", json!({"car": ["auto"]})),
        ("distinctAttribute", "distinct-attribute", "PUT", json!("x")),
        ("proximityPrecision", "proximity-precision", "PUT", json!("byAttribute")),
        (
            "typoTolerance",
            "typo-tolerance",
            "PATCH",
            json!({
                "enabled": false, "minWordSizeForTypos": {"oneTypo": 4, "twoTypos": 8}, "disableOnWords": ["x"],
                "disableOnAttributes": ["y"], "disableOnNumbers": true,
            }),
        ),
        (
            "faceting",
            "faceting",
            "PATCH",
            json!({"maxValuesPerFacet": 7, "sortFacetValuesBy": {"*": "count", "x": "alpha"}}),
        ),
        ("pagination", "pagination", "PATCH", json!({"maxTotalHits": 77})),
        ("searchCutoffMs", "search-cutoff-ms", "PUT", json!(500)),
        (
            "localizedAttributes",
            "localized-attributes",
            "PUT",
            json!([{"attributePatterns": ["*_ja"], "locales": ["jpn"]}]),
        ),
        ("facetSearch", "facet-search", "PUT", json!(false)),
        ("prefixSearch", "prefix-search", "PUT", json!("disabled")),
    ]
}

fn send(server: &Server, verb: &str, path: &str, value: &Value) {
    let answer = if verb == "PUT" { server.put(path, value) } else { server.patch(path, value) };
    assert_eq!(answer.status, 202, "{path}: {}", answer.body);
}

#[test]
fn each_setting_is_written_read_and_reset_by_its_own_route() {
    let server = Server::start();
    server.done(server.post("/indexes", &json!({"uid": "a"})));
    let defaults = server.get("/indexes/a/settings").ok();
    for (name, route, verb, value) in table() {
        let path = format!("/indexes/a/settings/{route}");
        assert_eq!(server.get(&path).ok(), defaults[name], "{name}");
        assert_ne!(value, defaults[name], "{name}");
        send(&server, verb, &path, &value);
    }
    server.done(server.delete("/indexes/a/settings/embedders"));
    let changed = server.get("/indexes/a/settings").ok();
    for (name, route, _, value) in table() {
        let path = format!("/indexes/a/settings/{route}");
        assert_eq!(changed[name], value, "{name}");
        assert_eq!(server.get(&path).ok(), value, "{name}");
        assert_eq!(server.delete(&path).status, 202, "{name}");
    }
    server.done(server.delete("/indexes/a/settings/embedders"));
    assert_eq!(server.get("/indexes/a/settings").ok(), defaults);
}

#[test]
fn all_settings_are_written_and_reset_at_once() {
    let server = Server::start();
    let settings: Value = table().into_iter().map(|(name, _, _, value)| (name.to_owned(), value)).collect();
    let task = server.done(server.patch("/indexes/a/settings", &settings));
    assert_eq!(task["type"], "settingsUpdate");
    assert_eq!(task["details"]["stopWords"], json!(["a", "the"]));
    let read = server.get("/indexes/a/settings").ok();
    for (name, _, _, value) in table() {
        assert_eq!(read[name], value, "{name}");
    }
    server.done(server.delete("/indexes/a/settings"));
    server.done(server.post("/indexes", &json!({"uid": "fresh"})));
    assert_eq!(server.get("/indexes/a/settings").ok(), server.get("/indexes/fresh/settings").ok());
}

#[test]
fn settings_are_read_back_normalised() {
    let server = Server::start();
    let settings = json!({
        "displayedAttributes": ["x", "*"],
        "searchableAttributes": ["x", "x", "y"],
        "filterableAttributes": ["x", {"attributePatterns": ["_miroir_shard"]}],
        "sortableAttributes": ["b", "a", "b"],
        "stopWords": ["the", "a", "the"],
        "typoTolerance": {"disableOnWords": ["Zed", "Alpha"], "disableOnAttributes": ["y", "x", "y"]},
        "faceting": {"sortFacetValuesBy": {"x": "count"}},
        "localizedAttributes": [{"attributePatterns": ["x"], "locales": ["ja"]}],
    });
    server.done(server.patch("/indexes/a/settings", &settings));
    let read = server.get("/indexes/a/settings").ok();
    assert_eq!(read["displayedAttributes"], json!(["*"]));
    assert_eq!(read["searchableAttributes"], json!(["x", "y"]));
    let rule = json!({
        "attributePatterns": ["_miroir_shard"],
        "features": {"facetSearch": false, "filter": {"equality": true, "comparison": false}},
    });
    assert_eq!(read["filterableAttributes"], json!(["x", rule]));
    assert_eq!(read["sortableAttributes"], json!(["a", "b"]));
    assert_eq!(read["stopWords"], json!(["a", "the"]));
    assert_eq!(read["typoTolerance"]["disableOnWords"], json!(["alpha", "zed"]));
    assert_eq!(read["typoTolerance"]["disableOnAttributes"], json!(["x", "y"]));
    assert_eq!(read["faceting"]["sortFacetValuesBy"], json!({"*": "alpha", "x": "count"}));
    assert_eq!(read["localizedAttributes"][0]["locales"], json!(["jpn"]));
    // What was read back, written again, reads back the same.
    server.done(server.patch("/indexes/b/settings", &read));
    assert_eq!(server.get("/indexes/b/settings").ok(), read);
}

#[test]
fn a_patch_changes_only_what_it_names() {
    let server = Server::start();
    server.patch("/indexes/a/settings/typo-tolerance", &json!({"disableOnWords": ["x"]})).ok();
    server.patch("/indexes/a/settings/typo-tolerance", &json!({"enabled": false})).ok();
    server.patch("/indexes/a/settings", &json!({"stopWords": ["the"]})).ok();
    server.done(server.patch("/indexes/a/settings", &json!({"sortableAttributes": ["x"], "stopWords": null})));
    let read = server.get("/indexes/a/settings").ok();
    assert_eq!(read["typoTolerance"]["disableOnWords"], json!(["x"]));
    assert_eq!(read["typoTolerance"]["enabled"], false);
    assert_eq!((&read["sortableAttributes"], &read["stopWords"]), (&json!(["x"]), &json!([])));
}

#[test]
fn a_write_creates_the_index_and_a_reset_does_not() {
    let server = Server::start();
    server.done(server.put("/indexes/a/settings/stop-words", &json!(["the"])));
    assert_eq!(server.get("/indexes/a").status, 200);
    assert_eq!(server.failed(server.delete("/indexes/b/settings/stop-words")), "index_not_found");
    assert_eq!(server.get("/indexes/b/settings").error(), (404, "index_not_found"));
}

#[test]
fn settings_change_what_existing_documents_answer() {
    let server = Server::start();
    server.index("a", &json!({}), &json!([{"id": 1, "x": "one", "y": "two"}, {"id": 2, "x": "two"}]));
    let filter = json!({"filter": "x = two"});
    assert_eq!(server.post("/indexes/a/search", &filter).error(), (400, "invalid_search_filter"));
    let settings = json!({"filterableAttributes": ["x"], "searchableAttributes": ["x"]});
    server.done(server.patch("/indexes/a/settings", &settings));
    assert_eq!(server.found("a", &filter), [json!(2)]);
    assert_eq!(server.found("a", &json!({"q": "two"})), [json!(2)]);
}

#[test]
fn wrong_values_are_refused_at_once() {
    let server = Server::start();
    let code = |route: &str, value: Value| {
        let answer = server.put(&format!("/indexes/a/settings/{route}"), &value);
        (answer.status, answer.body["code"].as_str().unwrap_or_default().to_owned())
    };
    let cases = [
        ("ranking-rules", json!(["no such rule"]), "invalid_settings_ranking_rules"),
        ("stop-words", json!("the"), "invalid_settings_stop_words"),
        ("filterable-attributes", json!([1]), "invalid_settings_filterable_attributes"),
        ("distinct-attribute", json!(1), "invalid_settings_distinct_attribute"),
        ("search-cutoff-ms", json!("fast"), "invalid_settings_search_cutoff_ms"),
    ];
    for (route, value, expected) in cases {
        assert_eq!(code(route, value), (400, expected.to_owned()));
    }
    let unknown = server.patch("/indexes/a/settings", &json!({"nope": 1}));
    assert_eq!(unknown.error(), (400, "bad_request"));
    let patched = server.patch("/indexes/a/settings", &json!({"pagination": {"maxTotalHits": "many"}}));
    assert_eq!(patched.error(), (400, "invalid_settings_pagination"));
}
