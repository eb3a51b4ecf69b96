//! Nodes come back: with what they had, with nothing, with a disk of before. Replicas are made equal again while clients
//! read and write.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use miroir_api::{NodeState, Nodes, Stale, Topology};
use miroir_tests::faults::Fault;
use miroir_tests::replicas::{assert_alike, plain};
use miroir_tests::{AtLast, Client, Cluster, config, ctl, dataset, eventually};

const BOUND: Duration = Duration::from_secs(120);
const INDEX: &str = "things";

/// Documents of a cluster.
fn size() -> usize {
    dataset::size(5000)
}

/// Requests that are given up have arrived, or never will, soon after.
fn builder() -> miroir_tests::ClusterBuilder {
    Cluster::builder().shards(8).set("write.node_timeout_ms", json!(3000)).set("scatter.node_timeout_ms", json!(3000))
}

fn document(n: usize, version: u64) -> Value {
    let mut document =
        json!({ "id": format!("d{n}"), "n": n, "version": version, "text": format!("lasting thing {n}") });
    document["_vectors"] = match n % 10 {
        0 => json!({ "mine": { "embeddings": [[n as f32 / 7.0, 0.5]], "regenerate": n.is_multiple_of(20) } }),
        _ => json!({ "mine": null }),
    };
    document
}

fn prepare(client: &Client, documents: usize) {
    client.create(INDEX, "id");
    let embedders = json!({ "mine": { "source": "userProvided", "dimensions": 2 } });
    let settings =
        json!({ "filterableAttributes": ["n", "version"], "sortableAttributes": ["n"], "embedders": embedders });
    client.configure(INDEX, &settings);
    let all: Vec<Value> = (0..documents).map(|n| document(n, 1)).collect();
    for part in all.chunks(2500) {
        client.load(INDEX, &json!(part));
    }
}

/// All replicas of each shard hold the same documents, and each is on as many nodes as it should be.
#[track_caller]
fn assert_equal_replicas(cluster: &Cluster, replicas: usize) -> BTreeMap<String, Value> {
    let nodes: Vec<usize> = (0..cluster.nodes().len()).collect();
    let (documents, _) = assert_alike(cluster, &nodes, INDEX, replicas);
    documents.into_iter().map(|(id, document)| (id, plain(&document))).collect()
}

fn stale(admin: &Client) -> usize {
    admin.get("/_miroir/stale").expect(200).read::<Stale>().stale.len()
}

/// Waits until nothing is stale and every node is healthy.
#[track_caller]
fn healed(cluster: &Cluster, instance: usize) {
    let admin = cluster.instance(instance).admin();
    let told = Mutex::new(String::new());
    let done = miroir_tests::wait::poll(BOUND, || {
        let topology: Topology = admin.get("/_miroir/topology").expect(200).read();
        let healthy = topology.nodes.iter().all(|member| member.node.state == NodeState::Healthy);
        *told.lock().expect("one thread") = admin.get("/_miroir/stale").expect(200).text;
        (healthy && stale(&admin) == 0).then_some(())
    });
    assert!(done.is_some(), "not healed: {}\n{}", told.lock().expect("one thread"), cluster.instance(instance).log());
}

/// Traffic of every kind until it is told to stop.
#[derive(Default)]
struct Traffic {
    stop: AtomicBool,
    writes: AtomicUsize,
    reads: AtomicUsize,
    /// The newest version of each of the first documents that was acknowledged, and done: a reader may rely on it.
    newest: Mutex<BTreeMap<usize, u64>>,
}

/// Documents that are written again and again.
const HOT: usize = 40;

