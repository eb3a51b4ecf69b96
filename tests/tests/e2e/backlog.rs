//! Many tasks of many indexes at once, with every node there and with one away.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use miroir_tests::replicas::assert_alike;
use miroir_tests::{Client, Cluster, eventually};

const BOUND: Duration = Duration::from_secs(120);
const INDEXES: usize = 12;
const WRITES: usize = 15;

fn index(nth: usize) -> String {
    format!("many{nth}")
}

/// One client an index, each sending one document after the other. Returns the tasks, and how many writes were degraded.
fn write_side_by_side(client: &Client, version: usize) -> (BTreeSet<u64>, usize) {
    let written: Vec<(BTreeSet<u64>, usize)> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..INDEXES)
            .map(|nth| {
                scope.spawn(move || {
                    let (mut tasks, mut degraded) = (BTreeSet::new(), 0);
                    for id in 0..WRITES {
                        let document = json!([{ "id": id, "version": version, "of": nth }]);
                        let answer = client.add(&index(nth), &document).expect(202);
                        degraded += usize::from(answer.header("x-miroir-degraded").is_some());
                        tasks.insert(answer.body["taskUid"].as_u64().expect("a number"));
                    }
                    (tasks, degraded)
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("no panic")).collect()
    });
    let degraded = written.iter().map(|(_, degraded)| degraded).sum();
    (written.into_iter().flat_map(|(tasks, _)| tasks).collect(), degraded)
}

/// Every task has ended, and none otherwise than well.
fn all_succeed(client: &Client, tasks: &BTreeSet<u64>) {
    assert_eq!(tasks.len(), INDEXES * WRITES, "a number was given twice");
    client.all_ended(BOUND);
    let failed = client.get("/tasks?statuses=failed,canceled&limit=5").expect(200).body;
    assert_eq!(failed["total"], 0, "{failed}");
}

fn holds(client: &Client, version: usize) {
    for nth in 0..INDEXES {
        let documents = client.documents(&index(nth));
        assert_eq!(documents.len(), WRITES, "{}", index(nth));
        assert!(documents.iter().all(|document| document["version"] == version), "{documents:?}");
    }
}

#[test]
fn degraded_writes_of_many_indexes_are_all_known_and_all_mended() {
    let mut cluster = Cluster::builder().nodes(2).rf(2).shards(4).start();
    let client = cluster.client();
    for nth in 0..INDEXES {
        client.create(&index(nth), "id");
    }
    let (tasks, degraded) = write_side_by_side(&client, 1);
    assert_eq!(degraded, 0);
    all_succeed(&client, &tasks);
    holds(&client, 1);

    cluster.kill_node(1);
    eventually("the node is missed", BOUND, || (cluster.node_state(1) == "failed").then_some(()));
    let (tasks, degraded) = write_side_by_side(&client, 2);
    assert_eq!(degraded, INDEXES * WRITES, "a write does not say that a replica missed it");
    all_succeed(&client, &tasks);
    holds(&client, 2);
    let stale_indexes: BTreeSet<String> = cluster.stale(0).into_iter().map(|replica| replica.index).collect();
    assert_eq!(stale_indexes.len(), INDEXES, "{stale_indexes:?}");

    cluster.restart_node(1);
    eventually("all is repaired", BOUND, || {
        (cluster.node_state(1) == "healthy" && cluster.stale(0).is_empty()).then_some(())
    });
    holds(&client, 2);
    for nth in 0..INDEXES {
        assert_alike(&cluster, &[0, 1], &index(nth), 2);
    }
}

#[test]
fn tasks_through_several_instances_all_end_also_those_of_one_that_is_killed() {
    let mut cluster = Cluster::builder().nodes(2).rf(2).shards(4).instances(2).start();
    let (one, other) = (cluster.instance(0).client(), cluster.instance(1).client());
    for nth in 0..INDEXES {
        one.create(&index(nth), "id");
    }
    let (tasks, _) = write_side_by_side(&other, 1);
    all_succeed(&one, &tasks);
    let (tasks, _) = write_side_by_side(&other, 2);
    // The instance that is left reconciles the tasks that were the other's.
    cluster.instance_mut(1).kill();
    all_succeed(&one, &tasks);
    holds(&one, 2);
}
