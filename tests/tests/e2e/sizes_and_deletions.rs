//! Sizes of statistics are written as asked for; a deletion of tasks waits for what is under way.

use serde_json::{Value, json};

use miroir_tests::Twin;

#[test]
fn sizes_are_numbers_or_texts_with_a_unit() {
    let twin = Twin::shared();
    let admin = twin.cluster.client();
    admin.load("sized", &json!([{ "id": 1, "text": "one" }, { "id": 2, "text": "two" }]));
    let is_text = |value: &Value| value.as_str().is_some_and(|text| text.ends_with('B') && text.contains(' '));

    let raw = admin.get("/indexes/sized/stats").expect(200).body;
    assert!(raw["rawDocumentDbSize"].is_u64() && raw["avgDocumentSize"].is_u64(), "{raw}");
    assert!(raw.get("internalDatabaseSizes").is_none(), "{raw}");
    let human = admin.get("/indexes/sized/stats?sizeFormat=human&showInternalDatabaseSizes=true").expect(200).body;
    assert!(is_text(&human["rawDocumentDbSize"]) && is_text(&human["avgDocumentSize"]), "{human}");
    assert!(human["internalDatabaseSizes"].as_object().is_some_and(|sizes| sizes.values().all(is_text)), "{human}");
    let all = admin.get("/stats?sizeFormat=human").expect(200).body;
    assert!(is_text(&all["databaseSize"]) && is_text(&all["indexes"]["sized"]["rawDocumentDbSize"]), "{all}");
}

#[test]
fn a_deletion_of_tasks_waits_for_what_is_under_way() {
    let twin = Twin::shared();
    let admin = twin.cluster.client();
    let documents: Vec<Value> = (0..2000).map(|id| json!({ "id": id, "text": format!("some words {id}") })).collect();
    let added = admin.post("/indexes/forgotten/documents", &documents.into()).expect(202).body["taskUid"].clone();
    let deletion = admin.ended(&admin.delete(&format!("/tasks?uids={added}")));
    let deleted = deletion["details"]["deletedTasks"].as_u64();
    let still_there = admin.get(&format!("/tasks/{added}"));
    // Whether the nodes had begun is theirs to say; what was deleted had ended, and its documents are there.
    match deleted {
        Some(1) => assert_eq!(still_there.verdict(), (404, "task_not_found".to_owned()), "{deletion}"),
        Some(0) => assert_eq!(still_there.status, 200, "{deletion}"),
        _ => panic!("{deletion}"),
    }
    if deleted == Some(1) {
        let stats = admin.get("/indexes/forgotten/stats").expect(200).body;
        assert_eq!(stats["numberOfDocuments"], 2000, "{stats}");
    }
}