impl Traffic {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Replaces, merges, deletes by id and by filter; what is acknowledged and done counts.
    fn write(&self, client: &Client, documents: usize) {
        for round in 2_u64.. {
            if self.stopped() {
                return;
            }
            let hot: Vec<Value> = (0..HOT).map(|n| document(n, round)).collect();
            let accepted = client.add(INDEX, &json!(hot));
            assert_eq!(accepted.status, 202, "{}", accepted.text);
            client.done(&accepted);
            let mut newest = self.newest.lock().expect("no panic");
            (0..HOT).for_each(|n| _ = newest.insert(n, round));
            drop(newest);
            let at = HOT + (round as usize * 37) % (documents - HOT);
            let merged = client
                .put(&format!("/indexes/{INDEX}/documents"), &json!([{ "id": format!("d{at}"), "merged": round }]));
            assert_eq!(merged.status, 202, "{}", merged.text);
            let at = HOT + (round as usize * 53) % (documents - HOT);
            assert_eq!(client.delete(&format!("/indexes/{INDEX}/documents/d{at}")).status, 202);
            if round % 5 == 0 {
                let n = HOT + (round as usize * 71) % (documents - HOT);
                let filter = json!({ "filter": format!("n = {n}") });
                assert_eq!(client.post(&format!("/indexes/{INDEX}/documents/delete"), &filter).status, 202);
            }
            let new: Vec<Value> = (0..5).map(|i| document(documents + round as usize * 5 + i, 1)).collect();
            assert_eq!(client.add(INDEX, &json!(new)).status, 202);
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// No document is ever older than it was.
    fn read(&self, client: &Client) {
        for n in (0..HOT).cycle() {
            if self.stopped() {
                return;
            }
            let before = self.newest.lock().expect("no panic").get(&n).copied().unwrap_or(1);
            let answer = client.get(&format!("/indexes/{INDEX}/documents/d{n}"));
            assert_eq!(answer.status, 200, "{}", answer.text);
            let version = answer.body["version"].as_u64().unwrap_or(0);
            assert!(version >= before, "d{n} was at version {before} and is at {version}");
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether so many more requests of each kind went through.
    fn past(&self, more: usize) -> bool {
        let (writes, reads) = (self.writes.load(Ordering::Relaxed), self.reads.load(Ordering::Relaxed));
        miroir_tests::wait::poll(BOUND, || {
            let done = self.writes.load(Ordering::Relaxed) >= writes + more
                && self.reads.load(Ordering::Relaxed) >= reads + more;
            done.then_some(())
        })
        .is_some()
    }
}

/// Have clients read and write while something is done.
fn in_traffic<T>(clients: &[Client], documents: usize, work: impl FnOnce(&Traffic) -> T) -> T {
    let traffic = Traffic::default();
    std::thread::scope(|scope| {
        let at_last = AtLast(&traffic.stop);
        let traffic = &traffic;
        let mut threads = Vec::new();
        for (number, client) in clients.iter().enumerate() {
            if number == 0 {
                threads.push(scope.spawn(move || traffic.write(client, documents)));
            }
            threads.push(scope.spawn(move || traffic.read(client)));
        }
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(traffic)));
        drop(at_last);
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        worked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn wait_for_state(cluster: &Cluster, node: usize, states: &[&str]) {
    eventually(&format!("node {node} is one of {states:?}"), BOUND, || {
        states.contains(&cluster.node_state(node).as_str()).then_some(())
    });
}

#[test]
fn a_node_that_was_away_is_healed_while_clients_read_and_write() {
    let documents = size();
    let mut cluster = builder().start();
    let client = cluster.client();
    prepare(&client, documents);
    let cluster_ref = &mut cluster;
    in_traffic(&[client.clone(), client.clone()], documents, |traffic| {
        assert!(traffic.past(2));
        cluster_ref.kill_node(1);
        wait_for_state(cluster_ref, 1, &["failed"]);
        assert!(traffic.past(10), "writes are accepted without it");
        assert!(stale(&cluster_ref.admin()) > 0);
        cluster_ref.restart_node(1);
        // Clients write all the time, and it comes to an end all the same.
        healed(cluster_ref, 0);
        assert!(traffic.past(3));
    });
    client.all_ended(BOUND);
    healed(&cluster, 0);
    let all = assert_equal_replicas(&cluster, 2);
    assert_eq!(client.count(INDEX), all.len() as u64);
    let metrics = cluster.metrics().get("/metrics").expect(200).text;
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default()
    };
    assert!(value("miroir_replicas_healed_total") > 0.0, "{metrics}");
    assert!(value("miroir_rebalance_documents_migrated_total") > 0.0, "{metrics}");
    assert_eq!(value("miroir_stale_replicas"), 0.0);
}

#[test]
fn a_node_with_an_empty_disk_is_found_out_before_it_serves_and_filled() {
    let documents = size();
    let mut cluster = builder().start();
    let client = cluster.client();
    prepare(&client, documents);
    client.load("other", &json!([{ "id": 1 }]));
    let before = assert_equal_replicas(&cluster, 2);
    // Nobody writes: nothing was missed, and everything is lost.
    cluster.kill_node(2);
    wait_for_state(&cluster, 2, &["failed"]);
    cluster.node(2).wipe();
    assert_eq!(stale(&cluster.admin()), 0);
    let (stop, total) = (AtomicBool::new(false), before.len());
    std::thread::scope(|scope| {
        let at_last = AtLast(&stop);
        let (client, stop) = (&client, &stop);
        let searcher = scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let found = client.search(INDEX, &json!({ "q": "lasting", "hitsPerPage": 1 })).expect(200);
                assert_eq!(found.body["totalHits"], total, "{}", found.text);
                assert_eq!(found.header("x-miroir-degraded"), None);
            }
        });
        cluster.restart_node(2);
        let healed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for_state(&cluster, 2, &["recovering", "healthy"]);
            healed(&cluster, 0);
        }));
        drop(at_last);
        searcher.join().expect("every search is whole");
        healed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert_eq!(assert_equal_replicas(&cluster, 2), before);
    // It has the settings, too.
    let settings = |node: usize| cluster.node_client(node).get(&format!("/indexes/{INDEX}/settings")).expect(200).body;
    eventually("it holds the settings", BOUND, || (settings(2) == settings(0)).then_some(()));
    let log = cluster.proxy_log();
    assert!(log.contains("an index is made anew on a node"), "{log}");
}

