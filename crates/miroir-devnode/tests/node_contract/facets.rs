//! Facet counts, their order and their limits, and searching in facet values.

use serde_json::{Value, json};

use crate::server::Server;

/// Value `v00` once, `v01` twice, and so on.
fn server(faceting: &Value) -> Server {
    let server = Server::start();
    let mut documents = Vec::new();
    for value in 0..12_u64 {
        for copy in 0..=value {
            documents.push(json!({"id": value * 100 + copy, "tag": format!("v{value:02}"), "price": value}));
        }
    }
    let settings = json!({"filterableAttributes": ["tag", "price"], "faceting": faceting});
    server.index("a", &settings, &Value::Array(documents));
    server
}

fn counts(server: &Server, query: Value) -> Vec<(String, u64)> {
    let answer = server.search("a", &query);
    let counts = answer["facetDistribution"]["tag"].as_object().unwrap();
    counts.iter().map(|(value, count)| (value.clone(), count.as_u64().unwrap())).collect()
}

#[test]
fn values_are_counted_over_all_that_was_found() {
    let server = server(&json!({}));
    let query = json!({"facets": ["tag", "price"], "limit": 1, "filter": "price >= 3 AND price < 6"});
    let expected = [("v03", 4), ("v04", 5), ("v05", 6)].map(|(value, count)| (value.to_owned(), count));
    assert_eq!(counts(&server, query.clone()), expected);
    let stats = &server.search("a", &query)["facetStats"];
    assert_eq!(stats["price"], json!({"min": 3.0, "max": 5.0}));
}

#[test]
fn the_first_values_by_name_are_kept() {
    let server = server(&json!({"maxValuesPerFacet": 3}));
    let values = counts(&server, json!({"facets": ["tag"]}));
    assert_eq!(values.iter().map(|(value, _)| value.as_str()).collect::<Vec<_>>(), ["v00", "v01", "v02"]);
}

#[test]
fn the_most_frequent_values_are_kept() {
    let server = server(&json!({"maxValuesPerFacet": 3, "sortFacetValuesBy": {"tag": "count"}}));
    let values = counts(&server, json!({"facets": ["tag"]}));
    let expected = [("v11", 12), ("v10", 11), ("v09", 10)].map(|(value, count)| (value.to_owned(), count));
    assert_eq!(values, expected);
}

#[test]
fn facet_values_are_searched_by_prefix_within_a_search() {
    let server = server(&json!({}));
    let query = json!({"facetName": "tag", "facetQuery": "V0", "filter": "price > 7"});
    let answer = server.post("/indexes/a/facet-search", &query).ok();
    assert_eq!(answer["facetHits"], json!([{"value": "v08", "count": 9}, {"value": "v09", "count": 10}]));
    assert_eq!(answer["facetQuery"], "V0");
    let unknown = server.post("/indexes/a/facet-search", &json!({"facetName": "nope"}));
    assert_eq!(unknown.error(), (400, "invalid_facet_search_facet_name"));
    let missing = server.post("/indexes/a/facet-search", &json!({"q": "a"}));
    assert_eq!(missing.error(), (400, "missing_facet_search_facet_name"));
}

#[test]
fn all_facets_can_be_asked_for_where_anything_is_filterable() {
    let server = server(&json!({}));
    let every = json!({"facets": ["*"], "limit": 0});
    for rules in [json!(["tag", "price"]), json!([{"attributePatterns": ["reserved"]}, "tag", "price"])] {
        server.done(server.put("/indexes/a/settings/filterable-attributes", &rules));
        let counted = server.search("a", &every)["facetDistribution"].clone();
        assert_eq!(counted.as_object().unwrap().keys().collect::<Vec<_>>(), ["price", "tag"], "{rules}");
    }
    server.done(server.put("/indexes/a/settings/filterable-attributes", &json!([])));
    assert_eq!(server.post("/indexes/a/search", &every).error(), (400, "invalid_search_facets"));
}
