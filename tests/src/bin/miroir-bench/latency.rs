//! How long a search takes through the orchestrator, beside the node asked directly.

use std::time::Instant;

use serde_json::Value;

use miroir_tests::config::CLIENT_KEY;
use miroir_tests::node::NODE_KEY;
use miroir_tests::raw::{Connection, request};
use miroir_tests::{Client, Cluster, Node, dataset, queries};

use crate::options::Options;
use crate::report::Report;

const INDEX: &str = "bench";

/// Classes of searches as clients send them most.
const CLASSES: [&str; 6] = ["plain", "typo", "prefix", "filter", "sort", "facets"];

fn load(client: &Client, documents: &[Value]) {
    client.create(INDEX, "id");
    client.configure(INDEX, &queries::settings());
    for batch in documents.chunks(5000) {
        let body = dataset::ndjson(batch);
        let headers = [("content-type", "application/x-ndjson")];
        client.done(&client.send("POST", &format!("/indexes/{INDEX}/documents"), Some(body.as_bytes()), &headers));
    }
}

/// One server, one kept-alive connection, and the times it took.
struct Series {
    connection: Connection,
    key: &'static str,
    micros: Vec<u64>,
}

impl Series {
    fn new(address: &str, key: &'static str) -> Self {
        let socket = address.trim_start_matches("http://");
        let connection = Connection::open(socket).unwrap_or_else(|error| panic!("{socket}: {error}"));
        Self { connection, key, micros: Vec::new() }
    }

    fn search(&mut self, body: &Value) {
        let bearer = format!("Bearer {}", self.key);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let bytes = request("POST", &format!("/indexes/{INDEX}/search"), &headers, body.to_string().as_bytes());
        let start = Instant::now();
        let answer = self.connection.exchange(&bytes).unwrap_or_else(|error| panic!("{body}: {error}"));
        self.micros.push(start.elapsed().as_micros() as u64);
        assert!(matches!(answer.status, 200 | 400), "{body}: {}", String::from_utf8_lossy(&answer.body));
    }

    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or(0) as f64 / 1000.0
    }
}

/// Asks each search of both in turn, so that whatever else the machine does meets both alike.
fn compare(direct: &mut Series, through: &mut Series, searches: &[Value]) {
    for warming in [true, false] {
        let share = if warming { searches.len() / 5 } else { searches.len() };
        for (i, search) in searches.iter().take(share).enumerate() {
            if i % 2 == 0 {
                direct.search(search);
                through.search(search);
            } else {
                through.search(search);
                direct.search(search);
            }
        }
        if warming {
            direct.micros.clear();
            through.micros.clear();
        }
    }
}

fn rows(report: &mut Report, what: &str, target: &'static str, direct: &Series, through: &Series) {
    for (name, share, target) in [("p50", 0.5, target), ("p99", 0.99, "")] {
        let (a, b) = (direct.quantile(share), through.quantile(share));
        report.row(
            format!("search latency {name}, {what}"),
            format!("{:.2}x", b / a),
            target,
            format!("{b:.2} ms, {a:.2} ms directly"),
        );
    }
}

/// One node behind the orchestrator against itself; three nodes against one that holds everything.
pub fn measure(options: &Options, report: &mut Report) {
    let documents = dataset::documents(options.documents, 11);
    let each = options.searches.div_ceil(CLASSES.len());
    let searches: Vec<Value> = queries::generate(&documents, each, 5)
        .into_iter()
        .filter(|(class, _)| CLASSES.contains(class))
        .map(|(_, search)| search)
        .collect();
    let alone = Cluster::builder().nodes(1).rf(1).start();
    load(&alone.client(), &documents);
    let mut direct = Series::new(&alone.nodes()[0].address(), NODE_KEY);
    let mut through = Series::new(&alone.address(), CLIENT_KEY);
    compare(&mut direct, &mut through, &searches);
    rows(report, "1 node, against the same node asked directly", "p50 at most 1.3x", &direct, &through);
    drop((direct, through, alone));

    let cluster = Cluster::builder().nodes(3).rf(1).start();
    let whole = Node::single();
    load(&cluster.client(), &documents);
    load(&whole.client(), &documents);
    let mut direct = Series::new(&whole.address(), NODE_KEY);
    let mut through = Series::new(&cluster.address(), CLIENT_KEY);
    compare(&mut direct, &mut through, &searches);
    rows(report, "3 nodes, against one node holding everything", "", &direct, &through);
    report.note(format!(
        "Latency: {} documents, {} searches a series, one connection, both sides asked in turn.",
        documents.len(),
        searches.len()
    ));
}
