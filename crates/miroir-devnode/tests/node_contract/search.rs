//! Searches: totals, pages, decorations.

use serde_json::{Value, json};

use crate::server::Server;

fn numbered(count: u64) -> Value {
    (0..count)
        .map(|number| json!({"id": number, "title": format!("common word number {number}"), "group": number % 4}))
        .collect()
}

#[test]
fn offset_and_limit_cut_one_stable_order() {
    let server = Server::start();
    server.index("a", &json!({}), &numbered(30));
    let whole = server.found("a", &json!({"q": "common", "limit": 30}));
    assert_eq!(whole.len(), 30);
    for offset in [0, 7, 29, 30, 50] {
        let part = server.found("a", &json!({"q": "common", "limit": 7, "offset": offset}));
        let expected: Vec<Value> = whole.iter().skip(offset).take(7).cloned().collect();
        assert_eq!(part, expected);
    }
    let answer = server.search("a", &json!({"q": "common", "limit": 7, "offset": 3}));
    assert_eq!((&answer["limit"], &answer["offset"]), (&json!(7), &json!(3)));
    assert_eq!(answer["estimatedTotalHits"], 30);
    assert_eq!(answer["query"], "common");
    assert!(answer["processingTimeMs"].is_u64());
}

#[test]
fn pages_have_exhaustive_totals() {
    let server = Server::start();
    server.index("a", &json!({"filterableAttributes": ["group"]}), &numbered(30));
    let query = json!({"q": "common", "filter": "group = 1", "page": 2, "hitsPerPage": 5});
    let answer = server.search("a", &query);
    let totals = ["page", "hitsPerPage", "totalHits", "totalPages"].map(|name| answer[name].as_u64());
    assert_eq!(totals, [Some(2), Some(5), Some(8), Some(2)]);
    assert_eq!(answer["hits"].as_array().unwrap().len(), 3);
    assert_eq!(answer.get("estimatedTotalHits"), None);
    let none = server.search("a", &json!({"page": 0}));
    assert_eq!(none["hits"], json!([]));
    let nothing = server.search("a", &json!({"hitsPerPage": 0}));
    assert_eq!((&nothing["totalPages"], &nothing["totalHits"]), (&json!(0), &json!(30)));
}

#[test]
fn no_hit_beyond_the_maximum_is_returned_but_totals_count_all() {
    let server = Server::start();
    server.index("a", &json!({"pagination": {"maxTotalHits": 10}}), &numbered(30));
    let answer = server.search("a", &json!({"q": "common", "limit": 20}));
    assert_eq!(answer["hits"].as_array().unwrap().len(), 10);
    assert_eq!(answer["estimatedTotalHits"], 30);
    let end = server.search("a", &json!({"q": "common", "offset": 8, "limit": 20}));
    assert_eq!(end["hits"].as_array().unwrap().len(), 2);
    let paged = server.search("a", &json!({"q": "common", "page": 1, "hitsPerPage": 20}));
    assert_eq!(paged["totalHits"], 30);
}

#[test]
fn huge_windows_are_answered() {
    let server = Server::start();
    server.index("a", &json!({}), &numbered(3));
    let huge = u64::from(u32::MAX);
    for query in [
        json!({"offset": huge, "limit": huge}),
        json!({"page": huge, "hitsPerPage": huge}),
        json!({"limit": huge, "cropLength": huge, "attributesToCrop": ["*"]}),
    ] {
        assert_eq!(server.post("/indexes/a/search", &query).status, 200, "{query}");
    }
}

#[test]
fn matching_strategies_and_attributes_narrow_the_search() {
    let server = Server::start();
    let documents = json!([
        {"id": 1, "title": "blue sky", "text": "sea"},
        {"id": 2, "title": "blue", "text": "sky"},
        {"id": 3, "title": "sky", "text": "none"},
    ]);
    server.index("a", &json!({}), &documents);
    let count = |query: Value| server.found("a", &query).len();
    assert_eq!(count(json!({"q": "blue sky"})), 2);
    assert_eq!(count(json!({"q": "blue sea", "matchingStrategy": "all"})), 1);
    assert_eq!(count(json!({"q": "sky", "attributesToSearchOn": ["title"]})), 2);
    assert_eq!(count(json!({"q": "\"blue sky\""})), 1);
}

