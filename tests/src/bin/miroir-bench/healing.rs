//! How fast a replica is filled beside a plain copy between two nodes, and what clients notice of it.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use miroir_tests::{AtLast, Client, Cluster, Node, eventually};

use crate::catalogue::{INDEX, load};
use crate::options::Options;
use crate::report::Report;

const PAGE: usize = 1000;
const BOUND: Duration = Duration::from_secs(3600);
/// Searches a second while a node is filled.
const RATE: u32 = 40;
/// For so long before it is.
const BEFORE: Duration = Duration::from_secs(15);
/// The age from which versions of documents can be in the verified-version cache.
const OLD: Duration = Duration::from_secs(70);

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
    cluster.stale(0).is_empty() && cluster.node_state(1) == "healthy"
}

/// What a node that is filled may have of the cores that it shares with all others.
#[derive(Clone, Copy)]
enum Cores {
    /// As much as anybody else.
    Shared,
    /// What others leave: nearly as if it had a machine of its own.
    Left,
}

impl Cores {
    fn give(self, node: &Node) {
        if matches!(self, Self::Left) {
            let arguments = ["--all-tasks", "--idle", "--pid", "0", &node.pid().to_string()];
            let status = Command::new("chrt").args(arguments).status();
            assert!(status.is_ok_and(|status| status.success()), "chrt of util-linux is needed");
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Shared => ", on the same cores",
            Self::Left => ", on what others leave of the cores",
        }
    }
}

/// A node of two comes back with an empty disk. Returns seconds from being written to again until all of it is fresh, and
/// the times of searches meanwhile, if there are any.
fn fill(cluster: &mut Cluster, cores: Cores, searching: bool) -> (f64, Vec<f64>) {
    cluster.kill_node(1);
    eventually("the node is missed", BOUND, || (cluster.node_state(1) == "failed").then_some(()));
    cluster.nodes()[1].wipe();
    cluster.restart_node(1);
    cores.give(&cluster.nodes()[1]);
    eventually("the node is written to", BOUND, || (cluster.node_state(1) == "recovering").then_some(()));
    let begun = Instant::now();
    let filled = || {
        eventually("the node is filled", BOUND, || healed(cluster).then_some(()));
        begun.elapsed().as_secs_f64()
    };
    if searching { searching_beside(&cluster.client(), filled) } else { (filled(), Vec::new()) }
}

/// Two nodes with everything, one of which has to be filled.
pub fn measure(options: &Options, report: &mut Report) {
    let documents = options.healing_documents;
    let mut cluster = Cluster::builder().nodes(2).rf(2).shards(8).start();
    load(&cluster.client(), documents);
    let loaded = Instant::now();

    let client = cluster.client();
    let ((), times_before) = searching_beside(&client, || std::thread::sleep(BEFORE));
    let quiet = p99(times_before);
    // Most documents of most indexes are older than that, and compared by their stamps alone.
    std::thread::sleep(OLD.saturating_sub(loaded.elapsed()));
    let (seconds, _) = fill(&mut cluster, Cores::Shared, false);
    let target = Node::single();
    let (copied, plain) = plain_copy(&cluster.node_client(0), &target.client());
    assert_eq!(copied, documents, "every document is on each of two nodes");
    report.row(
        "filling an empty replica, throughput against a plain copy between two nodes",
        format!("{:.2}x", plain / seconds),
        "at least 0.7x",
        format!("{:.0} documents a second, {:.0} plainly", documents as f64 / seconds, documents as f64 / plain),
    );
    for cores in [Cores::Left, Cores::Shared] {
        let (filled, times) = fill(&mut cluster, cores, true);
        // What clients notice of a plain copy, on the same cores.
        let target = Node::single();
        cores.give(&target);
        let ((_, copied), times_beside) =
            searching_beside(&client, || plain_copy(&cluster.node_client(0), &target.client()));
        let (busy, beside_plain) = (p99(times), p99(times_beside));
        report.row(
            format!("search latency p99 at {RATE} a second while a node is filled{}, against before", cores.words()),
            format!("{:.2}x", busy / quiet),
            "at most 1.5x",
            format!(
                "{busy:.1} ms, {quiet:.1} ms before, {beside_plain:.1} ms beside a plain copy; {:.0} documents a second, {:.0} plainly",
                documents as f64 / filled,
                documents as f64 / copied
            ),
        );
    }
}
