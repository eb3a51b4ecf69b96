//! A tenant token's rule confines every way to search; sizes of statistics are written as asked for.

use serde_json::{Value, json};

use miroir_tests::{Answer, Client, Twin, jwt};

const INDEX: &str = "restricted-reads";
const OTHER: &str = "restricted-other";

/// A client that may see the documents of group 1 of [`INDEX`], and nothing else.
fn tenant(admin: &Client) -> Client {
    let key =
        admin.post("/keys", &json!({ "actions": ["search"], "indexes": ["*"], "expiresAt": null })).expect(201).body;
    let rules = json!({ INDEX: { "filter": "group = 1" } });
    let claims = json!({ "apiKeyUid": key["uid"], "searchRules": rules });
    Client::new(admin.base(), &jwt::sign(&claims, key["key"].as_str().expect("a key")))
}

fn ids(answer: &Value) -> Vec<u64> {
    let hits = answer["hits"].as_array().unwrap_or_else(|| panic!("no hits in {answer}"));
    let mut ids: Vec<u64> = hits.iter().filter_map(|hit| hit["id"].as_u64()).collect();
    ids.sort_unstable();
    ids
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap_or_default())
}

#[test]
fn a_tenants_rule_confines_every_way_to_search() {
    let twin = Twin::shared();
    let admin = twin.cluster.client();
    for index in [INDEX, OTHER] {
        admin.configure(index, &json!({ "filterableAttributes": ["group", "kind"] }));
        let documents: Vec<Value> = (0..30)
            .map(|id| json!({ "id": id, "group": id % 3, "kind": format!("kind{}", id % 2), "text": "word" }))
            .collect();
        admin.load(index, &documents.into());
    }
    let tenant = tenant(&admin);
    let group_1: Vec<u64> = (0..30).filter(|id| id % 3 == 1).collect();
    let query = json!({ "indexUid": INDEX, "q": "word" });

    let answer = tenant.post("/multi-search", &json!({ "queries": [query, query] })).expect(200).body;
    assert_eq!((ids(&answer["results"][0]), ids(&answer["results"][1])), (group_1.clone(), group_1.clone()));
    let answer =
        tenant.post("/multi-search", &json!({ "federation": { "limit": 30 }, "queries": [query] })).expect(200);
    assert_eq!(ids(&answer.body), group_1);
    // A filter of the client's own reaches no further.
    for filter in [json!("group = 0"), json!("group = 1 OR group = 0"), json!([["group = 0", "group = 1"]])] {
        let query = json!({ "indexUid": INDEX, "filter": filter });
        for federation in [Value::Null, json!({ "limit": 30 })] {
            let mut request = json!({ "queries": [query] });
            if !federation.is_null() {
                request["federation"] = federation;
            }
            let answer = tenant.post("/multi-search", &request).expect(200).body;
            let found = ids(if answer["hits"].is_array() { &answer } else { &answer["results"][0] });
            assert!(found.is_empty() || found == group_1, "{request}: {found:?}");
        }
    }
    let answer =
        tenant.post(&format!("/indexes/{INDEX}/facet-search"), &json!({ "facetName": "kind" })).expect(200).body;
    assert_eq!(answer["facetHits"], json!([{ "value": "kind0", "count": 5 }, { "value": "kind1", "count": 5 }]));

    let both = json!({ "queries": [query, { "indexUid": OTHER }] });
    let refused = tenant.post("/multi-search", &both);
    assert_eq!(code(&refused), (403, "invalid_api_key"), "{}", refused.text);
    assert_eq!(refused.body["message"], "Inside `.queries[1]`: The provided API key is invalid.");
    let federated = tenant.post("/multi-search", &json!({ "federation": {}, "queries": both["queries"] }));
    assert_eq!(code(&federated), (403, "invalid_api_key"), "{}", federated.text);
    for path in ["facet-search", "similar"] {
        let body = json!({ "facetName": "kind", "id": 1, "embedder": "e" });
        let refused = tenant.post(&format!("/indexes/{OTHER}/{path}"), &body);
        assert_eq!(code(&refused), (403, "invalid_api_key"), "{path}: {}", refused.text);
    }
}

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
        Some(1) => assert_eq!(code(&still_there), (404, "task_not_found"), "{deletion}"),
        Some(0) => assert_eq!(still_there.status, 200, "{deletion}"),
        _ => panic!("{deletion}"),
    }
    if deleted == Some(1) {
        let stats = admin.get("/indexes/forgotten/stats").expect(200).body;
        assert_eq!(stats["numberOfDocuments"], 2000, "{stats}");
    }
}