#[test]
fn a_node_with_a_disk_of_before_is_found_out_and_healed() {
    let documents = size();
    let mut cluster = builder().start();
    let client = cluster.client();
    prepare(&client, documents);
    cluster.kill_node(0);
    cluster.node(0).keep_disk();
    cluster.restart_node(0);
    healed(&cluster, 0);
    // The same number of documents, with other contents: by counting alone nobody would know.
    let newer: Vec<Value> = (0..200).map(|n| document(n, 7)).collect();
    client.load(INDEX, &json!(newer));
    client.configure(INDEX, &json!({ "synonyms": { "thing": ["object"] } }));
    cluster.kill_node(0);
    cluster.node(0).restore_disk();
    cluster.restart_node(0);
    let marked = || cluster.metrics().get("/metrics").expect(200).text;
    eventually("it is found out", BOUND, || {
        let text = marked();
        let line = text.lines().find(|line| line.starts_with("miroir_returned_stale_replicas_total"))?;
        (line.rsplit(' ').next()? != "0").then_some(())
    });
    for n in (0..200).step_by(20) {
        let read = client.get(&format!("/indexes/{INDEX}/documents/d{n}")).expect(200);
        assert_eq!(read.body["version"], 7);
    }
    healed(&cluster, 0);
    let all = assert_equal_replicas(&cluster, 2);
    assert_eq!(all.len(), documents);
    assert_eq!(all["d5"]["version"], 7);
    let synonyms = || cluster.node_client(0).get(&format!("/indexes/{INDEX}/settings/synonyms")).expect(200).body;
    eventually("it holds the settings", BOUND, || (synonyms() == json!({ "thing": ["object"] })).then_some(()));
    // It goes on as any other node, and is not taken for a stranger again.
    client.load(INDEX, &json!([document(1, 8)]));
    cluster.restart_proxy();
    healed(&cluster, 0);
    assert_eq!(assert_equal_replicas(&cluster, 2)["d1"]["version"], 8);
}

#[test]
fn a_disk_that_is_exchanged_between_two_checks_is_found_out_by_the_tasks_of_the_node() {
    // Nothing but the load of documents asks the node for anything while it is away.
    let builder = builder().set("anti_entropy.enabled", json!(false)).set("health.interval_ms", json!(3000));
    let mut cluster = builder.set("health.unhealthy_threshold", json!(1000)).start();
    let client = cluster.client();
    prepare(&client, 300);
    cluster.kill_node(0);
    cluster.node(0).keep_disk();
    cluster.restart_node(0);
    for version in 2..5 {
        client.load(INDEX, &json!((0..300).map(|n| document(n, version)).collect::<Vec<_>>()));
    }
    cluster.kill_node(0);
    cluster.node(0).restore_disk();
    cluster.restart_node(0);
    // Of every shard; it may be the first to ask the node for anything.
    client.load(INDEX, &json!((0..100).map(|n| document(n, 5)).collect::<Vec<_>>()));
    eventually("it is found out", BOUND, || {
        let text = cluster.metrics().get("/metrics").expect(200).text;
        let line = text.lines().find(|line| line.starts_with("miroir_returned_stale_replicas_total"))?;
        (line.rsplit(' ').next()? != "0").then_some(())
    });
    healed(&cluster, 0);
    let all = assert_equal_replicas(&cluster, 2);
    assert_eq!((all["d1"]["version"].as_u64(), all["d200"]["version"].as_u64()), (Some(5), Some(4)));
}

