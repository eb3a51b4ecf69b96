//! What stands between a client and what it asks for: encodings, sizes, names of requests, metadata.

use std::io::{Read, Write};

use serde_json::{Value, json};

use miroir_tests::config::CLIENT_KEY;
use miroir_tests::raw::{self, Connection, RawAnswer};
use miroir_tests::{Client, Cluster, Twin, binaries, differential};

const JSON: (&str, &str) = ("content-type", "application/json");

fn ask(socket: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> RawAnswer {
    let key = format!("Bearer {CLIENT_KEY}");
    let headers: Vec<(&str, &str)> = headers.iter().copied().chain([("authorization", key.as_str())]).collect();
    let mut connection = Connection::open(socket).expect("a connection");
    connection.exchange(&raw::request(method, path, &headers, body)).expect("an answer")
}

/// A body in the encodings that are understood.
fn encoded(encoding: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match encoding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(&mut bytes, flate2::Compression::fast());
            encoder.write_all(body).expect("memory");
            encoder.finish().expect("memory");
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(&mut bytes, flate2::Compression::fast());
            encoder.write_all(body).expect("memory");
            encoder.finish().expect("memory");
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(&mut bytes, 4096, 5, 22);
            encoder.write_all(body).expect("memory");
            drop(encoder);
        }
        "zstd" => bytes = zstd::encode_all(body, 1).expect("memory"),
        other => panic!("{other}"),
    }
    bytes
}

fn decoded(encoding: &str, bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut reader: Box<dyn Read> = match encoding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(bytes)),
        "deflate" => Box::new(flate2::read::ZlibDecoder::new(bytes)),
        "br" => Box::new(brotli::Decompressor::new(bytes, 4096)),
        "zstd" => Box::new(zstd::Decoder::new(bytes).expect("zstd")),
        other => panic!("{other}"),
    };
    reader.read_to_string(&mut text).expect("text in this encoding");
    text
}

/// Without what no two answers have in common.
fn comparable(text: &str) -> Value {
    differential::normalised(
        &without_numbers(serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))),
        true,
    )
}

/// Numbers that are given once.
fn without_numbers(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        for name in ["taskUid", "uid"] {
            members.remove(name);
        }
    }
    value
}

fn films() -> Cluster {
    let cluster = Cluster::builder().start();
    let client = cluster.client();
    client.load(
        "films",
        &json!([
            { "id": 1, "title": "Alien", "genre": "horror" },
            { "id": 2, "title": "Aliens", "genre": "action" },
            { "id": 3, "title": "Solaris", "genre": "drama" },
        ]),
    );
    client.configure("films", &json!({ "filterableAttributes": ["genre", "id"], "sortableAttributes": ["id"] }));
    cluster
}

#[test]
fn a_body_may_be_compressed_on_every_route_that_takes_one() {
    let cluster = films();
    let socket = cluster.socket();
    let cases: [(&str, &str, Value); 14] = [
        ("POST", "/indexes/films/search", json!({ "q": "alien", "sort": ["id:asc"] })),
        ("POST", "/multi-search", json!({ "queries": [{ "indexUid": "films", "q": "solaris" }] })),
        ("POST", "/indexes/films/facet-search", json!({ "facetName": "genre", "facetQuery": "dra" })),
        ("POST", "/indexes/films/documents/fetch", json!({ "filter": "id = 2" })),
        ("POST", "/indexes/films/documents", json!([{ "id": 9, "title": "Stalker" }])),
        ("PUT", "/indexes/films/documents", json!([{ "id": 9, "genre": "drama" }])),
        ("POST", "/indexes/films/documents/delete-batch", json!([9])),
        ("POST", "/indexes/films/documents/delete", json!({ "filter": "id = 99" })),
        ("PATCH", "/indexes/films/settings", json!({ "stopWords": ["the"] })),
        ("PUT", "/indexes/films/settings/stop-words", json!(["a"])),
        ("POST", "/indexes", json!({ "uid": "others" })),
        ("POST", "/keys", json!({ "actions": ["search"], "indexes": ["films"], "expiresAt": null })),
        ("POST", "/swap-indexes", json!([])),
        ("POST", "/indexes/films/fields", json!({ "limit": 1 })),
    ];
    for (method, path, body) in &cases {
        let body = body.to_string();
        let plain = ask(&socket, method, path, &[JSON], body.as_bytes());
        assert!(plain.status < 300, "{method} {path}: {} {}", plain.status, String::from_utf8_lossy(&plain.body));
        let expected = comparable(&String::from_utf8_lossy(&plain.body));
        for encoding in ["gzip", "deflate", "br", "zstd"] {
            let answer = ask(
                &socket,
                method,
                path,
                &[JSON, ("content-encoding", encoding)],
                &encoded(encoding, body.as_bytes()),
            );
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(
                (answer.status, comparable(&text)),
                (plain.status, expected.clone()),
                "{method} {path} by {encoding}"
            );
        }
        // What nobody knows is taken for what it is not.
        let unknown = ask(&socket, method, path, &[JSON, ("content-encoding", "rot13")], body.as_bytes());
        assert_eq!(unknown.status, plain.status, "{method} {path}");
        let broken = ask(&socket, method, path, &[JSON, ("content-encoding", "gzip")], body.as_bytes());
        assert_eq!(broken.status, 400, "{method} {path}: {}", String::from_utf8_lossy(&broken.body));
    }
}

