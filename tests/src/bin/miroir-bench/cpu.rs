//! CPU time per search in the orchestrator, its nodes replaced by stubs, beside nginx passing through to one stub.

use std::time::Duration;

use serde_json::json;

use miroir_tests::config::CLIENT_KEY;
use miroir_tests::raw::{Connection, request};
use miroir_tests::{Cluster, eventually, ports, usage};

use crate::nginx::Nginx;
use crate::options::Options;
use crate::report::Report;
use crate::stub;

const INDEX: &str = "canned";
const CONNECTIONS: usize = 4;

/// Queries in a multi-search.
const QUERIES: usize = 10;

/// Asks `socket` for `count` searches over a few connections, or for as many multi-searches; CPU microseconds per request
/// that `pid` spent on them.
fn cost(socket: &str, pid: u32, count: usize, is_multi: bool) -> f64 {
    let run = |count: usize| {
        std::thread::scope(|scope| {
            for connection in 0..CONNECTIONS {
                scope.spawn(move || searches(socket, connection, count / CONNECTIONS, is_multi));
            }
        });
    };
    run(count / 10);
    let before = usage::cpu_seconds(pid);
    run(count);
    (usage::cpu_seconds(pid) - before) * 1e6 / (count / CONNECTIONS * CONNECTIONS) as f64
}

fn searches(socket: &str, connection: usize, count: usize, is_multi: bool) {
    let mut open = Connection::open(socket).unwrap_or_else(|error| panic!("{socket}: {error}"));
    let bearer = format!("Bearer {CLIENT_KEY}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    for i in 0..count {
        // No two are alike, so that nothing can answer one for the other.
        let query = |n: usize| {
            let mut query = json!({ "q": format!("word {connection} {i} {n}"), "limit": stub::HITS });
            if is_multi {
                query["indexUid"] = json!(INDEX);
            }
            query
        };
        let (path, body) = if is_multi {
            ("/multi-search".to_owned(), json!({ "queries": (0..QUERIES).map(query).collect::<Vec<_>>() }))
        } else {
            (format!("/indexes/{INDEX}/search"), query(0))
        };
        let bytes = request("POST", &path, &headers, body.to_string().as_bytes());
        let answer = open.exchange(&bytes).unwrap_or_else(|error| panic!("{socket}: {error}"));
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }
}

/// A cluster whose index was made on real nodes that stubs have taken the place of.
fn canned_cluster(bytes: usize) -> Cluster {
    let mut cluster = Cluster::builder().nodes(3).rf(1).start();
    let client = cluster.client();
    client.create(INDEX, "id");
    let version = cluster.node_client(0).get("/version").text;
    for node in 0..3 {
        let port = cluster.nodes()[node].address().rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0);
        cluster.kill_node(node);
        // The port may linger for a moment.
        eventually("the stub has the node's port", Duration::from_secs(10), || {
            let answer = stub::answer(node, bytes, true);
            stub::serve(port, &answer, &stub::multi(INDEX, &answer, QUERIES), version.as_bytes()).ok()
        });
    }
    eventually("the stubs answer as nodes", Duration::from_secs(20), || {
        let answer = client.search(INDEX, &json!({ "q": "word" }));
        let whole = answer.body["hits"].as_array().is_some_and(|hits| hits.len() == stub::HITS);
        (answer.status == 200 && answer.header("x-miroir-degraded").is_none() && whole).then_some(())
    });
    let hit = client.search(INDEX, &json!({ "q": "word" })).body["hits"][0].clone();
    assert!(hit.get("_rankingScoreDetails").is_none(), "the orchestrator shows what was not asked for: {hit}");
    cluster
}

/// Both sizes of answers.
pub fn measure(options: &Options, report: &mut Report) {
    for (size, bytes) in [("2 KB", 2000), ("11 KB", 11_000)] {
        let cluster = canned_cluster(bytes);
        let ours = cost(&cluster.socket(), cluster.proxy_pid(), options.cpu_searches, false);
        let together = cost(&cluster.socket(), cluster.proxy_pid(), options.cpu_searches / QUERIES, true);
        report.row(
            format!("CPU per multi-search of {QUERIES} queries, {size} answers of 3 nodes, against one search"),
            format!("{:.1}x", together / ours),
            "less than 6x",
            format!("{together:.0} µs, one search {ours:.0} µs"),
        );
        drop(cluster);
        let upstream = ports::free();
        stub::serve(upstream, &stub::answer(0, bytes, false), b"{}", b"{}")
            .unwrap_or_else(|error| panic!("stub: {error}"));
        let what = format!("CPU per search, {size} answers of 3 nodes, against nginx passing through to 1");
        match Nginx::start(upstream) {
            Some(nginx) => {
                let theirs = cost(&nginx.socket(), nginx.pid(), options.cpu_searches, false);
                let figures = format!("{ours:.0} µs, nginx {theirs:.0} µs");
                report.row(what, format!("{:.1}x", ours / theirs), "at most 10x", figures);
            }
            None => {
                report.row(what, "not measured", "at most 10x", format!("{ours:.0} µs; nginx is not installed"));
            }
        }
    }
    report.note(format!(
        "CPU: {} searches over {CONNECTIONS} connections; stub nodes answer {} hits with ranking details, nginx's stub the same hits without.",
        options.cpu_searches,
        stub::HITS
    ));
}
