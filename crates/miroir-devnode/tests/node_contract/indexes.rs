//! Indexes: their life, their primary keys, their statistics.

use serde_json::{Value, json};

use crate::server::Server;

#[test]
fn an_index_is_created_listed_changed_and_deleted() {
    let server = Server::start();
    let task = server.done(server.post("/indexes", &json!({"uid": "b", "primaryKey": "key"})));
    assert_eq!((&task["type"], &task["indexUid"]), (&json!("indexCreation"), &json!("b")));
    server.done(server.post("/indexes", &json!({"uid": "a"})));
    let list = server.get("/indexes?limit=10").ok();
    let uids: Vec<&Value> = list["results"].as_array().unwrap().iter().map(|index| &index["uid"]).collect();
    assert_eq!((uids, &list["total"]), (vec![&json!("a"), &json!("b")], &json!(2)));
    server.done(server.patch("/indexes/a", &json!({"primaryKey": "sku"})));
    let index = server.get("/indexes/a").ok();
    assert_eq!(index["primaryKey"], "sku");
    assert!(index["createdAt"].is_string() && index["updatedAt"].is_string());
    assert_eq!(server.failed(server.post("/indexes", &json!({"uid": "a"}))), "index_already_exists");
    server.done(server.delete("/indexes/a"));
    assert_eq!(server.get("/indexes/a").error(), (404, "index_not_found"));
    assert_eq!(server.failed(server.delete("/indexes/a")), "index_not_found");
}

#[test]
fn the_primary_key_is_inferred_from_the_first_document() {
    let server = Server::start();
    let write = |index: &str, document: Value| {
        server.settled(server.post(&format!("/indexes/{index}/documents"), &json!([document])))
    };
    assert_eq!(write("a", json!({"name": "x", "productId": 1}))["status"], "succeeded");
    assert_eq!(server.get("/indexes/a").ok()["primaryKey"], "productId");
    let code = |task: Value| task["error"]["code"].clone();
    assert_eq!(code(write("b", json!({"name": 1}))), "index_primary_key_no_candidate_found");
    assert_eq!(code(write("c", json!({"aId": 1, "bId": 2}))), "index_primary_key_multiple_candidates_found");
    // A failed first import still creates the index.
    assert_eq!(server.get("/indexes/b").ok()["primaryKey"], Value::Null);
}

#[test]
fn a_given_primary_key_is_taken_and_may_not_contradict() {
    let server = Server::start();
    server.done(server.post("/indexes/a/documents?primaryKey=key", &json!([{"id": 1, "key": "k"}])));
    assert_eq!(server.get("/indexes/a/documents/k").ok()["id"], 1);
    let other = server.post("/indexes/a/documents?primaryKey=id", &json!([{"id": 1, "key": "k"}]));
    assert_eq!(server.failed(other), "index_primary_key_already_exists");
}

#[test]
fn swapping_exchanges_documents_and_settings() {
    let server = Server::start();
    server.index("a", &json!({"stopWords": ["the"]}), &json!([{"id": 1}]));
    server.index("b", &json!({}), &json!([{"id": 2}, {"id": 3}]));
    let task = server.done(server.post("/swap-indexes", &json!([{"indexes": ["a", "b"]}])));
    assert_eq!((&task["type"], &task["indexUid"]), (&json!("indexSwap"), &Value::Null));
    assert_eq!(task["details"], json!({"swaps": [{"indexes": ["a", "b"], "rename": false}]}));
    assert_eq!(server.get("/indexes/a/stats").ok()["numberOfDocuments"], 2);
    assert_eq!(server.get("/indexes/b/documents/1").ok()["id"], 1);
    assert_eq!(server.get("/indexes/b/settings/stop-words").ok(), json!(["the"]));
    let missing = server.post("/swap-indexes", &json!([{"indexes": ["a", "none"]}]));
    assert_eq!(server.failed(missing), "index_not_found");
}

#[test]
fn statistics_count_documents_and_fields() {
    let server = Server::start();
    server.index("a", &json!({}), &json!([{"id": 1, "x": 1}, {"id": 2, "y": null}]));
    let stats = server.get("/indexes/a/stats").ok();
    assert_eq!(stats["numberOfDocuments"], 2);
    assert_eq!(stats["isIndexing"], false);
    assert_eq!(stats["fieldDistribution"], json!({"id": 2, "x": 1, "y": 1}));
    let all = server.get("/stats").ok();
    assert_eq!(all["indexes"]["a"]["numberOfDocuments"], 2);
    assert!(all["databaseSize"].is_u64() && all["lastUpdate"].is_string());
}

#[test]
fn health_and_version_are_told() {
    let server = Server::start();
    assert_eq!(server.raw("GET", "/health", &[], b"").ok(), json!({"status": "available"}));
    assert!(server.get("/version").ok()["pkgVersion"].is_string());
}
