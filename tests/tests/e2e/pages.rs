//! Large pages of documents: read from the nodes in pieces while they are sent, whole or not at all, and no longer than
//! the client is there.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use miroir_tests::{Client, Cluster, Fault, eventually};

const COUNT: usize = 2500;
const BOUND: Duration = Duration::from_secs(60);

fn documents() -> Value {
    let vector = |i: usize| [i as f64, 1.0, 0.5];
    (0..COUNT)
        .map(|i| json!({ "id": i, "n": (i * 7919) % COUNT, "text": "x".repeat(i % 300), "_vectors": { "e": vector(i) } }))
        .collect()
}

fn prepare(client: &Client) {
    client.create("large", "id");
    let settings = json!({
        "embedders": { "e": { "source": "userProvided", "dimensions": 3 } },
        "filterableAttributes": ["n"], "sortableAttributes": ["n"],
    });
    client.configure("large", &settings);
    client.load("large", &documents());
}

fn ids(page: &Value) -> Vec<u64> {
    page["results"].as_array().expect("documents").iter().filter_map(|document| document["id"].as_u64()).collect()
}

fn fetches(cluster: &Cluster) -> usize {
    (0..3).map(|node| cluster.faults(node).seen("POST", "/documents/fetch")).sum()
}

#[test]
fn a_large_page_is_read_in_pieces_and_has_each_document_once() {
    let cluster = Cluster::builder().faults().set("scatter.node_timeout_ms", json!(10_000)).start();
    let client = cluster.client();
    prepare(&client);
    let all: BTreeSet<u64> = (0..COUNT as u64).collect();
    let page = client.get("/indexes/large/documents?limit=20000&retrieveVectors=true").expect(200).body;
    let found = ids(&page);
    assert_eq!((found.len(), &page["total"], &page["limit"]), (COUNT, &json!(COUNT), &json!(20000)));
    assert_eq!(found.iter().copied().collect::<BTreeSet<u64>>(), all);
    assert_eq!(page["results"][7]["_vectors"]["e"]["embeddings"].as_array().map(Vec::len), Some(1));
    // A hundred with their vectors first, then more: never all of a node's at once.
    assert!(fetches(&cluster) > 3, "{} requests", fetches(&cluster));

    // Small pages, one after the other, are the same documents in the same order.
    let mut paged = Vec::new();
    while paged.len() < COUNT {
        let path = format!("/indexes/large/documents?limit=700&offset={}", paged.len());
        paged.extend(ids(&client.get(&path).expect(200).body));
    }
    assert_eq!(paged, found);

    for (sort, from, many) in [("n:asc", 0, COUNT), ("n:desc", 1900, 500), ("n:asc", 2400, 5000)] {
        let body = json!({ "sort": [sort], "offset": from, "limit": many, "fields": ["n"] });
        let page = client.post("/indexes/large/documents/fetch", &body).expect(200).body;
        let mut expected: Vec<u64> = (0..COUNT as u64).collect();
        if sort == "n:desc" {
            expected.reverse();
        }
        let expected: Vec<Value> = expected.iter().skip(from).take(many).map(|n| json!({ "n": n })).collect();
        assert_eq!((&page["results"], &page["total"]), (&json!(expected), &json!(COUNT)), "{body}");
    }

    let wanted: Vec<u64> = (0..3000).rev().collect();
    let body = json!({ "ids": wanted, "limit": 10_000, "fields": ["id"] });
    let page = client.post("/indexes/large/documents/fetch", &body).expect(200).body;
    assert_eq!(ids(&page).into_iter().collect::<BTreeSet<u64>>(), all);
    assert_eq!((ids(&page).len(), &page["total"]), (COUNT, &json!(COUNT)));
    let part = json!({ "ids": wanted, "offset": 1500, "limit": 600, "fields": ["id"] });
    let part = client.post("/indexes/large/documents/fetch", &part).expect(200).body;
    assert_eq!(ids(&part), ids(&page)[1500..2100]);

    let body = json!({ "filter": "n < 1700", "limit": 10_000, "fields": ["n"] });
    let page = client.post("/indexes/large/documents/fetch", &body).expect(200).body;
    let found: BTreeSet<u64> =
        page["results"].as_array().expect("documents").iter().filter_map(|d| d["n"].as_u64()).collect();
    assert_eq!((found, &page["total"]), ((0..1700).collect(), &json!(1700)));
}

