//! Documents: how they are written and read back.

use std::io::Write;

use serde_json::{Value, json};

use crate::server::{KEY, Server, ids};

#[test]
fn documents_are_replaced_or_merged() {
    let server = Server::start();
    server.index("a", &json!({}), &json!([{"id": 1, "x": 1, "nested": {"a": 1, "b": 2}}]));
    server.done(server.put("/indexes/a/documents", &json!([{"id": 1, "y": null, "nested": {"a": 9}}])));
    let merged = server.get("/indexes/a/documents/1").ok();
    assert_eq!(merged, json!({"id": 1, "x": 1, "nested": {"a": 9}, "y": null}));
    server.done(server.post("/indexes/a/documents", &json!({"id": 1, "z": 3})));
    assert_eq!(server.get("/indexes/a/documents/1").ok(), json!({"id": 1, "z": 3}));
}

#[test]
fn duplicates_in_a_batch_follow_their_order() {
    let server = Server::start();
    let twice = json!([{"id": 1, "x": 1, "y": 1}, {"id": 2}, {"id": 1, "x": 2}]);
    let task = server.done(server.post("/indexes/a/documents", &twice));
    assert_eq!(task["details"], json!({"receivedDocuments": 3, "indexedDocuments": 2}));
    assert_eq!(server.get("/indexes/a/documents/1").ok(), json!({"id": 1, "x": 2}));
    server.done(server.put("/indexes/b/documents", &twice));
    assert_eq!(server.get("/indexes/b/documents/1").ok(), json!({"id": 1, "x": 2, "y": 1}));
}

#[test]
fn an_integer_and_its_text_are_one_id() {
    let server = Server::start();
    server.index("a", &json!({}), &json!([{"id": 42, "x": "integer"}]));
    server.done(server.post("/indexes/a/documents", &json!([{"id": "42", "x": "text"}, {"id": "042"}])));
    assert_eq!(server.get("/indexes/a/documents/42").ok(), json!({"id": "42", "x": "text"}));
    assert_eq!(server.get("/indexes/a/stats").ok()["numberOfDocuments"], 2);
}

#[test]
fn values_come_back_as_they_were_sent() {
    let server = Server::start();
    let document = json!({
        "id": "a-B_9", "null": null, "true": true, "integer": -7, "big": u64::MAX, "float": 0.125,
        "text": "\u{2055} é \u{1F600} \" \\ \n", "list": [1, [2, {"a": []}], {}], "a.b": 1,
    });
    server.index("a", &json!({}), &json!([document]));
    assert_eq!(server.get("/indexes/a/documents/a-B_9").ok(), document);
}

#[test]
fn ndjson_gzip_and_single_objects_are_accepted() {
    let server = Server::start();
    let authorization = format!("Bearer {KEY}");
    let ndjson = [("authorization", authorization.as_str()), ("content-type", "application/x-ndjson")];
    let lines = b"{\"id\":1}\n\n{\"id\":2}\n";
    let task = server.done(server.raw("POST", "/indexes/a/documents", &ndjson, lines));
    assert_eq!(task["details"]["indexedDocuments"], 2);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"{\"id\":3}\n{\"id\":4}\n").unwrap();
    let packed = encoder.finish().unwrap();
    let gzip = [ndjson[0], ndjson[1], ("content-encoding", "gzip")];
    server.done(server.raw("PUT", "/indexes/a/documents", &gzip, &packed));
    server.done(server.post("/indexes/a/documents", &json!({"id": 5})));
    assert_eq!(server.get("/indexes/a/documents").ok()["total"], 5);
}

#[test]
fn fetching_pages_through_a_filter_in_a_stable_order() {
    let server = Server::start();
    let documents: Value = (0..40).map(|id| json!({"id": id, "shard": format!("s{}", id % 4), "x": "y"})).collect();
    server.index("a", &json!({"filterableAttributes": ["shard"]}), &documents);
    let fetch = |offset: u64, limit: u64| {
        let query = json!({"filter": "shard = s1", "fields": ["id"], "offset": offset, "limit": limit});
        server.post("/indexes/a/documents/fetch", &query).ok()
    };
    let whole = fetch(0, 100);
    assert_eq!(whole["total"], 10);
    let mut pieces = Vec::new();
    for page in 0..4 {
        let part = fetch(page * 3, 3);
        assert_eq!((&part["total"], &part["offset"], &part["limit"]), (&json!(10), &json!(page * 3), &json!(3)));
        pieces.extend(part["results"].as_array().unwrap().clone());
    }
    assert_eq!(Value::Array(pieces), whole["results"]);
    assert_eq!(whole["results"][0], json!({"id": 1}));
    // A replaced document keeps its place.
    server.done(server.post("/indexes/a/documents", &json!([{"id": 1, "shard": "s1", "new": true}])));
    assert_eq!(fetch(0, 100)["results"], whole["results"]);
}

#[test]
fn fetching_by_ids_ignores_unknown_ones() {
    let server = Server::start();
    server.index("a", &json!({}), &json!([{"id": 1}, {"id": "b"}, {"id": 3}]));
    let answer = server.post("/indexes/a/documents/fetch", &json!({"ids": ["b", "nope", 3]})).ok();
    assert_eq!((ids(&answer["results"]), &answer["total"]), (vec![json!("b"), json!(3)], &json!(2)));
}

#[test]
fn listing_chooses_fields_and_ignores_displayed_attributes() {
    let server = Server::start();
    let settings = json!({"displayedAttributes": ["x"]});
    server.index("a", &settings, &json!([{"id": 1, "x": {"y": 1, "z": 2}}, {"id": 2}]));
    let page = server.get("/indexes/a/documents?limit=1&fields=id,x.y").ok();
    assert_eq!(page, json!({"results": [{"id": 1, "x": {"y": 1}}], "offset": 0, "limit": 1, "total": 2}));
    assert_eq!(server.get("/indexes/a/documents/1?fields=id").ok(), json!({"id": 1}));
    assert_eq!(server.search("a", &json!({"q": ""}))["hits"][0], json!({"x": {"y": 1, "z": 2}}));
}

#[test]
fn an_empty_batch_is_a_task_like_any_other() {
    let server = Server::start();
    server.index("a", &json!({}), &json!([{"id": 1}]));
    let task = server.done(server.post("/indexes/a/documents", &json!([])));
    assert_eq!(task["details"]["receivedDocuments"], 0);
}

#[test]
fn one_bad_document_fails_its_whole_batch() {
    let server = Server::start();
    server.index("a", &json!({}), &json!([{"id": 1}]));
    let write = |documents: Value| server.failed(server.post("/indexes/a/documents", &documents));
    assert_eq!(write(json!([{"id": 2}, {"x": 1}])), "missing_document_id");
    assert_eq!(write(json!([{"id": 2}, {"id": "a b"}])), "invalid_document_id");
    assert_eq!(write(json!([{"id": 2}, {"id": 1.5}])), "invalid_document_id");
    assert_eq!(write(json!([{"id": 2}, {"id": "x".repeat(512)}])), "invalid_document_id");
    assert_eq!(server.get("/indexes/a/documents").ok()["total"], 1);
}

#[test]
fn malformed_coordinates_fail_once_they_matter() {
    let server = Server::start();
    server.index("a", &json!({"sortableAttributes": ["_geo"]}), &json!([{"id": 1}]));
    let bad = json!([{"id": 2, "_geo": {"lat": "north", "lng": 1}}]);
    let code = server.failed(server.post("/indexes/a/documents", &bad));
    assert_eq!(code, "invalid_document_geo_field");
    assert_eq!(server.get("/indexes/a/documents").ok()["total"], 1);
}
