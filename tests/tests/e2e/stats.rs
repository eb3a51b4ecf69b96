//! Statistics: every index is there with its counts, also while nodes are away, and few requests tell of many indexes.

use std::time::Duration;

use serde_json::{Value, json};

use miroir_tests::{Client, Cluster, eventually, shape};

const BOUND: Duration = Duration::from_secs(30);

fn documents(from: usize, count: usize) -> Value {
    (from..from + count).map(|i| json!({ "id": i, "title": format!("title {i}"), "even": i % 2 })).collect()
}

fn count(stats: &Value, index: &str) -> Option<u64> {
    stats["indexes"][index]["numberOfDocuments"].as_u64()
}

fn wait_failed(cluster: &Cluster, node: usize) {
    eventually("the node is known to be away", BOUND, || (cluster.node_state(node) == "failed").then_some(()));
}

fn all_stats(client: &Client) -> (Value, Option<String>) {
    let answer = client.get("/stats");
    let degraded = answer.header("x-miroir-degraded").map(str::to_owned);
    (answer.expect(200).body, degraded)
}

#[test]
fn statistics_of_all_indexes_are_those_of_each_and_cost_a_node_one_request() {
    let cluster = Cluster::builder().faults().start();
    let client = cluster.client();
    for (number, size) in [0, 1, 7, 40, 250].into_iter().enumerate() {
        let index = format!("index-{number}");
        client.create(&index, "id");
        if size > 0 {
            client.load(&index, &documents(0, size));
        }
    }
    let seen = |node: usize, path: &str| cluster.faults(node).seen("", path);
    let before: Vec<(usize, usize)> = (0..3).map(|node| (seen(node, ""), seen(node, "/search"))).collect();
    let (stats, degraded) = all_stats(&client);
    assert_eq!(degraded, None);
    for (node, (before, searches)) in before.into_iter().enumerate() {
        let relay = cluster.faults(node);
        assert_eq!(relay.seen("GET", "/stats"), 1, "asked for statistics of all indexes once");
        assert_eq!(relay.seen("", "/search"), searches, "and for nothing else");
        // Health checks come by as well.
        assert!(relay.seen("", "") < before + 5, "node {node}");
    }
    for (number, size) in [0, 1, 7, 40, 250].into_iter().enumerate() {
        let index = format!("index-{number}");
        assert_eq!(count(&stats, &index), Some(size), "{stats}");
        let alone = client.get(&format!("/indexes/{index}/stats")).expect(200).body;
        shape::assert_same("alone and among all", &alone, &stats["indexes"][&index]);
        assert_eq!(stats["indexes"][&index]["fieldDistribution"], alone["fieldDistribution"], "{index}");
    }
}

#[test]
fn every_index_is_told_of_with_its_last_known_count_when_shards_cannot_answer() {
    let mut cluster = Cluster::builder().rf(1).start();
    let client = cluster.client();
    for (index, size) in [("large", 300), ("small", 30)] {
        client.create(index, "id");
        client.load(index, &documents(0, size));
    }
    client.create("empty", "id");
    let (before, degraded) = all_stats(&client);
    assert_eq!(degraded, None);
    cluster.kill_node(1);
    wait_failed(&cluster, 1);
    let (after, degraded) = all_stats(&client);
    assert_eq!(degraded.as_deref(), Some("counts=3"), "it says that it cannot know");
    for index in ["large", "small", "empty"] {
        assert_eq!(after["indexes"][index], before["indexes"][index], "{index}");
    }
    let alone = client.get("/indexes/large/stats");
    assert!(alone.header("x-miroir-degraded").is_some_and(|header| header.contains("counts=1")), "{:?}", alone.text);
    assert_eq!(alone.expect(200).body["numberOfDocuments"], 300);
    // Whoever starts now has never known anything: what the others have is told, and that it is not all.
    cluster.kill_proxy();
    cluster.instance_mut(0).start();
    let (unknown, degraded) = eventually("an instance that answers", BOUND, || {
        let answer = client.try_send("GET", "/stats", None, &[]).ok().filter(|answer| answer.status == 200)?;
        Some((answer.body.clone(), answer.header("x-miroir-degraded").map(str::to_owned)))
    });
    assert!(degraded.is_some(), "{unknown}");
    let known = count(&unknown, "large").unwrap_or_default();
    assert!(known > 0 && known < 300, "{unknown}");
    cluster.restart_node(1);
    cluster.wait_ready();
    let (again, _) =
        eventually("all is known again", BOUND, || Some(all_stats(&client)).filter(|(_, degraded)| degraded.is_none()));
    assert_eq!((count(&again, "large"), count(&again, "small")), (Some(300), Some(30)), "{again}");
}

#[test]
fn counts_are_exact_while_one_of_two_replicas_is_away_and_documents_come_and_go() {
    let mut cluster = Cluster::builder().start();
    let client = cluster.client();
    for index in ["still", "busy"] {
        client.create(index, "id");
        client.load(index, &documents(0, 200));
    }
    all_stats(&client);
    cluster.kill_node(2);
    wait_failed(&cluster, 2);
    client.load("busy", &documents(150, 100));
    client.done(&client.post("/indexes/busy/documents/delete-batch", &json!([1, 2, 3])));
    let (stats, degraded) = all_stats(&client);
    assert_eq!((count(&stats, "still"), count(&stats, "busy"), degraded), (Some(200), Some(247), None), "{stats}");
    assert_eq!(client.get("/indexes/busy/stats").expect(200).body["numberOfDocuments"], 247);
}
