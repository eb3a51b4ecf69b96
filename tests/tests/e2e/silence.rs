//! Nodes that are silent, or slow: whatever waits for them ends inside the request, and nobody else waits with it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use miroir_tests::{Answer, Client, Cluster, Fault, eventually};

const BOUND: Duration = Duration::from_secs(30);
/// Longer than any of these tests lasts.
const FOR_EVER: Duration = Duration::from_secs(120);

fn documents(count: usize) -> Value {
    (0..count).map(|i| json!({ "id": i, "title": "lasting word", "n": i })).collect()
}

fn prepare(client: &Client) {
    client.create("steady", "id");
    client.configure("steady", &json!({ "filterableAttributes": ["n"], "sortableAttributes": ["n"] }));
    client.load("steady", &documents(200));
}

/// Six searches unlike those of another round, so that other replicas are preferred.
fn six(round: usize) -> Vec<Value> {
    let query =
        |i: usize| json!({ "indexUid": "steady", "q": "lasting", "filter": format!("n != {}", round * 6 + i + 1000) });
    (0..6).map(query).collect()
}

fn timed(ask: impl FnOnce() -> Answer) -> (Answer, Duration) {
    let start = Instant::now();
    let answer = ask();
    (answer, start.elapsed())
}

#[test]
fn a_federation_fails_over_within_the_time_of_one_search() {
    let one = Duration::from_secs(1);
    let cluster = Cluster::builder()
        .nodes(2)
        .rf(2)
        .faults()
        .set("scatter.node_timeout_ms", json!(one.as_millis()))
        .set("replica_selection.strategy", json!("round_robin"))
        .start();
    let client = cluster.client();
    prepare(&client);
    cluster.faults(0).spoil("POST", "/multi-search", 1000, Fault::Delay(FOR_EVER));
    for round in 0..4 {
        let (answer, took) =
            timed(|| client.post("/multi-search", &json!({ "queries": six(round), "federation": {} })));
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("x-miroir-degraded"), None);
        assert_eq!(answer.body["estimatedTotalHits"], 200, "{}", answer.text);
        assert!(took < one * 3, "{took:?}");
    }
    assert!(cluster.faults(0).struck() > 0, "the silent node was never asked");
}

#[test]
fn a_node_that_was_silent_is_not_waited_for_again_by_the_same_request() {
    let cluster = Cluster::builder()
        .nodes(2)
        .rf(2)
        .faults()
        .set("scatter.node_timeout_ms", json!(1500))
        .set("server.request_timeout_ms", json!(4500))
        .set("write.node_timeout_ms", json!(1500))
        .set("replica_selection.strategy", json!("round_robin"))
        .start();
    let client = cluster.client();
    prepare(&client);
    for path in ["/search", "/documents"] {
        cluster.faults(0).spoil("POST", path, 1000, Fault::Delay(FOR_EVER));
    }
    // Counted first, then fetched in up to three parts.
    for offset in [3, 4] {
        let (answer, took) = timed(|| client.get(&format!("/indexes/steady/documents?offset={offset}&limit=150")));
        assert_eq!(answer.status, 200, "after {took:?}: {}", answer.text);
        assert_eq!(answer.body["results"].as_array().map(Vec::len), Some(150));
        assert_eq!(answer.header("x-miroir-degraded"), None);
    }
    assert!(cluster.faults(0).struck() > 0, "the silent node was never asked");
}

#[test]
fn a_request_whose_nodes_are_all_silent_says_so_in_time() {
    let cluster = Cluster::builder()
        .nodes(2)
        .rf(2)
        .set("scatter.node_timeout_ms", json!(1000))
        .set("server.request_timeout_ms", json!(3000))
        .set("write.node_timeout_ms", json!(1000))
        .set("health.unhealthy_threshold", json!(1000))
        .start();
    let client = cluster.client();
    prepare(&client);
    cluster.pause_node(0);
    cluster.pause_node(1);
    let (answer, took) = timed(|| client.post("/multi-search", &json!({ "queries": six(0) })));
    assert_eq!(answer.verdict(), (503, "miroir_shard_unavailable".to_owned()), "{}", answer.text);
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn the_loss_of_one_node_is_noticed_while_clients_wait_for_another() {
    let mut cluster = Cluster::builder()
        .nodes(3)
        .rf(2)
        .set("connection_pool_per_node.max_total", json!(4))
        .set("connection_pool_per_node.max_idle", json!(4))
        .set("scatter.node_timeout_ms", json!(20_000))
        .set("server.request_timeout_ms", json!(60_000))
        .set("replica_selection.strategy", json!("round_robin"))
        .start();
    let client = cluster.client();
    prepare(&client);
    cluster.pause_node(0);
    std::thread::scope(|scope| {
        for _ in 0..60 {
            // They get whatever there is at last; how others fare meanwhile is what matters.
            scope.spawn(|| _ = client.try_send("POST", "/indexes/steady/search", Some(b"{}"), &[]));
        }
        cluster.kill_node(1);
        let started = Instant::now();
        for node in [0, 1] {
            eventually("the node is known as failed", BOUND, || (cluster.node_state(node) == "failed").then_some(()));
        }
        let took = started.elapsed();
        // Two checks that take a quarter of a second each, a quarter of a second apart.
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
}

#[test]
fn a_lost_node_takes_no_instance_out_of_service_and_is_told_to_whoever_asks_for_the_cluster() {
    let mut cluster = Cluster::builder().nodes(2).rf(1).start();
    let anyone = Client::anonymous(&cluster.address());
    prepare(&cluster.client());
    assert_eq!(anyone.get("/_miroir/ready?cluster=true").expect(200).body, json!({ "ready": true }));
    cluster.kill_node(0);
    eventually("the cluster is known not to be covered", BOUND, || {
        let answer = anyone.get("/_miroir/ready?cluster=true");
        let reasons = answer.body["reasons"].to_string();
        (answer.status == 503 && reasons.contains("no live fresh replica")).then_some(())
    });
    assert_eq!(anyone.get("/_miroir/ready").expect(200).body, json!({ "ready": true }));
    // An instance that starts without the node has never seen everything covered.
    cluster.kill_proxy();
    cluster.instance_mut(0).start();
    anyone.healthy(BOUND);
    assert_eq!(anyone.get("/_miroir/ready").status, 503);
    cluster.restart_node(0);
    eventually("the instance is ready", BOUND, || (anyone.get("/_miroir/ready").status == 200).then_some(()));
}
