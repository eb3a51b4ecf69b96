//! A write that would have created an index and comes to nothing leaves nothing half made: the same request works later,
//! and reads and settings of the index work.

use std::time::Duration;

use serde_json::{Value, json};

use miroir_tests::{Answer, Client, Cluster, ClusterBuilder, Fault, Faults, Node, eventually};

const BOUND: Duration = Duration::from_secs(60);
const ALWAYS: usize = usize::MAX;

/// Three nodes, each behind a relay.
fn faulty() -> ClusterBuilder {
    Cluster::builder().shards(4).faults()
}

/// The ways in which an index comes into being.
const WAYS: [&str; 3] = ["documents", "creation", "settings"];

fn first_write(client: &Client, way: &str, index: &str) -> Answer {
    match way {
        "documents" => client.add(index, &json!([{ "id": 1, "title": "first" }, { "id": 2, "title": "second" }])),
        "creation" => client.post("/indexes", &json!({ "uid": index, "primaryKey": "id" })),
        _ => client.patch(&format!("/indexes/{index}/settings"), &json!({ "sortableAttributes": ["title"] })),
    }
}

/// Nobody knows of the index.
#[track_caller]
fn assert_absent(client: &Client, index: &str) {
    for path in ["", "/settings", "/stats", "/documents"] {
        let answer = client.get(&format!("/indexes/{index}{path}"));
        assert_eq!(answer.verdict(), (404, "index_not_found".into()), "{path}: {}", answer.text);
    }
    let listed = client.get("/indexes?limit=1000").expect(200).body["results"].clone();
    assert!(listed.as_array().into_iter().flatten().all(|one| one["uid"] != index), "{listed}");
}

/// The index can be read, written and configured, like any other.
#[track_caller]
fn assert_works(client: &Client, index: &str) {
    client.get(&format!("/indexes/{index}")).expect(200);
    client.get(&format!("/indexes/{index}/settings")).expect(200);
    client.get("/stats").expect(200).body["indexes"][index].as_object().expect("its statistics");
    client.load(index, &json!([{ "id": 7, "title": "seventh", "kind": "a" }, { "id": 8, "title": "eighth" }]));
    client.configure(index, &json!({ "filterableAttributes": ["kind"] }));
    let found = client.search(index, &json!({ "q": "seventh", "filter": "kind = a" })).expect(200);
    assert_eq!(found.body["hits"], json!([{ "id": 7, "title": "seventh", "kind": "a" }]), "{}", found.text);
    let listed = client.get("/indexes?limit=1000").expect(200).body["results"].clone();
    let times = listed.as_array().into_iter().flatten().filter(|one| one["uid"] == index).count();
    assert_eq!(times, 1, "{listed}");
    let stats = client.get(&format!("/indexes/{index}/stats")).expect(200);
    assert_eq!(stats.body["numberOfDocuments"], client.documents(index).len(), "{}", stats.text);
}

fn relays(cluster: &Cluster) -> impl Iterator<Item = &Faults> {
    (0..cluster.nodes().len()).map(|node| cluster.faults(node))
}

/// What all nodes hold, as they call it.
fn held(nodes: &[Node]) -> Vec<Vec<String>> {
    let names = |node: &Node| {
        let listed = node.client().get("/indexes?limit=1000").expect(200);
        let results = listed.body["results"].as_array().cloned().unwrap_or_default();
        results.iter().filter_map(|one| one["uid"].as_str().map(str::to_owned)).collect()
    };
    nodes.iter().map(names).collect()
}

#[test]
fn a_first_write_that_too_few_nodes_take_works_when_they_are_back() {
    let mut cluster = Cluster::builder().rf(1).shards(6).start();
    let client = cluster.client();
    cluster.kill_node(1);
    for way in WAYS {
        let refused = first_write(&client, way, way);
        // Settings are taken by the nodes that there are.
        if way == "settings" {
            client.ended(&refused);
            continue;
        }
        assert_eq!(refused.verdict(), (503, "miroir_no_quorum".into()), "{way}: {}", refused.text);
        assert_absent(&client, way);
    }
    cluster.restart_node(1);
    eventually("the node is back", BOUND, || (cluster.node_state(1) == "healthy").then_some(()));
    for way in WAYS {
        client.done(&first_write(&client, way, way));
        assert_works(&client, way);
    }
}