#[test]
fn answers_that_are_lost_late_or_wrong_only_take_time() {
    let documents = size().min(5000);
    let mut cluster = builder().faults().start();
    let client = cluster.client();
    prepare(&client, documents);
    cluster.kill_node(1);
    wait_for_state(&cluster, 1, &["failed"]);
    let newer: Vec<Value> = (0..documents / 2).map(|n| document(n, 3)).collect();
    client.load(INDEX, &json!(newer));
    let error = json!({ "message": "no", "code": "internal", "type": "internal", "link": "" });
    let path = format!("/indexes/{INDEX}/documents");
    let target = cluster.faults(1).clone();
    target.spoil("POST", &format!("{path}?"), 1, Fault::Swallow);
    target.spoil("POST", &format!("{path}?"), 1, Fault::Drop);
    target.spoil("POST", &format!("{path}?"), 1, Fault::Answer(503, error.clone()));
    target.spoil("POST", &format!("{path}?"), 1, Fault::Delay(Duration::from_secs(1)));
    target.spoil("POST", &format!("{path}/fetch"), 1, Fault::Trickle(Duration::from_secs(1)));
    target.spoil("GET", "/tasks?limit=1", 1, Fault::Drop);
    for node in [0, 2] {
        let source = cluster.faults(node);
        source.spoil("POST", &format!("{path}/fetch"), 1, Fault::Drop);
        source.spoil("POST", &format!("{path}/fetch"), 1, Fault::Answer(500, error.clone()));
        source.spoil("POST", &format!("{path}/fetch"), 1, Fault::Trickle(Duration::from_millis(500)));
    }
    cluster.restart_node(1);
    healed(&cluster, 0);
    assert!(target.struck() > 3, "{}", target.struck());
    target.clear();
    let all = assert_equal_replicas(&cluster, 2);
    assert_eq!((all.len(), all["d1"]["version"].as_u64()), (documents, Some(3)));
}

#[test]
fn another_instance_goes_on_when_the_one_that_heals_is_killed() {
    let documents = size();
    let mut cluster = builder()
        .instances(2)
        .set("rebalancer.documents_per_second", json!(size() / 20))
        .set("leader_election.lease_ttl_s", json!(2))
        .set("leader_election.renew_interval_s", json!(1))
        .start();
    let client = cluster.instance(0).client();
    prepare(&client, documents);
    cluster.kill_node(1);
    wait_for_state(&cluster, 1, &["failed"]);
    let newer: Vec<Value> = (0..documents / 2).map(|n| document(n, 4)).collect();
    client.load(INDEX, &json!(newer));
    cluster.restart_node(1);
    let leads = |cluster: &Cluster, instance: usize| {
        let text = cluster.instance(instance).metrics().get("/metrics").expect(200).text;
        text.lines().any(|line| line == "miroir_leader{scope=\"heal\"} 1")
    };
    let leader = eventually("somebody heals", BOUND, || [0, 1].into_iter().find(|it| leads(&cluster, *it)));
    eventually("it is half way", BOUND, || {
        let Nodes { nodes } = cluster.instance(1 - leader).admin().get("/_miroir/nodes").expect(200).read();
        let mut mirrors = nodes.iter().filter_map(|node| node.healing.as_ref()).flat_map(|healing| &healing.mirrors);
        mirrors.any(|mirror| mirror.done > 0).then_some(())
    });
    cluster.instance_mut(leader).kill();
    healed(&cluster, 1 - leader);
    let all = assert_equal_replicas(&cluster, 2);
    assert_eq!((all.len(), all["d1"]["version"].as_u64()), (documents, Some(4)));
}

#[test]
fn a_shard_is_healed_from_another_group() {
    let documents = size().min(5000);
    // One replica a shard in each of two groups.
    let mut cluster = builder().nodes(4).groups(2).rf(1).start();
    let client = cluster.client();
    prepare(&client, documents);
    cluster.kill_node(0);
    wait_for_state(&cluster, 0, &["failed"]);
    // An index that comes into being without it, and has nothing in it.
    client.done(&client.post("/indexes", &json!({ "uid": "hollow" })));
    let newer: Vec<Value> = (0..documents / 2).map(|n| document(n, 5)).collect();
    client.load(INDEX, &json!(newer));
    client.done(&client.delete(&format!("/indexes/{INDEX}/documents/d{}", documents - 1)));
    assert!(stale(&cluster.admin()) > 0);
    cluster.restart_node(0);
    healed(&cluster, 0);
    let all = assert_equal_replicas(&cluster, 2);
    assert_eq!((all.len(), all["d1"]["version"].as_u64()), (documents - 1, Some(5)));
    cluster.node_client(0).get("/indexes/hollow").expect(200);
}

