//! Documents go in and come out as with one server: every format and encoding, merging, deleting, browsing.

use std::collections::BTreeSet;
use std::io::Write;

use serde_json::{Value, json};

use miroir_tests::{Answer, Client, Twin, dataset, shape};

fn path(index: &str) -> String {
    format!("/indexes/{index}/documents")
}

fn some(count: usize) -> Value {
    (0..count)
        .map(|i| json!({ "id": i, "title": format!("film {i}"), "year": 1900 + i % 100, "tags": ["a", i % 3] }))
        .collect()
}

#[test]
fn json_and_ndjson_are_understood_alike() {
    let twin = Twin::shared();
    let formats: [(&str, &str, &str); 4] = [
        ("array", "application/json", r#"[{"id":1,"a":"x"},{"id":"two","a":[1,2.50,1e2],"n":12345678901234567890}]"#),
        ("object", "application/json", r#"{"id":7,"nested":{"deep":[{"x":null}]}}"#),
        ("lines", "application/x-ndjson", "{\"id\":1}\n\n {\"id\":2,\"t\":\"\\u00e9\\n\"}\r\n{\"id\":3}"),
        ("joined", "application/x-ndjson", "{\"id\":1}{\"id\":2} {\"id\":3}"),
    ];
    for (name, content_type, body) in formats {
        let index = format!("format-{name}");
        let task = twin.same_task(name, |client| {
            client.send("POST", &path(&index), Some(body.as_bytes()), &[("content-type", content_type)])
        });
        assert_eq!(task["status"], "succeeded", "{name}: {task}");
        assert!(twin.same_documents(&index) > 0, "{name}");
    }
}

#[test]
fn csv_becomes_documents() {
    let cluster = Twin::shared().cluster.client();
    let tables: [(&str, &str, Value); 3] = [
        (
            "",
            "id,title,year:number,seen:boolean\n1,\"a \"\"b\"\", c\",1999,true\n2,,,false\n",
            json!([
                { "id": "1", "title": "a \"b\", c", "year": 1999, "seen": true },
                { "id": "2", "title": null, "year": null, "seen": false },
            ]),
        ),
        (
            "?csvDelimiter=%3B",
            "id;title\r\n1;one,and\r\n2;two",
            json!([{ "id": "1", "title": "one,and" }, { "id": "2", "title": "two" }]),
        ),
        ("", "id,n:number\n001,1.5\nabc,-3\n", json!([{ "id": "001", "n": 1.5 }, { "id": "abc", "n": -3 }])),
    ];
    for (i, (query, body, expected)) in tables.into_iter().enumerate() {
        let index = format!("csv-{i}");
        let target = format!("{}{query}", path(&index));
        let task = cluster.done(&cluster.send("POST", &target, Some(body.as_bytes()), &[("content-type", "text/csv")]));
        assert_eq!(task["details"], json!({ "receivedDocuments": 2, "indexedDocuments": 2 }));
        assert_eq!(Value::from(shape::by_id(cluster.documents(&index))), expected, "{body}");
    }
}

fn compressed(encoding: &str, body: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    let squeezed = match encoding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(body).and_then(|()| encoder.finish())
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(body).and_then(|()| encoder.finish())
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 20);
            encoder.write_all(body).and_then(|()| encoder.flush()).map(|()| encoder.into_inner())
        }
        "zstd" => zstd::encode_all(body, 3),
        other => panic!("{other} is not supported"),
    };
    squeezed.unwrap_or_else(|error| panic!("{encoding}: {error}"))
}

#[test]
fn every_encoding_is_decoded() {
    let twin = Twin::shared();
    let body = some(300).to_string();
    for encoding in ["gzip", "deflate", "br", "zstd"] {
        let index = format!("encoded-{encoding}");
        twin.create(&index);
        let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
        let cluster = twin.cluster.client();
        cluster.done(&cluster.send("POST", &path(&index), Some(&compressed(encoding, body.as_bytes())), &headers));
        twin.reference.client().load(&index, &some(300));
        assert_eq!(twin.same_documents(&index), 300, "{encoding}");
    }
}

