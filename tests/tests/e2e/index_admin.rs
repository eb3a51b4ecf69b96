//! Indexes change names: one by one, in pairs, while they are written to and while nodes are away.

use serde_json::{Value, json};

use miroir_tests::{Answer, Client, Cluster, Twin, binaries, eventually};

/// What only a real server knows: development nodes rename nothing.
fn with_oracle(case: impl FnOnce(&Twin)) {
    if binaries::meilisearch().is_some() {
        case(Twin::shared());
    }
}

fn client() -> Client {
    Twin::shared().cluster.client()
}

fn ids(client: &Client, index: &str) -> Vec<u64> {
    let mut ids: Vec<u64> = client.documents(index).iter().filter_map(|document| document["id"].as_u64()).collect();
    ids.sort_unstable();
    ids
}

fn swap(client: &Client, pairs: &Value) -> Answer {
    client.post("/swap-indexes", pairs)
}

#[test]
fn an_index_gets_another_name_and_keeps_all_it_has() {
    let client = client();
    client.create("ra-old", "id");
    client.configure("ra-old", &json!({ "filterableAttributes": ["n"] }));
    client.load("ra-old", &json!([{ "id": 1, "n": 1 }, { "id": 2, "n": 2 }]));
    let task = client.done(&client.patch("/indexes/ra-old", &json!({ "uid": "ra-new" })));
    assert_eq!(task["details"], json!({ "primaryKey": null, "oldIndexUid": "ra-old", "newIndexUid": "ra-new" }));
    assert_eq!((&task["indexUid"], &task["type"]), (&json!("ra-old"), &json!("indexUpdate")));
    assert_eq!(client.get("/indexes/ra-old").verdict(), (404, "index_not_found".to_owned()));
    assert_eq!(client.get("/indexes/ra-new").body["uid"], "ra-new");
    assert_eq!(ids(&client, "ra-new"), [1, 2]);
    let found = client.search("ra-new", &json!({ "filter": "n = 2" })).expect(200);
    assert_eq!(found.body["hits"], json!([{ "id": 2, "n": 2 }]));
    client.load("ra-new", &json!([{ "id": 3, "n": 3 }]));
    client.configure("ra-new", &json!({ "sortableAttributes": ["n"] }));
    assert_eq!(ids(&client, "ra-new"), [1, 2, 3]);
    assert_eq!(client.get("/indexes/ra-new/stats").body["numberOfDocuments"], 3);
    assert!(client.get("/stats").body["indexes"].get("ra-new").is_some());
}

#[test]
fn messages_of_nodes_call_an_index_as_the_client_does() {
    let client = client();
    client.create("rm-first", "id");
    client.done(&client.patch("/indexes/rm-first", &json!({ "uid": "rm-second" })));
    let refusal = client.search("rm-second", &json!({ "filter": "nothing = 2" }));
    assert_eq!(refusal.status, 400);
    assert!(!refusal.text.contains("rm-first"), "{}", refusal.text);
    let task = client.ended(&client.post("/indexes/rm-second/documents/delete", &json!({ "filter": "nothing = 2" })));
    assert_eq!(task["status"], "failed");
    assert!(!task.to_string().contains("rm-first"), "{task}");
}

#[test]
fn a_name_that_was_given_up_is_free_for_another_index() {
    let client = client();
    client.create("rf-a", "id");
    client.load("rf-a", &json!([{ "id": 1 }]));
    client.done(&client.patch("/indexes/rf-a", &json!({ "uid": "rf-b" })));
    client.create("rf-a", "id");
    client.load("rf-a", &json!([{ "id": 2 }]));
    assert_eq!((ids(&client, "rf-a"), ids(&client, "rf-b")), (vec![2], vec![1]));
    client.done(&client.delete("/indexes/rf-b"));
    assert_eq!(ids(&client, "rf-a"), [2]);
    client.done(&client.delete("/indexes/rf-a"));
    client.create("rf-a", "id");
    assert_eq!(client.count("rf-a"), 0);
}

