//! How fast a replica is filled beside a plain copy between two nodes, what clients notice of it, and how much memory a
//! clean comparison of replicas needs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use miroir_tests::{AtLast, Client, Cluster, Node, dataset, eventually, usage};

use crate::options::Options;
use crate::report::Report;

const INDEX: &str = "healing";
const BATCH: usize = 5000;
const PAGE: usize = 1000;
const BOUND: Duration = Duration::from_secs(3600);
/// Searches a second while a node is filled.
const RATE: u32 = 40;
/// For so long before it is.
const BEFORE: Duration = Duration::from_secs(15);
/// Documents whose stamps vouch for them.
const OLD: Duration = Duration::from_secs(70);

fn load(client: &Client, documents: usize) {
    client.create(INDEX, "id");
    client.configure(INDEX, &json!({ "filterableAttributes": ["year"], "searchableAttributes": ["title", "text"] }));
    let sample = dataset::documents(4000, 5);
    let all: Vec<usize> = (0..documents).collect();
    for part in all.chunks(BATCH) {
        let batch: Vec<Value> = part
            .iter()
            .map(|id| {
                let mut document = sample[id % sample.len()].clone();
                document["id"] = (*id).into();
                document
            })
            .collect();
        let body = dataset::ndjson(&batch);
        let headers = [("content-type", "application/x-ndjson")];
        client.done(&client.send("POST", &format!("/indexes/{INDEX}/documents"), Some(body.as_bytes()), &headers));
    }
}

/// All documents of one node to another that is empty, page by page, as anybody would write it. Returns seconds.
fn plain_copy(from: &Client, to: &Client) -> (usize, f64) {
    let settings = from.get(&format!("/indexes/{INDEX}/settings")).expect(200).body;
    to.create(INDEX, "id");
    to.done(&to.patch(&format!("/indexes/{INDEX}/settings"), &settings));
    let (start, mut copied, mut last) = (Instant::now(), 0, None);
    loop {
        let body = json!({ "offset": copied, "limit": PAGE, "retrieveVectors": true });
        let page = from.post(&format!("/indexes/{INDEX}/documents/fetch"), &body).expect(200).body["results"].take();
        let documents = page.as_array().map_or(0, Vec::len);
        if documents == 0 {
            break;
        }
        copied += documents;
        last = Some(to.add(INDEX, &page));
    }
    if let Some(last) = last {
        to.done(&last);
    }
    (copied, start.elapsed().as_secs_f64())
}

/// Searches at a fixed rate until told to stop; milliseconds each.
fn searches(client: &Client, stop: &AtomicBool) -> Vec<f64> {
    let words = ["lorem", "film", "the", "night", "sea"];
    let (begun, mut times) = (Instant::now(), Vec::new());
    for n in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let due = begun + Duration::from_secs(1) * n / RATE;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let word = words[n as usize % words.len()];
        client.search(INDEX, &json!({ "q": format!("{word} {}", n % 50) })).expect(200);
        // Since it was due: one that had to wait for the one before is late.
        times.push(due.elapsed().as_secs_f64() * 1000.0);
    }
    times
}

/// The times of searches while this is done, and what it gives.
fn searching_beside<T>(client: &Client, act: impl FnOnce() -> T) -> (T, Vec<f64>) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let at_last = AtLast(&stop);
        let searching = scope.spawn(|| searches(client, &stop));
        let given = act();
        drop(at_last);
        (given, searching.join().unwrap_or_default())
    })
}

