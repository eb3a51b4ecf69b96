//! Which primary key an index gets from its first writes, and what becomes of creations that come behind other writes.

use std::sync::Barrier;
use std::time::Duration;

use serde_json::{Value, json};

use miroir_tests::{Client, Cluster, Fault, Faults, Twin, wait};

const BOUND: Duration = Duration::from_secs(60);
const ALWAYS: usize = usize::MAX;

fn add(client: &Client, index: &str, key: &str, documents: &Value) -> miroir_tests::Answer {
    let key = if key.is_empty() { String::new() } else { format!("?primaryKey={key}") };
    client.post(&format!("/indexes/{index}/documents{key}"), documents)
}

fn key(client: &Client, index: &str) -> Value {
    client.get(&format!("/indexes/{index}")).expect(200).body["primaryKey"].clone()
}

#[test]
fn a_batch_of_which_nothing_can_be_indexed_takes_no_primary_key() {
    let twin = Twin::shared();
    let cases: [(&str, &str, Value); 5] = [
        ("ka", "", json!([{ "id": "a b" }])),
        ("kb", "", json!([{ "id": 1 }, { "id": null }])),
        ("kc", "name", json!([{ "id": 1 }])),
        ("kd", "", json!([])),
        ("ke", "id", json!([{ "id": 1.5 }])),
    ];
    for (index, named, documents) in &cases {
        twin.same_task(index, |client| add(client, index, named, documents));
        for client in twin.clients() {
            assert_eq!(key(&client, index), Value::Null, "{index} on {}", client.base());
        }
        twin.same_task(index, |client| add(client, index, "sku", &json!([{ "sku": "a-1", "id": 3 }])));
        twin.same_task(index, |client| add(client, index, "id", &json!([{ "sku": "a-1", "id": 3 }])));
        for client in twin.clients() {
            assert_eq!(key(&client, index), "sku", "{index} on {}", client.base());
            client.get(&format!("/indexes/{index}/documents/a-1")).expect(200);
        }
    }
    // A key that is named for no documents is the index's all the same.
    twin.same_task("kf", |client| add(client, "kf", "isbn", &json!([])));
    twin.same_task("kf", |client| add(client, "kf", "", &json!([{ "id": 1, "isbn": 2 }])));
    for client in twin.clients() {
        assert_eq!(key(&client, "kf"), "isbn", "{}", client.base());
    }
}

#[test]
fn another_key_than_the_indexs_is_refused_before_documents_are_looked_at() {
    let twin = Twin::shared();
    twin.create("kg");
    twin.load("kg", &json!([{ "id": 1 }]));
    for documents in [json!([{ "id": "a b" }]), json!([{ "sku": "a b" }]), json!([{ "sku": 1 }]), json!([])] {
        twin.same_task("kg", |client| add(client, "kg", "sku", &documents));
    }
    assert_eq!(twin.same_documents("kg"), 1);
}

#[test]
fn of_two_first_writes_at_once_with_different_keys_one_holds() {
    let cluster = Cluster::builder().shards(8).start();
    let client = cluster.client();
    for round in 0..6 {
        let index = format!("pair-{round}");
        let start = Barrier::new(2);
        let write = |named: &str| {
            let documents: Value =
                (0..20).map(|i| json!({ "sku": format!("s{i}"), "isbn": format!("b{i}") })).collect();
            start.wait();
            add(&client, &index, named, &documents)
        };
        let (sku, isbn) = std::thread::scope(|scope| {
            let sku = scope.spawn(|| write("sku"));
            let isbn = scope.spawn(|| write("isbn"));
            (sku.join().expect("a writer"), isbn.join().expect("a writer"))
        });
        let mut ends = [client.outcome(&sku).1, client.outcome(&isbn).1];
        let (kept, prefix) = if ends[0] == "succeeded" { ("sku", "s") } else { ("isbn", "b") };
        ends.sort();
        assert_eq!(ends, ["failed index_primary_key_already_exists", "succeeded"]);
        assert_eq!(key(&client, &index), kept);
        assert_eq!(client.documents(&index).len(), 20);
        for i in 0..20 {
            client.get(&format!("/indexes/{index}/documents/{prefix}{i}")).expect(200);
        }
    }
}