#[test]
fn where_no_fresh_replica_is_left_an_operator_can_have_a_stale_one_promoted() {
    const DOCUMENTS: usize = 500;
    let mut cluster = builder().nodes(2).faults().start();
    let client = cluster.client();
    let admin = cluster.admin();
    prepare(&client, DOCUMENTS);
    cluster.kill_node(1);
    wait_for_state(&cluster, 1, &["failed"]);
    // Acknowledged by one node alone.
    client.load(INDEX, &json!([document(1, 9)]));
    let missed = stale(&admin);
    assert!(missed > 0);
    let wanted = json!({ "node": "node-1", "acceptDataLoss": true });
    let promote = |wanted: &Value| admin.post("/_miroir/stale/promote", wanted);
    let away = promote(&wanted);
    assert_eq!(away.verdict(), (409, "miroir_conflict".to_owned()), "{}", away.text);
    assert!(away.text.contains("does not answer"), "{}", away.text);

    // It is back, and cannot be healed: as long as the other one answers, nothing has to be lost.
    cluster.faults(1).spoil("POST", "/documents?", usize::MAX, Fault::Answer(503, json!({})));
    cluster.restart_node(1);
    wait_for_state(&cluster, 1, &["recovering"]);
    let refused = promote(&wanted);
    assert_eq!(refused.verdict(), (409, "miroir_conflict".to_owned()), "{}", refused.text);
    assert!(refused.text.contains("`node-0` has a fresh replica"), "{}", refused.text);
    cluster.kill_node(0);
    wait_for_state(&cluster, 0, &["failed"]);
    cluster.faults(1).clear();

    assert_eq!(client.add(INDEX, &json!([document(1, 10)])).verdict(), (503, "miroir_no_quorum".to_owned()));
    for (wrong, status, named) in [
        (json!({ "node": "node-1" }), 400, "acceptDataLoss"),
        (json!({ "node": "node-7", "acceptDataLoss": true }), 404, "node-7"),
        (json!({ "node": "node-1", "index": "nothing", "acceptDataLoss": true }), 404, "nothing"),
        (json!({ "node": "node-1", "index": INDEX, "shards": [99], "acceptDataLoss": true }), 409, "99"),
    ] {
        let answer = promote(&wrong);
        assert_eq!(answer.status, status, "{}", answer.text);
        assert!(answer.text.contains(named), "{}", answer.text);
    }
    assert_eq!(stale(&admin), missed);

    let ctl = |arguments: &[&str]| ctl::run(&cluster.address(), config::ADMIN_KEY, arguments);
    assert_eq!(ctl(&["stale", "promote", "node-1"]).code, Some(2));
    let promoted = ctl(&["stale", "promote", "node-1", "--accept-data-loss"]);
    assert_eq!(promoted.code, Some(0), "{promoted:?}");
    assert!(promoted.out.contains("promoted") && promoted.out.contains("node-0"), "{promoted:?}");
    let search = client.search(INDEX, &json!({ "q": "", "hitsPerPage": 1 })).expect(200);
    assert_eq!((&search.body["totalHits"], search.header("x-miroir-degraded")), (&json!(DOCUMENTS), None));
    let path = format!("/indexes/{INDEX}/documents/d1");
    // A write that was refused may have been taken by the stale replica, and be done by now or later.
    let version = client.get(&path).body["version"].as_u64();
    assert!([Some(1), Some(10)].contains(&version), "what one node alone had is lost: {version:?}");
    client.load(INDEX, &json!([document(2, 11)]));
    assert_eq!(promote(&wanted).status, 409, "there is nothing left to promote");

    // Who held more is made equal.
    cluster.restart_node(0);
    healed(&cluster, 0);
    let all = assert_equal_replicas(&cluster, 2);
    let version = all["d1"]["version"].as_u64();
    assert!([Some(1), Some(10)].contains(&version), "{version:?}");
    assert_eq!((all.len(), all["d2"]["version"].as_u64()), (DOCUMENTS, Some(11)));
}
