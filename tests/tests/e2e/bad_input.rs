//! Input of every kind of badness is answered as one Meilisearch answers it, and nothing is half-applied.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use miroir_tests::config::CLIENT_KEY;
use miroir_tests::node::NODE_KEY;
use miroir_tests::raw::{self, Connection, RawAnswer};
use miroir_tests::{Answer, Client, Differences, Twin};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const NDJSON: [(&str, &str); 1] = [("content-type", "application/x-ndjson")];

fn documents_path(index: &str) -> String {
    format!("/indexes/{index}/documents")
}

/// Sends every body to both, then compares how each ended; tasks are waited for after all were sent.
fn compare_bodies(twin: &Twin, index: &str, headers: &[(&str, &str)], bodies: &[(String, Vec<u8>)]) {
    let path = documents_path(index);
    let send = |client: &Client| -> Vec<Answer> {
        bodies.iter().map(|(_, body)| client.send("POST", &path, Some(body), headers)).collect()
    };
    let [cluster, reference] = twin.clients();
    let (ours, theirs) = (send(&cluster), send(&reference));
    let mut differences = Differences::default();
    for ((case, _), (ours, theirs)) in bodies.iter().zip(ours.iter().zip(&theirs)) {
        differences.check(case, &cluster.outcome(ours), &reference.outcome(theirs));
    }
    differences.none();
    twin.same_documents(index);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The body cut off, or with one byte replaced, at every position.
fn mutations(body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for at in 0..body.len() {
        all.push((format!("cut at {at}: {}", text(&body[..at])), body[..at].to_vec()));
        for byte in [b'}', b'"', b'\\', 0x00, 0xff] {
            let mut changed = body.to_vec();
            changed[at] = byte;
            all.push((format!("{byte:#04x} at {at}: {}", text(&changed)), changed));
        }
    }
    all
}

#[test]
fn a_json_batch_damaged_at_any_byte_is_taken_or_refused_as_a_whole() {
    let twin = Twin::shared();
    twin.create("damaged");
    compare_bodies(twin, "damaged", &JSON, &mutations(br#"[{"id":1,"t":"a"},{"id":"b-2","n":[-1.5,null]}]"#));
}

#[test]
fn an_ndjson_batch_damaged_at_any_byte_is_taken_or_refused_as_a_whole() {
    let twin = Twin::shared();
    twin.create("damaged-lines");
    compare_bodies(twin, "damaged-lines", &NDJSON, &mutations(b"{\"id\":1,\"t\":\"a\"}\n{\"id\":\"b-2\"}\n"));
}

#[test]
fn bodies_that_are_no_documents_are_refused_alike() {
    let twin = Twin::shared();
    twin.create("odd");
    let bodies: [&[u8]; 18] = [
        b"",
        b" ",
        b"null",
        b"1",
        b"\"text\"",
        b"[]",
        b"{}",
        b"[[]]",
        b"[{}]",
        b"[{\"id\":1},]",
        b"[{\"id\":1}] trailing",
        b"[{\"id\":1}",
        b"{\"id\":1}{\"id\":2}",
        b"[{\"id\":\"\xff\xfe\"}]",
        b"[{\"id\":1,\"t\":\"\xc3\x28\"}]",
        b"[{\"id\":1,\"t\":\"\\ud800\"}]",
        b"[{\"id\":1,\"a\":01}]",
        b"[{\"id\":1,\"a\":1e999}]",
    ];
    // One at a time: a body that fails inside a node's engine fails whatever shares a batch with it.
    for body in bodies {
        compare_bodies(twin, "odd", &JSON, &[(text(body), body.to_vec())]);
    }
    let deep = format!("[{{\"id\":1,\"d\":{}{}}}]", "[".repeat(20_000), "]".repeat(20_000));
    compare_bodies(twin, "odd", &JSON, &[("brackets 20,000 deep".to_owned(), deep.into_bytes())]);
}

#[test]
fn bad_ids_fail_the_whole_task_and_store_nothing() {
    let twin = Twin::shared();
    twin.create("ids");
    let ids = [
        json!(null),
        json!(1.5),
        json!(true),
        json!(""),
        json!("a b"),
        json!("é"),
        json!("a/b"),
        json!("a.b"),
        json!([1]),
        json!({ "a": 1 }),
        json!("x".repeat(512)),
        json!("x".repeat(511)),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!("01"),
        json!("-"),
        json!("a_b-C9"),
    ];
    let mut bodies: Vec<(String, Vec<u8>)> = ids
        .iter()
        .map(|id| {
            (
                format!("id {id}"),
                json!([{ "id": format!("good{}", id.to_string().len()) }, { "id": id }]).to_string().into_bytes(),
            )
        })
        .collect();
    for raw in ["1.0", "1e2", "18446744073709551616", "-9223372036854775809", "-0"] {
        bodies
            .push((format!("id {raw}"), format!("[{{\"id\":{raw}}},{{\"id\":\"after{}\"}}]", raw.len()).into_bytes()));
    }
    bodies.push(("no id".into(), br#"[{"id":"fine"},{"name":"nameless"}]"#.to_vec()));
    bodies.push(("Id".into(), br#"[{"Id":7}]"#.to_vec()));
    compare_bodies(twin, "ids", &JSON, &bodies);
    // Whatever the reference said of them: these must have failed.
    let cluster = twin.cluster.client();
    for bad in [json!({ "name": "nameless" }), json!({ "id": "x".repeat(512) }), json!({ "id": 1.5 })] {
        let answer = cluster.add("ids", &json!([{ "id": "companion" }, bad]));
        assert_eq!(answer.status, 202, "{}", answer.text);
        assert!(matches!(cluster.failed(&answer).as_str(), "missing_document_id" | "invalid_document_id"));
    }
    assert_eq!(cluster.get("/indexes/ids/documents/companion").status, 404);
}

/// A request that no ordinary client can be brought to send.
fn exchange(twin: &Twin, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> [(u16, String); 2] {
    let sides = [(twin.cluster.address(), CLIENT_KEY), (twin.reference.address(), NODE_KEY)];
    sides.map(|(base, key)| {
        let bearer = format!("Bearer {key}");
        let mut headers = headers.to_vec();
        headers.push(("authorization", &bearer));
        let request = raw::request(method, path, &headers, body);
        let socket = base.trim_start_matches("http://");
        let answer = Connection::open(socket).and_then(|mut connection| connection.exchange(&request));
        verdict(&answer.unwrap_or_else(|error| panic!("{method} {path} {headers:?}: {error}")))
    })
}

fn verdict(answer: &RawAnswer) -> (u16, String) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    (answer.status, body["code"].as_str().unwrap_or("").to_owned())
}

#[test]
fn content_types_and_encodings_are_judged_alike() {
    let twin = Twin::shared();
    twin.create("typed");
    let headers: [&[(&str, &str)]; 11] = [
        &[],
        &[("content-type", "text/plain")],
        &[("content-type", "application/xml")],
        &[("content-type", "nonsense")],
        &[("content-type", "")],
        &[("content-type", "application/json; charset=utf-8")],
        &[("content-type", "APPLICATION/JSON")],
        &[("content-type", "application/json"), ("content-encoding", "sausage")],
        &[("content-type", "application/json"), ("content-encoding", "identity")],
        &[("content-type", "application/json"), ("content-encoding", "")],
        &[("content-type", "application/x-ndjson")],
    ];
    let mut differences = Differences::default();
    for case in headers {
        for method in ["POST", "PUT"] {
            let [ours, theirs] = exchange(twin, method, &documents_path("typed"), case, br#"{"id":1}"#);
            differences.check(&format!("{method} {case:?}"), &ours, &theirs);
        }
    }
    let none = exchange(twin, "POST", &documents_path("typed"), &[], br#"{"id":1}"#);
    assert_eq!(none[0], (415, "missing_content_type".to_owned()));
    let [search, reference] = exchange(twin, "POST", "/indexes/typed/search", &[("content-type", "text/plain")], b"{}");
    differences.check("a search as text/plain", &search, &reference);
    differences.none();
}

#[test]
fn damaged_compression_is_refused() {
    let twin = Twin::shared();
    twin.create("squeezed");
    let cluster = twin.cluster.client();
    for encoding in ["gzip", "deflate", "br", "zstd"] {
        let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
        let answer = cluster.send("POST", &documents_path("squeezed"), Some(b"this is not compressed"), &headers);
        assert_eq!(answer.status, 400, "{encoding}: {}", answer.text);
        assert!(!answer.code().is_empty(), "{encoding}: {}", answer.text);
    }
    let mut whole = GzEncoder::new(Vec::new(), Compression::fast());
    whole.write_all(br#"[{"id":1},{"id":2}]"#).unwrap_or_default();
    let whole = whole.finish().unwrap_or_default();
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    for cut in 0..whole.len() {
        let answer = cluster.send("POST", &documents_path("squeezed"), Some(&whole[..cut]), &headers);
        assert!((400..500).contains(&answer.status), "cut at {cut}: {} {}", answer.status, answer.text);
    }
    assert_eq!(cluster.count("squeezed"), 0);
}

/// Gzip of `mebibytes` of blanks around one document.
fn bomb(mebibytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let blanks = vec![b' '; 1 << 20];
    let written = (|| -> std::io::Result<Vec<u8>> {
        encoder.write_all(b"[")?;
        for _ in 0..mebibytes {
            encoder.write_all(&blanks)?;
        }
        encoder.write_all(b"{\"id\":1}]")?;
        encoder.finish()
    })();
    written.unwrap_or_else(|error| panic!("compressing: {error}"))
}

#[test]
fn a_zip_bomb_is_refused_beyond_the_limit_and_harmless_within() {
    let twin = Twin::shared();
    twin.create("bomb");
    let cluster = twin.cluster.client();
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let beyond = cluster.send("POST", &documents_path("bomb"), Some(&bomb(110)), &headers);
    assert_eq!(beyond.verdict(), (413, "payload_too_large".to_owned()), "{}", beyond.text);
    assert_eq!(cluster.count("bomb"), 0);
    let within = cluster.send("POST", &documents_path("bomb"), Some(&bomb(80)), &headers);
    cluster.done(&within);
    assert_eq!(cluster.count("bomb"), 1);
}

#[test]
fn a_body_of_101_mebibytes_is_too_large() {
    let twin = Twin::shared();
    twin.create("large");
    let size = 101 << 20;
    let bearer = format!("Bearer {CLIENT_KEY}");
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    let head = raw::head("POST", &documents_path("large"), &headers, size);
    let body = (0..101).map(|_| vec![b' '; 1 << 20]);
    let answer = Connection::open(&twin.cluster.socket()).and_then(|mut open| open.exchange_large(&head, body));
    let answer = answer.unwrap_or_else(|error| panic!("no answer: {error}"));
    assert_eq!(verdict(&answer), (413, "payload_too_large".to_owned()));
    assert_eq!(twin.cluster.client().count("large"), 0);
}

#[test]
fn bad_searches_get_the_same_code() {
    let twin = Twin::shared();
    twin.create("searched");
    twin.configure("searched", &json!({ "filterableAttributes": ["n"], "sortableAttributes": ["n"] }));
    twin.load("searched", &(0..50).map(|i| json!({ "id": i, "n": i, "t": "word" })).collect());
    let bodies = [
        r#"{"offset":-1}"#,
        r#"{"limit":-1}"#,
        r#"{"page":-1}"#,
        r#"{"hitsPerPage":-1}"#,
        r#"{"limit":1.5}"#,
        r#"{"limit":"3"}"#,
        r#"{"limit":1e30}"#,
        r#"{"offset":18446744073709551615}"#,
        r#"{"limit":18446744073709551615,"offset":18446744073709551615}"#,
        r#"{"limit":18446744073709551616}"#,
        r#"{"page":18446744073709551615,"hitsPerPage":18446744073709551615}"#,
        r#"{"page":0}"#,
        r#"{"hitsPerPage":0}"#,
        r#"{"limit":0}"#,
        r#"{"page":1000000,"hitsPerPage":1000000}"#,
        r#"{"q":1}"#,
        r#"{"q":null}"#,
        r#"{"filter":"n ="}"#,
        r#"{"filter":"n = 1 AND"}"#,
        r#"{"filter":"((n = 1)"}"#,
        r#"{"filter":"n IN [1,"}"#,
        r#"{"filter":3}"#,
        r#"{"filter":[["n = 1",["n = 2"]]]}"#,
        r#"{"filter":"t = word"}"#,
        r#"{"filter":"n = 1) OR (n = 2"}"#,
        r#"{"filter":"_geoRadius(1,2)"}"#,
        r#"{"filter":""}"#,
        r#"{"filter":[]}"#,
        r#"{"filter":null}"#,
        r#"{"sort":["n"]}"#,
        r#"{"sort":["t:asc"]}"#,
        r#"{"sort":"n:asc"}"#,
        r#"{"sort":["n:up"]}"#,
        r#"{"facets":["t"]}"#,
        r#"{"facets":"n"}"#,
        r#"{"distinct":"t"}"#,
        r#"{"matchingStrategy":"most"}"#,
        r#"{"rankingScoreThreshold":2}"#,
        r#"{"rankingScoreThreshold":-0.1}"#,
        r#"{"attributesToRetrieve":"id"}"#,
        r#"{"attributesToSearchOn":["missing"]}"#,
        r#"{"cropLength":-1}"#,
        r#"{"nonsense":1}"#,
        r#"{"hybrid":{"embedder":"none"}}"#,
        r#"{"vector":[1]}"#,
        r#"{"showRankingScore":"yes"}"#,
        "",
        "{",
        "[]",
        "null",
        "3",
        "{\"q\":\"\\ud800\"}",
        "{\"q\":\"a\u{0}b\"}",
    ];
    let [cluster, reference] = twin.clients();
    let mut differences = Differences::default();
    for body in bodies {
        let ask = |client: &Client| client.send("POST", "/indexes/searched/search", Some(body.as_bytes()), &JSON);
        let (ours, theirs) = (ask(&cluster), ask(&reference));
        assert!(!ours.text.contains("_miroir"), "{body}: {}", ours.text);
        let verdicts = (ours.verdict(), theirs.verdict());
        differences.check(body, &verdicts.0, &verdicts.1);
        if verdicts.0 == verdicts.1 && ours.status == 200 {
            let count = |answer: &Answer| answer.body["hits"].as_array().map(Vec::len);
            differences.check(&format!("hits of {body}"), &count(&ours), &count(&theirs));
        }
    }
    let queries = [
        "limit=-1",
        "offset=abc",
        "page=-1",
        "hitsPerPage=99999999999999999999",
        "filter=n%20%3D",
        "nonsense=1",
        "sort=n",
        "facets=t",
        "limit=3&limit=4",
        "q=word&limit=2",
        "matchingStrategy=most",
        "showRankingScore=maybe",
        "attributesToRetrieve=id,n&limit=1",
    ];
    for query in queries {
        let [ours, theirs] =
            twin.clients().map(|client| client.get(&format!("/indexes/searched/search?{query}")).verdict());
        differences.check(query, &ours, &theirs);
    }
    differences.none();
}

#[test]
fn bad_requests_elsewhere_get_the_same_code() {
    let twin = Twin::shared();
    twin.create("elsewhere");
    twin.load("elsewhere", &json!([{ "id": 1 }, { "id": 2 }]));
    let gets = [
        "/indexes/elsewhere/documents?offset=-1",
        "/indexes/elsewhere/documents?limit=x",
        "/indexes/elsewhere/documents?limit=18446744073709551615",
        "/indexes/elsewhere/documents?nonsense=1",
        "/indexes/elsewhere/documents?filter=a%20%3D",
        "/indexes/elsewhere/documents/none",
        "/indexes/elsewhere/documents/1?nonsense=1",
        "/indexes/elsewhere/documents/a%20b",
        "/indexes/not%20valid",
        "/indexes/not%20valid/documents",
        "/indexes/missing",
        "/indexes/missing/documents",
        "/indexes/missing/documents/1",
        "/indexes/missing/settings",
        "/indexes/missing/stats",
        "/indexes/missing/search",
        "/indexes?limit=-1",
        "/indexes?offset=x",
        "/tasks?limit=-1",
        "/tasks?from=x",
        "/tasks?uids=a",
        "/tasks?statuses=sleeping",
        "/tasks?types=cooking",
        "/tasks?nonsense=1",
        "/tasks/99999999",
        "/tasks/abc",
        "/tasks/-1",
    ];
    let mut differences = Differences::default();
    for path in gets {
        let [ours, theirs] = twin.clients().map(|client| client.get(path).verdict());
        differences.check(path, &ours, &theirs);
    }
    let writes = [
        ("POST", "/indexes/elsewhere/documents/fetch", r#"{"limit":-1}"#),
        ("POST", "/indexes/elsewhere/documents/fetch", r#"{"filter":"a ="}"#),
        ("POST", "/indexes/elsewhere/documents/fetch", r#"{"nonsense":1}"#),
        ("POST", "/indexes/elsewhere/documents/fetch", "["),
        ("POST", "/indexes/missing/documents/fetch", "{}"),
        ("POST", "/indexes/elsewhere/documents/delete-batch", "{}"),
        ("POST", "/indexes/elsewhere/documents/delete-batch", "[1,"),
        ("POST", "/indexes/elsewhere/documents/delete-batch", "[1.5]"),
        ("POST", "/indexes/elsewhere/documents/delete", "{}"),
        ("POST", "/indexes/elsewhere/documents/delete", r#"{"filter":""}"#),
        ("POST", "/indexes/elsewhere/documents/delete", r#"{"filter":"a ="}"#),
        ("POST", "/indexes/elsewhere/documents/delete", r#"{"filter":"a = 1"}"#),
        ("POST", "/indexes", "{}"),
        ("POST", "/indexes", r#"{"uid":"not valid"}"#),
        ("POST", "/indexes", r#"{"uid":3}"#),
        ("POST", "/indexes", r#"{"uid":"a","nonsense":1}"#),
        ("POST", "/indexes", r#"{"uid":"elsewhere"}"#),
        ("POST", "/indexes", "{"),
        ("PATCH", "/indexes/missing", r#"{"primaryKey":"id"}"#),
        ("PATCH", "/indexes/elsewhere", r#"{"primaryKey":"other"}"#),
        ("PATCH", "/indexes/elsewhere/settings", r#"{"nonsense":1}"#),
        ("PATCH", "/indexes/elsewhere/settings", r#"{"rankingRules":["nonsense"]}"#),
        ("PATCH", "/indexes/elsewhere/settings", r#"{"stopWords":3}"#),
        ("PATCH", "/indexes/elsewhere/settings", "["),
        ("PUT", "/indexes/elsewhere/settings/sortable-attributes", "3"),
        ("PUT", "/indexes/elsewhere/settings/ranking-rules", r#"["nonsense"]"#),
        ("POST", "/indexes/elsewhere/documents?primaryKey=other", r#"[{"other":1,"id":9}]"#),
        ("POST", "/indexes/elsewhere/documents?primaryKey=", r#"[{"id":9}]"#),
        ("POST", "/indexes/elsewhere/documents?nonsense=1", r#"[{"id":9}]"#),
        ("POST", "/indexes/not%20valid/documents", r#"[{"id":9}]"#),
        ("POST", "/indexes/missing/documents/delete-batch", "[1]"),
        ("POST", "/indexes/missing/documents/delete", r#"{"filter":"a = 1"}"#),
    ];
    let [cluster, reference] = twin.clients();
    for (method, path, body) in writes {
        let send = |client: &Client| client.outcome(&client.send(method, path, Some(body.as_bytes()), &JSON));
        differences.check(&format!("{method} {path} {body}"), &send(&cluster), &send(&reference));
    }
    for path in
        ["/indexes/missing", "/indexes/missing/documents", "/indexes/missing/documents/1", "/indexes/missing/settings"]
    {
        let delete = |client: &Client| client.outcome(&client.delete(path));
        differences.check(&format!("DELETE {path}"), &delete(&cluster), &delete(&reference));
    }
    differences.none();
    let delimited = "/indexes/elsewhere/documents?csvDelimiter=%2C";
    let refused = cluster.send("POST", delimited, Some(br#"[{"id":9}]"#), &JSON);
    assert_eq!(refused.verdict(), (415, "invalid_content_type".to_owned()), "{}", refused.text);
    for delimiter in ["%3B%3B", "%C3%A9", ""] {
        let path = format!("/indexes/elsewhere/documents?csvDelimiter={delimiter}");
        let refused = cluster.send("POST", &path, Some(b"id\n9\n"), &[("content-type", "text/csv")]);
        assert_eq!(refused.verdict(), (400, "invalid_document_csv_delimiter".to_owned()), "{}", refused.text);
    }
    twin.same_documents("elsewhere");
}