#[test]
fn a_rename_that_cannot_be_made_fails_and_changes_nothing() {
    let client = client();
    client.create("rx-a", "id");
    client.create("rx-b", "id");
    client.load("rx-a", &json!([{ "id": 1 }]));
    let rename = |from: &str, body: Value| client.failed(&client.patch(&format!("/indexes/{from}"), &body));
    assert_eq!(rename("rx-a", json!({ "uid": "rx-b" })), "index_already_exists");
    assert_eq!(rename("rx-none", json!({ "uid": "rx-c" })), "index_not_found");
    // One server keeps the new name of a change that failed. Nobody would expect that.
    assert_eq!(rename("rx-a", json!({ "uid": "rx-c", "primaryKey": "sku" })), "index_primary_key_already_exists");
    assert_eq!(client.get("/indexes/rx-c").status, 404);
    assert_eq!(ids(&client, "rx-a"), [1]);
    let invalid = client.patch("/indexes/rx-a", &json!({ "uid": "no uid" }));
    assert_eq!(invalid.verdict(), (400, "invalid_index_uid".to_owned()));
    // What changes nothing succeeds.
    for body in [json!({ "uid": "rx-a" }), json!({}), json!({ "primaryKey": "id" }), json!({ "uid": null })] {
        client.done(&client.patch("/indexes/rx-a", &body));
    }
    client.done(&client.patch("/indexes/rx-b", &json!({ "uid": "rx-d", "primaryKey": "sku" })));
    assert_eq!(client.get("/indexes/rx-d").body["primaryKey"], "sku");
}

#[test]
fn swaps_exchange_documents_settings_and_tasks() {
    let client = client();
    for (index, id) in [("sw-a", 1), ("sw-b", 2)] {
        client.create(index, "id");
        client.load(index, &json!([{ "id": id }]));
    }
    client.configure("sw-a", &json!({ "stopWords": ["the"] }));
    let task = client.done(&swap(&client, &json!([{ "indexes": ["sw-a", "sw-b"] }])));
    assert_eq!(task["indexUid"], Value::Null);
    assert_eq!(task["details"], json!({ "swaps": [{ "indexes": ["sw-a", "sw-b"], "rename": false }] }));
    assert_eq!((ids(&client, "sw-a"), ids(&client, "sw-b")), (vec![2], vec![1]));
    assert_eq!(client.get("/indexes/sw-b/settings/stop-words").body, json!(["the"]));
    // Tasks go with their index; the swap itself is nobody's.
    let types = |index: &str| -> Vec<Value> {
        let page = client.get(&format!("/tasks?indexUids={index}&reverse=true")).expect(200);
        page.body["results"].as_array().into_iter().flatten().map(|task| task["type"].clone()).collect()
    };
    assert_eq!(types("sw-a"), ["indexCreation", "documentAdditionOrUpdate"]);
    assert_eq!(types("sw-b"), ["indexCreation", "documentAdditionOrUpdate", "settingsUpdate"]);
    client.load("sw-a", &json!([{ "id": 3 }]));
    assert_eq!((ids(&client, "sw-a"), ids(&client, "sw-b")), (vec![2, 3], vec![1]));
    client.done(&swap(&client, &json!([{ "indexes": ["sw-a", "sw-c"], "rename": true }])));
    assert_eq!(ids(&client, "sw-c"), [2, 3]);
    assert_eq!(client.get("/indexes/sw-a").status, 404);
}