#[test]
fn a_distinct_value_appears_once() {
    let server = Server::start();
    server.index("a", &json!({"filterableAttributes": ["group"]}), &numbered(12));
    let answer = server.search("a", &json!({"q": "common", "distinct": "group"}));
    let groups: Vec<u64> =
        answer["hits"].as_array().unwrap().iter().map(|hit| hit["group"].as_u64().unwrap()).collect();
    assert_eq!(groups, [0, 1, 2, 3]);
}

#[test]
fn formatting_marks_matches_and_crops() {
    let server = Server::start();
    let text = "one two three four five six seven eight nine ten eleven twelve";
    server.index("a", &json!({}), &json!([{"id": 1, "text": text, "n": 5}]));
    let query = json!({
        "q": "seven", "attributesToHighlight": ["text"], "attributesToCrop": ["text"], "cropLength": 3,
        "cropMarker": "...", "highlightPreTag": "<b>", "highlightPostTag": "</b>", "showMatchesPosition": true,
    });
    let hit = server.search("a", &query)["hits"][0].clone();
    assert_eq!(hit["_formatted"]["text"], "...six <b>seven</b> eight...");
    assert_eq!(hit["_formatted"]["n"], "5");
    assert_eq!(hit["text"], text);
    let start = text.find("seven").unwrap();
    assert_eq!(hit["_matchesPosition"]["text"][0], json!({"start": start, "length": 5}));
}

#[test]
fn a_search_by_query_string_equals_one_by_body() {
    let server = Server::start();
    server.index("a", &json!({"filterableAttributes": ["group"], "sortableAttributes": ["id"]}), &numbered(12));
    let body = json!({
        "q": "common", "limit": 2, "filter": "group = 1", "sort": ["id:desc"], "facets": ["group"],
        "attributesToRetrieve": ["id"],
    });
    let by_body = server.search("a", &body);
    let query = "q=common&limit=2&filter=group%20%3D%201&sort=id:desc&facets=group&attributesToRetrieve=id";
    let by_query = server.get(&format!("/indexes/a/search?{query}")).ok();
    assert_eq!(by_query["hits"], json!([{"id": 9}, {"id": 5}]));
    for member in ["hits", "facetDistribution", "estimatedTotalHits", "limit", "query"] {
        assert_eq!(by_query[member], by_body[member], "{member}");
    }
}

#[test]
fn multi_search_answers_in_order() {
    let server = Server::start();
    server.index("a", &json!({}), &numbered(3));
    server.index("b", &json!({}), &json!([{"id": 9, "title": "common"}]));
    let queries = json!({"queries": [
        {"indexUid": "b", "q": "common"},
        {"indexUid": "a", "q": "common", "limit": 1},
        {"indexUid": "b", "q": "nothing"},
    ]});
    let answer = server.post("/multi-search", &queries).ok();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.iter().map(|result| &result["indexUid"]).collect::<Vec<_>>(), ["b", "a", "b"]);
    assert_eq!(results[0]["hits"][0]["id"], 9);
    assert_eq!(results[1]["hits"].as_array().unwrap().len(), 1);
    assert_eq!(results[2]["hits"], json!([]));
}

#[test]
fn one_wrong_query_fails_a_multi_search() {
    let server = Server::start();
    server.index("a", &json!({}), &numbered(3));
    let missing = json!({"queries": [{"indexUid": "a"}, {"indexUid": "none"}]});
    let answer = server.post("/multi-search", &missing);
    assert_eq!(answer.error(), (400, "index_not_found"));
    let message = answer.body["message"].as_str().unwrap();
    assert!(message.starts_with("Inside `.queries[1]`: "), "{message}");
}
