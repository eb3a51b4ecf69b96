//! Clients that mean ill: what Miroir cannot read reaches no index, and whoever takes all that there is takes it from clients
//! alone.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use miroir_tests::config::CLIENT_KEY;
use miroir_tests::raw::{self, Connection};
use miroir_tests::{Answer, Client, Cluster, Differences, Twin, eventually};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const BOUND: Duration = Duration::from_secs(30);

fn post(client: &Client, path: &str, body: &str) -> Answer {
    client.send("POST", path, Some(body.as_bytes()), &JSON)
}

/// How many documents of an index each node holds.
fn on_each_node(cluster: &Cluster, index: &str) -> Vec<u64> {
    (0..cluster.nodes().len()).map(|node| cluster.node_client(node).count(index)).collect()
}

#[test]
fn a_deletion_that_cannot_be_read_deletes_nothing_of_any_index() {
    let cluster = Cluster::builder().start();
    let admin = cluster.client();
    for index in ["miroir", "a"] {
        admin.create(index, "id");
        admin.configure(index, &json!({ "filterableAttributes": ["id", "n"] }));
        admin.load(index, &(0..50).map(|id| json!({ "id": id, "n": id })).collect());
    }
    let key = json!({ "actions": ["documents.delete"], "indexes": ["a"], "expiresAt": null });
    let key = admin.post("/keys", &key).expect(201).body;
    let client = Client::new(admin.base(), key["key"].as_str().expect("a value"));
    let before = [on_each_node(&cluster, "miroir"), on_each_node(&cluster, "a")];
    for body in [
        r#"{"filter":"n >= 0","zork":1}"#,
        r#"{"filter":"n >= 0","filter":"n >= 0","zork":1}"#,
        r#"{"zork":1}"#,
        "{}",
        "[]",
        r#"[{"filter":"n >= 0"}]"#,
        r#""n >= 0""#,
        "null",
    ] {
        let answer = post(&client, "/indexes/a/documents/delete", body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        assert!(!answer.text.contains("no index") && !answer.text.contains("no%20index"), "{}", answer.text);
    }
    assert_eq!([on_each_node(&cluster, "miroir"), on_each_node(&cluster, "a")], before);
    // Of filters given twice the last counts, in the index that was asked for and in no other.
    let twice = post(&client, "/indexes/a/documents/delete", r#"{"filter":"n >= 0","filter":"n < 10"}"#);
    let task = admin.done(&twice);
    assert_eq!((&task["indexUid"], &task["details"]["deletedDocuments"]), (&json!("a"), &json!(10)), "{task}");
    assert_eq!((on_each_node(&cluster, "miroir"), admin.count("a")), (before[0].clone(), 40));
}

#[test]
fn what_cannot_be_read_is_sent_about_no_index_that_there_is() {
    let cluster = Cluster::builder().nodes(2).faults().start();
    let client = cluster.client();
    client.create("real", "id");
    client.load("real", &json!([{ "id": 1 }]));
    let routes = [
        ("/indexes/real/search", r#"{"zork":{"#),
        ("/indexes/real/search", r#"{"limit":"many"}"#),
        ("/indexes/real/facet-search", r#"{"facetName":7}"#),
        ("/indexes/real/similar", r#"{"zork":1}"#),
        ("/indexes/real/fields", r#"{"zork":1}"#),
        ("/indexes/real/documents/fetch", r#"{"zork":1}"#),
        ("/indexes/real/documents/delete", r#"{"zork":1}"#),
        ("/indexes/real/documents/edit", r#"{"zork":1}"#),
        ("/indexes/real/documents/delete-batch", r#"{"zork":1}"#),
        ("/multi-search", r#"{"queries":[{"indexUid":"real","limit":"many"}]}"#),
        ("/multi-search", r#"{"zork":1,"queries":[{"indexUid":"real"}],"queries":[{"index\u0055id":"re\u0061l"}]}"#),
        ("/multi-search", r#"{"zork":1,"queries":[],"federation":{"facetsByIndex":{"real":["id"]}}}"#),
        ("/swap-indexes", r#"[{"indexes":["real","other"],"zork":1}]"#),
        ("/indexes", r#"{"uid":"real","zork":1}"#),
    ];
    let gets = [
        "/indexes/real/search?limit=many",
        "/indexes/real/documents?zork=1",
        "/indexes/real/similar?zork=1",
        "/indexes/real/stats?zork=1",
    ];
    let count = |text: &str| -> usize { (0..2).map(|node| cluster.faults(node).seen("", text)).sum() };
    let bodies =
        || -> Vec<String> { (0..2).flat_map(|node| cluster.faults(node).sent("POST", "/multi-search")).collect() };
    let about_real = || {
        count("/indexes/real/search")
            + count("/indexes/real/facet-search")
            + count("/indexes/real/similar")
            + count("/indexes/real/fields")
            + count("/indexes/real/documents")
            + count("/indexes/real/stats")
    };
    // Replicas may be looked at meanwhile, at first.
    eventually("nothing is sent about the index", BOUND, || {
        let before = about_real();
        for (path, body) in routes {
            let answer = post(&client, path, body);
            assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text);
            assert_ne!(answer.code(), "internal", "{path} {body}: {}", answer.text);
        }
        for path in gets {
            let answer = client.get(path);
            assert_eq!(answer.status, 400, "{path}: {}", answer.text);
        }
        (about_real() == before).then_some(())
    });
    let sent = bodies();
    assert!(sent.len() >= 3, "nobody was asked: {sent:?}");
    for body in sent {
        assert!(!body.contains("\"real\"") && !body.contains("re\\u0061l"), "{body}");
    }
}

#[test]
fn of_members_given_twice_the_last_counts_as_with_one_server() {
    let twin = Twin::shared();
    twin.create("twice");
    twin.configure("twice", &json!({ "filterableAttributes": ["id", "n"], "sortableAttributes": ["n"] }));
    twin.load("twice", &(0..20).map(|id| json!({ "id": id, "n": id, "t": "word" })).collect());
    let [cluster, reference] = twin.clients();
    let mut differences = Differences::default();
    for (path, body) in [
        (
            "/indexes/twice/search",
            r#"{"limit":"x","limit":3,"q":"nothing","q":"word","sort":["n:desc"],"sort":["n:asc"]}"#,
        ),
        ("/indexes/twice/search", r#"{"limit":3,"limit":"x"}"#),
        ("/indexes/twice/search", r#"{"filter":5,"filter":"n > 17"}"#),
        ("/indexes/twice/search", r#"{"filter":"n > 17","filter":5}"#),
        ("/indexes/twice/search", r#"{"filter":["n > 17",["n > 1",["n > 2"]]]}"#),
        ("/indexes/twice/documents/fetch", r#"{"limit":1,"limit":2,"filter":"n < 5","filter":"n > 17","zork":1}"#),
        ("/indexes/twice/documents/fetch", r#"{"limit":1,"limit":2,"filter":"n < 5","filter":"n > 17"}"#),
        ("/indexes/twice/documents/fetch", r#"{"ids":[1],"ids":[2,3]}"#),
        ("/indexes/twice/facet-search", r#"{"facetName":"id","facetName":"t"}"#),
        ("/indexes/twice/fields", r#"{"limit":"x","limit":1}"#),
        (
            "/multi-search",
            r#"{"queries":[{"indexUid":"nobody"}],"queries":[{"indexUid":"nobody","indexUid":"twice","filter":"n < 2","limit":1,"limit":2}]}"#,
        ),
    ] {
        let seen = |answer: &Answer| {
            let hits = |list: &Value| -> Option<Vec<Value>> {
                let mut ids: Vec<Value> =
                    list.as_array()?.iter().map(|hit| hit.get("id").unwrap_or(&Value::Null).clone()).collect();
                // Which of equal hits comes first is not what this is about.
                ids.sort_by_key(Value::to_string);
                Some(ids)
            };
            let results = answer.body.get("results").and_then(hits);
            let inner = answer.body["results"][0].get("hits").and_then(hits);
            (answer.verdict(), answer.body.get("hits").and_then(hits), inner.or(results))
        };
        let (ours, theirs) = (post(&cluster, path, body), post(&reference, path, body));
        differences.check(&format!("{path} {body}"), &seen(&ours), &seen(&theirs));
    }
    differences.none();
    let deletion = r#"{"filter":"n >= 0","filter":"n < 5"}"#;
    for client in [&cluster, &reference] {
        client.done(&post(client, "/indexes/twice/documents/delete", deletion));
        assert_eq!(client.count("twice"), 15);
    }
}

/// A connection that has sent this and waits.
fn begun(cluster: &Cluster, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(cluster.socket()).expect("a connection");
    stream.write_all(text.as_bytes()).expect("sent");
    stream
}

#[test]
fn health_readiness_metrics_and_the_admin_api_answer_while_clients_exhaust_all_of_theirs() {
    let cluster = Cluster::builder()
        .nodes(1)
        .rf(1)
        .set("server.max_concurrent_requests", json!(4))
        .set("admin.max_concurrent_requests", json!(2))
        .set("server.max_connections", json!(70))
        .set("server.head_timeout_ms", json!(60_000))
        .set("server.body_timeout_ms", json!(60_000))
        .start();
    let client = cluster.client();
    client.create("a", "id");
    // Bodies that never end take all that there is for requests, heads and silence all that there is for connections.
    let bearer = format!("Bearer {CLIENT_KEY}");
    let head = raw::head("POST", "/indexes/a/search", &[("authorization", bearer.as_str()), JSON[0]], 100);
    let head = String::from_utf8(head).expect("text");
    let mut bodies: Vec<TcpStream> = Vec::new();
    let overloaded = eventually("nobody else's request is taken", BOUND, || {
        bodies.push(begun(&cluster, &head));
        Some(client.get("/indexes")).filter(|answer| bodies.len() > 8 && answer.status == 503)
    });
    assert_eq!((overloaded.code(), overloaded.header("retry-after").is_some()), ("miroir_overloaded", true));
    let heads: Vec<TcpStream> =
        (0..150).map(|n| begun(&cluster, if n % 2 == 0 { "GET /health HTTP" } else { "" })).collect();
    for _ in 0..20 {
        // Connections of their own, as probes have.
        let ask = |path: &str, bearer: &str| {
            let request = raw::request("GET", path, &[("authorization", bearer)], b"");
            let answer = Connection::open(&cluster.socket()).and_then(|mut connection| connection.exchange(&request));
            answer.unwrap_or_else(|error| panic!("{path}: {error}")).status
        };
        let admin = format!("Bearer {}", miroir_tests::config::ADMIN_KEY);
        for path in ["/health", "/_miroir/ready", "/_miroir/metrics", "/_miroir/topology"] {
            assert_eq!(ask(path, &admin), 200, "{path}");
        }
        assert_eq!(cluster.metrics().get("/metrics").status, 200);
    }
    drop((bodies, heads));
    eventually("clients are served again", BOUND, || (client.get("/indexes").status == 200).then_some(()));
}

#[test]
fn answers_in_flight_are_bounded_and_who_does_not_read_is_cut() {
    const MEGABYTE: usize = 1 << 20;
    let cluster = Cluster::builder()
        .nodes(1)
        .rf(1)
        .set("server.max_reply_bytes", json!(24 * MEGABYTE))
        .set("server.max_reply_bytes_in_flight", json!(50 * MEGABYTE))
        .set("server.write_timeout_ms", json!(3000))
        .start();
    let client = cluster.client();
    client.create("large", "id");
    let text = "x".repeat(MEGABYTE);
    client.load("large", &(0..20).map(|id| json!({ "id": id, "text": text })).collect());
    client.load("large", &(20..40).map(|id| json!({ "id": id, "text": text })).collect());
    // Pages of documents are streamed; hits are held until they are merged.
    let page = "/indexes/large/search?limit=20";
    assert!(client.get(page).expect(200).text.len() > 20 * MEGABYTE);
    // One answer of a node alone is too large.
    let whole = client.search("large", &json!({ "limit": 40 }));
    assert_eq!(whole.status, 400, "{} bytes", whole.text.len());
    assert!(whole.text.contains("server.max_reply_bytes"), "{}", whole.text);
    // Two who ask and do not read leave no room for a third, until they are cut.
    let bearer = format!("Bearer {CLIENT_KEY}");
    let request = raw::request("GET", page, &[("authorization", bearer.as_str())], b"");
    let mut deaf: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = begun(&cluster, std::str::from_utf8(&request).expect("text"));
            // Its answer is on the way.
            stream.read_exact(&mut [0; 100]).expect("an answer");
            stream
        })
        .collect();
    let refused = client.get(page);
    assert_eq!(refused.verdict(), (503, "miroir_overloaded".to_owned()), "{} bytes", refused.text.len());
    assert!(refused.text.contains("server.max_reply_bytes_in_flight"), "{}", refused.text);
    client.get("/indexes").expect(200);
    client.done(&client.add("large", &json!([{ "id": 1, "text": "small" }])));
    let began = Instant::now();
    eventually("there is room again", BOUND, || (client.get(page).status == 200).then_some(()));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let mut read = Vec::new();
    let cut = deaf[0].read_to_end(&mut read);
    assert!(cut.is_err() || read.len() < 20 * MEGABYTE, "who did not read was served: {}", read.len());
}

#[test]
fn a_multi_search_has_no_more_queries_than_it_may() {
    let cluster = Cluster::builder().nodes(1).rf(1).set("multi_search.max_queries_per_batch", json!(3)).start();
    let client = cluster.client();
    client.create("a", "id");
    let of = |queries: usize| json!({ "queries": vec![json!({ "indexUid": "a" }); queries] });
    client.post("/multi-search", &of(3)).expect(200);
    let refused = client.post("/multi-search", &of(4));
    assert_eq!(refused.verdict(), (400, "bad_request".to_owned()), "{}", refused.text);
    assert!(refused.text.contains("multi_search.max_queries_per_batch"), "{}", refused.text);
    // They are not even looked at.
    let many = format!(r#"{{"queries":[{}]}}"#, vec!["{}"; 200_000].join(","));
    assert!(post(&client, "/multi-search", &many).text.contains("multi_search.max_queries_per_batch"));
    // Members that nobody knows are looked at once.
    let members: Vec<String> = (0..200_000).map(|n| format!(r#""m{n}":0"#)).collect();
    let began = Instant::now();
    let answer = post(&client, "/indexes/a/search", &format!("{{{}}}", members.join(",")));
    assert_eq!(answer.status, 400);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn no_line_of_the_log_is_longer_than_a_line_may_be() {
    let cluster = Cluster::builder().nodes(1).rf(1).set("log.level", json!("debug")).start();
    let client = cluster.client();
    let long = "x".repeat(60_000);
    client.get(&format!("/indexes/{long}"));
    client.get(&format!("/{long}"));
    client.send("GET", "/indexes", None, &[("x-request-id", &long[..20_000])]);
    client.create("a", "id");
    post(&client, "/indexes/a/search", &format!(r#"{{"filter":"{long} = 1"}}"#));
    post(&client, "/indexes/a/search", &format!(r#"{{"{long}":1}}"#));
    // Nodes quote it in what they say against it, which is logged.
    let refused = client.patch("/indexes/a/settings", &json!({ "sortableAttributes": long }));
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert!(refused.text.len() < 40_000, "{} bytes", refused.text.len());
    client.ended(&client.add("a", &json!([{ "id": long }])));
    let log = cluster.proxy_log();
    assert!(log.lines().count() > 10);
    for line in log.lines() {
        assert!(line.len() <= 8192, "{} bytes: {}", line.len(), &line[..200]);
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}
