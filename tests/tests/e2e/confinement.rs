//! Keys and tokens for some indexes and documents find nothing else by the reads and the administration of several
//! indexes: multi-search, federation, facet search, similar documents, swaps, tasks and batches.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use miroir_tests::{Answer, Client, Twin, jwt};

const SECRET: &str = "SECRET";

/// Two indexes of ten documents with vectors each, odd ones secret, in the cluster; their names.
fn prepare(test: &str) -> (Client, String, String) {
    let admin = Twin::shared().cluster.client();
    let names = [format!("confined-{test}-a"), format!("confined-{test}-b")];
    for name in &names {
        admin.create(name, "id");
        admin.configure(
            name,
            &json!({
                "filterableAttributes": ["id", "secret", "tag"],
                "embedders": { "e": { "source": "userProvided", "dimensions": 2 } },
            }),
        );
        let documents: Value = (0..10)
            .map(|id| {
                json!({ "id": id, "secret": id % 2 == 1, "text": "word", "tag": if id % 2 == 1 { SECRET } else { "open" },
                    "_vectors": { "e": [f64::from(id) / 10.0, 1.0] } })
            })
            .collect();
        admin.load(name, &documents);
    }
    let [a, b] = names;
    (admin, a, b)
}

fn keyed(admin: &Client, actions: &[&str], index: &str) -> (Client, Value) {
    let key = json!({ "actions": actions, "indexes": [index], "expiresAt": null });
    let key = admin.post("/keys", &key).expect(201).body;
    (Client::new(admin.base(), key["key"].as_str().expect("a value")), key)
}

/// A token that finds what is not secret in one index.
fn tenant(admin: &Client, index: &str) -> Client {
    let (_, key) = keyed(admin, &["search"], index);
    let rules = json!({ index: { "filter": "secret = false" } });
    let claims = json!({ "apiKeyUid": key["uid"], "searchRules": rules });
    Client::new(admin.base(), &jwt::sign(&claims, key["key"].as_str().expect("a value")))
}

#[track_caller]
fn refused(answer: &Answer) {
    assert_eq!(answer.verdict(), (403, "invalid_api_key".to_owned()), "{}", answer.text);
    assert!(!answer.text.contains("word") && !answer.text.contains(SECRET), "{}", answer.text);
}

#[test]
fn a_key_for_one_index_finds_nothing_in_another_by_any_further_route() {
    let (admin, a, b) = prepare("foreign");
    let (client, _) = keyed(&admin, &["*"], &a);
    for federation in [None, Some(json!({}))] {
        let mut body = json!({ "queries": [{ "indexUid": a, "q": "word" }, { "indexUid": b, "q": "word" }] });
        if let Some(federation) = federation {
            body["federation"] = federation;
        }
        let answer = client.post("/multi-search", &body);
        refused(&answer);
        assert!(answer.body["message"].as_str().is_some_and(|text| text.contains(".queries[1]")), "{}", answer.text);
        body["queries"].as_array_mut().expect("queries").pop();
        client.post("/multi-search", &body).expect(200);
    }
    refused(&client.post(&format!("/indexes/{b}/facet-search"), &json!({ "facetName": "tag" })));
    refused(&client.post(&format!("/indexes/{b}/similar"), &json!({ "id": 1, "embedder": "e" })));
    refused(&client.get(&format!("/indexes/{b}/similar?id=1&embedder=e")));
    refused(&client.post(&format!("/indexes/{b}/fields"), &json!({})));
    refused(&client.post(&format!("/indexes/{b}/documents/fetch"), &json!({})));
    refused(&client.post("/swap-indexes", &json!([{ "indexes": [a, b] }])));
}

#[test]
fn tasks_of_another_index_are_neither_shown_nor_canceled_nor_deleted() {
    let (admin, a, b) = prepare("tasks");
    let (client, _) = keyed(&admin, &["tasks.get", "tasks.cancel", "tasks.delete"], &a);
    let theirs = admin.add(&b, &json!([{ "id": 99 }])).expect(202).body["taskUid"].as_u64().expect("a number");
    admin.task(theirs);
    assert_eq!(client.get(&format!("/tasks/{theirs}")).code(), "task_not_found");
    assert_eq!(client.get(&format!("/batches/{theirs}")).code(), "batch_not_found");
    for listed in ["/tasks?limit=1000", "/batches?limit=1000"] {
        assert!(!client.get(listed).expect(200).text.contains(&b), "{listed}");
    }
    let cancelation = client.call("POST", &format!("/tasks/cancel?uids={theirs}"), &Value::Null).expect(200);
    let details = admin.ended(&cancelation)["details"].clone();
    assert_eq!((&details["matchedTasks"], &details["canceledTasks"]), (&json!(0), &json!(0)));
    let deletion = client.delete("/tasks?statuses=succeeded").expect(200);
    let deletion = admin.ended(&deletion);
    assert!(deletion["details"]["deletedTasks"].as_u64().is_some_and(|count| count > 0), "{deletion}");
    assert_eq!(admin.get(&format!("/tasks/{theirs}")).expect(200).body["indexUid"], b.as_str());
    assert_eq!(admin.get(&format!("/tasks?indexUids={a}")).expect(200).body["total"], 0);
}

