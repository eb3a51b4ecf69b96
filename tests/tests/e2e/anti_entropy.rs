//! Replicas are compared, and what nobody noticed is found and repaired.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use miroir_api::{AntiEntropyStatus, Pass, Peers};
use miroir_tests::replicas::{Held, all_held, held};
use miroir_tests::{AtLast, Client, Cluster, Fault, config, ctl, wait};

const BOUND: Duration = Duration::from_secs(60);
const INDEX: &str = "films";
const DOCUMENTS: usize = 400;

fn film(id: usize) -> Value {
    json!({ "id": id, "title": format!("film {id}"), "n": id, "_vectors": { "own": [0.5, id as f64] } })
}

fn load(client: &Client) {
    client.create("films", "id");
    client.configure(
        "films",
        &json!({ "filterableAttributes": ["n"], "embedders": { "own": { "source": "userProvided", "dimensions": 2 } } }),
    );
    client.load("films", &(0..DOCUMENTS).map(film).collect());
}

fn anti_entropy(admin: &Client) -> AntiEntropyStatus {
    admin.get("/_miroir/anti-entropy/status").expect(200).read()
}

/// What was found in the pass, once all are through.
fn made(admin: &Client, pass: &Pass) -> Option<AntiEntropyStatus> {
    let status = anti_entropy(admin);
    (status.finished && status.pass.as_ref() == Some(pass)).then_some(status)
}

/// The first pass is made at once, and is not to find what a test does.
fn start(builder: miroir_tests::ClusterBuilder) -> Cluster {
    let cluster = builder.start();
    wait::eventually("the first pass is made", BOUND, || anti_entropy(&cluster.admin()).finished.then_some(()));
    cluster
}

/// Every document is on so many nodes, everywhere the same.
#[track_caller]
fn assert_alike(cluster: &Cluster, replicas: usize) -> Held {
    let nodes: Vec<usize> = (0..cluster.nodes().len()).collect();
    miroir_tests::replicas::assert_alike(cluster, &nodes, INDEX, replicas).0
}