/// Whatever else may befall these requests, the wing tests show.
#[test]
fn a_first_write_whose_answers_are_lost_at_any_step_leaves_nothing_behind() {
    let cluster = faulty().start();
    let client = cluster.client();
    let steps = [("POST", "/indexes"), ("PATCH", "/settings"), ("POST", "/documents")];
    let mut made = 0;
    for (step, (method, path)) in steps.iter().enumerate() {
        // A creation has no documents, and settings are one request.
        for way in WAYS.iter().filter(|way| step < 2 || **way == "documents") {
            let index = format!("{step}-{way}");
            relays(&cluster).for_each(|relay| relay.spoil(method, path, ALWAYS, Fault::Swallow));
            let refused = first_write(&client, way, &index);
            relays(&cluster).for_each(Faults::clear);
            if *way == "settings" && step == 0 {
                client.done(&refused);
            } else {
                assert!(refused.status >= 400, "{index}: {}", refused.text);
                assert_absent(&client, &index);
                client.done(&first_write(&client, way, &index));
            }
            client.get(&format!("/indexes/{index}")).expect(200);
            client.load(&index, &json!([{ "id": 7, "title": "seventh" }]));
            assert_eq!(client.search(&index, &json!({ "q": "seventh" })).body["hits"][0]["id"], 7, "{index}");
            made += 1;
        }
    }
    assert_eq!(client.get("/indexes?limit=0").expect(200).body["total"], made);
    WAYS.iter().for_each(|way| assert_works(&client, &format!("1-{way}")));
}

#[test]
fn what_nodes_have_of_an_index_that_did_not_come_into_being_is_deleted() {
    let cluster = faulty().start();
    let client = cluster.client();
    let no = json!({ "message": "no", "code": "payload_too_large", "type": "invalid_request", "link": "" });
    relays(&cluster).for_each(|relay| relay.spoil("POST", "/documents", ALWAYS, Fault::Answer(413, no.clone())));
    for _ in 0..3 {
        assert_eq!(first_write(&client, "documents", "films").status, 413);
    }
    relays(&cluster).for_each(Faults::clear);
    client.done(&first_write(&client, "documents", "films"));
    assert_works(&client, "films");
    let one_each = || held(cluster.nodes()).iter().all(|names| names.len() == 1).then_some(());
    eventually("the nodes hold one index", BOUND, one_each);
    assert_works(&client, "films");
}

#[test]
fn an_orchestrator_that_is_killed_at_any_step_of_a_first_write_leaves_nothing_behind() {
    let mut cluster = faulty().rf(1).set("write.node_timeout_ms", json!(2000)).start();
    let steps = [("POST", "/indexes"), ("PATCH", "/settings"), ("POST", "/documents")];
    for (step, (method, path)) in steps.iter().enumerate() {
        for way in WAYS.iter().filter(|way| **way == "documents" || step < 2) {
            if *way == "settings" && step == 0 {
                continue;
            }
            let index = format!("killed-{step}-{way}");
            let before: usize = relays(&cluster).map(|relay| relay.seen(method, path)).sum();
            relays(&cluster).for_each(|relay| relay.spoil(method, path, ALWAYS, Fault::Delay(Duration::from_secs(1))));
            let client = cluster.client();
            std::thread::scope(|scope| {
                let writer = scope.spawn(|| {
                    let body = match *way {
                        "documents" => (format!("/indexes/{index}/documents"), "POST", json!([{ "id": 1 }])),
                        "creation" => ("/indexes".into(), "POST", json!({ "uid": index })),
                        _ => {
                            (format!("/indexes/{index}/settings"), "PATCH", json!({ "sortableAttributes": ["title"] }))
                        }
                    };
                    let json = [("content-type", "application/json")];
                    client.try_send(body.1, &body.0, Some(body.2.to_string().as_bytes()), &json)
                });
                let reached = || relays(&cluster).map(|relay| relay.seen(method, path)).sum::<usize>() > before;
                eventually("the step is reached", BOUND, || reached().then_some(()));
                kill(&cluster);
                assert!(writer.join().expect("the writer").is_err(), "{index}: there was an answer");
            });
            cluster.kill_proxy();
            relays(&cluster).for_each(Faults::clear);
            cluster.restart_proxy();
            let client = cluster.client();
            let again = first_write(&client, way, &index);
            let task = client.ended(&again);
            // A change of settings that nobody was promised may have been made all the same.
            assert_eq!(task["status"], "succeeded", "{index}: {task}");
            assert_works(&client, &index);
        }
    }
}