#[test]
fn a_write_that_no_node_takes_takes_no_key() {
    let cluster = Cluster::builder().shards(4).faults().start();
    let client = cluster.client();
    client.done(&client.post("/indexes", &json!({ "uid": "films" })));
    let relays = || (0..3).map(|node| cluster.faults(node));
    relays().for_each(|relay| relay.spoil("POST", "/documents", ALWAYS, Fault::Drop));
    let refused = add(&client, "films", "", &json!([{ "id": 1 }]));
    assert_eq!(refused.status, 503, "{}", refused.text);
    relays().for_each(Faults::clear);
    assert_eq!(key(&client, "films"), Value::Null);
    client.done(&add(&client, "films", "sku", &json!([{ "sku": 1, "id": 2 }])));
    assert_eq!(key(&client, "films"), "sku");
}

#[test]
fn a_key_whose_only_write_fails_on_the_nodes_is_given_back() {
    let cluster = Cluster::builder().shards(4).faults().start();
    let client = cluster.client();
    client.done(&client.post("/indexes", &json!({ "uid": "films" })));
    let relays = || (0..3).map(|node| cluster.faults(node));
    relays().for_each(|relay| relay.spoil("POST", "/documents", ALWAYS, Fault::Replace(json!({ "name": "no id" }))));
    for index in ["films", "fresh"] {
        let failed = client.failed(&add(&client, index, "", &json!([{ "id": 1 }, { "id": 2 }, { "id": 3 }])));
        assert_eq!(failed, "missing_document_id");
    }
    relays().for_each(Faults::clear);
    for index in ["films", "fresh"] {
        assert_eq!(key(&client, index), Value::Null, "{index}");
        client.done(&add(&client, index, "sku", &json!([{ "sku": 1, "id": 2 }])));
        assert_eq!(key(&client, index), "sku");
        assert_eq!(client.documents(index), [json!({ "sku": 1, "id": 2 })]);
    }
}

/// Enough to keep nodes busy while the next requests come in.
fn load() -> Value {
    (0..4000).map(|i| json!({ "id": i, "text": format!("words {i} that take a while {}", i * 7) })).collect()
}

#[test]
fn a_creation_is_judged_when_what_came_before_it_has_ended() {
    let twin = Twin::start();
    for client in twin.clients() {
        client.create("busy", "id");
        client.load("known", &json!([{ "id": 1 }]));
        let busy = client.add("busy", &load()).expect(202);
        // Of an index that waiting documents create, of one that is there, and of one that is deleted before.
        let documents = client.add("films", &json!([{ "id": 1 }])).expect(202);
        let creation = client.post("/indexes", &json!({ "uid": "films", "primaryKey": "id" })).expect(202);
        let more = client.add("known", &load()).expect(202);
        let known = client.post("/indexes", &json!({ "uid": "known" })).expect(202);
        client.delete("/indexes/known").expect(202);
        let anew = client.post("/indexes", &json!({ "uid": "known", "primaryKey": "sku" })).expect(202);
        let [documents, creation, more, known] = [&documents, &creation, &more, &known].map(|sent| {
            let uid = sent.body["taskUid"].as_u64().expect("a number");
            // Whoever sees the end of a task sees that of those before.
            wait::eventually("a task ends in its turn", BOUND, || {
                let later = client.get(&format!("/tasks/{uid}")).expect(200).body;
                matches!(later["status"].as_str(), Some("succeeded" | "failed")).then_some(later)
            })
        });
        let end = |task: &Value| (task["status"].clone(), task["error"]["code"].clone(), task["details"].clone());
        assert_eq!(end(&documents).0, "succeeded", "{documents}");
        let taken = (json!("failed"), json!("index_already_exists"), json!({ "primaryKey": "id" }));
        assert_eq!(end(&creation), taken, "{}", client.base());
        assert!(creation["finishedAt"].as_str() >= documents["finishedAt"].as_str(), "{creation} {documents}");
        assert_eq!(end(&known), (json!("failed"), json!("index_already_exists"), json!({ "primaryKey": null })));
        assert!(known["finishedAt"].as_str() >= more["finishedAt"].as_str(), "{known} {more}");
        client.done(&anew);
        assert_eq!(key(&client, "known"), "sku");
        assert_eq!(client.documents("known").len(), 0);
        client.done(&busy);
    }
}