/// Has a pass made, and says what it found.
#[track_caller]
fn pass(cluster: &Cluster, wanted: &Value) -> Value {
    let begun: Pass = cluster.admin().post("/_miroir/anti-entropy/run", wanted).expect(202).read();
    let status = wait::eventually("the pass is made", BOUND, || made(&cluster.admin(), &begun));
    let mut sum: BTreeMap<String, u64> = BTreeMap::new();
    for report in &status.instances {
        for (name, count) in json!(report.found).as_object().into_iter().flatten() {
            *sum.entry(name.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
    }
    json!(sum)
}

fn put(node: &Client, documents: &Value) {
    node.done(&node.post("/indexes/films/documents", documents));
}

/// Requests of a kind that nodes were sent.
fn requests(cluster: &Cluster, operation: &str) -> u64 {
    let text = cluster.metrics().get("/metrics").expect(200).text;
    let of = |line: &&str| {
        line.starts_with("miroir_node_request_duration_seconds_count") && line.contains(&format!("\"{operation}\""))
    };
    text.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn mismatches(cluster: &Cluster) -> u64 {
    let text = cluster.metrics().get("/metrics").expect(200).text;
    let line = text.lines().find_map(|line| line.strip_prefix("miroir_antientropy_mismatches_found_total "));
    line.and_then(|count| count.parse().ok()).expect("counted")
}

fn newest_task(node: &Client) -> u64 {
    node.get("/tasks?limit=1").expect(200).body["results"][0]["uid"].as_u64().unwrap_or(0)
}

/// How many documents a node was told to change since a task.
fn told_since(node: &Client, task: u64) -> u64 {
    let tasks = node.get("/tasks?limit=1000").expect(200).body["results"].as_array().cloned().unwrap_or_default();
    let newer = tasks.iter().filter(|found| found["uid"].as_u64() > Some(task));
    let count = |task: &Value, name: &str| task["details"][name].as_u64().unwrap_or(0);
    newer.map(|task| count(task, "receivedDocuments") + count(task, "providedIds")).sum()
}

#[test]
fn one_pass_repairs_what_was_changed_behind_our_back_and_nothing_else() {
    let cluster = start(Cluster::builder().rf(3));
    load(&cluster.client());
    let node = cluster.node_client(1);
    let before = held(&node, INDEX);
    // Changed: without a newer stamp, so that only a look at contents finds it.
    node.done(&node.put(
        "/indexes/films/documents",
        &json!([{ "id": 3, "title": "changed" }, { "id": 4, "_vectors": { "own": [9.0, 9.0] } }]),
    ));
    node.done(&node.post("/indexes/films/documents/delete-batch", &json!([10, 11, 12])));
    // Added: one that looks like ours, and one of nobody.
    let mut alien = before["20"].clone();
    alien["id"] = json!("alien");
    put(&node, &json!([alien]));
    put(&node, &json!([{ "id": "stranger", "title": "stranger", "_vectors": { "own": null } }]));
    let tasks: Vec<u64> = (0..3).map(|n| newest_task(&cluster.node_client(n))).collect();

    let found = pass(&cluster, &json!({ "deep": true }));
    let counts = ["mismatches", "repaired", "postponed", "orphans", "failures", "shards"].map(|name| &found[name]);
    assert_eq!(counts, [6, 6, 0, 1, 0, 16], "{found}");
    let now = assert_alike(&cluster, 3);
    let ids = |held: &Held| held.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(ids(&now), ids(&before));
    for (id, document) in now.iter().filter(|(id, _)| !["3", "4"].contains(&id.as_str())) {
        assert_eq!(*document, before[id], "{id}");
    }
    // Each of the two changed ones is replaced on one side, three deleted ones are put back, the alien goes.
    let told: u64 = (0..3).map(|n| told_since(&cluster.node_client(n), tasks[n])).sum();
    assert!(told <= 2 * 4 + 3 + 1, "{told} documents were touched");

    let verified = ctl::run(&cluster.address(), config::ADMIN_KEY, &["verify", "--deep", "films"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(verified.out.contains("differing") && verified.out.contains("1200 listed"), "{verified:?}");
    let unknown = ctl::run(&cluster.address(), config::ADMIN_KEY, &["verify", "nothing"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");

    let read = requests(&cluster, "replica_read");
    let listed = requests(&cluster, "replica_list");
    let found = pass(&cluster, &json!({ "deep": false }));
    assert_eq!((&found["mismatches"], &found["orphans"]), (&json!(0), &json!(0)), "{found}");
    assert_eq!(requests(&cluster, "replica_read"), read, "a clean pass reads no contents");
    assert!(requests(&cluster, "replica_list") > listed);
}

#[test]
fn an_end_that_a_client_names_is_not_obeyed_and_what_belongs_elsewhere_goes() {
    let cluster = start(Cluster::builder());
    load(&cluster.client());
    let nodes = all_held(&cluster, INDEX);
    // It is on two of three nodes: written late to one of them, it has an end that is long over.
    let (holder, document) = nodes.iter().enumerate().find_map(|(n, held)| Some((n, held.get("7")?))).expect("held");
    let mut late = document.clone();
    late["_miroir_expires_at"] = late["_miroir_updated_at"].clone();
    late["id"] = json!("late");
    put(&cluster.node_client(holder), &json!([late]));
    // And a document of a shard on the one node that does not hold the shard.
    let elsewhere = (0..3).find(|n| !nodes[*n].contains_key("30")).expect("two of three hold it");
    let owner = (0..3).find(|n| nodes[*n].contains_key("30")).expect("held");
    put(&cluster.node_client(elsewhere), &json!([nodes[owner]["30"]]));

    let found = pass(&cluster, &json!({ "index": "films" }));
    assert_eq!((&found["mismatches"], &found["orphans"]), (&json!(1), &json!(1)), "{found}");
    let now = assert_alike(&cluster, 2);
    // Documents have no end of ours: what one replica alone has is copied.
    assert_eq!(now.len(), DOCUMENTS + 1);
    assert_eq!(pass(&cluster, &json!({ "deep": true }))["mismatches"], 0);
}

#[test]
fn without_auto_repair_differences_are_only_told() {
    let cluster = start(Cluster::builder().rf(3).set("anti_entropy.auto_repair", json!(false)));
    load(&cluster.client());
    let node = cluster.node_client(0);
    node.done(&node.post("/indexes/films/documents/delete-batch", &json!([1, 2])));
    put(&node, &json!([{ "id": "stranger", "_vectors": { "own": null } }]));
    let before = all_held(&cluster, INDEX);
    let before_pass = mismatches(&cluster);
    let found = pass(&cluster, &json!({ "deep": true }));
    assert_eq!(
        (&found["mismatches"], &found["repaired"], &found["orphans"]),
        (&json!(2), &json!(0), &json!(1)),
        "{found}"
    );
    assert_eq!(all_held(&cluster, INDEX), before);
    assert_eq!(mismatches(&cluster) - before_pass, 2);
}

#[test]
fn what_is_only_on_its_way_is_no_difference() {
    let cluster = start(Cluster::builder().instances(2));
    let client = cluster.client();
    load(&client);
    for instance in 0..2 {
        wait::eventually("both know of each other", BOUND, || {
            let known: Peers = cluster.instance(instance).admin().get("/_miroir/peers").expect(200).read();
            (known.peers.len() == 2).then_some(())
        });
    }
    let stop = AtomicBool::new(false);
    let found = std::thread::scope(|scope| {
        let at_last = AtLast(&stop);
        let stop = &stop;
        for writer in 0..2_usize {
            let client = cluster.instance(writer).client();
            scope.spawn(move || {
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    let at = (round * 37 + writer * 200) % DOCUMENTS;
                    let written: Value = (at..at + 20)
                        .map(|id| json!({ "id": id, "title": format!("{writer} {round}"), "n": id, "_vectors": { "own": null } }))
                        .collect();
                    client.add("films", &written);
                    client.put(
                        "/indexes/films/documents",
                        &json!([{ "id": at, "merged": round, "_vectors": { "own": null } }]),
                    );
                    client.delete(&format!("/indexes/films/documents/{}", (at + 7) % DOCUMENTS));
                    client.done(
                        &client.post("/indexes/films/documents/delete", &json!({ "filter": format!("n = {at}") })),
                    );
                }
            });
        }
        let found: Vec<Value> = (0..3).map(|_| pass(&cluster, &json!({ "deep": true }))).collect();
        drop(at_last);
        found
    });
    for found in &found {
        assert_eq!((&found["repaired"], &found["failures"]), (&json!(0), &json!(0)), "{found}");
    }
    for node in 0..3 {
        let failed = cluster.node_client(node).get("/tasks?statuses=failed&limit=3").expect(200);
        assert_eq!(failed.body["total"], 0, "{}", failed.text);
    }
    assert_eq!(found[2]["shards"], 16, "each instance takes its own: {}", found[2]);
    client.done(&client.add("films", &json!([{ "id": 0, "title": "last", "_vectors": { "own": null } }])));
    client.all_ended(BOUND);
    assert_alike(&cluster, 2);
}

/// A question by which a node is waited for.
const STILL_AT_WORK: &str = "statuses=enqueued,processing&reverse=true";

/// Has a pass made while somebody writes. Returns what it found, and how long the slowest of the writes took.
fn pass_beside_writes(cluster: &Cluster) -> (Value, Duration) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (client, mut slowest, mut id) = (cluster.client(), Duration::ZERO, 1000);
            while !over.load(Ordering::Acquire) {
                let begun = std::time::Instant::now();
                let added =
                    client.add(INDEX, &json!([{ "id": id, "title": "new", "_vectors": { "own": null } }])).expect(202);
                slowest = slowest.max(begun.elapsed());
                // Nodes keep up with it.
                client.done(&added);
                id += 1;
            }
            slowest
        });
        let found = pass(cluster, &json!({ "index": INDEX }));
        over.store(true, Ordering::Release);
        (found, writer.join().expect("no panic"))
    })
}

#[test]
fn writes_are_not_held_while_a_node_is_behind() {
    const BEHIND: Duration = Duration::from_secs(4);
    let cluster =
        start(Cluster::builder().faults().nodes(2).rf(2).shards(2).set("rebalancer.fence_max_ms", json!(30_000)));
    load(&cluster.client());
    put(&cluster.node_client(1), &json!([{ "id": 7, "title": "changed", "_vectors": { "own": null } }]));
    cluster.faults(1).spoil("GET", STILL_AT_WORK, 2, Fault::Delay(BEHIND));
    let (found, slowest) = pass_beside_writes(&cluster);
    assert_eq!(cluster.faults(1).struck(), 2, "the node was not waited for");
    assert!(slowest < BEHIND / 2, "a write waited for {slowest:?}: {found}");
    assert_eq!([&found["mismatches"], &found["repaired"], &found["postponed"]], [1, 1, 0]);
}

#[test]
fn documents_of_a_node_that_stays_behind_are_left_to_the_next_pass() {
    const BEHIND: Duration = Duration::from_secs(2);
    let cluster =
        start(Cluster::builder().faults().nodes(2).rf(2).shards(2).set("rebalancer.fence_max_ms", json!(500)));
    load(&cluster.client());
    put(&cluster.node_client(1), &json!([{ "id": 7, "title": "changed", "_vectors": { "own": null } }]));
    cluster.faults(1).spoil("GET", STILL_AT_WORK, usize::MAX, Fault::Delay(BEHIND));
    let (found, slowest) = pass_beside_writes(&cluster);
    assert!(slowest < BEHIND / 2, "a write waited for {slowest:?}: {found}");
    assert_eq!([&found["mismatches"], &found["repaired"], &found["postponed"]], [0, 0, 1]);
    let verified = ctl::run(&cluster.address(), config::ADMIN_KEY, &["verify", INDEX]);
    assert_eq!(verified.code, Some(1), "it is not known that all are alike: {verified:?}");
    cluster.faults(1).clear();
    let found = pass(&cluster, &json!({ "index": INDEX }));
    assert_eq!([&found["mismatches"], &found["repaired"], &found["postponed"]], [1, 1, 0]);
    assert_alike(&cluster, 2);
}

#[test]
fn passes_follow_the_schedule_and_a_wrong_request_is_refused() {
    let cluster = start(Cluster::builder().set("anti_entropy.schedule", json!("every 1s")));
    load(&cluster.client());
    let node = cluster.node_client(0);
    let some: Vec<Value> = held(&node, INDEX).values().take(3).map(|document| document["id"].clone()).collect();
    node.done(&node.post("/indexes/films/documents/delete-batch", &json!(some)));
    wait::eventually("a pass by the schedule has repaired it", BOUND, || {
        (held(&node, INDEX).values().filter(|document| some.contains(&document["id"])).count() == 3).then_some(())
    });
    let admin = cluster.admin();
    for (wrong, named) in
        [(json!({ "deep": 1 }), "`.deep`"), (json!({ "depth": 1 }), "`.depth`"), (json!([]), "object")]
    {
        let refused = admin.post("/_miroir/anti-entropy/run", &wrong);
        assert_eq!(refused.status, 400, "{}", refused.text);
        assert!(refused.text.contains(named), "{}", refused.text);
    }
    let unknown = admin.post("/_miroir/anti-entropy/run", &json!({ "index": "nothing" }));
    assert_eq!(unknown.verdict(), (404, "index_not_found".to_owned()));
    assert_eq!(cluster.client().post("/_miroir/anti-entropy/run", &json!({})).status, 401);
}
