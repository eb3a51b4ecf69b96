//! Webhooks: kept, shown without their secrets, told of finished tasks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use miroir_tests::{Answer, Client, Cluster, Twin, binaries, eventually};

const BOUND: Duration = Duration::from_secs(30);

/// Webhooks of tests are where Miroir tells nobody unless it is allowed to.
const ALLOWED: &str = "address_policy.allowed_networks";

fn here() -> Value {
    json!(["127.0.0.1"])
}

/// A task, and the `Authorization` that came with it.
type Told = (Value, Option<String>);

/// A server that takes note of the tasks it is told of, after refusing so many requests.
struct Receiver {
    url: String,
    heard: Arc<Mutex<Vec<Told>>>,
}

impl Receiver {
    fn start(refusals: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/told", listener.local_addr().expect("an address"));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = heard.clone();
        std::thread::spawn(move || {
            for (number, connection) in listener.incoming().flatten().enumerate() {
                let status = if number < refusals { "503 Service Unavailable" } else { "200 OK" };
                let told = answer(connection, status);
                if number >= refusals {
                    notes.lock().expect("not poisoned").extend(told);
                }
            }
        });
        Self { url, heard }
    }

    /// The number and status of every task heard of so far, in order.
    fn tasks(&self) -> Vec<(u64, String)> {
        let heard = self.heard.lock().expect("not poisoned");
        let gist = |(task, _): &Told| {
            (task["uid"].as_u64().unwrap_or(u64::MAX), task["status"].as_str().unwrap_or_default().to_owned())
        };
        heard.iter().map(gist).collect()
    }

    fn wait_for(&self, uid: u64) -> Told {
        eventually(&format!("task {uid} is told"), BOUND, || {
            let heard = self.heard.lock().expect("not poisoned");
            heard.iter().find(|(task, _)| task["uid"] == uid).cloned()
        })
    }
}

/// Reads one request and answers it; the tasks in it, each with the request's `Authorization`.
fn answer(connection: TcpStream, status: &str) -> Vec<Told> {
    let mut reader = BufReader::new(connection);
    let (mut length, mut secret, mut gzip) = (0, None, false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        let Some((name, value)) = line.trim().split_once(": ") else { continue };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "authorization" => secret = Some(value.to_owned()),
            "content-encoding" => gzip = value == "gzip",
            _ => {}
        }
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return Vec::new();
    }
    let _ = reader
        .get_mut()
        .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes());
    assert!(gzip, "finished tasks come compressed");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).expect("gzip");
    text.lines().map(|line| (serde_json::from_str(line).expect("a task a line"), secret.clone())).collect()
}

fn uuid(answer: &Answer) -> String {
    answer.body["uuid"].as_str().unwrap_or_else(|| panic!("no webhook: {}", answer.text)).to_owned()
}

/// What only a real server has: development nodes have no webhooks.
fn same(what: &str, ask: impl Fn(&Client) -> Answer) -> Answer {
    let ours = ask(&Twin::shared().cluster.client());
    if binaries::meilisearch().is_some() {
        let theirs = ask(&Twin::shared().reference.client());
        assert_eq!((ours.verdict(), &ours.body["message"]), (theirs.verdict(), &theirs.body["message"]), "{what}");
    }
    ours
}

#[test]
fn finished_tasks_are_told_with_the_clusters_own_numbers() {
    let mut cluster = Cluster::builder().set(ALLOWED, here()).start();
    let client = cluster.client();
    let receiver = Receiver::start(0);
    let body = json!({ "url": receiver.url, "headers": { "Authorization": "Bearer a-very-secret-token" } });
    let made = client.post("/webhooks", &body).expect(201);
    assert_eq!(made.body["headers"]["Authorization"], "Bearer a-XXXX...");
    client.create("told", "id");
    let added = client.add("told", &json!([{ "id": 1 }, { "id": 2 }])).expect(202);
    let task = client.done(&added);
    let (heard, secret) = receiver.wait_for(task["uid"].as_u64().unwrap_or_default());
    assert_eq!(heard, task);
    assert_eq!(secret.as_deref(), Some("Bearer a-very-secret-token"));
    let failed = client.ended(&client.delete("/indexes/nobody"));
    let (heard, _) = receiver.wait_for(failed["uid"].as_u64().unwrap_or_default());
    assert_eq!(heard["status"], "failed");
    // It survives a restart, and is told no more once it is deleted.
    cluster.restart_proxy();
    let client = cluster.client();
    let again = client.done(&client.add("told", &json!([{ "id": 3 }])));
    receiver.wait_for(again["uid"].as_u64().unwrap_or_default());
    assert_eq!(client.delete(&format!("/webhooks/{}", uuid(&made))).status, 204);
    assert_eq!(client.get("/webhooks").body, json!({ "results": [] }));
    // Another one is told of five tasks, one after the other: the first would have been heard of long before the last.
    let witness = Receiver::start(0);
    client.post("/webhooks", &json!({ "url": witness.url })).expect(201);
    let silent: Vec<u64> = (4..9)
        .map(|id| {
            let task = client.done(&client.add("told", &json!([{ "id": id }])));
            let uid = task["uid"].as_u64().unwrap_or_default();
            witness.wait_for(uid);
            uid
        })
        .collect();
    let told = receiver.tasks();
    assert!(told.iter().all(|(uid, _)| !silent.contains(uid)), "{told:?}");
    assert!(told.iter().all(|(_, status)| status == "succeeded" || status == "failed"), "{told:?}");
    let mut once: Vec<u64> = told.iter().map(|(uid, _)| *uid).collect();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), told.len(), "each task once: {told:?}");
}

