//! What clients ask to be changed comes to its end: whatever becomes of them, of nodes that say nothing, of what stands
//! before nodes, and of an instance that is asked to stop.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use miroir_tests::faults::writes_of;
use miroir_tests::replicas::{all_held, assert_alike};
use miroir_tests::{Client, Cluster, Fault, binaries, eventually};

const BOUND: Duration = Duration::from_secs(60);
const INDEX: &str = "things";
const DOCUMENTS: &str = "/indexes/things/documents";

/// Two replicas of everything, behind relays.
fn mirrored() -> Cluster {
    let cluster = Cluster::builder().nodes(2).rf(2).shards(4).faults().start();
    cluster.client().create(INDEX, "id");
    cluster
}

fn document(version: u64) -> Value {
    json!([{ "id": "one", "version": version }])
}

/// The client is gone before there is an answer.
#[track_caller]
fn hang_up(client: &Client, method: &str, path: &str, body: &Value, after: Duration) {
    let body = body.to_string();
    let headers = [("content-type", "application/json")];
    let answer = client.hanging_up_after(after).try_send(method, path, Some(body.as_bytes()), &headers);
    assert!(answer.is_err(), "it was answered: {}", answer.map(|answer| answer.text).unwrap_or_default());
}

#[test]
fn a_write_outlives_its_client_and_does_not_come_after_the_next_one() {
    let cluster = mirrored();
    let client = cluster.client();
    client.load(INDEX, &document(0));
    cluster.faults(1).spoil("POST", &writes_of(INDEX), 1, Fault::Delay(Duration::from_secs(3)));
    hang_up(&client, "POST", DOCUMENTS, &document(1), Duration::from_millis(700));
    client.done(&client.add(INDEX, &document(2)));
    client.all_ended(BOUND);
    let versions: Vec<Value> = all_held(&cluster, INDEX).iter().map(|held| held["one"]["version"].clone()).collect();
    assert_eq!(versions, [json!(2), json!(2)]);
    assert_eq!(cluster.stale_nodes(0), BTreeSet::new());
    let tasks = client.get("/tasks?types=documentAdditionOrUpdate").expect(200);
    assert_eq!(tasks.body["total"], 3, "the write whose client was gone has a task: {}", tasks.text);
}

#[test]
fn every_kind_of_change_outlives_its_client() {
    let cluster = mirrored();
    let client = cluster.client();
    client.configure(INDEX, &json!({ "filterableAttributes": ["version"] }));
    client.load(INDEX, &json!([{ "id": "one", "version": 1 }, { "id": "two", "version": 2 }]));
    // Development nodes edit and compact nothing.
    let edits = client.patch("/experimental-features", &json!({ "editDocumentsByFunction": true })).status == 200;
    let changes = [
        ("POST", DOCUMENTS.to_owned(), document(1)),
        ("PUT", DOCUMENTS.to_owned(), document(2)),
        ("POST", format!("{DOCUMENTS}/edit"), json!({ "function": "doc.version = doc.version + 1" })),
        ("POST", format!("{DOCUMENTS}/delete"), json!({ "filter": "version = 7" })),
        ("POST", format!("{DOCUMENTS}/delete-batch"), json!(["three"])),
        ("DELETE", format!("{DOCUMENTS}/two"), json!(null)),
        ("DELETE", DOCUMENTS.to_owned(), json!(null)),
        ("PATCH", format!("/indexes/{INDEX}/settings"), json!({ "sortableAttributes": ["version"] })),
        ("PUT", format!("/indexes/{INDEX}/settings/stop-words"), json!(["the"])),
        ("DELETE", format!("/indexes/{INDEX}/settings"), json!(null)),
        ("POST", "/indexes".to_owned(), json!({ "uid": "others", "primaryKey": "id" })),
        ("POST", "/indexes/first/documents".to_owned(), document(1)),
        ("PATCH", "/indexes/others".to_owned(), json!({ "primaryKey": "key" })),
        ("POST", format!("/indexes/{INDEX}/compact"), json!(null)),
        ("DELETE", format!("/indexes/{INDEX}"), json!(null)),
    ];
    let newest = || client.get("/tasks?limit=1").expect(200).body["results"][0]["uid"].clone();
    for (method, path, body) in changes {
        if (path.ends_with("/edit") && !edits) || (path.ends_with("/compact") && binaries::meilisearch().is_none()) {
            continue;
        }
        let before = newest();
        // Whatever the node is told with; every time, as comparisons of replicas ask it things, too.
        for told in ["POST", "PUT", "PATCH", "DELETE"] {
            cluster.faults(1).spoil(told, "/indexes", usize::MAX, Fault::Delay(Duration::from_millis(900)));
        }
        hang_up(&client, method, &path, &body, Duration::from_millis(400));
        eventually(&format!("{method} {path} has a task"), BOUND, || (newest() != before).then_some(()));
        let uid = newest().as_u64().unwrap_or_default();
        let task = client.task(uid);
        assert_eq!(task["status"], "succeeded", "{method} {path}: {task}");
        cluster.faults(1).clear();
    }
    assert_eq!(cluster.stale_nodes(0), BTreeSet::new());
}

#[test]
fn a_client_that_hangs_up_while_it_sends_has_sent_nothing() {
    use std::io::Write as _;
    let cluster = mirrored();
    let headers =
        [("content-type", "application/json"), ("authorization", "Bearer key-between-client-and-orchestrator")];
    let head = miroir_tests::raw::head("POST", DOCUMENTS, &headers, 100);
    let mut connection = std::net::TcpStream::connect(cluster.socket()).expect("a connection");
    connection.write_all(&[head.as_slice(), br#"[{"id":"half"}]"#].concat()).expect("half of it is sent");
    drop(connection);
    cluster.client().load(INDEX, &document(1));
    assert_eq!((cluster.faults(0).seen("POST", &writes_of(INDEX)), cluster.client().count(INDEX)), (1, 1));
}

/// The health checks and timeouts that an operator gets who says nothing.
fn as_by_default() -> Cluster {
    let health = json!({ "interval_ms": 5000, "timeout_ms": 2000, "unhealthy_threshold": 3, "recovery_threshold": 2 });
    Cluster::builder().nodes(2).rf(2).shards(4).set("health", health).start()
}

#[test]
fn writes_that_queue_behind_a_silent_node_all_end_well_by_default() {
    let cluster = as_by_default();
    let client = cluster.client();
    client.load(INDEX, &document(0));
    cluster.pause_node(1);
    std::thread::scope(|scope| {
        for version in 1..=6 {
            let client = &client;
            scope.spawn(move || {
                let begun = Instant::now();
                let answer = client.add(INDEX, &document(version));
                assert_eq!(answer.status, 202, "after {:?}: {}", begun.elapsed(), answer.text);
            });
        }
    });
    assert_eq!(cluster.stale_nodes(0), BTreeSet::from(["node-1".to_owned()]));
    // What it was sent, and no more than that, it may do when it goes on; then it is made equal.
    cluster.resume_node(1);
    eventually("the node is made equal", BOUND, || cluster.stale_nodes(0).is_empty().then_some(()));
    client.all_ended(BOUND);
    assert_alike(&cluster, &[0, 1], INDEX, 2);
}
