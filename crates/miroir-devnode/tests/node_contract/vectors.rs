//! Vectors given by users: searched, read back, and written again without loss.

use serde_json::{Value, json};

use crate::server::{Server, ids};

fn settings() -> Value {
    json!({"embedders": {"e": {"source": "userProvided", "dimensions": 3}}, "filterableAttributes": ["x"]})
}

fn server() -> Server {
    let server = Server::start();
    let documents = json!([
        {"id": 1, "x": "north", "_vectors": {"e": [0.1, 0.2, 0.95]}},
        {"id": 2, "x": "east", "_vectors": {"e": {"embeddings": [[0.9, 0.1, 0.0]], "regenerate": false}}},
        {"id": 3, "x": "both", "_vectors": {"e": [[0.0, 0.1, 0.9], [0.9, 0.0, 0.123_456_79]]}},
        {"id": 4, "x": "none", "_vectors": {"e": null, "other": [1.5, 2]}},
    ]);
    server.index("a", &settings(), &documents);
    server
}

fn all(server: &Server, index: &str) -> Value {
    let query = json!({"retrieveVectors": true, "limit": 100});
    server.post(&format!("/indexes/{index}/documents/fetch"), &query).ok()["results"].clone()
}

#[test]
fn vectors_round_trip_exactly() {
    let server = server();
    let documents = all(&server, "a");
    let vectors = &documents[0]["_vectors"]["e"];
    assert_eq!(vectors["regenerate"], false);
    let read: Vec<f64> =
        vectors["embeddings"][0].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    assert_eq!(read.iter().map(|value| *value as f32).collect::<Vec<_>>(), [0.1_f32, 0.2, 0.95]);
    assert_eq!(documents[2]["_vectors"]["e"]["embeddings"].as_array().unwrap().len(), 2);
    server.index("b", &settings(), &documents);
    assert_eq!(all(&server, "b"), documents);
}

#[test]
fn vectors_are_hidden_unless_asked_for() {
    let server = server();
    assert_eq!(server.get("/indexes/a/documents/1").ok().get("_vectors"), None);
    let one = server.get("/indexes/a/documents/1?retrieveVectors=true").ok();
    assert!(one["_vectors"]["e"]["embeddings"].is_array());
    let hit = server.search("a", &json!({"q": "north", "retrieveVectors": true}))["hits"][0].clone();
    assert_eq!(hit["_vectors"]["e"], one["_vectors"]["e"]);
    let hidden = server.search("a", &json!({"q": "north"}))["hits"][0].clone();
    assert_eq!(hidden.get("_vectors"), None);
}

#[test]
fn merging_other_fields_keeps_vectors() {
    let server = server();
    let before = server.get("/indexes/a/documents/1?retrieveVectors=true").ok();
    server.done(server.put("/indexes/a/documents", &json!([{"id": 1, "x": "changed"}])));
    let after = server.get("/indexes/a/documents/1?retrieveVectors=true").ok();
    assert_eq!(after["x"], "changed");
    assert_eq!(after["_vectors"], before["_vectors"]);
}

#[test]
fn searches_by_vector_rank_by_similarity() {
    let server = server();
    let query = json!({
        "vector": [0.0, 0.0, 1.0], "hybrid": {"embedder": "e", "semanticRatio": 1.0},
        "showRankingScoreDetails": true,
    });
    let answer = server.search("a", &query);
    let hits = answer["hits"].as_array().unwrap();
    let similarity = |hit: &Value| hit["_rankingScoreDetails"]["vectorSort"]["similarity"].as_f64();
    let similarities: Vec<Option<f64>> = hits.iter().map(similarity).collect();
    assert!(similarities.is_sorted_by(|left, right| left >= right), "{similarities:?}");
    // Documents without a vector come last, with no similarity.
    let order = ids(&answer["hits"]);
    assert_eq!(order[2..], [json!(2), json!(4)]);
    assert_eq!((similarities[3], similarities[2].is_some()), (None, true));
    assert_eq!(answer["semanticHitCount"], 4);
    let filtered = json!({
        "vector": [0.0, 0.0, 1.0], "hybrid": {"embedder": "e", "semanticRatio": 1.0}, "filter": "x = east",
    });
    assert_eq!(server.found("a", &filtered), [json!(2)]);
}

#[test]
fn wrong_vectors_are_refused() {
    let server = server();
    let search = |query: Value| {
        let answer = server.post("/indexes/a/search", &query);
        (answer.status, answer.body["code"].as_str().unwrap_or_default().to_owned())
    };
    let hybrid = json!({"embedder": "e", "semanticRatio": 1.0});
    assert_eq!(search(json!({"vector": [1.0], "hybrid": hybrid})), (400, "invalid_vector_dimensions".to_owned()));
    assert_eq!(search(json!({"vector": [1.0, 0.0, 0.0]})), (400, "missing_search_hybrid".to_owned()));
    let unknown = json!({"vector": [1.0, 0.0, 0.0], "hybrid": {"embedder": "nope"}});
    assert_eq!(search(unknown), (400, "invalid_search_embedder".to_owned()));
    let bad = json!([{"id": 9, "_vectors": {"e": [1.0]}}]);
    assert_eq!(server.failed(server.post("/indexes/a/documents", &bad)), "invalid_vector_dimensions");
    let wrong = json!([{"id": 9, "_vectors": {"e": "text"}}]);
    assert_eq!(server.failed(server.post("/indexes/a/documents", &wrong)), "invalid_vectors_type");
}