#[test]
fn a_webhook_that_refuses_is_told_again_and_one_of_the_configuration_is_immutable() {
    let receiver = Receiver::start(2);
    let cluster = Cluster::builder()
        .set("task_webhook", json!({ "url": receiver.url, "authorization_header": "Bearer from-the-configuration" }))
        .set(ALLOWED, here())
        .start();
    let client = cluster.client();
    client.create("stubborn", "id");
    let task = client.done(&client.add("stubborn", &json!([{ "id": 1 }])));
    let (_, secret) = receiver.wait_for(task["uid"].as_u64().unwrap_or_default());
    assert_eq!(secret.as_deref(), Some("Bearer from-the-configuration"));
    let nil = "/webhooks/00000000-0000-0000-0000-000000000000";
    let shown = client.get(nil).expect(200);
    assert_eq!(
        (&shown.body["isEditable"], &shown.body["headers"]["Authorization"]),
        (&json!(false), &json!("Bearer froXXXXX..."))
    );
    for answer in [client.patch(nil, &json!({ "url": "http://127.0.0.1:1/" })), client.delete(nil)] {
        assert_eq!(answer.verdict(), (400, "immutable_webhook".to_owned()));
    }
}

/// A server that takes connections and answers nothing.
fn silent() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    (format!("http://{}/silent", listener.local_addr().expect("an address")), listener)
}

#[test]
fn a_dead_webhook_delays_and_drops_only_what_is_its_own() {
    let cluster = Cluster::builder().nodes(1).rf(1).set(ALLOWED, here()).start();
    let client = cluster.client();
    let receiver = Receiver::start(0);
    let (url, _listener) = silent();
    client.post("/webhooks", &json!({ "url": url })).expect(201);
    let refused = client.post("/webhooks", &json!({ "url": "http://127.0.0.1:1/nobody" })).expect(201);
    client.post("/webhooks", &json!({ "url": receiver.url })).expect(201);
    let began = Instant::now();
    let mut last = 0;
    for _ in 0..20 {
        let task = client.ended(&client.delete("/indexes/nobody"));
        last = task["uid"].as_u64().unwrap_or_default();
        receiver.wait_for(last);
    }
    // The silent one is waited for ten seconds an attempt.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let mut told: Vec<u64> = receiver.tasks().into_iter().map(|(uid, _)| uid).collect();
    let in_order = told.clone();
    told.sort_unstable();
    assert_eq!((told.last(), told.len(), &told), (Some(&last), 20, &in_order));
    let refused = uuid(&refused);
    let counted = format!("miroir_webhook_dropped_tasks_total{{webhook=\"{refused}\"}}");
    eventually("what was refused is counted", BOUND, || {
        cluster.metrics().get("/metrics").text.contains(&counted).then_some(())
    });
    // Nothing is shown of a webhook that is no more.
    assert_eq!(client.delete(&format!("/webhooks/{refused}")).status, 204);
    client.ended(&client.delete("/indexes/nobody"));
    eventually("nothing is shown of it", BOUND, || {
        (!cluster.metrics().get("/metrics").text.contains(&refused)).then_some(())
    });
}

/// A server that answers every request by pointing to another address.
fn redirect(to: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/moved", listener.local_addr().expect("an address"));
    let answer = format!("307 Temporary Redirect\r\nlocation: {to}");
    std::thread::spawn(move || {
        listener.incoming().flatten().for_each(|connection| drop(self::answer(connection, &answer)))
    });
    url
}

