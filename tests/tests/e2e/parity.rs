//! A cluster answers every class of search as one server holding everything would.

use std::sync::OnceLock;

use serde_json::{Value, json};

use miroir_tests::parity::{Aspect, Tally, compare, leaks};
use miroir_tests::{Answer, Client, Cluster, Node, dataset, moves, queries};

const DOCUMENTS: usize = 2000;
const SEARCHES_OF_A_CLASS: usize = 100;
const INDEX: &str = "parity";

/// Its class, the search, and what one server answers.
type Search = (&'static str, Value, Answer);

/// The searches, and what one server answers.
struct Oracle {
    documents: Vec<Value>,
    searches: Vec<Search>,
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
    for search in &oracle.searches {
        ask_and_compare(&client, search, &mut tally);
    }
    assert_above_the_bar(layout, &tally);
}

fn ask_and_compare(client: &Client, (class, body, reference): &Search, tally: &mut Tally) {
    let answer = ask(client, body);
    let same_status = answer.verdict() == reference.verdict();
    tally.record(class, Aspect::Status, same_status, || format!("{body}: {}", answer.text));
    tally.record(class, Aspect::Leak, !leaks(&answer.text), || body.to_string());
    assert_eq!(answer.header("x-miroir-degraded"), None, "{body}");
    if reference.status != 200 || answer.status != 200 {
        return;
    }
    for (aspect, agree) in compare(&reference.body, &answer.body) {
        tally.record(class, aspect, agree, || {
            format!("{body}\n      {}", first_difference(&reference.body, &answer.body))
        });
    }
}

#[track_caller]
fn assert_above_the_bar(layout: &str, tally: &Tally) {
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

#[test]
fn a_cluster_answers_as_one_while_nodes_come_and_go() {
    let mut cluster = Cluster::builder().nodes(3).rf(2).set("rebalancer.documents_per_second", json!(500)).start();
    let (client, admin, oracle) = (cluster.client(), cluster.admin(), oracle());
    load(&client, &oracle.documents);
    let (spare, mut tally) = (cluster.spare(), Tally::default());
    let mut left = oracle.searches.iter();
    for joins in [true, false].into_iter().cycle() {
        if left.len() == 0 {
            break;
        }
        let begun = match joins {
            true => moves::add(&cluster, spare, 0),
            false => moves::ask(&admin, &format!("nodes/node-{spare}/drain")),
        };
        while moves::under_way(&admin).is_some() {
            left.by_ref().take(10).for_each(|search| ask_and_compare(&client, search, &mut tally));
        }
        moves::done(&admin, &begun);
        if !joins {
            moves::done(&admin, &admin.delete(&format!("/_miroir/nodes/node-{spare}")));
        }
    }
    assert_above_the_bar("3 nodes, a fourth that comes and goes, RF=2", &tally);
}
