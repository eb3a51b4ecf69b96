//! A node that restarts with much to do serves what it has meanwhile, as a lone server would, as far as it has missed nothing.

use std::time::Duration;

use serde_json::{Value, json};

use miroir_tests::{Client, Cluster, Fault, eventually};

const BOUND: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);

fn documents(from: usize, count: usize) -> Value {
    (from..from + count).map(|i| json!({ "id": i, "title": "lasting word", "n": i })).collect()
}

fn prepare(client: &Client, count: usize) {
    client.create("steady", "id");
    client.configure("steady", &json!({ "filterableAttributes": ["n"] }));
    client.load("steady", &documents(0, count));
}

/// From now on the node says whenever it is asked that it has not done its first task.
fn never_done(cluster: &Cluster, node: usize) {
    let oldest =
        json!({ "results": [{ "uid": 0, "status": "processing" }], "total": 1, "limit": 1, "from": 0, "next": null });
    cluster.faults(node).spoil(
        "GET",
        "/tasks?statuses=enqueued,processing&reverse=true",
        1_000_000,
        Fault::Answer(200, oldest),
    );
}

fn total(client: &Client) -> Option<u64> {
    let answer = client.search("steady", &json!({ "q": "lasting", "hitsPerPage": 1 }));
    let whole = answer.status == 200 && answer.header("x-miroir-degraded").is_none();
    answer.body["totalHits"].as_u64().filter(|_| whole)
}

#[test]
fn a_node_without_replicas_is_read_while_it_does_what_it_had_accepted() {
    let mut cluster = Cluster::builder().nodes(2).rf(1).faults().start();
    let client = cluster.client();
    prepare(&client, 200);
    assert_eq!(total(&client), Some(200));
    never_done(&cluster, 0);
    cluster.kill_node(0);
    eventually("the node is known as failed", BOUND, || (cluster.node_state(0) == "failed").then_some(()));
    assert_eq!(total(&client), None, "something is missing");
    cluster.restart_node(0);
    eventually("the node serves what it has", SOON, || total(&client).filter(|total| *total == 200));
    assert!(cluster.faults(0).struck() > 0, "nobody asked whether the node had done its tasks");

    // It takes what is written, and more that it has not done does not keep it from serving after another restart.
    client.done(&client.add("steady", &documents(200, 50)).expect(202));
    assert_eq!(total(&client), Some(250));
    cluster.kill_node(0);
    // A node that is gone says nothing of its tasks.
    cluster.faults(0).clear();
    eventually("the node is known as failed", BOUND, || (cluster.node_state(0) == "failed").then_some(()));
    never_done(&cluster, 0);
    cluster.restart_node(0);
    eventually("the node serves what it has", SOON, || total(&client).filter(|total| *total == 250));
}

#[test]
fn a_node_that_missed_writes_serves_what_it_did_not_miss() {
    let mut cluster = Cluster::builder()
        .nodes(2)
        .rf(2)
        .faults()
        .set("rebalancer.auto_rebalance_on_recovery", json!(false))
        .set("replica_selection.strategy", json!("round_robin"))
        .start();
    let client = cluster.client();
    prepare(&client, 200);
    client.create("other", "id");
    client.load("other", &documents(0, 20));
    never_done(&cluster, 0);
    cluster.kill_node(0);
    eventually("the node is known as failed", BOUND, || (cluster.node_state(0) == "failed").then_some(()));
    client.done(&client.add("steady", &documents(200, 100)).expect(202));
    cluster.restart_node(0);
    eventually("the node counts", SOON, || (cluster.node_state(0) == "recovering").then_some(()));
    // What it missed is read elsewhere, again and again.
    for _ in 0..20 {
        assert_eq!(total(&client), Some(300));
    }
    // The other index missed nothing: with the second node gone the first one answers for it alone.
    cluster.kill_node(1);
    eventually("the other node is known as failed", BOUND, || (cluster.node_state(1) == "failed").then_some(()));
    let answer = client.search("other", &json!({ "q": "lasting", "hitsPerPage": 1 })).expect(200);
    assert_eq!((answer.header("x-miroir-degraded"), &answer.body["totalHits"]), (None, &json!(20)), "{}", answer.text);
    let answer = client.search("steady", &json!({ "q": "lasting", "hitsPerPage": 1 })).expect(200);
    assert!(answer.header("x-miroir-degraded").is_some_and(|header| header.contains("stale=")), "{}", answer.text);
}

#[test]
fn a_node_that_restarts_in_a_bulk_load_is_read_within_seconds() {
    let mut cluster = Cluster::builder().nodes(2).rf(1).start();
    let client = cluster.client();
    prepare(&client, 200);
    let long = "a text of many words that are all indexed and take their time ".repeat(60);
    let batch = |n: usize| -> Value {
        (0..400).map(|i| json!({ "id": 1000 + n * 400 + i, "title": format!("{long} {n} {i}"), "n": 1000 })).collect()
    };
    let mut last = None;
    for n in 0..15 {
        last = Some(client.add("steady", &batch(n)).expect(202));
    }
    cluster.kill_node(0);
    eventually("the node is known as failed", BOUND, || (cluster.node_state(0) == "failed").then_some(()));
    cluster.restart_node(0);
    let known = json!({ "q": "", "filter": "n < 1000", "hitsPerPage": 1 });
    eventually("what it has is found", SOON, || {
        let answer = client.search("steady", &known);
        let whole = answer.status == 200 && answer.header("x-miroir-degraded").is_none();
        (whole && answer.body["totalHits"] == 200).then_some(())
    });
    if let Some(last) = last {
        client.done(&last);
    }
    assert_eq!(client.count("steady"), 200 + 15 * 400);
}