#[test]
fn adding_replaces_and_updating_merges() {
    let twin = Twin::shared();
    twin.create("merged");
    twin.load("merged", &some(40));
    let task = twin.same_task("replace", |client| {
        client.add("merged", &json!([{ "id": 3, "title": "new" }, { "id": "3", "title": "newer" }]))
    });
    assert_eq!(task["details"]["receivedDocuments"], 2);
    twin.same_documents("merged");
    twin.same_task("update", |client| {
        client.put(&path("merged"), &json!([{ "id": 4, "year": null, "more": { "x": 1 } }, { "id": 4, "tags": [] }, { "id": 400, "title": "added" }]))
    });
    twin.same_documents("merged");
    let document = twin.same("the merged document", |client| client.get(&format!("{}/4", path("merged"))));
    assert_eq!(document.body, json!({ "id": 4, "title": "film 4", "year": null, "tags": [], "more": { "x": 1 } }));
}

#[test]
fn values_come_back_as_they_were_sent() {
    let twin = Twin::shared();
    let body = "[{\"id\":1,\"pi\":3.140,\"third\":0.9900990099009901,\"big\":18446744073709551615,\"neg\":-9223372036854775808,\
        \"one\":1.0,\"text\":\"tab\\t \\u0001 \u{1F600} \u{2028}\",\"empty\":{},\"list\":[[],[null]],\"\":\"unnamed\",\"a.b\":1}]";
    let write = |client: &Client| {
        client.send("POST", &path("exact"), Some(body.as_bytes()), &[("content-type", "application/json")])
    };
    twin.same_task("exact values", write);
    let [ours, theirs] = twin.clients().map(|client| client.get(&format!("{}/1", path("exact"))).expect(200).text);
    assert_eq!(ours, theirs);
    let [ours, theirs] =
        twin.clients().map(|client| client.search("exact", &json!({ "q": "unnamed" })).expect(200).text);
    let hits = |text: &str| text.split_once(",\"query\"").map(|(hits, _)| hits.to_owned());
    assert_eq!(hits(&ours), hits(&theirs));
}

type Deletion = dyn Fn(&Client) -> Answer;

#[test]
fn deleting_by_id_ids_filter_and_all_leaves_the_same() {
    let twin = Twin::shared();
    twin.create("shrinking");
    twin.configure("shrinking", &json!({ "filterableAttributes": ["year"] }));
    twin.load("shrinking", &some(120));
    let deletions: [(&str, &Deletion); 6] = [
        ("one", &|client| client.delete(&format!("{}/5", path("shrinking")))),
        ("one that is not there", &|client| client.delete(&format!("{}/none", path("shrinking")))),
        ("several", &|client| {
            client.post(&format!("{}/delete-batch", path("shrinking")), &json!([1, "2", 3, "nobody", 1]))
        }),
        ("by filter", &|client| {
            client.post(&format!("{}/delete", path("shrinking")), &json!({ "filter": "year >= 1950" }))
        }),
        ("by a list of filters", &|client| {
            client
                .post(&format!("{}/delete", path("shrinking")), &json!({ "filter": [["year = 1910", "year = 1911"]] }))
        }),
        ("all", &|client| client.delete(&path("shrinking"))),
    ];
    let mut left = Vec::new();
    for (what, delete) in deletions {
        let task = twin.same_task(what, delete);
        assert_eq!(task["status"], "succeeded", "{what}: {task}");
        left.push(twin.same_documents("shrinking"));
    }
    assert!(left.is_sorted_by(|a, b| a >= b) && left.last() == Some(&0), "{left:?}");
}

#[test]
fn browsing_pages_are_stable_and_complete() {
    let twin = Twin::shared();
    twin.create("browsed");
    twin.load("browsed", &some(137));
    let client = twin.cluster.client();
    let page = |offset: usize, limit: usize| -> Vec<String> {
        let page = client.get(&format!("{}?offset={offset}&limit={limit}&fields=id", path("browsed"))).expect(200);
        assert_eq!(
            (&page.body["total"], &page.body["offset"], &page.body["limit"]),
            (&json!(137), &json!(offset), &json!(limit))
        );
        page.body["results"].as_array().map(|all| all.iter().map(Value::to_string).collect()).unwrap_or_default()
    };
    let whole = page(0, 1000);
    assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), 137);
    for size in [1, 7, 20, 136] {
        let pieces: Vec<String> = (0..137).step_by(size).flat_map(|offset| page(offset, size)).collect();
        assert_eq!(pieces, whole, "pages of {size}");
    }
    assert!(page(137, 10).is_empty() && page(1 << 40, 10).is_empty() && page(5, 0).is_empty());
    let default = client.get(&path("browsed")).expect(200);
    assert_eq!(
        (default.body["limit"].as_u64(), default.body["results"].as_array().map(Vec::len)),
        (Some(20), Some(20))
    );
}

