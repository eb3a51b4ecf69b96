//! How fast documents get in, beside one node that takes them directly, and how much memory the orchestrator needs.

use std::time::{Duration, Instant};

use miroir_tests::{Answer, Client, Cluster, Node, dataset, eventually, usage};

use crate::options::Options;
use crate::report::Report;

const INDEX: &str = "ingest";
const MEGABYTE: usize = 1_000_000;
const BATCH: usize = 10 * MEGABYTE;

const ROUNDS: usize = 2;

/// The longest that the nodes may take to index everything.
const BOUND: Duration = Duration::from_secs(3600);

/// Batches of about ten megabytes, `megabytes` altogether, of different documents.
fn batches(megabytes: usize) -> Vec<Vec<u8>> {
    let sample = dataset::documents(4000, 77);
    let mut batches = vec![Vec::with_capacity(BATCH)];
    let (mut total, mut id) = (0, 0_usize);
    while total < megabytes * MEGABYTE {
        let mut document = sample[id % sample.len()].clone();
        document["id"] = id.into();
        document["round"] = (id / sample.len()).into();
        let line = format!("{document}\n");
        if batches.last().is_some_and(|batch| batch.len() + line.len() > BATCH) {
            batches.push(Vec::with_capacity(BATCH));
        }
        if let Some(batch) = batches.last_mut() {
            batch.extend_from_slice(line.as_bytes());
        }
        total += line.len();
        id += 1;
    }
    batches
}

/// Seconds until everything was accepted, and until everything was searchable.
fn ingest(client: &Client, batches: &[Vec<u8>]) -> (f64, f64) {
    client.create(INDEX, "id");
    let path = format!("/indexes/{INDEX}/documents");
    let headers = [("content-type", "application/x-ndjson")];
    let start = Instant::now();
    let answers: Vec<Answer> =
        batches.iter().map(|batch| client.send("POST", &path, Some(batch), &headers).expect(202)).collect();
    let accepted = start.elapsed().as_secs_f64();
    for answer in &answers {
        let uid = answer.body["taskUid"].as_u64().unwrap_or(0);
        let status = eventually("a batch is indexed", BOUND, || {
            let task = client.get(&format!("/tasks/{uid}")).expect(200).body;
            let status = task["status"].as_str().unwrap_or_default().to_owned();
            (status != "enqueued" && status != "processing").then_some(task)
        });
        assert_eq!(status["status"], "succeeded", "{status}");
    }
    (accepted, start.elapsed().as_secs_f64())
}

/// The faster of some rounds: what else the machine does only slows them down.
#[derive(Clone, Copy)]
struct Best {
    accepted: f64,
    searchable: f64,
}

impl Best {
    const NONE: Self = Self { accepted: f64::INFINITY, searchable: f64::INFINITY };

    fn round(&mut self, (accepted, searchable): (f64, f64)) {
        self.accepted = self.accepted.min(accepted);
        self.searchable = self.searchable.min(searchable);
    }
}

/// One node directly, one node behind the orchestrator, three nodes behind it; in turn, twice.
pub fn measure(options: &Options, report: &mut Report) {
    let batches = batches(options.ingest_mb);
    let size: usize = batches.iter().map(Vec::len).sum();
    let rate = |seconds: f64| size as f64 / MEGABYTE as f64 / seconds;
    let series = [
        (1, "ingest throughput, 1 node, against it directly", "at least 0.9x"),
        (3, "ingest throughput, 3 nodes on the same machine, against 1 directly", ""),
    ];
    let (mut direct, mut through, mut peak) = (Best::NONE, [Best::NONE; 2], 0);
    for _ in 0..ROUNDS {
        direct.round(ingest(&Node::single().client(), &batches));
        for ((nodes, ..), best) in series.iter().zip(&mut through) {
            let cluster = Cluster::builder().nodes(*nodes).rf(1).start();
            best.round(ingest(&cluster.client(), &batches));
            peak = peak.max(usage::peak_memory(cluster.proxy_pid()));
        }
    }
    for ((_, what, target), best) in series.into_iter().zip(through) {
        let figures = format!(
            "{:.1} MB/s, {:.1} MB/s directly; accepted after {:.1} s, {:.1} s directly",
            rate(best.searchable),
            rate(direct.searchable),
            best.accepted,
            direct.accepted
        );
        report.row(what, format!("{:.2}x", direct.searchable / best.searchable), target, figures);
    }
    let megabytes = peak as f64 / MEGABYTE as f64;
    report.row(
        "peak memory of the orchestrator",
        format!("{:.2} of the bound", megabytes / 300.0),
        "under 300 MB",
        format!("{megabytes:.0} MB"),
    );
    report.note(format!(
        "Ingest: {} MB of NDJSON in {} batches, sent one after the other; throughput until all is searchable, the best of {ROUNDS} rounds.",
        size / MEGABYTE,
        batches.len()
    ));
}
