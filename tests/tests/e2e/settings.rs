//! Settings reach every node, read back as one server shows them, and take effect.

use serde_json::{Value, json};

use miroir_tests::{Client, Twin};

#[test]
fn what_is_read_back_is_what_one_server_shows() {
    let twin = Twin::shared();
    let changes = [
        json!({ "sortableAttributes": ["b", "a", "b"], "stopWords": ["the", "a", "the"] }),
        json!({ "filterableAttributes": ["a", { "attributePatterns": ["b*"], "features": { "facetSearch": true, "filter": { "equality": true, "comparison": true } } }] }),
        json!({ "searchableAttributes": ["a", "b", "a"], "displayedAttributes": ["a", "*"] }),
        json!({ "synonyms": { "car": ["auto", "wagon"] }, "distinctAttribute": "a" }),
        json!({ "typoTolerance": { "minWordSizeForTypos": { "oneTypo": 4 }, "disableOnWords": ["Zebra"] } }),
        json!({ "faceting": { "maxValuesPerFacet": 3, "sortFacetValuesBy": { "a": "count" } }, "pagination": { "maxTotalHits": 50 } }),
        json!({ "rankingRules": ["words", "typo", "a:asc"], "proximityPrecision": "byAttribute", "searchCutoffMs": 500 }),
        json!({ "separatorTokens": ["|"], "nonSeparatorTokens": ["#"], "dictionary": ["J. R. R."], "prefixSearch": "disabled", "facetSearch": false }),
        json!({ "filterableAttributes": null, "searchableAttributes": null, "synonyms": null, "distinctAttribute": null, "faceting": null }),
        json!({ "filterableAttributes": ["*"] }),
        json!({ "localizedAttributes": [{ "attributePatterns": ["*"], "locales": ["fra"] }] }),
    ];
    twin.create("read");
    for change in &changes {
        let task = twin.same_task(&change.to_string(), |client| client.patch("/indexes/read/settings", change));
        assert_eq!(task["status"], "succeeded", "{task}");
        twin.same(&format!("after {change}"), |client| client.get("/indexes/read/settings"));
    }
    twin.same_task("reset", |client| client.delete("/indexes/read/settings"));
    twin.same("after the reset", |client| client.get("/indexes/read/settings"));
}

#[test]
fn every_setting_has_its_own_route() {
    let twin = Twin::shared();
    twin.create("routes");
    let routes: [(&str, &str, Value); 20] = [
        ("PUT", "displayed-attributes", json!(["a"])),
        ("PUT", "searchable-attributes", json!(["a", "b"])),
        ("PUT", "filterable-attributes", json!(["a", "b"])),
        ("PUT", "sortable-attributes", json!(["a"])),
        ("PUT", "ranking-rules", json!(["words", "exactness"])),
        ("PUT", "stop-words", json!(["x"])),
        ("PUT", "dictionary", json!(["y"])),
        ("PUT", "separator-tokens", json!(["&"])),
        ("PUT", "non-separator-tokens", json!(["@"])),
        ("PUT", "synonyms", json!({ "a": ["b"] })),
        ("PUT", "distinct-attribute", json!("a")),
        ("PUT", "proximity-precision", json!("byAttribute")),
        ("PUT", "search-cutoff-ms", json!(700)),
        ("PUT", "prefix-search", json!("disabled")),
        ("PUT", "localized-attributes", json!([{ "attributePatterns": ["a*"], "locales": ["fra"] }])),
        ("PUT", "facet-search", json!(false)),
        ("PATCH", "embedders", json!({ "own": { "source": "userProvided", "dimensions": 3 } })),
        ("PATCH", "typo-tolerance", json!({ "enabled": false })),
        ("PATCH", "faceting", json!({ "maxValuesPerFacet": 9 })),
        ("PATCH", "pagination", json!({ "maxTotalHits": 9 })),
    ];
    for (method, name, value) in &routes {
        let path = format!("/indexes/routes/settings/{name}");
        twin.same(&format!("{name} by default"), |client| client.get(&path));
        twin.same_task(name, |client| client.call(method, &path, value));
        twin.same(&format!("{name} when set"), |client| client.get(&path));
    }
    twin.same("all of them", |client| client.get("/indexes/routes/settings"));
    for (_, name, _) in &routes {
        twin.same_task(&format!("reset of {name}"), |client| {
            client.delete(&format!("/indexes/routes/settings/{name}"))
        });
    }
    twin.same("none of them", |client| client.get("/indexes/routes/settings"));
}

