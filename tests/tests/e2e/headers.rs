//! What a server says in its headers: of pages of other origins, encodings, methods.
//!
//! `MIROIR_DIFFERENTIAL_RECORD=1` with `MEILISEARCH_BIN` records a server's answers anew; without a server they stand for it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::json;

use miroir_tests::config::CLIENT_KEY;
use miroir_tests::differential::compared_headers;
use miroir_tests::node::NODE_KEY;
use miroir_tests::raw::{self, Connection};
use miroir_tests::{Client, Differences, Twin, binaries};

/// What is compared of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Heads {
    request: String,
    status: u16,
    kind: Option<String>,
    headers: BTreeMap<String, Vec<String>>,
    /// Methods that a preflight is told of; their order is anybody's.
    methods: Option<Vec<String>>,
    /// Whether there is a body.
    has_body: bool,
}

struct Case {
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    key: Key,
}

#[derive(Clone, Copy)]
enum Key {
    Master,
    Wrong,
    None,
}

const ORIGIN: (&str, &str) = ("origin", "https://page.example");
const JSON: (&str, &str) = ("content-type", "application/json");

fn case(
    method: &'static str,
    path: &'static str,
    headers: &[(&'static str, &'static str)],
    body: &str,
    key: Key,
) -> Case {
    Case { method, path, headers: headers.to_vec(), body: body.as_bytes().to_vec(), key }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let routes = [
        ("GET", "/health", "", Key::None),
        ("GET", "/indexes", "", Key::Master),
        ("GET", "/indexes", "", Key::Wrong),
        ("GET", "/indexes", "", Key::None),
        ("GET", "/indexes/none", "", Key::Master),
        ("GET", "/no-such-route", "", Key::Master),
        ("POST", "/indexes/films/search", r#"{"q":"alien"}"#, Key::Master),
        ("POST", "/indexes/films/search", r#"{"nonsense":1}"#, Key::Master),
        ("POST", "/indexes/films/search", "{", Key::Master),
        ("POST", "/multi-search", r#"{"queries":[{"indexUid":"none"}]}"#, Key::Master),
        ("DELETE", "/version", "", Key::Master),
        ("PUT", "/indexes/films/settings", "{}", Key::Master),
        ("PATCH", "/indexes/films/settings", "{}", Key::Master),
        ("DELETE", "/keys/none", "", Key::Master),
    ];
    for (method, path, body, key) in routes {
        for headers in [&[JSON][..], &[JSON, ORIGIN], &[JSON, ORIGIN, ("accept-encoding", "gzip, deflate, br, zstd")]] {
            cases.push(case(method, path, headers, body, key));
        }
    }
    for accepted in [
        "gzip",
        "deflate",
        "br",
        "br;q=0.2, gzip;q=0.8",
        "identity",
        "*",
        "",
        "*;q=0",
        "identity;q=0",
        "gzip;q=0",
        "identity, gzip;q=0.5",
        "x-gzip",
    ] {
        cases.push(case("GET", "/health", &[("accept-encoding", accepted)], "", Key::None));
        cases.push(case("GET", "/indexes/films", &[ORIGIN, ("accept-encoding", accepted)], "", Key::Master));
    }
    let asks = |method| ("access-control-request-method", method);
    let names = ("access-control-request-headers", "authorization,content-type,x-meilisearch-client");
    for path in [
        "/health",
        "/multi-search",
        "/indexes/films/search",
        "/indexes/films/documents/1",
        "/no-such-route",
        "//indexes/",
    ] {
        cases.push(case("OPTIONS", path, &[ORIGIN, asks("POST"), names], "", Key::None));
        cases.push(case("OPTIONS", path, &[ORIGIN, asks("DELETE")], "", Key::None));
        cases.push(case("OPTIONS", path, &[asks("GET"), names], "", Key::None));
        cases.push(case("OPTIONS", path, &[ORIGIN, asks("BREW"), names], "", Key::None));
        cases.push(case("OPTIONS", path, &[ORIGIN], "", Key::None));
        cases.push(case("OPTIONS", path, &[], "", Key::None));
    }
    for content_type in [
        "application/json",
        "text/json",
        "application/vnd.api+json; charset=utf-8",
        "text/plain",
        "json",
        "application/x-www-form-urlencoded",
    ] {
        cases.push(case("POST", "/indexes/films/search", &[ORIGIN, ("content-type", content_type)], "{}", Key::Master));
        cases.push(case(
            "PATCH",
            "/indexes/films/settings",
            &[ORIGIN, ("content-type", content_type)],
            "{}",
            Key::Master,
        ));
    }
    for encoding in ["identity", "rot13", "gzip, br", "zstd"] {
        cases.push(case(
            "POST",
            "/indexes/films/search",
            &[ORIGIN, JSON, ("content-encoding", encoding)],
            "{}",
            Key::Master,
        ));
    }
    for encoding in ["gzip", "deflate", "br"] {
        cases.push(case("POST", "/indexes/films/search", &[JSON, ("content-encoding", encoding)], "{}", Key::Master));
        cases.push(case(
            "POST",
            "/indexes/films/documents",
            &[JSON, ("content-encoding", encoding)],
            "[]",
            Key::Master,
        ));
    }
    cases
}

/// Where Miroir is known to answer otherwise, with the reason in docs/compatibility.md.
fn is_known_to_differ(case: &Case) -> bool {
    let encodings = |name: &str| case.headers.iter().any(|(known, value)| *known == name && *value == "zstd");
    encodings("accept-encoding") || encodings("content-encoding")
}

impl Case {
    fn text(&self) -> String {
        let headers: Vec<String> = self.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let by = match self.key {
            Key::Master => "the master",
            Key::Wrong => "a stranger",
            Key::None => "nobody",
        };
        format!("{} {} by {by}, {} {}", self.method, self.path, headers.join("; "), String::from_utf8_lossy(&self.body))
    }

    fn send(&self, client: &Client, master: &str) -> Heads {
        let shown = match self.key {
            Key::Master => Some(format!("Bearer {master}")),
            Key::Wrong => Some("Bearer wrong".to_owned()),
            Key::None => None,
        };
        let mut headers = self.headers.clone();
        if let Some(shown) = &shown {
            headers.push(("authorization", shown));
        }
        let socket = client.base().trim_start_matches("http://");
        let request = raw::request(self.method, self.path, &headers, &self.body);
        let answer = Connection::open(socket).and_then(|mut connection| connection.exchange(&request));
        let answer = answer.unwrap_or_else(|error| panic!("{}: {error}", self.text()));
        let methods = answer.header("access-control-allow-methods").map(|list| {
            let mut methods: Vec<String> = list.split(',').map(|method| method.trim().to_owned()).collect();
            methods.sort();
            methods
        });
        Heads {
            request: self.text(),
            status: answer.status,
            kind: answer.header("content-type").map(str::to_owned),
            headers: compared_headers(answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
            methods,
            has_body: !answer.body.is_empty(),
        }
    }
}

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/recorded/headers.ndjson"))
}

fn recorded() -> Vec<Heads> {
    let text = std::fs::read_to_string(path()).unwrap_or_else(|error| panic!("{}: {error}", path().display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn no_header_tells_a_cluster_from_one_server() {
    let twin = Twin::start();
    twin.create("films");
    let [ours, theirs] = twin.clients();
    let cases: Vec<Case> = cases().into_iter().filter(|case| !is_known_to_differ(case)).collect();
    let references: Vec<Heads> = if binaries::meilisearch().is_some() {
        cases.iter().map(|case| case.send(&theirs, NODE_KEY)).collect()
    } else {
        recorded()
    };
    if binaries::meilisearch().is_some()
        && std::env::var("MIROIR_DIFFERENTIAL_RECORD").is_ok_and(|wanted| wanted == "1")
    {
        let lines: String = references.iter().map(|heads| format!("{}\n", json!(heads))).collect();
        std::fs::write(path(), lines).unwrap_or_else(|error| panic!("{}: {error}", path().display()));
    }
    assert_eq!(cases.len(), references.len(), "record again");
    let mut differences = Differences::default();
    for (case, reference) in cases.iter().zip(&references) {
        differences.check(&case.text(), &case.send(&ours, CLIENT_KEY), reference);
    }
    differences.none();
}