#[test]
fn a_page_that_comes_slowly_is_waited_for_and_one_that_breaks_off_is_no_page() {
    let cluster = Cluster::builder().rf(1).faults().set("scatter.node_timeout_ms", json!(2000)).start();
    let client = cluster.client();
    prepare(&client);
    // Longer altogether than a node may be silent.
    for node in 0..3 {
        cluster.faults(node).spoil("POST", "/documents/fetch", 1, Fault::Trickle(Duration::from_secs(4)));
    }
    let page = client.get("/indexes/large/documents?limit=900").expect(200).body;
    assert_eq!(ids(&page).len(), 900);
    // The first piece is there; then a node is lost that nobody can stand in for.
    let path = "/indexes/large/documents?limit=20000&retrieveVectors=true";
    let first = fetches(&cluster);
    assert_eq!(ids(&client.get(path).expect(200).body).len(), COUNT);
    assert!(fetches(&cluster) > first + 3);
    for node in 0..3 {
        cluster.faults(node).spoil("POST", "/documents/fetch", 1, Fault::Delay(Duration::ZERO));
        cluster.faults(node).spoil("POST", "/documents/fetch", 1000, Fault::Drop);
    }
    let broken = client.try_send("GET", path, None, &[]);
    assert!(!broken.is_ok_and(|answer| answer.status == 200), "half a page looks whole");
}

#[test]
fn nothing_is_read_any_more_for_a_client_that_has_left() {
    // Nobody else reads documents meanwhile.
    let quiet = Cluster::builder().faults().set("anti_entropy.enabled", json!(false));
    let cluster = quiet.set("scatter.node_timeout_ms", json!(10_000)).start();
    let client = cluster.client();
    prepare(&client);
    let path = "/indexes/large/documents?limit=20000&retrieveVectors=true";
    let before = fetches(&cluster);
    client.get(path).expect(200);
    let needed = fetches(&cluster) - before;
    for node in 0..3 {
        cluster.faults(node).spoil("POST", "/documents/fetch", 1000, Fault::Delay(Duration::from_millis(300)));
    }
    let before = fetches(&cluster);
    let mut connection = TcpStream::connect(cluster.socket()).expect("a connection");
    let key = miroir_tests::config::CLIENT_KEY;
    write!(connection, "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n").expect("sent");
    let mut beginning = [0; 64];
    connection.read_exact(&mut beginning).expect("the beginning of a page");
    drop(connection);
    // Whatever was under way has come by, and nothing follows.
    let mut seen = (fetches(&cluster), 0);
    eventually("nothing is asked for any more", BOUND, || {
        let now = fetches(&cluster);
        seen = if now == seen.0 { (now, seen.1 + 1) } else { (now, 0) };
        (seen.1 > 40).then_some(())
    });
    assert!(fetches(&cluster) - before < needed, "{} of {needed} requests", fetches(&cluster) - before);
}

#[test]
fn hits_that_are_not_ranked_come_in_the_same_order_each_time() {
    let cluster = Cluster::builder().set("replica_selection.exploration_epsilon", json!(1.0)).start();
    let client = cluster.client();
    client.create("cut", "id");
    client.configure("cut", &json!({ "searchCutoffMs": 0 }));
    client.load("cut", &(0..200).map(|i| json!({ "id": i, "text": format!("some words {}", i % 7) })).collect());
    let body = json!({ "q": "some words", "limit": 200, "showRankingScoreDetails": true });
    let first = client.search("cut", &body).expect(200).body;
    assert_eq!(first["hits"].as_array().map(Vec::len), Some(200));
    assert_eq!(first["hits"][0]["_rankingScoreDetails"]["skipped"], json!({ "order": 0 }), "{}", first["hits"][0]);
    for _ in 0..20 {
        assert_eq!(client.search("cut", &body).expect(200).body["hits"], first["hits"]);
    }
    let pages: Vec<Value> = (0..4)
        .flat_map(|page| {
            let body = json!({ "q": "some words", "limit": 50, "offset": page * 50, "showRankingScoreDetails": true });
            client.search("cut", &body).expect(200).body["hits"].as_array().cloned().unwrap_or_default()
        })
        .collect();
    let (mut paged, mut whole): (Vec<u64>, Vec<u64>) =
        (pages.iter().filter_map(|hit| hit["id"].as_u64()).collect(), (0..200).collect());
    paged.sort_unstable();
    whole.sort_unstable();
    assert_eq!(paged, whole, "each hit is on one page");
}
