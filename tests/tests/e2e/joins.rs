//! Joins: filters on documents of another index, and documents of another index in place of their ids. A node knows its
//! own part of either index, and what is answered is of the whole; where a server is at hand, as it answers.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use miroir_tests::parity::leaks;
use miroir_tests::{Answer, Client, Cluster, Node, binaries};

const AUTHORS: &str = "authors";
const BOOKS: &str = "books";

/// Author `a{i}`, born in 1900 + i.
fn author(i: usize) -> Value {
    json!({ "id": format!("a{i}"), "name": format!("author {i}"), "country": (["fr", "de", "jp"][i % 3]), "born": 1900 + i, "secret": i })
}

fn shown(i: usize) -> Value {
    let mut author = author(i);
    author.as_object_mut().map(|author| author.remove("secret"));
    author
}

fn book(i: usize) -> Value {
    json!({
        "id": format!("b{i}"), "n": i, "title": format!("book {i}"), "author": format!("a{}", (i * 5) % 12),
        "others": [format!("a{}", i % 12), "missing"], "deep": [{ "by": format!("a{}", i % 12) }],
    })
}

fn prepare(client: &Client) {
    client.patch("/experimental-features", &json!({ "foreignKeys": true })).expect(200);
    client.create(AUTHORS, "id");
    let settings = json!({ "filterableAttributes": ["country", "born", "id"], "displayedAttributes": ["id", "name", "country", "born"] });
    client.configure(AUTHORS, &settings);
    client.load(AUTHORS, &(0..12).map(author).collect());
    client.create(BOOKS, "id");
    let keys: Vec<Value> =
        ["author", "others", "deep.by"].map(|field| json!({ "foreignIndexUid": AUTHORS, "fieldName": field })).into();
    let settings =
        json!({ "foreignKeys": keys, "filterableAttributes": ["author", "others", "n"], "sortableAttributes": ["n"] });
    client.configure(BOOKS, &settings);
    client.load(BOOKS, &(0..30).map(book).collect());
    assert_eq!(client.get("/indexes/books/settings/foreign-keys").expect(200).body, json!(keys));
    assert_eq!(client.get("/indexes/books/settings").expect(200).body["foreignKeys"], json!(keys));
    assert_eq!(client.get("/indexes/authors/settings").expect(200).body["foreignKeys"], json!([]));
}

