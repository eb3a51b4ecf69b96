//! scratch
use miroir_tests::*;
use serde_json::json;
#[test]
fn parity_of_two_lone_nodes() {
    let (a, b) = (Node::single(), Node::single());
    let docs = dataset::documents(2000, 20);
    for c in [a.client(), b.client()] {
        c.create("p", "id");
        c.configure("p", &queries::settings());
        c.load("p", &json!(docs));
    }
    let mut tally = parity::Tally::default();
    let t = std::time::Instant::now();
    let mut nonempty = std::collections::BTreeMap::<&str, usize>::new();
    for (class, body) in queries::generate(&docs, 100, 1) {
        let mut body = body.clone();
        body["showRankingScoreDetails"] = json!(true);
        let (x, y) = (a.client().search("p", &body), b.client().search("p", &body));
        if x.status != 200 { println!("{class} {body} {}", x.text); }
        if x.body["hits"].as_array().is_some_and(|h| !h.is_empty()) { *nonempty.entry(class).or_default() += 1; }
        tally.record(class, parity::Aspect::Status, x.verdict() == y.verdict(), || x.text.clone());
        for (aspect, ok) in parity::compare(&x.body, &y.body) { tally.record(class, aspect, ok, || body.to_string()); }
    }
    println!("{:?}\n{}{}\n{nonempty:?}", t.elapsed(), tally.table(), tally.shortfall());
}