#[test]
fn fetching_takes_ids_filters_and_fields() {
    let twin = Twin::shared();
    twin.create("fetched");
    twin.configure("fetched", &json!({ "filterableAttributes": ["year", "id"], "sortableAttributes": ["year", "id"] }));
    twin.load("fetched", &some(90));
    let fetches = [
        json!({ "ids": [3, "44", "nobody"], "limit": 10 }),
        json!({ "ids": [] , "limit": 10 }),
        json!({ "filter": "year < 1920", "limit": 100 }),
        json!({ "filter": ["year < 1920", ["id = 3", "id = 4"]], "limit": 100 }),
        json!({ "ids": [1, 2, 3], "filter": "id > 1", "limit": 10 }),
        json!({ "fields": ["title"], "limit": 100, "filter": "id < 1" }),
        json!({ "fields": ["id", "none"], "limit": 3, "ids": [5] }),
        json!({ "limit": 1000 }),
    ];
    for body in &fetches {
        let fetch = |client: &Client| {
            let answer = client.post(&format!("{}/fetch", path("fetched")), body);
            assert_eq!(answer.status, 200, "{body}: {}", answer.text);
            let results = answer.body["results"].as_array().cloned().unwrap_or_default();
            let mut results: Vec<String> = results.iter().map(Value::to_string).collect();
            results.sort();
            (answer.body["total"].clone(), answer.body["limit"].clone(), results)
        };
        let [ours, theirs] = twin.clients().map(|client| fetch(&client));
        assert_eq!(ours, theirs, "{body}");
    }
    let query = "?filter=year%20%3D%201905&fields=id,year&limit=50";
    let listed = |client: &Client| {
        let answer = client.get(&format!("{}{query}", path("fetched"))).expect(200);
        let mut results: Vec<String> =
            answer.body["results"].as_array().into_iter().flatten().map(Value::to_string).collect();
        results.sort();
        results
    };
    let [ours, theirs] = twin.clients().map(|client| listed(&client));
    assert_eq!(ours, theirs);
    twin.same("one document", |client| client.get(&format!("{}/12", path("fetched"))));
    twin.same("one document's fields", |client| client.get(&format!("{}/12?fields=title,year", path("fetched"))));
    twin.same("no document", |client| client.get(&format!("{}/999", path("fetched"))));
}

#[test]
fn statistics_count_every_document_once() {
    let twin = Twin::shared();
    twin.create("counted");
    let documents = dataset::documents(200, 3);
    twin.load("counted", &json!(documents));
    let stats = twin.same("index statistics", |client| client.get("/indexes/counted/stats"));
    assert_eq!(stats.body["numberOfDocuments"], 200);
    let all = twin.cluster.client().get("/stats").expect(200);
    assert_eq!(all.body["indexes"]["counted"]["numberOfDocuments"], 200, "{}", all.text);
    assert_eq!(all.body["indexes"]["counted"]["fieldDistribution"], stats.body["fieldDistribution"]);
}

#[test]
fn writes_of_one_client_are_applied_in_order() {
    let twin = Twin::shared();
    let client = twin.cluster.client();
    client.create("ordered", "id");
    let writes: Vec<_> = (0..30)
        .map(|round| client.add("ordered", &(0..10).map(|id| json!({ "id": id, "round": round })).collect()))
        .collect();
    for write in &writes {
        client.done(write);
    }
    for node in 0..3 {
        let held = twin.cluster.node_client(node).get("/indexes/ordered/documents?limit=100&fields=round").expect(200);
        let rounds: Vec<&Value> =
            held.body["results"].as_array().into_iter().flatten().map(|document| &document["round"]).collect();
        assert!(!rounds.is_empty() && rounds.iter().all(|round| **round == 29), "node {node} holds {rounds:?}");
    }
}