#[test]
fn a_swap_that_cannot_be_made_fails_as_a_whole() {
    let client = client();
    for (index, id) in [("sf-a", 1), ("sf-b", 2), ("sf-c", 3)] {
        client.create(index, "id");
        client.load(index, &json!([{ "id": id }]));
    }
    let failed = |pairs: Value| {
        let task = client.ended(&swap(&client, &pairs));
        assert_eq!(task["status"], "failed", "{task}");
        (task["error"]["code"].clone(), task["error"]["message"].clone())
    };
    let cases = [
        (
            json!([{ "indexes": ["sf-a", "sf-b"] }, { "indexes": ["sf-c", "sf-x"] }]),
            "index_not_found",
            "Index `sf-x` not found.",
        ),
        (json!([{ "indexes": ["sf-y", "sf-x"] }]), "index_not_found", "Indexes `sf-x`, `sf-y` not found."),
        (
            json!([{ "indexes": ["sf-a", "sf-b"], "rename": true }]),
            "index_already_exists",
            "Cannot rename `sf-a` to `sf-b` as the index already exists. Hint: You can remove `sf-b` first and then do your remove.",
        ),
    ];
    for (pairs, code, message) in cases {
        assert_eq!(failed(pairs), (code.into(), message.into()));
    }
    assert_eq!((ids(&client, "sf-a"), ids(&client, "sf-b")), (vec![1], vec![2]));
    client.done(&swap(&client, &json!([])));
}

#[test]
fn at_most_500_swaps_are_made_together() {
    let client = client();
    let pairs = |n: usize| -> Value {
        (0..n).map(|n| json!({ "indexes": [format!("many-{n}"), format!("others-{n}")] })).collect()
    };
    let refused = swap(&client, &pairs(501));
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert!(refused.text.contains("At most 500 swaps"), "{}", refused.text);
    let taken = client.ended(&swap(&client, &pairs(500)));
    assert_eq!(taken["error"]["code"], "index_not_found", "{taken}");
}

#[test]
fn swaps_that_cannot_be_read_are_refused_in_meilisearchs_words() {
    let client = client();
    let cases = [
        (json!({}), "bad_request", "Invalid value type: expected an array, but found an object: `{}`"),
        (
            json!([5]),
            "bad_request",
            "Invalid value type at `[0]`: expected an object, but found a positive integer: `5`",
        ),
        (json!([{}]), "missing_swap_indexes", "Missing field `indexes` inside `[0]`"),
        (
            json!([{ "indexes": ["a", "b"], "x": 1 }]),
            "bad_request",
            "Unknown field `x` inside `[0]`: expected one of `indexes`, `rename`",
        ),
        (
            json!([{ "indexes": "a" }]),
            "invalid_swap_indexes",
            "Invalid value type at `[0].indexes`: expected an array, but found a string: `\"a\"`",
        ),
        (
            json!([{ "indexes": ["a", 1] }]),
            "invalid_swap_indexes",
            "Invalid value type at `[0].indexes[1]`: expected a string, but found a positive integer: `1`",
        ),
        (
            json!([{ "indexes": ["a"] }]),
            "invalid_swap_indexes",
            "Two indexes must be given for each swap. The list `[\"a\"]` contains 1 indexes.",
        ),
        (
            json!([{ "indexes": ["a", "b"], "rename": 1 }]),
            "invalid_swap_rename",
            "Invalid value type at `[0].rename`: expected a boolean, but found a positive integer: `1`",
        ),
        (
            json!([{ "indexes": ["b", "a"] }, { "indexes": ["a", "b"] }]),
            "invalid_swap_duplicate_index_found",
            "Indexes must be declared only once during a swap. `a`, `b` were specified several times.",
        ),
        (
            json!([{ "indexes": ["a", "a"] }]),
            "invalid_swap_duplicate_index_found",
            "Indexes must be declared only once during a swap. `a` was specified several times.",
        ),
    ];
    for (pairs, code, message) in cases {
        let answer = swap(&client, &pairs);
        assert_eq!(
            (answer.status, answer.code(), answer.body["message"].as_str()),
            (400, code, Some(message)),
            "{pairs}"
        );
        with_oracle(|twin| assert_eq!(swap(&twin.reference.client(), &pairs).body, answer.body, "{pairs}"));
    }
}