fn films() -> Value {
    let genres = ["drama", "comedy", "noir"];
    let film = |i: usize| json!({ "id": i, "title": format!("the film {}", i % 40), "genre": genres[i % 3], "director": format!("d{}", i % 7), "secret": i });
    (0..120).map(film).collect()
}

fn titles(client: &Client, body: &Value) -> (Value, Vec<String>) {
    let answer = client.search("effect", body).expect(200);
    let total = answer.body.get("estimatedTotalHits").or(answer.body.get("totalHits")).cloned().unwrap_or_default();
    let mut hits: Vec<String> = answer.body["hits"].as_array().into_iter().flatten().map(Value::to_string).collect();
    hits.sort();
    (total, hits)
}

#[test]
fn settings_take_effect_on_every_shard() {
    let twin = Twin::shared();
    twin.create("effect");
    twin.load("effect", &films());
    let steps = [
        (json!({ "searchableAttributes": ["title"] }), json!({ "q": "drama", "limit": 200 })),
        (
            json!({ "displayedAttributes": ["title", "genre"] }),
            json!({ "q": "film", "limit": 200, "attributesToHighlight": ["*"] }),
        ),
        (json!({ "stopWords": ["the"] }), json!({ "q": "the", "limit": 200 })),
        (json!({ "synonyms": { "movie": ["film"] } }), json!({ "q": "movie", "limit": 200 })),
        (json!({ "sortableAttributes": ["secret"] }), json!({ "q": "", "sort": ["secret:desc"], "limit": 7 })),
        (json!({ "distinctAttribute": "director" }), json!({ "q": "", "sort": ["secret:asc"], "limit": 20 })),
        (
            json!({ "distinctAttribute": null, "pagination": { "maxTotalHits": 10 } }),
            json!({ "q": "", "sort": ["secret:asc"], "offset": 5, "limit": 20 }),
        ),
        (json!({ "rankingRules": ["secret:desc"] }), json!({ "q": "film", "limit": 4 })),
    ];
    for (settings, search) in &steps {
        twin.configure("effect", settings);
        let [ours, theirs] = twin.clients().map(|client| titles(&client, search));
        assert_eq!(ours, theirs, "{settings} {search}");
    }
    // Hidden from search, and still in the document itself, as on one server.
    let shown = twin.same("the document", |client| client.get("/indexes/effect/documents/5"));
    assert_eq!(shown.body["secret"], 5);
}

#[test]
fn tokens_that_would_reveal_our_encoding_are_refused() {
    let cluster = Twin::shared().cluster.client();
    cluster.create("tokens", "id");
    for setting in ["separatorTokens", "nonSeparatorTokens", "dictionary"] {
        let mut body = json!({});
        body[setting] = json!(["\u{2058}"]);
        let answer = cluster.patch("/indexes/tokens/settings", &body);
        assert_eq!(answer.status, 400, "{setting}: {}", answer.text);
        assert!(!answer.code().is_empty());
    }
}

#[test]
fn a_failing_setting_changes_nothing() {
    let twin = Twin::shared();
    twin.create("kept");
    twin.configure("kept", &json!({ "sortableAttributes": ["a"] }));
    let before = twin.same("before", |client| client.get("/indexes/kept/settings"));
    for bad in [
        json!({ "rankingRules": ["nope"] }),
        json!({ "sortableAttributes": "a" }),
        json!({ "typoTolerance": { "minWordSizeForTypos": { "oneTypo": 9, "twoTypos": 3 } } }),
    ] {
        let [ours, theirs] = twin.clients().map(|client| client.outcome(&client.patch("/indexes/kept/settings", &bad)));
        assert_eq!(ours, theirs, "{bad}");
    }
    let after = twin.same("after", |client| client.get("/indexes/kept/settings"));
    assert_eq!(after.body, before.body);
}
