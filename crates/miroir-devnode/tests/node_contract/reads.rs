//! Federation, similar documents, sorted fetches and lists of fields: what Miroir asks of nodes besides plain searches.

use serde_json::{Value, json};

use crate::server::{Server, ids};

fn server() -> Server {
    let server = Server::start();
    let settings = json!({
        "filterableAttributes": ["n", "kind"], "sortableAttributes": ["n", "mix"],
        "embedders": {"e": {"source": "userProvided", "dimensions": 2}},
    });
    let documents = json!([
        {"id": 1, "x": "red", "n": 1, "kind": "a", "mix": 1, "_vectors": {"e": [1.0, 0.0]}},
        {"id": 2, "x": "red blue", "n": 2, "kind": "b", "mix": "b", "_vectors": {"e": [0.9, 0.1]}},
        {"id": 3, "x": "blue", "n": 3, "kind": "a", "mix": [5, "a"], "_vectors": {"e": [0.0, 1.0]}},
        {"id": 4, "x": "green", "mix": null, "_vectors": {"e": null}},
        {"id": 5, "x": "green", "_vectors": {"e": null}},
    ]);
    server.index("a", &settings, &documents);
    server.index("b", &json!({"filterableAttributes": ["kind"]}), &json!([{"id": 1, "x": "red", "kind": "a"}]));
    server
}

fn federated(server: &Server, body: Value) -> Value {
    server.post("/multi-search", &body).ok()
}

#[test]
fn a_federation_ranks_hits_of_all_queries_by_weighted_score() {
    let server = server();
    let answer = federated(
        &server,
        json!({"federation": {"limit": 3}, "queries": [
            {"indexUid": "a", "q": "red", "showRankingScoreDetails": true},
            {"indexUid": "b", "q": "red", "federationOptions": {"weight": 0.5}},
        ]}),
    );
    let hits = answer["hits"].as_array().unwrap();
    let found: Vec<(&Value, &Value)> =
        hits.iter().map(|hit| (&hit["_federation"]["indexUid"], &hit["_federation"]["queriesPosition"])).collect();
    assert_eq!(found, [(&json!("a"), &json!(0)), (&json!("a"), &json!(0)), (&json!("b"), &json!(1))]);
    assert_eq!(hits[2]["_federation"]["weightedRankingScore"], 0.5);
    assert!(hits[0]["_rankingScoreDetails"]["words"]["matchingWords"].is_u64());
    assert_eq!((&answer["estimatedTotalHits"], &answer["limit"], &answer["offset"]), (&json!(3), &json!(3), &json!(0)));
}

#[test]
fn queries_of_one_index_share_their_candidates() {
    let server = server();
    let body = json!({"federation": {"facetsByIndex": {"a": ["kind"]}}, "queries": [
        {"indexUid": "a", "q": "red"}, {"indexUid": "a", "q": "blue"},
    ]});
    let answer = federated(&server, body);
    assert_eq!((answer["hits"].as_array().unwrap().len(), &answer["estimatedTotalHits"]), (3, &json!(3)));
    assert_eq!(answer["facetsByIndex"]["a"]["distribution"], json!({"kind": {"a": 2, "b": 1}}));
}

#[test]
fn a_federation_is_refused_what_only_a_query_by_itself_may_have() {
    let server = server();
    let refused = |query: Value, federation: Value| {
        let answer = server.post("/multi-search", &json!({"queries": [query], "federation": federation}));
        let (status, code) = answer.error();
        (status, code.to_owned())
    };
    let paged = refused(json!({"indexUid": "a", "limit": 1}), json!({}));
    assert_eq!(paged, (400, "invalid_multi_search_query_pagination".to_owned()));
    let counted = refused(json!({"indexUid": "a", "facets": ["kind"]}), json!({}));
    assert_eq!(counted, (400, "invalid_multi_search_query_facets".to_owned()));
    assert_eq!(refused(json!({"indexUid": "nope"}), json!({})), (400, "index_not_found".to_owned()));
    let remote = refused(json!({"indexUid": "a", "federationOptions": {"remote": "r"}}), json!({}));
    assert_eq!(remote, (400, "feature_not_enabled".to_owned()));
    let facets = refused(json!({"indexUid": "a"}), json!({"facetsByIndex": {"a": ["nope"]}}));
    assert_eq!(facets, (400, "invalid_search_facets".to_owned()));
}

#[test]
fn similar_documents_have_vectors_and_are_not_the_target() {
    let server = server();
    let answer = server.post("/indexes/a/similar", &json!({"id": 1, "embedder": "e", "showRankingScore": true})).ok();
    assert_eq!(ids(&answer["hits"]), [json!(2), json!(3)]);
    assert_eq!((&answer["id"], &answer["estimatedTotalHits"]), (&json!("1"), &json!(4)));
    let search =
        json!({"vector": [1.0, 0.0], "hybrid": {"embedder": "e", "semanticRatio": 1.0}, "showRankingScore": true});
    assert_eq!(server.search("a", &search)["hits"][1]["_rankingScore"], answer["hits"][0]["_rankingScore"]);
    let similar = |body: Value| {
        let answer = server.post("/indexes/a/similar", &body);
        let (status, code) = answer.error();
        (status, code.to_owned())
    };
    assert_eq!(similar(json!({"id": 99, "embedder": "e"})), (400, "not_found_similar_id".to_owned()));
    assert_eq!(similar(json!({"id": 1, "embedder": "x"})), (400, "invalid_similar_embedder".to_owned()));
    assert_eq!(
        similar(json!({"id": 1, "embedder": "e", "filter": "x = 1"})),
        (400, "invalid_similar_filter".to_owned())
    );
    assert_eq!(similar(json!({"id": 1, "embedder": "e", "limit": -1})), (400, "invalid_similar_limit".to_owned()));
}

#[test]
fn a_sorted_fetch_repeats_and_drops_documents_by_their_values() {
    let server = server();
    let fetch = |body: Value| server.post("/indexes/a/documents/fetch", &body).ok();
    let page = fetch(json!({"sort": ["mix:asc"], "fields": ["id"]}));
    assert_eq!(ids(&page["results"]), [1, 3, 3, 2, 5].map(|id| json!(id)));
    assert_eq!(page["total"], 5);
    let page = fetch(json!({"sort": ["n:desc"], "offset": 1, "limit": 2, "ids": [1, 2, 3]}));
    assert_eq!(ids(&page["results"]), [json!(2), json!(1)]);
    let refused = server.post("/indexes/a/documents/fetch", &json!({"sort": ["x:asc"]}));
    assert_eq!(refused.error(), (400, "invalid_document_sort"));
}

#[test]
fn fields_are_listed_by_name_with_their_uses() {
    let server = server();
    let body = json!({"filter": {"filterable": true}, "limit": 5});
    let page = server.post("/indexes/a/fields", &body).ok();
    let names: Vec<&Value> = page["results"].as_array().unwrap().iter().map(|field| &field["name"]).collect();
    assert_eq!(names, [&json!("kind"), &json!("n")]);
    assert_eq!(page["results"][1]["sortable"], json!({"enabled": true}));
    assert_eq!(page["total"], 2);
}