fn hits(answer: &Answer) -> Vec<Value> {
    assert!(!leaks(&answer.text), "{}", answer.text);
    let hits = answer.body.pointer("/hits").or(answer.body.pointer("/results/0/hits"));
    hits.or(answer.body.pointer("/results")).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn numbers(answer: &Answer) -> Vec<u64> {
    hits(answer).iter().filter_map(|hit| hit["n"].as_u64()).collect()
}

/// What a server is asked, and what comes of it on both; the nodes of the cluster have no say in it.
fn joins(client: &Client) -> Vec<(String, (u16, String), Value)> {
    let mut seen = Vec::new();
    let mut ask = |what: &str, answer: Answer| {
        let found = if answer.status == 200 { json!(hits(&answer)) } else { Value::Null };
        seen.push((what.to_owned(), answer.verdict(), found));
    };
    let sorted = |mut body: Value| {
        body["sort"] = json!(["n:asc"]);
        body["limit"] = json!(30);
        body
    };
    let search = |body: Value| client.search(BOOKS, &sorted(body));
    ask("all", search(json!({})));
    ask(
        "a few attributes",
        search(json!({ "attributesToRetrieve": ["n", "others"], "attributesToHighlight": ["*"], "q": "book" })),
    );
    for filter in [
        json!("_foreign(author, country = fr)"),
        json!("n < 12 AND _foreign(others, country = jp AND born > 1905)"),
        json!(["n < 20", ["NOT _foreign(author, born IN [1900, 1903])", "n = 0"]]),
        json!("_foreign(author, born > 5000)"),
        json!("_foreign(author, nothing = 1)"),
        json!("_foreign(title, born > 1)"),
        json!("_foreign(author, _foreign(author, born > 1))"),
        json!("_foreign(author"),
    ] {
        ask(&format!("search {filter}"), search(json!({ "filter": filter, "attributesToRetrieve": ["n"] })));
        let query = sorted(json!({ "indexUid": BOOKS, "filter": filter, "attributesToRetrieve": ["n"] }));
        ask(&format!("multi-search {filter}"), client.post("/multi-search", &json!({ "queries": [query] })));
        let body = json!({ "filter": filter, "fields": ["n", "author"], "sort": ["n:asc"] });
        ask(&format!("fetch {filter}"), client.post("/indexes/books/documents/fetch", &body));
        let body = json!({ "filter": filter, "facetName": "author" });
        let mut found = client.post("/indexes/books/facet-search", &body);
        found.body["hits"] = found.body["facetHits"].clone();
        ask(&format!("facet search {filter}"), found);
        let text = filter
            .as_str()
            .unwrap_or("_foreign(author, born < 1903)")
            .replace(' ', "%20")
            .replace('<', "%3C")
            .replace('>', "%3E");
        ask(
            &format!("GET {filter}"),
            client.get(&format!("/indexes/books/search?filter={text}&sort=n:asc&attributesToRetrieve=n")),
        );
    }
    let federated = json!({ "federation": { "limit": 3 }, "queries": [
        { "indexUid": BOOKS, "q": "book", "filter": "_foreign(author, born > 1906)", "sort": ["n:asc"] }] });
    let mut federated = client.post("/multi-search", &federated);
    for hit in federated.body["hits"].as_array_mut().into_iter().flatten() {
        hit.as_object_mut().map(|hit| hit.remove("_federation"));
    }
    ask("federation", federated);
    ask("a document", client.post("/indexes/books/documents/fetch", &json!({ "ids": ["b3"] })));
    ask(
        "a deletion",
        client.post("/indexes/books/documents/delete", &json!({ "filter": "_foreign(author, born > 1)" })),
    );
    seen
}

#[test]
fn joins_are_of_the_whole_and_nodes_never_join() {
    let cluster = Cluster::builder().start();
    let client = cluster.client();
    prepare(&client);
    for node in 0..3 {
        let on_node = cluster.node_client(node).get("/experimental-features").expect(200).body;
        assert_eq!(on_node["foreignKeys"], false, "{on_node}");
    }
    let all = hits(&client.search(BOOKS, &json!({ "sort": ["n:asc"], "limit": 30 })));
    assert_eq!(all.len(), 30);
    for (i, hit) in all.iter().enumerate() {
        let mut expected = book(i);
        expected["author"] = shown((i * 5) % 12);
        expected["others"] = json!([shown(i % 12), {}]);
        expected["deep"] = json!([{ "by": shown(i % 12) }]);
        assert_eq!(*hit, expected);
    }
    let found =
        client.search(BOOKS, &json!({ "filter": "_foreign(author, country = fr)", "sort": ["n:asc"], "limit": 30 }));
    let french: Vec<u64> = (0..30).filter(|i| (i * 5) % 12 % 3 == 0).collect();
    assert_eq!(numbers(&found), french);
    assert_eq!(client.get("/indexes/books/documents/b3").expect(200).body, book(3), "a document is as it is stored");
    client.done(&client.put("/indexes/authors/documents", &json!([{ "id": "a5", "name": "renamed" }])));
    let changed = hits(&client.search(BOOKS, &json!({ "filter": "author = a5", "limit": 1 })));
    assert_eq!(changed[0]["author"]["name"], "renamed");
    // Off, it is as if nothing had been set; on again, it is there.
    client.patch("/experimental-features", &json!({ "foreignKeys": false })).expect(200);
    assert_eq!(hits(&client.search(BOOKS, &json!({ "filter": "n = 3" })))[0]["author"], "a3");
    let refused = client.search(BOOKS, &json!({ "filter": "_foreign(author, country = fr)" }));
    assert_eq!(refused.verdict(), (400, "feature_not_enabled".to_owned()), "{}", refused.text);
    assert_eq!(client.get("/indexes/books/settings").expect(200).body.get("foreignKeys"), None);
    client.patch("/experimental-features", &json!({ "foreignKeys": true })).expect(200);
    assert_eq!(hits(&client.search(BOOKS, &json!({ "filter": "n = 3" })))[0]["author"]["id"], "a3");
    // Another change of settings leaves the keys as they are, and a reset takes them away.
    client.configure(BOOKS, &json!({ "stopWords": ["the"] }));
    assert_eq!(hits(&client.search(BOOKS, &json!({ "filter": "n = 3" })))[0]["author"]["id"], "a3");
    client.done(&client.delete("/indexes/authors"));
    assert_eq!(client.search(BOOKS, &json!({})).verdict(), (404, "index_not_found".to_owned()));
    client.done(&client.delete("/indexes/books/settings"));
    assert_eq!(hits(&client.search(BOOKS, &json!({ "q": "book 3", "limit": 1 })))[0]["author"], "a3");
}

/// What Meilisearch 1.50 has answered to [`joins`], in order.
fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded/joins.json")
}

/// Development nodes cannot join. What one server says was written down, and is heard again where there is one; to write it
/// down anew, `MIROIR_DIFFERENTIAL_RECORD=1`.
#[test]
fn joins_are_answered_as_by_one_server() {
    let answers = |client: &Client| {
        prepare(client);
        joins(client).iter().map(|seen| json!(seen)).collect::<Vec<Value>>()
    };
    if binaries::meilisearch().is_some() {
        let heard = answers(&Node::single().client());
        if std::env::var_os("MIROIR_DIFFERENTIAL_RECORD").is_some() {
            let lines: Vec<String> = heard.iter().map(Value::to_string).collect();
            std::fs::write(recorded(), format!("[\n{}\n]\n", lines.join(",\n"))).expect("written down");
        }
        compare(&heard);
    }
    compare(&answers(&Cluster::builder().start().client()));
}

fn compare(heard: &[Value]) {
    let text = std::fs::read_to_string(recorded()).expect("the answers");
    let recorded: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    for (heard, recorded) in heard.iter().zip(&recorded) {
        assert_eq!(heard, recorded);
    }
    assert_eq!(heard.len(), recorded.len());
}
