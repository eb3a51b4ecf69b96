//! Which facets may be asked for, by name and by pattern, and what comes of it: as by one server, on every route.

use serde_json::{Value, json};

use miroir_tests::parity::leaks;
use miroir_tests::{Client, Differences, Twin};

/// The counts and their order, and the statistics, of whatever kind of answer.
fn counted(answer: &miroir_tests::Answer) -> Vec<String> {
    assert!(answer.status != 200 || !leaks(&answer.text), "{}", answer.text);
    let parts = ["/facetDistribution", "/facetStats", "/facetsByIndex", "/results/0/facetDistribution"];
    parts.map(|part| answer.body.pointer(part).unwrap_or(&Value::Null).to_string()).into()
}

/// Indexes of every kind of filterable attributes, with documents and without.
fn indexes() -> Vec<(&'static str, Value)> {
    let rule = |patterns: &[&str], equality: bool| {
        json!({ "attributePatterns": patterns, "features": { "facetSearch": true,
            "filter": { "equality": equality, "comparison": false } } })
    };
    vec![
        ("facets-none", json!([])),
        ("facets-plain", json!(["n", "brand", "deep.inner", "_geo"])),
        ("facets-one", json!(["n"])),
        ("facets-pattern", json!([rule(&["b*", "deep.*"], true)])),
        ("facets-mixed", json!(["n", rule(&["*"], true)])),
        ("facets-off", json!([rule(&["n*"], false), "n", "brand"])),
        ("facets-all-off", json!([rule(&["*"], false)])),
    ]
}

fn documents() -> Value {
    let document = |i: u64| {
        json!({ "id": i, "n": i % 5, "name": format!("name {i}"), "brand": (["Acme", "zeta", "Nord"][i as usize % 3]),
            "deep": { "inner": i.is_multiple_of(2), "other": i }, "_geo": { "lat": i, "lng": 1 } })
    };
    (0..60).map(document).collect()
}

#[test]
fn facets_by_name_and_pattern_are_counted_or_refused_as_by_one_server() {
    let twin = Twin::shared();
    for (index, filterable) in indexes() {
        twin.create(index);
        twin.configure(index, &json!({ "filterableAttributes": filterable, "sortableAttributes": ["n"] }));
    }
    let asked = [
        &["*"][..],
        &["n*"],
        &["*n"],
        &["*ran*"],
        &["deep"],
        &["deep.*"],
        &["deep.inner"],
        &["n", "*"],
        &["x*"],
        &["*", "x"],
        &["_miroir*"],
        &["*_shard"],
        &["_*"],
        &["_miroir_shard"],
        &["**"],
        &["br*", "n"],
        &[],
    ];
    for with_documents in [false, true] {
        let mut differences = Differences::default();
        for (index, _) in indexes() {
            if with_documents {
                twin.load(index, &documents());
            }
            for facets in asked {
                let mut compare = |case: &str, ask: &dyn Fn(&Client) -> miroir_tests::Answer| {
                    let [ours, theirs] = twin.clients().map(|client| ask(&client));
                    let case = format!("{case} of {index} for {facets:?}, documents: {with_documents}");
                    differences.check(&case, &(ours.verdict(), counted(&ours)), &(theirs.verdict(), counted(&theirs)));
                };
                let body = json!({ "facets": facets, "limit": 0, "filter": [] });
                compare("POST", &|client| client.search(index, &body));
                let list = facets.join(",").replace('*', "%2A");
                compare("GET", &|client| client.get(&format!("/indexes/{index}/search?limit=0&facets={list}")));
                let queries = json!({ "queries": [{ "indexUid": index, "facets": facets, "limit": 0 }] });
                compare("multi-search", &|client| client.post("/multi-search", &queries));
                let merged = [Value::Null, json!({})];
                for merge in merged {
                    let federation = json!({
                        "federation": { "limit": 0, "facetsByIndex": { index: facets }, "mergeFacets": merge },
                        "queries": [{ "indexUid": index }],
                    });
                    compare("federation", &|client| client.post("/multi-search", &federation));
                }
            }
        }
        differences.none();
    }
}