/// Enough to keep nodes busy while the next requests come in.
fn load() -> Value {
    (0..4000).map(|i| json!({ "id": i, "text": format!("words {i} that take a while {}", i * 7) })).collect()
}

/// `kill -9`, by its number: whoever waits for an answer holds the cluster.
fn kill(cluster: &Cluster) {
    let status = std::process::Command::new("kill").args(["-9", &cluster.proxy_pid().to_string()]).status();
    assert!(status.expect("kill").success());
}

#[test]
fn what_was_asked_for_behind_a_creation_that_comes_to_nothing_is_done_all_the_same() {
    let cluster = Cluster::builder().shards(4).start();
    let client = cluster.client();
    let healthy = || (0..3).all(|node| cluster.node_state(node) == "healthy").then_some(());
    eventually("the nodes are healthy", BOUND, healthy);
    client.create("busy", "id");
    // A quick machine may be done before the cancelation comes.
    for attempt in 0..10 {
        let index = format!("films-{attempt}");
        let busy = client.add("busy", &load()).expect(202);
        let first = client.add(&index, &json!([{ "id": 1, "title": "canceled" }])).expect(202);
        let second = client.add(&index, &json!([{ "id": 2, "title": "kept" }])).expect(202);
        let third = client.patch(&format!("/indexes/{index}/settings"), &json!({ "sortableAttributes": ["title"] }));
        let uid = &first.body["taskUid"];
        client.done(&client.send("POST", &format!("/tasks/cancel?uids={uid}"), None, &[]));
        let task = client.ended(&first);
        client.done(&second);
        client.done(&third);
        assert_works(&client, &index);
        let kept = client.get(&format!("/indexes/{index}/documents/2")).expect(200);
        assert_eq!(kept.body["title"], "kept");
        client.done(&busy);
        if task["status"] == "canceled" {
            assert_eq!(client.get(&format!("/indexes/{index}/documents/1")).status, 404);
            return;
        }
    }
    panic!("ten cancelations in a row came too late");
}

#[test]
fn a_creation_that_is_canceled_leaves_the_name_free() {
    let cluster = Cluster::builder().shards(4).start();
    let client = cluster.client();
    let healthy = || (0..3).all(|node| cluster.node_state(node) == "healthy").then_some(());
    eventually("the nodes are healthy", BOUND, healthy);
    client.create("busy", "id");
    for attempt in 0..10 {
        let index = format!("films-{attempt}");
        let busy = client.add("busy", &load()).expect(202);
        let first = client.add(&index, &json!([{ "id": 1, "title": "canceled" }])).expect(202);
        client.done(&client.send("POST", &format!("/tasks/cancel?uids={}", first.body["taskUid"]), None, &[]));
        let task = client.ended(&first);
        client.done(&busy);
        if task["status"] == "canceled" {
            assert_absent(&client, &index);
            let path = format!("/indexes/{index}/documents?primaryKey=sku");
            client.done(&client.post(&path, &json!([{ "sku": 1, "title": "another key" }])));
            return;
        }
    }
    panic!("ten cancelations in a row came too late");
}