#[test]
fn a_body_that_is_too_large_is_refused_as_one_server_refuses_it_however_small_it_came() {
    let cluster = Cluster::builder().set("server.max_body_bytes", json!(4000)).start();
    let (socket, client) = (cluster.socket(), cluster.client());
    client.load("films", &json!([{ "id": 1 }]));
    let large = json!({ "q": "x".repeat(5000) }).to_string();
    let documents = json!([{ "id": 1, "text": "x".repeat(5000) }]).to_string();
    let code = |answer: &RawAnswer| -> (u16, String) {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        (answer.status, body["code"].as_str().unwrap_or_default().to_owned())
    };
    for path in ["/indexes/films/search", "/multi-search", "/indexes/films/documents/fetch", "/keys", "/swap-indexes"] {
        let known = ask(&socket, "POST", path, &[JSON], large.as_bytes());
        assert_eq!(code(&known), (500, "internal".into()), "{path}");
        for encoding in ["gzip", "deflate", "br", "zstd"] {
            let bomb = encoded(encoding, large.as_bytes());
            assert!(bomb.len() < 4000);
            let answer = ask(&socket, "POST", path, &[JSON, ("content-encoding", encoding)], &bomb);
            assert_eq!(code(&answer), (413, "payload_too_large".into()), "{path} by {encoding}");
        }
    }
    for (method, headers, body) in [
        ("POST", vec![JSON], documents.clone().into_bytes()),
        ("PUT", vec![JSON, ("content-encoding", "gzip")], encoded("gzip", documents.as_bytes())),
    ] {
        let answer = ask(&socket, method, "/indexes/films/documents", &headers, &body);
        assert_eq!(code(&answer), (413, "payload_too_large".into()), "{method}");
    }
    // What fits is taken, and nothing is held for ever of what did not.
    let fits = json!({ "q": "x".repeat(3000) }).to_string();
    assert_eq!(ask(&socket, "POST", "/indexes/films/search", &[JSON], fits.as_bytes()).status, 200);
    let metrics = cluster.metrics().get("/metrics").text;
    assert!(metrics.contains("miroir_ingest_bytes_in_flight 0"), "bytes are held: {metrics}");
}

#[test]
fn an_answer_comes_in_the_encoding_that_the_client_likes_best() {
    let cluster = films();
    let socket = cluster.socket();
    let body = br#"{"q":"alien","sort":["id:asc"]}"#;
    let path = "/indexes/films/search";
    let plain = ask(&socket, "POST", path, &[JSON], body);
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some(VARY)));
    let expected = comparable(&String::from_utf8_lossy(&plain.body));
    for (accepted, encoding) in [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("zstd", "zstd"),
        ("br;q=0.1, gzip;q=0.9", "gzip"),
    ] {
        let answer = ask(&socket, "POST", path, &[JSON, ("accept-encoding", accepted)], body);
        assert_eq!((answer.status, answer.header("content-encoding")), (200, Some(encoding)), "{accepted}");
        let varies: Vec<&str> =
            answer.headers.iter().filter(|(name, _)| name == "vary").map(|(_, value)| value.as_str()).collect();
        assert_eq!(varies, [VARY, "accept-encoding"], "{accepted}");
        assert_eq!(comparable(&decoded(encoding, &answer.body)), expected, "{accepted}");
    }
    for accepted in ["identity", "compress", "*", "gzip;q=0"] {
        let answer = ask(&socket, "POST", path, &[JSON, ("accept-encoding", accepted)], body);
        assert_eq!((answer.status, answer.header("content-encoding")), (200, None), "{accepted}");
    }
    // Refusals and the smallest answer too; what has no body has no encoding.
    for (method, path, status, encoding) in [
        ("GET", "/health", 200, Some("gzip")),
        ("GET", "/indexes/none", 404, Some("gzip")),
        ("GET", "/no-such-route", 404, None),
        ("POST", "/health", 405, None),
    ] {
        let answer = ask(&socket, method, path, &[("accept-encoding", "gzip")], b"");
        assert_eq!((answer.status, answer.header("content-encoding")), (status, encoding), "{method} {path}");
    }
    assert_eq!(ask(&socket, "GET", "/health", &[("accept-encoding", "identity;q=0")], b"").status, 406);
}

