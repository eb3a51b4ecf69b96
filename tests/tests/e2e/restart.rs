//! The orchestrator is killed while clients write: nothing that was acknowledged is lost, nothing is there twice.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use miroir_tests::replicas::{assert_alike, differences_become_known};
use miroir_tests::{AtLast, Client, Cluster, wait};

const WRITERS: usize = 20;
const BATCH: usize = 3;
const BOUND: Duration = Duration::from_secs(60);

/// What one client was answered with 202: the task's number and the first document's number.
type Acknowledged = Vec<(u64, usize)>;

/// Every document is written again and again.
const IDS: usize = 3 * BATCH;

fn id(writer: usize, i: usize) -> String {
    format!("w{writer}-{}", i % IDS)
}

fn batch(writer: usize, from: usize) -> Value {
    (from..from + BATCH)
        .map(|i| json!({ "id": id(writer, i), "version": i, "title": format!("document {i} of writer {writer}") }))
        .collect()
}

/// Writes until the connection breaks or it is told to stop.
fn write(client: &Client, writer: usize, stop: &AtomicBool, acknowledged: &AtomicUsize) -> Acknowledged {
    let mut told = Vec::new();
    for from in (0..).step_by(BATCH) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = batch(writer, from).to_string();
        let headers = [("content-type", "application/json")];
        let answer = client.try_send("POST", "/indexes/ledger/documents", Some(body.as_bytes()), &headers);
        let Ok(answer) = answer else { break };
        // A stopping orchestrator may refuse; what matters is what it accepts.
        if answer.status != 202 {
            break;
        }
        let Some(uid) = answer.body["taskUid"].as_u64() else { panic!("no task number: {}", answer.text) };
        told.push((uid, from));
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    told
}

/// Lets twenty clients write, calls `end` once `enough` writes were acknowledged, and returns what each was told.
fn traffic(client: &Client, enough: usize, end: impl FnOnce()) -> Vec<Acknowledged> {
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let at_last = AtLast(&stop);
        let (stop, acknowledged) = (&stop, &acknowledged);
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || write(client, writer, stop, acknowledged))).collect();
        let reached =
            wait::poll(Duration::from_secs(30), || (acknowledged.load(Ordering::Relaxed) >= enough).then_some(()));
        end();
        drop(at_last);
        let told =
            writers.into_iter().map(|writer| writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let told: Vec<Acknowledged> = told.collect();
        assert!(reached.is_some(), "only {} writes were acknowledged", acknowledged.load(Ordering::Relaxed));
        told
    })
}

#[track_caller]
fn assert_nothing_lost(cluster: &Cluster, told: &[Acknowledged]) {
    let client = cluster.client();
    let mut tasks = BTreeSet::new();
    for (writer, acknowledged) in told.iter().enumerate() {
        let numbers: Vec<u64> = acknowledged.iter().map(|(uid, _)| *uid).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "writer {writer} was given {numbers:?}");
        for uid in numbers {
            assert!(tasks.insert(uid), "task {uid} was given twice");
            let task = client.task(uid);
            assert_eq!(task["status"], "succeeded", "{task}");
            assert_eq!(task["details"]["receivedDocuments"], BATCH, "{task}");
        }
    }
    // A write that was under way when the orchestrator died may have reached some replicas only.
    differences_become_known(cluster, 0, "ledger", BOUND);
    wait::eventually("everything is healed", BOUND, || cluster.stale(0).is_empty().then_some(()));
    let nodes: Vec<usize> = (0..cluster.nodes().len()).collect();
    let copies = if nodes.len() == 3 { 2 } else { 1 };
    let (found, _) = assert_alike(cluster, &nodes, "ledger", copies);
    for (writer, acknowledged) in told.iter().enumerate() {
        for i in acknowledged.iter().flat_map(|(_, from)| *from..from + BATCH) {
            let version = found.get(&id(writer, i)).and_then(|document| document["version"].as_u64());
            // Or what was under way, and was not acknowledged.
            assert!(version >= Some(i as u64), "{} of writer {writer} is lost: it is {version:?}", i);
        }
    }
    let listed: Vec<String> =
        client.documents("ledger").iter().map(|d| d["id"].as_str().unwrap_or("?").to_owned()).collect();
    let unique: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
    assert_eq!((unique.len(), found.len()), (listed.len(), listed.len()), "each document is listed once");
    let all = client.search("ledger", &json!({ "q": "document", "hitsPerPage": 0 })).expect(200);
    assert_eq!(all.body["totalHits"], listed.len());
}

