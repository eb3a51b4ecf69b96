//! Indexes are created, listed, changed and deleted as on one server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use miroir_tests::{AtLast, Client, Twin, eventually};

#[test]
fn an_index_is_created_shown_changed_and_deleted() {
    let twin = Twin::shared();
    twin.same_task("create", |client| client.post("/indexes", &json!({ "uid": "films" })));
    twin.same("the new index", |client| client.get("/indexes/films"));
    twin.same_task("set the primary key", |client| client.patch("/indexes/films", &json!({ "primaryKey": "id" })));
    let shown = twin.same("the changed index", |client| client.get("/indexes/films"));
    assert_eq!(shown.body["primaryKey"], "id");
    let task = twin.same_task("create it again", |client| client.post("/indexes", &json!({ "uid": "films" })));
    assert_eq!(task["error"]["code"], "index_already_exists");
    twin.same_task("delete", |client| client.delete("/indexes/films"));
    let gone = twin.same("the deleted index", |client| client.get("/indexes/films"));
    assert_eq!(gone.verdict(), (404, "index_not_found".to_owned()));
    twin.same_task("delete it again", |client| client.delete("/indexes/films"));
}

#[test]
fn a_primary_key_may_change_only_while_there_are_no_documents() {
    let twin = Twin::shared();
    twin.create("keyed");
    twin.same_task("change it", |client| client.patch("/indexes/keyed", &json!({ "primaryKey": "sku" })));
    twin.load("keyed", &json!([{ "sku": 1, "id": 2 }]));
    let task = twin.same_task("too late", |client| client.patch("/indexes/keyed", &json!({ "primaryKey": "id" })));
    assert_eq!(task["error"]["code"], "index_primary_key_already_exists");
    let conflict =
        |client: &Client| client.post("/indexes/keyed/documents?primaryKey=id", &json!([{ "sku": 5, "id": 6 }]));
    let task = twin.same_task("a conflicting key with documents", conflict);
    assert_eq!(task["error"]["code"], "index_primary_key_already_exists");
    assert_eq!(twin.same_documents("keyed"), 1);
}

#[test]
fn the_first_write_creates_the_index_and_infers_the_key() {
    let twin = Twin::shared();
    let task = twin.same_task("first write", |client| {
        client.add("born", &json!([{ "name": "x", "film_id": 3 }, { "film_id": 4 }]))
    });
    assert_eq!(task["status"], "succeeded");
    let index = twin.same("the index", |client| client.get("/indexes/born"));
    assert_eq!(index.body["primaryKey"], "film_id");
    twin.same_task("with a key given", |client| {
        client.post("/indexes/given/documents?primaryKey=sku", &json!([{ "sku": "a", "id": 1 }]))
    });
    assert_eq!(twin.same("the index", |client| client.get("/indexes/given")).body["primaryKey"], "sku");
    twin.same_task("settings create it too", |client| {
        client.patch("/indexes/settled/settings", &json!({ "stopWords": ["a"] }))
    });
    assert_eq!(twin.same("the index", |client| client.get("/indexes/settled")).body["primaryKey"], Value::Null);
}

#[test]
fn documents_without_a_primary_key_in_sight_are_refused_at_once() {
    let cluster = Twin::shared().cluster.client();
    for documents in [json!([{ "title": "no candidate" }]), json!([{ "film_id": 1, "studio_id": 2 }])] {
        let answer = cluster.add("unkeyed", &documents);
        assert_eq!(answer.verdict(), (400, "miroir_primary_key_required".to_owned()), "{}", answer.text);
    }
}

#[test]
fn listing_is_paged_and_in_order() {
    let twin = Twin::shared();
    for index in ["list-b", "list-a", "list-c"] {
        twin.create(index);
    }
    for client in twin.clients() {
        let page = client.get("/indexes?limit=1000").expect(200);
        let uids: Vec<&str> =
            page.body["results"].as_array().into_iter().flatten().filter_map(|index| index["uid"].as_str()).collect();
        assert!(uids.is_sorted(), "{uids:?}");
        let listed: Vec<&str> = uids.iter().copied().filter(|uid| uid.starts_with("list-")).collect();
        assert_eq!(listed, ["list-a", "list-b", "list-c"]);
        assert_eq!((&page.body["offset"], &page.body["limit"]), (&json!(0), &json!(1000)));
        assert!(page.body["total"].as_u64().is_some_and(|total| total as usize == uids.len()));
        let at = uids.iter().position(|uid| *uid == "list-b").unwrap_or_default();
        let one = client.get(&format!("/indexes?limit=1&offset={at}")).expect(200);
        assert_eq!(one.body["results"].as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn an_index_exists_on_every_node_and_is_gone_from_every_node() {
    let twin = Twin::shared();
    let client = twin.cluster.client();
    client.create("everywhere", "id");
    client.load("everywhere", &json!([{ "id": 1 }]));
    for node in 0..twin.cluster.nodes().len() {
        assert_eq!(twin.cluster.node_client(node).get("/indexes/everywhere").status, 200, "node {node}");
    }
    client.done(&client.delete("/indexes/everywhere"));
    for node in 0..twin.cluster.nodes().len() {
        eventually(&format!("node {node} has dropped the index"), std::time::Duration::from_secs(10), || {
            (twin.cluster.node_client(node).get("/indexes/everywhere").status == 404).then_some(())
        });
    }
    // A new index of the same name has none of the old one's documents.
    client.create("everywhere", "id");
    assert_eq!(client.count("everywhere"), 0);
    assert_eq!(client.search("everywhere", &json!({})).expect(200).body["estimatedTotalHits"], 0);
}

#[test]
fn whoever_reads_while_an_index_is_deleted_finds_it_or_does_not() {
    let twin = Twin::shared();
    let client = twin.cluster.client();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let at_last = AtLast(&over);
        let reading = scope.spawn(|| {
            let (begun, mut missed) = (Instant::now(), 0);
            while !over.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(60) {
                client.get("/stats").expect(200);
                let found = client.search("going", &json!({ "q": "word" }));
                match found.verdict() {
                    (200, _) => {}
                    (404, code) if code == "index_not_found" => missed += 1,
                    other => panic!("{other:?}: {}", found.text),
                }
            }
            missed
        });
        for _ in 0..8 {
            client.create("going", "id");
            client.load("going", &json!([{ "id": 1, "text": "a word" }, { "id": 2, "text": "another word" }]));
            client.done(&client.delete("/indexes/going"));
        }
        drop(at_last);
        assert!(reading.join().expect("only answers that may be") > 0);
    });
}

#[test]
fn documents_are_spread_over_the_nodes_and_mirrored() {
    let twin = Twin::shared();
    let client = twin.cluster.client();
    client.create("spread", "id");
    client.load("spread", &(0..600).map(|i| json!({ "id": i })).collect());
    let held: Vec<u64> = (0..3).map(|node| twin.cluster.node_client(node).count("spread")).collect();
    assert_eq!(held.iter().sum::<u64>(), 1200, "two copies of each: {held:?}");
    assert!(held.iter().all(|count| (250..=550).contains(count)), "{held:?}");
}
