//! Nodes and groups come and go while clients read and write: nothing is lost, searches stay complete, and no more moves
//! than has to.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use miroir_api::ChangeKind;
use miroir_tests::client::TASK_BOUND;
use miroir_tests::config::ADMIN_KEY;
use miroir_tests::replicas::assert_equal;
use miroir_tests::{AtLast, Client, Cluster, Ledger, binaries, dataset, eventually, moves};

/// Documents that are there before anything moves.
fn size() -> usize {
    dataset::size(5000)
}

fn load(client: &Client, index: &str, documents: &[Value]) {
    client.create(index, "id");
    for part in documents.chunks(2500) {
        client.load(index, &Value::from(part.to_vec()));
    }
}

/// Searches an index that nobody writes to; every answer is whole.
fn search_until(clients: &[Client], documents: usize, stop: &AtomicBool, answered: &AtomicUsize) {
    let searches = [
        json!({ "q": "", "hitsPerPage": 100, "page": 2, "attributesToRetrieve": ["id"] }),
        json!({ "q": "", "limit": 1000, "attributesToRetrieve": ["id"] }),
    ];
    for (n, search) in searches.iter().cycle().enumerate() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok(answer) = clients[n % clients.len()].try_send(
            "POST",
            "/indexes/steady/search",
            Some(search.to_string().as_bytes()),
            &[("content-type", "application/json")],
        ) else {
            // The instance was killed.
            continue;
        };
        assert_eq!(answer.status, 200, "{search}: {}", answer.text);
        assert_eq!(answer.header("x-miroir-degraded"), None, "{search}");
        let total = answer.body["totalHits"].as_u64().or(answer.body["estimatedTotalHits"].as_u64());
        assert_eq!(total, Some(documents as u64), "{search}");
        let hits = answer.body["hits"].as_array().cloned().unwrap_or_default();
        let ids: BTreeSet<String> = hits.iter().map(|hit| hit["id"].to_string()).collect();
        assert_eq!(ids.len(), hits.len(), "a document twice: {search}");
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Clients write to `ledger` and search `steady` while `change` goes on. Afterwards both are as they must be.
fn under_traffic(clients: &[Client], ledger: &Ledger, steady: usize, change: impl FnOnce()) {
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let at_last = (ledger.writing(), AtLast(&stop));
        let (stop, answered) = (&stop, &answered);
        let mut threads = vec![scope.spawn(move || search_until(clients, steady, stop, answered))];
        threads.extend((0..3).map(|writer| scope.spawn(move || ledger.write(clients, "ledger", writer))));
        ledger.progress(10);
        change();
        drop(at_last);
        for thread in threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    assert!(answered.load(Ordering::Relaxed) > 10, "searches were answered");
    assert_eq!(ledger.refused(), Vec::<String>::new());
}

/// Nothing is stale, and every node holds what the topology says.
#[track_caller]
fn assert_whole(cluster: &Cluster) {
    assert_eq!(cluster.stale(0), []);
}

fn prepared(cluster: &Cluster) -> (Ledger, Vec<Value>) {
    let client = cluster.client();
    let documents = dataset::documents(size(), 7);
    load(&client, "steady", &documents);
    let ledger = Ledger::default();
    Ledger::prepare(&client, "ledger");
    (ledger, documents)
}

#[test]
fn a_fourth_node_joins_and_leaves_again() {
    let mut cluster = Cluster::builder().set("write.node_timeout_ms", json!(5000)).start();
    let (ledger, documents) = prepared(&cluster);
    let (client, admin) = (cluster.client(), cluster.admin());
    let joining = cluster.spare();
    under_traffic(std::slice::from_ref(&client), &ledger, documents.len(), || {
        let last = moves::done(&admin, &moves::add(&cluster, joining, 0));
        let share = 16 * 2 / 4;
        assert_eq!(last.replicas, share, "{last:?}");
        let held = moves::replicas(&admin);
        assert!(held.iter().all(|(_, replicas)| *replicas == share), "{held:?}");
        // An index made after the node has joined, and one of another number of documents per shard.
        client.load("late", &json!([{ "id": 1 }, { "id": 2 }]));
        ledger.progress(20);
    });
    let known = ledger.settle(&client);
    assert_whole(&cluster);
    assert_equal(&cluster, &[0, 1, 2, 3], "ledger", 2, &known);
    let steady = Ledger::default();
    steady.knows(&documents);
    let held = assert_equal(&cluster, &[0, 1, 2, 3], "steady", 2, &steady.settle(&client));
    let quarter = 2 * documents.len() / 4;
    assert!(held[joining] * 10 <= quarter * 11, "{held:?}: at most a tenth more than {quarter}");

    let ledger = Ledger::default();
    ledger.knows(&known.0.into_values().collect::<Vec<_>>());
    under_traffic(std::slice::from_ref(&client), &ledger, documents.len(), || {
        moves::done(&admin, &moves::ask(&admin, "nodes/node-3/drain"));
        let held = moves::replicas(&admin);
        assert_eq!(held.iter().map(|(_, replicas)| *replicas).min(), Some(0), "{held:?}");
        assert!(held.iter().filter(|(_, replicas)| *replicas > 0).all(|(_, replicas)| (10..=11).contains(replicas)));
    });
    let known = ledger.settle(&client);
    assert_whole(&cluster);
    let held = assert_equal(&cluster, &[0, 1, 2, 3], "ledger", 2, &known);
    assert_eq!(held[joining], 0, "a drained node holds nothing");
    moves::done(&admin, &admin.delete("/_miroir/nodes/node-3"));
    assert_eq!(moves::replicas(&admin).len(), 3);
    let left = cluster.node_client(joining).get("/indexes").expect(200);
    assert_eq!(left.body["total"], 0, "it may join again: {}", left.text);
    assert_equal(&cluster, &[0, 1, 2], "steady", 2, &steady.settle(&client));
}

#[test]
fn a_second_group_is_filled_and_removed() {
    let mut cluster = Cluster::builder().rf(1).start();
    let (ledger, documents) = prepared(&cluster);
    let (client, admin) = (cluster.client(), cluster.admin());
    let (a, b) = (cluster.spare(), cluster.spare());
    let group = json!({ "nodes": [
        { "id": "node-3", "address": cluster.node_address(a) },
        { "id": "node-4", "address": cluster.node_address(b) },
    ] });
    under_traffic(std::slice::from_ref(&client), &ledger, documents.len(), || {
        let last = moves::done(&admin, &admin.post("/_miroir/groups", &group));
        assert_eq!(last.replicas, 16, "{last:?}");
        ledger.progress(20);
    });
    let known = ledger.settle(&client);
    assert_whole(&cluster);
    assert_equal(&cluster, &[0, 1, 2, 3, 4], "ledger", 2, &known);
    assert_equal(&cluster, &[a, b], "ledger", 1, &known);
    let groups = admin.get("/_miroir/topology").expect(200).body["replicaGroups"].clone();
    assert_eq!(groups, 2);

    // The first one goes: what was added later carries on alone.
    moves::done(&admin, &admin.delete("/_miroir/groups/0"));
    assert_equal(&cluster, &[a, b], "ledger", 1, &known);
    assert_eq!(client.count("steady"), documents.len() as u64);
    let refused = admin.delete("/_miroir/groups/1").expect(409);
    assert_eq!(refused.code(), "miroir_conflict", "{}", refused.text);
}

/// Runs the operators' command line; its exit code and what it printed.
fn ctl(cluster: &Cluster, arguments: &[&str]) -> (Option<i32>, String, String) {
    let binary = binaries::ctl().unwrap_or_else(|error| panic!("{error:#}"));
    let output = Command::new(binary)
        .args(["--url", &cluster.address()])
        .args(arguments)
        .env("MIROIR_ADMIN_API_KEY", ADMIN_KEY)
        .output()
        .unwrap_or_else(|error| panic!("miroir-ctl: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn operators_grow_and_shrink_a_cluster_by_command() {
    let mut cluster = Cluster::builder().nodes(2).rf(1).shards(4).start();
    let client = cluster.client();
    client.load("movies", &(0..200).map(|id| json!({ "id": id })).collect());
    let spare = cluster.spare();
    let address = cluster.node_address(spare);
    let (code, out, err) = ctl(&cluster, &["node", "add", "node-2", &address, "--wait"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.starts_with("done: add node node-2 to group 0, 1 replicas moved"), "{out}");
    let (_, out, _) = ctl(&cluster, &["node", "list"]);
    assert!(out.lines().any(|line| line.starts_with("node-2") && line.contains(&address)), "{out}");
    let (code, out, _) = ctl(&cluster, &["rebalance", "status"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("none") && out.contains("add node node-2"), "{out}");
    let (code, _, err) = ctl(&cluster, &["node", "add", "node-2", &address]);
    assert_eq!(code, Some(1));
    assert!(err.contains("There is a node `node-2` already.") && err.contains("miroir_conflict"), "{err}");
    let (code, out, err) = ctl(&cluster, &["node", "drain", "node-2", "--wait"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let (_, out, _) = ctl(&cluster, &["node", "list"]);
    assert!(out.contains("healthy, drained"), "{out}");
    let (code, out, err) = ctl(&cluster, &["node", "undrain", "node-2", "--wait", "--output", "json"]);
    let last: Value = serde_json::from_str(&out).unwrap_or_default();
    assert_eq!((code, last["canceled"].as_bool()), (Some(0), Some(false)), "{out}{err}");
    let (code, out, err) = ctl(&cluster, &["node", "remove", "node-2", "--wait"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let (code, _, err) = ctl(&cluster, &["rebalance", "pause"]);
    assert!(code == Some(1) && err.contains("No change of the cluster is under way."), "{err}");
    let (code, out, err) = ctl(&cluster, &["rebalance", "start", "--wait"]);
    assert!(code == Some(0) && out.contains("0 replicas moved"), "{out}{err}");
    let (code, _, _) = ctl(&cluster, &["node", "add", "a/b", &address]);
    assert_eq!(code, Some(2));
    assert_eq!(client.count("movies"), 200);
}

#[test]
fn a_node_that_stays_away_is_replaced() {
    let mut cluster = Cluster::builder().set("rebalancer.replace_after_s", json!(1)).start();
    let client = cluster.client();
    let documents = dataset::documents(500, 3);
    load(&client, "steady", &documents);
    cluster.kill_node(1);
    let admin = cluster.admin();
    let last = eventually("the node is drained", moves::move_bound(), || {
        moves::last(&admin).filter(|last| last.change.kind == ChangeKind::DrainNode)
    });
    assert_eq!((last.change.node.as_deref(), last.canceled), (Some("node-1"), false));
    let known = Ledger::default();
    known.knows(&documents);
    assert_equal(&cluster, &[0, 2], "steady", 2, &known.settle(&client));
    assert_whole(&cluster);

    // When it is back it holds nothing that would be read, and takes its share again when it is asked to.
    cluster.restart_node(1);
    eventually("it is back", TASK_BOUND, || (cluster.node_state(1) == "healthy").then_some(()));
    moves::done(&admin, &moves::ask(&admin, "nodes/node-1/undrain"));
    assert_equal(&cluster, &[0, 1, 2], "steady", 2, &known.settle(&client));
}
