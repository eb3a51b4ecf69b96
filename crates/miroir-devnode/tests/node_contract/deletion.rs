//! Deleting documents: by id, by ids, by filter, all.

use serde_json::{Value, json};

use crate::server::{Server, ids};

fn server() -> Server {
    let server = Server::start();
    let documents: Value =
        (1..=6).map(|id| json!({"id": id, "kind": if id % 2 == 0 { "even" } else { "odd" }})).collect();
    server.index("a", &json!({"filterableAttributes": ["kind"]}), &documents);
    server
}

fn left(server: &Server) -> Vec<Value> {
    ids(&server.get("/indexes/a/documents").ok()["results"])
}

#[test]
fn by_id_and_by_ids() {
    let server = server();
    let task = server.done(server.delete("/indexes/a/documents/1"));
    assert_eq!(task["details"]["deletedDocuments"], 1);
    let task = server.done(server.post("/indexes/a/documents/delete-batch", &json!([2, "3", "none"])));
    assert_eq!(task["details"]["providedIds"], 3);
    assert_eq!(task["details"]["deletedDocuments"], 2);
    assert_eq!(task["type"], "documentDeletion");
    assert_eq!(left(&server), [json!(4), json!(5), json!(6)]);
    let task = server.done(server.delete("/indexes/a/documents/none"));
    assert_eq!(task["details"]["deletedDocuments"], 0);
}

#[test]
fn by_filter() {
    let server = server();
    let filter = json!({"filter": ["kind = even", ["kind = even", "kind = odd"]]});
    let task = server.done(server.post("/indexes/a/documents/delete", &filter));
    assert_eq!(task["details"]["deletedDocuments"], 3);
    let original: Value = serde_json::from_str(task["details"]["originalFilter"].as_str().unwrap()).unwrap();
    assert_eq!(original, filter["filter"]);
    assert_eq!(left(&server), [json!(1), json!(3), json!(5)]);
}

#[test]
fn by_filters_that_cannot_be_used() {
    let server = server();
    let delete = |filter: Value| server.post("/indexes/a/documents/delete", &filter);
    assert_eq!(delete(json!({"filter": "kind ="})).error(), (400, "invalid_document_filter"));
    assert_eq!(delete(json!({"filter": ""})).error(), (400, "invalid_document_filter"));
    assert_eq!(delete(json!({})).error(), (400, "missing_document_filter"));
    assert_eq!(server.failed(delete(json!({"filter": "other = 1"}))), "invalid_document_filter");
    assert_eq!(left(&server).len(), 6);
}

#[test]
fn all() {
    let server = server();
    let task = server.done(server.delete("/indexes/a/documents"));
    assert_eq!(task["details"]["deletedDocuments"], 6);
    assert_eq!(left(&server), Vec::<Value>::new());
    // The primary key stays.
    assert_eq!(server.get("/indexes/a").ok()["primaryKey"], "id");
}