fn p99(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get((times.len() * 99 / 100).min(times.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

fn healed(cluster: &Cluster) -> bool {
    let stale = cluster.admin().get("/_miroir/stale").expect(200).body["stale"].as_array().map_or(0, Vec::len);
    stale == 0 && cluster.node_state(1) == "healthy"
}

/// A node of two comes back with an empty disk. Returns seconds from being written to again until all of it is fresh, and
/// the times of searches meanwhile, if there are any.
fn fill(cluster: &mut Cluster, searching: bool) -> (f64, Vec<f64>) {
    cluster.kill_node(1);
    eventually("the node is missed", BOUND, || (cluster.node_state(1) == "failed").then_some(()));
    cluster.nodes()[1].wipe();
    cluster.restart_node(1);
    eventually("the node is written to", BOUND, || (cluster.node_state(1) == "recovering").then_some(()));
    let begun = Instant::now();
    let filled = || {
        eventually("the node is filled", BOUND, || healed(cluster).then_some(()));
        begun.elapsed().as_secs_f64()
    };
    if searching { searching_beside(&cluster.client(), filled) } else { (filled(), Vec::new()) }
}

/// Bytes that the orchestrator needs at most while a pass finds nothing.
fn memory_of_a_pass(cluster: &Cluster) -> (u64, u64, f64) {
    let before = usage::forget_peak(cluster.proxy_pid());
    let begun = Instant::now();
    let number =
        cluster.admin().post("/_miroir/anti-entropy/run", &json!({ "deep": false })).expect(202).body["number"].clone();
    let status = eventually("replicas are compared", BOUND, || {
        let status = cluster.admin().get("/_miroir/anti-entropy/status").expect(200).body;
        (status["pass"]["number"] == number && status["finished"] == true).then_some(status)
    });
    let mismatches = status["instances"][0]["found"]["mismatches"].as_u64();
    assert_eq!(mismatches, Some(0), "{status}");
    (before, usage::peak_memory(cluster.proxy_pid()), begun.elapsed().as_secs_f64())
}

/// Two nodes with everything, one of which has to be filled.
pub fn measure(options: &Options, report: &mut Report) {
    let documents = options.healing_documents;
    let mut cluster = Cluster::builder().nodes(2).rf(2).shards(8).start();
    load(&cluster.client(), documents);
    let loaded = Instant::now();

    let (before, held, seconds) = memory_of_a_pass(&cluster);
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    report.row(
        format!("peak memory of the orchestrator for a clean comparison of 2 replicas of {documents} documents"),
        format!("{:.2} of the bound", megabytes(held.saturating_sub(before)) / 100.0),
        "under 100 MB",
        format!("{:.0} MB, {:.0} MB before; {seconds:.1} s", megabytes(held), megabytes(before)),
    );

    let client = cluster.client();
    let ((), times_before) = searching_beside(&client, || std::thread::sleep(BEFORE));
    let quiet = p99(times_before);
    // Most documents of most indexes are older than that, and compared by their stamps alone.
    std::thread::sleep(OLD.saturating_sub(loaded.elapsed()));
    let (seconds, _) = fill(&mut cluster, false);
    let (beside_clients, times) = fill(&mut cluster, true);
    let target = Node::single();
    let (copied, plain) = plain_copy(&cluster.node_client(0), &target.client());
    assert_eq!(copied, documents, "every document is on each of two nodes");
    // What clients notice of that, on the same cores.
    let target = Node::single();
    let (_, times_beside) = searching_beside(&client, || plain_copy(&cluster.node_client(0), &target.client()));
    let beside_plain = p99(times_beside);
    report.row(
        "filling an empty replica, throughput against a plain copy between two nodes",
        format!("{:.2}x", plain / seconds),
        "at least 0.7x",
        format!("{:.0} documents a second, {:.0} plainly", documents as f64 / seconds, documents as f64 / plain),
    );
    let busy = p99(times);
    report.row(
        format!("search latency p99 at {RATE} a second while a node is filled, against before"),
        format!("{:.2}x", busy / quiet),
        "at most 1.5x",
        format!(
            "{busy:.1} ms, {quiet:.1} ms before, {beside_plain:.1} ms beside a plain copy; {:.0} documents a second",
            documents as f64 / beside_clients
        ),
    );
}
