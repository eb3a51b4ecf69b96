//! A cluster answers every class of search as one server holding everything would.

use std::sync::OnceLock;

use serde_json::{Value, json};

use miroir_tests::parity::{Aspect, Tally, compare, leaks};
use miroir_tests::{Answer, Client, Cluster, Node, dataset, queries};

const DOCUMENTS: usize = 2000;
const SEARCHES_OF_A_CLASS: usize = 100;
const INDEX: &str = "parity";

/// The searches, and what one server answers.
struct Oracle {
    documents: Vec<Value>,
    searches: Vec<(&'static str, Value, Answer)>,
}

fn load(client: &Client, documents: &[Value]) {
    client.create(INDEX, "id");
    client.configure(INDEX, &queries::settings());
    let path = format!("/indexes/{INDEX}/documents");
    let batches: Vec<Answer> = documents
        .chunks(500)
        .map(|batch| {
            let body = dataset::ndjson(batch);
            client.send("POST", &path, Some(body.as_bytes()), &[("content-type", "application/x-ndjson")])
        })
        .collect();
    for batch in &batches {
        client.done(batch);
    }
}

fn ask(client: &Client, search: &Value) -> Answer {
    let mut body = search.clone();
    body["showRankingScore"] = json!(true);
    body["showRankingScoreDetails"] = json!(true);
    client.search(INDEX, &body)
}

fn oracle() -> &'static Oracle {
    static ORACLE: OnceLock<Oracle> = OnceLock::new();
    ORACLE.get_or_init(|| {
        let documents = dataset::documents(DOCUMENTS, 20);
        let node = Node::single();
        let client = node.client();
        load(&client, &documents);
        let searches = queries::generate(&documents, SEARCHES_OF_A_CLASS, 1);
        let searches = searches.into_iter().map(|(class, body)| {
            let answer = ask(&client, &body);
            (class, body, answer)
        });
        Oracle { searches: searches.collect(), documents }
    })
}

fn first_difference(a: &Value, b: &Value) -> String {
    let none = Vec::new();
    let hits = |answer: &Value| answer["hits"].as_array().unwrap_or(&none).clone();
    let (a, b) = (hits(a), hits(b));
    let at = a.iter().zip(&b).position(|(a, b)| a["_rankingScoreDetails"] != b["_rankingScoreDetails"]);
    match at {
        Some(at) => format!(
            "hit {at}: reference {} {}, candidate {} {}",
            a[at]["id"], a[at]["_rankingScoreDetails"], b[at]["id"], b[at]["_rankingScoreDetails"]
        ),
        None => format!("{} hits, {} hits", a.len(), b.len()),
    }
}

#[track_caller]
fn assert_parity(layout: &str, cluster: &Cluster) {
    let oracle = oracle();
    let client = cluster.client();
    load(&client, &oracle.documents);
    assert_eq!(client.count(INDEX), DOCUMENTS as u64);
    let mut tally = Tally::default();
    for (class, body, reference) in &oracle.searches {
        let answer = ask(&client, body);
        let same_status = answer.verdict() == reference.verdict();
        tally.record(class, Aspect::Status, same_status, || format!("{body}: {}", answer.text));
        tally.record(class, Aspect::Leak, !leaks(&answer.text), || body.to_string());
        assert_eq!(answer.header("x-miroir-degraded"), None, "{body}");
        if reference.status != 200 || answer.status != 200 {
            continue;
        }
        for (aspect, agree) in compare(&reference.body, &answer.body) {
            tally.record(class, aspect, agree, || {
                format!("{body}\n      {}", first_difference(&reference.body, &answer.body))
            });
        }
    }
    println!("{layout}\n{}", tally.table());
    let shortfall = tally.shortfall();
    assert!(shortfall.is_empty(), "{layout}: below the bar\n{shortfall}");
}

#[test]
fn three_nodes_without_replicas_answer_as_one() {
    assert_parity("3 nodes, RF=1", &Cluster::builder().nodes(3).rf(1).start());
}

#[test]
fn three_nodes_with_two_replicas_answer_as_one() {
    assert_parity("3 nodes, RF=2", &Cluster::builder().nodes(3).rf(2).start());
}

#[test]
fn two_groups_of_two_nodes_answer_as_one() {
    assert_parity("2 groups of 2 nodes, RF=1", &Cluster::builder().nodes(4).groups(2).rf(1).start());
}