#[test]
fn webhooks_reach_public_addresses_alone_unless_a_network_is_allowed() {
    let receiver = Receiver::start(0);
    let port = receiver.url.rsplit(':').next().and_then(|rest| rest.split('/').next()).expect("a port").to_owned();
    let cluster = Cluster::builder().nodes(1).rf(1).set("task_webhook", json!({ "url": receiver.url })).start();
    let client = cluster.client();
    // However the address is written; making them is refused no more than by one server.
    let urls = [
        receiver.url.clone(),
        format!("http://localhost:{port}/told"),
        format!("http://[::ffff:127.0.0.1]:{port}/told"),
        format!("http://2130706433:{port}/told"),
        format!("http://0:{port}/told"),
    ];
    for url in &urls {
        client.post("/webhooks", &json!({ "url": url })).expect(201);
    }
    client.ended(&client.delete("/indexes/nobody"));
    eventually("all of them were given up", BOUND, || {
        let metrics = cluster.metrics().get("/metrics").text;
        (metrics.matches("miroir_webhook_dropped_tasks_total{").count() == urls.len() + 1).then_some(())
    });
    assert_eq!(receiver.tasks(), []);
    assert!(cluster.proxy_log().contains("address_policy"), "the log says why");

    // Where it is allowed, an answer that points elsewhere is not followed.
    let cluster = Cluster::builder().nodes(1).rf(1).set(ALLOWED, here()).start();
    let client = cluster.client();
    let (moved, told) = (Receiver::start(0), Receiver::start(0));
    client.post("/webhooks", &json!({ "url": redirect(&moved.url) })).expect(201);
    client.post("/webhooks", &json!({ "url": told.url })).expect(201);
    let task = client.ended(&client.delete("/indexes/nobody"));
    told.wait_for(task["uid"].as_u64().unwrap_or_default());
    eventually("the one that points elsewhere was given up", BOUND, || {
        cluster.metrics().get("/metrics").text.contains("miroir_webhook_dropped_tasks_total{").then_some(())
    });
    assert_eq!(moved.tasks(), []);
}

#[test]
fn webhooks_are_refused_in_meilisearchs_words() {
    let url = "http://127.0.0.1:1/x";
    let bodies = [
        json!({ "url": "nope" }),
        json!({ "url": 5 }),
        json!([]),
        json!({ "url": url, "isEditable": true }),
        json!({ "url": url, "uuid": "x" }),
        json!({ "url": url, "x": 1 }),
        json!({ "url": url, "headers": { "bad name": "b" } }),
        json!({ "url": url, "headers": { "x": "b\n" } }),
        json!({ "url": url, "headers": { "x": 5 } }),
        json!({ "url": url, "headers": 5 }),
    ];
    for body in bodies {
        let answer = same(&body.to_string(), |client| client.post("/webhooks", &body));
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
    }
    let missing = Twin::shared().cluster.client().post("/webhooks", &json!({}));
    assert_eq!(missing.verdict(), (400, "invalid_webhook_url".to_owned()));
    for (id, code) in [("nope", "invalid_webhook_uuid"), ("00000000-0000-0000-0000-000000000001", "webhook_not_found")]
    {
        let path = format!("/webhooks/{id}");
        for answer in [
            same(id, |client| client.get(&path)),
            same(id, |client| client.patch(&path, &json!({}))),
            same(id, |client| client.delete(&path)),
        ] {
            assert_eq!(answer.code(), code);
        }
    }
    same("no such method", |client| client.put("/webhooks", &json!({})));
}

#[test]
fn there_are_at_most_twenty() {
    let cluster = Cluster::builder().nodes(1).rf(1).start();
    let client = cluster.client();
    let make = || client.post("/webhooks", &json!({ "url": "http://127.0.0.1:1/x" }));
    (0..20).for_each(|_| drop(make().expect(201)));
    assert_eq!(make().verdict(), (400, "invalid_webhooks".to_owned()));
    let all = client.get("/webhooks").body["results"].as_array().cloned().unwrap_or_default();
    assert_eq!(all.len(), 20);
    let changed = client
        .patch(
            &format!("/webhooks/{}", all[0]["uuid"].as_str().unwrap_or_default()),
            &json!({ "headers": { "a": "b" } }),
        )
        .expect(200);
    assert_eq!(changed.body["headers"], json!({ "a": "b" }));
}
