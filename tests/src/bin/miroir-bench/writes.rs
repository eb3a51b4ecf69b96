//! How many writes of one document are taken, and ended, in a second, over several indexes at once, beside one node that
//! takes them directly.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use miroir_tests::config::CLIENT_KEY;
use miroir_tests::node::NODE_KEY;
use miroir_tests::raw::{Connection, request};
use miroir_tests::{Client, Cluster, Node, dataset, eventually};

use crate::options::Options;
use crate::report::Report;

/// Indexes that are written to.
const INDEXES: usize = 10;
/// Clients that write to each.
const WRITERS: usize = 4;
/// The longest that the nodes may take to index everything.
const BOUND: Duration = Duration::from_secs(3600);

/// Writes a second.
#[derive(Clone, Copy, Default)]
struct Rates {
    accepted: f64,
    settled: f64,
}

fn index(nth: usize) -> String {
    format!("writes{nth}")
}

/// Write this many documents, each by itself, and wait until all tasks have ended.
fn write(client: &Client, key: &str, writes: usize) -> Rates {
    for nth in 0..INDEXES {
        client.create(&index(nth), "id");
    }
    let documents = dataset::documents(500, 11);
    let socket = client.base().trim_start_matches("http://");
    let bearer = format!("Bearer {key}");
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..INDEXES * WRITERS {
            let (next, documents, bearer) = (&next, &documents, &bearer);
            scope.spawn(move || {
                let mut connection = Connection::open(socket).unwrap_or_else(|error| panic!("{socket}: {error}"));
                let path = format!("/indexes/{}/documents", index(writer % INDEXES));
                let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth >= writes {
                        break;
                    }
                    let mut document: Value = documents[nth % documents.len()].clone();
                    document["id"] = nth.into();
                    let bytes = request("POST", &path, &headers, document.to_string().as_bytes());
                    let answer = connection.exchange(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
                    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
                }
            });
        }
    });
    let accepted = begun.elapsed();
    eventually("all tasks have ended", BOUND, || {
        let open = client.get("/tasks?statuses=enqueued,processing&limit=1").expect(200).body;
        (open["total"] == 0).then_some(())
    });
    let settled = begun.elapsed();
    let failed = client.get("/tasks?statuses=failed,canceled&limit=1").expect(200).body;
    assert_eq!(failed["total"], 0, "{failed}");
    Rates { accepted: writes as f64 / accepted.as_secs_f64(), settled: writes as f64 / settled.as_secs_f64() }
}

/// One node directly; one node behind the orchestrator, and three with two replicas of everything.
pub fn measure(options: &Options, report: &mut Report) {
    let writes = options.writes;
    let direct = write(&Node::single().client(), NODE_KEY, writes);
    for (nodes, rf) in [(1, 1), (3, 2)] {
        let cluster = Cluster::builder().nodes(nodes).rf(rf).start();
        let through = write(&cluster.client(), CLIENT_KEY, writes);
        let what = format!("writes of one document over {INDEXES} indexes, {nodes} node(s), {rf} replica(s)");
        for (how, ours, theirs) in
            [("accepted", through.accepted, direct.accepted), ("ended", through.settled, direct.settled)]
        {
            report.row(
                format!("{what}, {how}, against 1 node directly"),
                format!("{:.2}x", ours / theirs),
                "",
                format!("{ours:.0} a second, {theirs:.0} directly"),
            );
        }
    }
    report.note(format!(
        "Writes: {writes} documents over {INDEXES} indexes by {WRITERS} clients each, each sent when the one before was accepted."
    ));
}