#[test]
fn a_killed_orchestrator_forgets_nothing_it_acknowledged() {
    let mut cluster = Cluster::builder().nodes(3).rf(2).set("write.node_timeout_ms", json!(3000)).start();
    let client = cluster.client();
    client.create("ledger", "id");
    let told = traffic(&client, 150, || cluster.kill_proxy());
    cluster.restart_proxy();
    assert_nothing_lost(&cluster, &told);

    let highest = told.iter().flatten().map(|(uid, _)| *uid).max().unwrap_or(0);
    let next = client.add("ledger", &json!([{ "id": "after", "title": "the restart" }])).expect(202);
    assert!(next.body["taskUid"].as_u64().is_some_and(|uid| uid > highest), "{} after {highest}", next.text);
    client.done(&next);
    let found = client.search("ledger", &json!({ "q": "restart", "hitsPerPage": 5 })).expect(200);
    assert_eq!(found.body["totalHits"], 1, "{}", found.text);
}

#[test]
fn a_graceful_stop_exits_with_zero_and_loses_nothing() {
    let mut cluster = Cluster::builder().nodes(2).rf(1).start();
    let client = cluster.client();
    client.create("ledger", "id");
    let mut status = None;
    let told = traffic(&client, 60, || status = cluster.terminate_proxy(Duration::from_secs(20)));
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", cluster.proxy_log());
    cluster.restart_proxy();
    assert_nothing_lost(&cluster, &told);
}

#[test]
fn the_catalog_and_the_settings_survive_a_restart() {
    let mut cluster = Cluster::builder().nodes(2).rf(1).start();
    let client = cluster.client();
    client.create("kept", "id");
    client.configure("kept", &json!({ "sortableAttributes": ["n"] }));
    client.create("passing", "id");
    client.done(&client.delete("/indexes/passing"));
    let before =
        (client.get("/indexes/kept").text, client.get("/indexes/kept/settings").text, client.get("/tasks").text);
    cluster.kill_proxy();
    cluster.restart_proxy();
    let after =
        (client.get("/indexes/kept").text, client.get("/indexes/kept/settings").text, client.get("/tasks").text);
    assert_eq!(before, after);
    assert_eq!(client.get("/indexes/passing").verdict(), (404, "index_not_found".to_owned()));
}

#[test]
fn on_a_full_disk_nothing_is_acknowledged_and_searches_go_on() {
    let cluster = Cluster::builder().nodes(2).rf(1).disk(4 << 20).start();
    let client = cluster.client();
    client.load("kept", &json!([{ "id": 1, "title": "Alien" }]));
    let filler = cluster.instance(0).sees(&cluster.store_file().with_file_name("filler"));
    if !filler.parent().is_some_and(is_small) {
        eprintln!("skipped: nothing can be mounted here; the store's own tests fill a file up");
        return;
    }
    fill(&filler);
    // What is left in the store's own files is used up first.
    let told = wait::eventually("the disk is full", Duration::from_secs(60), || {
        let answer = client.add("kept", &json!([{ "id": 2, "title": "x".repeat(1000) }]));
        (answer.status != 202).then_some(answer)
    });
    assert_eq!(told.verdict(), (503, "miroir_store_unavailable".to_owned()), "{}", told.text);
    let refused = client.post("/indexes", &json!({ "uid": "refused", "primaryKey": "id" }));
    assert_eq!(refused.verdict(), (503, "miroir_store_unavailable".to_owned()), "{}", refused.text);
    let before = client.get("/tasks?limit=1").expect(200).body["total"].clone();
    assert_eq!(client.search("kept", &json!({ "q": "alien" })).expect(200).body["hits"][0]["id"], 1);
    assert!(cluster.proxy_log().contains("full"), "the log says why:\n{}", cluster.proxy_log());

    std::fs::remove_file(&filler).expect("the filler can be removed");
    let accepted = wait::eventually("writes are taken again", Duration::from_secs(60), || {
        let answer = client.add("kept", &json!([{ "id": 3, "title": "Aliens" }]));
        (answer.status == 202).then_some(answer)
    });
    client.done(&accepted);
    assert_eq!(client.get("/indexes/refused").verdict(), (404, "index_not_found".to_owned()));
    let after = client.get("/tasks?limit=1").expect(200).body["total"].clone();
    assert_eq!(after.as_u64(), before.as_u64().map(|before| before + 1), "one more task, and no other");
}

/// Whether a directory is a disk of its own.
fn is_small(directory: &Path) -> bool {
    let device = |path: &Path| path.metadata().map(|meta| meta.dev()).ok();
    directory.parent().is_some_and(|above| device(directory) != device(above))
}

/// Write a file until nothing more goes onto its disk.
fn fill(file: &Path) {
    let mut file = File::create(file).expect("a file");
    for size in [4096, 64, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}