#[test]
fn one_server_tells_the_same_of_names() {
    with_oracle(|twin| {
        twin.create("tw-a");
        twin.create("tw-b");
        twin.load("tw-a", &json!([{ "id": 1 }]));
        twin.same_task("swap", |client| swap(client, &json!([{ "indexes": ["tw-a", "tw-b"] }])));
        twin.same_task("swap unknown", |client| swap(client, &json!([{ "indexes": ["tw-a", "tw-x"] }])));
        twin.same_task("rename", |client| client.patch("/indexes/tw-a", &json!({ "uid": "tw-c" })));
        twin.same_task("rename unknown", |client| client.patch("/indexes/tw-a", &json!({ "uid": "tw-d" })));
        twin.same_task("rename to a name taken", |client| client.patch("/indexes/tw-b", &json!({ "uid": "tw-c" })));
        twin.same_documents("tw-b");
        let gist = |client: &Client, index: &str| -> Vec<String> {
            let page = client.get(&format!("/tasks?indexUids={index}&limit=100")).expect(200);
            let tasks = page.body["results"].as_array().cloned().unwrap_or_default();
            tasks.iter().map(|task| format!("{} {} {}", task["type"], task["indexUid"], task["status"])).collect()
        };
        for index in ["tw-a", "tw-b", "tw-c"] {
            let [ours, theirs] = twin.clients().map(|client| gist(&client, index));
            assert_eq!(ours, theirs, "{index}");
        }
    });
}

/// An index is loaded and swapped in, without waiting in between: readers never find it half full.
#[test]
fn readers_learn_a_new_name_when_what_came_before_is_done() {
    let client = client();
    client.create("sl-live", "id");
    client.load("sl-live", &json!([{ "id": 0 }]));
    client.create("sl-next", "id");
    const MANY: u64 = 4000;
    let documents: Value =
        (1..=MANY).map(|i| json!({ "id": i, "text": format!("words {i} and more {}", i * 7919) })).collect();
    client.add("sl-next", &documents).expect(202);
    let swapped = swap(&client, &json!([{ "indexes": ["sl-live", "sl-next"] }])).expect(202);
    // Writes go by the new names at once.
    client.add("sl-live", &json!([{ "id": MANY + 1 }])).expect(202);
    let last = client.add("sl-next", &json!([{ "id": MANY + 2 }])).expect(202);
    let mut seen = Vec::new();
    eventually("the swap", std::time::Duration::from_secs(60), || {
        let answer = client.get("/indexes/sl-live/documents?limit=0").expect(200);
        seen.push(answer.body["total"].as_u64().unwrap_or_default());
        seen.last().is_some_and(|total| *total >= MANY).then_some(())
    });
    assert!(seen.iter().all(|total| *total <= 2 || *total >= MANY), "{seen:?}");
    client.done(&swapped);
    client.done(&last);
    assert_eq!(ids(&client, "sl-next"), [0, MANY + 2]);
    eventually("the last document", std::time::Duration::from_secs(60), || {
        (client.count("sl-live") == MANY + 1).then_some(())
    });
}

#[test]
fn names_survive_a_restart_and_a_node_that_was_away() {
    let mut cluster = Cluster::builder().start();
    let client = cluster.client();
    client.create("old", "id");
    client.load("old", &json!([{ "id": 1 }]));
    client.create("gone", "id");
    client.load("gone", &json!([{ "id": 7 }]));
    cluster.kill_node(0);
    client.done(&client.patch("/indexes/old", &json!({ "uid": "new" })));
    client.done(&client.delete("/indexes/gone"));
    // The node that is away still holds an index of this name.
    client.done(&client.post("/indexes", &json!({ "uid": "gone", "primaryKey": "id" })));
    client.load("gone", &json!([{ "id": 8 }]));
    cluster.restart_proxy();
    cluster.restart_node(0);
    let node = cluster.node_client(0);
    eventually("the deleted index is swept", std::time::Duration::from_secs(30), || {
        let documents = node.get("/indexes/gone/documents?limit=5");
        (documents.status == 404 || documents.body["total"] == 0).then_some(())
    });
    let client = cluster.client();
    assert_eq!((ids(&client, "new"), ids(&client, "gone")), (vec![1], vec![8]));
    assert_eq!(client.get("/indexes").body["total"], 2);
}