/// As every server says it.
const VARY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

#[test]
fn answers_are_left_as_they_are_where_the_operator_says_so() {
    let cluster = Cluster::builder().set("server.compress_responses", json!(false)).start();
    let answer = ask(&cluster.socket(), "GET", "/indexes", &[("accept-encoding", "br, gzip")], b"");
    assert_eq!((answer.status, answer.header("content-encoding")), (200, None));
}

#[test]
fn a_request_has_one_name_for_the_client_for_the_nodes_and_in_the_log() {
    let cluster = Cluster::builder().faults().set("log.level", json!("debug")).start();
    let client = cluster.client();
    client.load("films", &json!([{ "id": 1 }]));
    let named = client.with_header("x-request-id", "order-4711");
    let answer = named.search("films", &json!({})).expect(200);
    assert_eq!(answer.header("x-request-id"), Some("order-4711"));
    let asked = || (0..3).flat_map(|node| cluster.faults(node).request_ids()).filter(|id| id == "order-4711").count();
    let searched = asked();
    assert!(searched > 0, "no node was told");
    named.done(&named.add("films", &json!([{ "id": 2 }])));
    assert!(asked() > searched + 1, "no replica was told of whose write it was");
    assert!(cluster.proxy_log().contains("order-4711"), "the log does not name the request");
    let refused = client.with_header("x-request-id", "not usable").get("/indexes/none").expect(404);
    assert_eq!(refused.header("x-request-id").map(str::len), Some(36), "{:?}", refused.header("x-request-id"));
}

#[test]
fn queries_are_told_of_where_the_header_asks_for_it() {
    let twin = Twin::start();
    for uid in ["films", "books"] {
        twin.create(uid);
        twin.load(uid, &json!([{ "id": 1, "title": "Solaris" }]));
    }
    let asks: [(&str, Value); 4] = [
        ("/indexes/films/search", json!({ "q": "solaris" })),
        ("/multi-search", json!({ "queries": [{ "indexUid": "films", "q": "x" }, { "indexUid": "books" }] })),
        (
            "/multi-search",
            json!({ "federation": {}, "queries": [{ "indexUid": "films", "q": "sol" }, { "indexUid": "books" }] }),
        ),
        ("/multi-search", json!({ "federation": {}, "queries": [{ "indexUid": "books", "q": "" }] })),
    ];
    let one = |uid: &str, query: Option<&str>| match query {
        Some(query) => json!({ "query": query, "queryUid": "<uid>", "indexUid": uid, "primaryKey": "id" }),
        None => json!({ "queryUid": "<uid>", "indexUid": uid, "primaryKey": "id" }),
    };
    let expected = [
        json!([one("films", Some("solaris"))]),
        json!([one("films", Some("x")), one("books", None)]),
        json!([one("films", Some("sol")), one("books", None)]),
        json!([one("books", Some(""))]),
    ];
    let ours = twin.cluster.client();
    for ((path, body), expected) in asks.iter().zip(&expected) {
        for (value, is_told) in [("true", true), ("TRUE", true), ("1", true), ("yes", false), ("0", false)] {
            let told = |client: &Client| {
                metadata_of(&client.with_header("meili-include-metadata", value).post(path, body).expect(200).body)
            };
            assert_eq!(told(&ours), if is_told { expected.clone() } else { json!([]) }, "{path} {body} {value}");
            if binaries::meilisearch().is_some() {
                assert_eq!(told(&ours), told(&twin.reference.client()), "{path} {body} {value}");
            }
        }
        assert_eq!(metadata_of(&ours.post(path, body).expect(200).body), json!([]), "{path} unasked");
    }
    for (query, words) in [("?q=x", Some("x")), ("?q=", Some("")), ("", None)] {
        let by_query = ours.with_header("meili-include-metadata", "true").get(&format!("/indexes/films/search{query}"));
        assert_eq!(metadata_of(&by_query.expect(200).body), json!([one("films", words)]), "{query}");
    }
}

/// What an answer tells of its queries, their numbers aside.
fn metadata_of(body: &Value) -> Value {
    let of_results = body["results"].as_array().into_iter().flatten().map(|result| &result["metadata"]);
    let mut told: Vec<Value> = std::iter::once(&body["metadata"])
        .chain(of_results)
        .flat_map(|metadata| metadata.as_array().cloned().unwrap_or_else(|| vec![metadata.clone()]))
        .filter(|metadata| !metadata.is_null())
        .collect();
    for metadata in &mut told {
        assert_eq!(metadata["queryUid"].as_str().map(str::len), Some(36), "{metadata}");
        metadata["queryUid"] = json!("<uid>");
    }
    Value::Array(told)
}
