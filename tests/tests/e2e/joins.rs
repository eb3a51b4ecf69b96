//! Joins: filters on documents of another index, and documents of another index in place of their ids. A node knows its
//! own part of either index, and what is answered is of the whole.

use serde_json::{Value, json};

use miroir_tests::parity::leaks;
use miroir_tests::{Answer, Client, Cluster};

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

#[test]
fn hits_that_are_to_be_reranked_are_refused_with_the_reason() {
    let cluster = Cluster::builder().start();
    let client = cluster.client();
    client.load("plain", &json!([{ "id": 1 }]));
    let personalize = json!({ "userContext": "likes blue" });
    let answers = [
        client.search("plain", &json!({ "personalize": personalize })),
        client.get("/indexes/plain/search?personalizeUserContext=likes%20blue"),
        client.post("/multi-search", &json!({ "queries": [{ "indexUid": "plain", "personalize": personalize }] })),
        client.post(
            "/multi-search",
            &json!({ "federation": { "personalize": personalize }, "queries": [{ "indexUid": "plain" }] }),
        ),
    ];
    for answer in answers {
        // A node that knows it says that it is off; what would do it is refused.
        let verdict = answer.verdict();
        let known = [(400, "feature_not_enabled".to_owned()), (501, "miroir_unsupported".to_owned())];
        assert!(known.contains(&verdict), "{}", answer.text);
    }
    client.search("plain", &json!({ "personalize": null })).expect(200);
}