/// The ids in an answer's hits; panics when a secret document is among them.
#[track_caller]
fn open_ids(answer: &Answer) -> BTreeSet<u64> {
    assert!(!answer.text.contains(SECRET), "{}", answer.text);
    let lists = match answer.body["results"].as_array() {
        Some(results) => results.iter().filter_map(|result| result["hits"].as_array()).flatten().collect::<Vec<_>>(),
        None => answer.body["hits"].as_array().into_iter().flatten().collect(),
    };
    lists.iter().filter_map(|hit| hit["id"].as_u64()).collect()
}

#[test]
fn a_tenants_rule_confines_every_search_whatever_its_own_filter_says() {
    let (admin, a, b) = prepare("tenant");
    let client = tenant(&admin, &a);
    let even = BTreeSet::from([0, 2, 4, 6, 8]);
    // Each filter, and whether it is one: what is none is refused, all others find what is not secret and nothing else.
    let breakouts = [
        (json!(null), true),
        (json!("id >= 0 OR secret = true"), true),
        (json!("secret = true) OR (id >= 0"), false),
        (json!(["id >= 0", ["secret = true", "secret = false"]]), true),
        (json!([[]]), true),
        (json!([["id >= 0", ["secret = true"]]]), false),
        (json!({ "secret": true }), false),
    ];
    let open_facets = json!([{ "value": "open", "count": 5 }]);
    for (filter, is_one) in breakouts {
        let refused = |answer: &Answer, code: &str| {
            assert_eq!(answer.verdict(), (400, code.to_owned()), "{filter}: {}", answer.text);
            assert!(!answer.text.contains("word") && !answer.text.contains(SECRET), "{}", answer.text);
        };
        let query = json!({ "indexUid": a, "q": "word", "filter": filter });
        for body in [json!({ "queries": [query] }), json!({ "queries": [query], "federation": { "limit": 50 } })] {
            let answer = client.post("/multi-search", &body);
            match is_one {
                true => assert_eq!(open_ids(&answer), even, "{filter}: {}", answer.text),
                false => refused(&answer, "invalid_search_filter"),
            }
        }
        let search = client.search(&a, &json!({ "q": "word", "filter": filter }));
        let facets =
            client.post(&format!("/indexes/{a}/facet-search"), &json!({ "facetName": "tag", "filter": filter }));
        let similar = json!({ "id": 2, "embedder": "e", "filter": filter, "limit": 50 });
        let similar = client.post(&format!("/indexes/{a}/similar"), &similar);
        if is_one {
            assert_eq!(open_ids(&search), even, "{filter}: {}", search.text);
            assert_eq!(facets.body["facetHits"], open_facets, "{filter}: {}", facets.text);
            assert_eq!(open_ids(&similar), BTreeSet::from([0, 4, 6, 8]), "{filter}: {}", similar.text);
        } else {
            refused(&search, "invalid_search_filter");
            refused(&facets, "invalid_search_filter");
            refused(&similar, "invalid_similar_filter");
        }
    }
    let facets = client.post(&format!("/indexes/{a}/facet-search"), &json!({ "facetName": "tag" })).expect(200);
    assert_eq!(facets.body["facetHits"], open_facets);
    // What may not be found cannot be asked for the likes of it.
    let hidden = client.post(&format!("/indexes/{a}/similar"), &json!({ "id": 1, "embedder": "e" }));
    assert_eq!(hidden.code(), "not_found_similar_id", "{}", hidden.text);
    refused(&client.post("/multi-search", &json!({ "queries": [{ "indexUid": b }] })));
    refused(&client.post(&format!("/indexes/{b}/facet-search"), &json!({ "facetName": "tag" })));
}
