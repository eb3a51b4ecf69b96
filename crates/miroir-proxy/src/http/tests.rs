//! The router and the table of rights are of one mind.

mod browsers;
mod openapi;

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use miroir_cluster::testing::{ADMIN_KEY, MASTER_KEY, instance};
use miroir_core::access::rights::{Access, RIGHTS, access};
use miroir_core::base::error::Code;
use miroir_store::{Batch, JobOptions, Jobs};
use tower::ServiceExt;

use super::{ClientRoutes, Shared, client_routes, router};

async fn send(cluster: &Shared, method: &Method, path: &str, key: Option<&str>) -> (StatusCode, String) {
    send_body(cluster, method, path, key, Body::empty()).await
}

async fn send_body(
    cluster: &Shared,
    method: &Method,
    path: &str,
    key: Option<&str>,
    body: Body,
) -> (StatusCode, String) {
    // Every parameter gets a value that is well-formed wherever it may stand.
    let path = path.split('/').map(|part| if part.starts_with('{') { "7" } else { part }).collect::<Vec<_>>().join("/");
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let request = request.body(body).expect("a request");
    let Ok(response) = router(cluster.clone()).oneshot(request).await;
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

const METHODS: [Method; 8] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
    Method::TRACE,
];

#[tokio::test]
async fn every_route_of_clients_is_in_the_table_and_closed_without_a_key() {
    let cluster = instance().await;
    let ClientRoutes { paths, .. } = client_routes(cluster.clone());
    assert!(paths.contains(&"/indexes/{uid}/search"), "{paths:?}");
    for path in paths {
        let mut answered = 0;
        for method in &METHODS {
            let (status, body) = send(&cluster, method, path, None).await;
            // No method of the route: what answers instead tells nobody anything.
            if matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND) && body.is_empty() {
                continue;
            }
            let needs = access(method.as_str(), path);
            assert!(matches!(needs, Some(Access::Needs(..))), "{method} {path} is not in the table: {status} {body}");
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} is open: {body}");
            assert!(body.contains("missing_authorization_header"), "{method} {path}: {body}");
            let (status, body) = send(&cluster, method, path, Some("not a key")).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}: {body}");
            answered += 1;
        }
        assert!(answered > 0, "{path} answers no method");
    }
}

#[tokio::test]
async fn a_row_of_the_table_is_a_route_for_whoever_may() {
    let cluster = instance().await;
    for (method, path) in RIGHTS.iter().flat_map(|r| r.methods.iter().map(|(method, _)| (*method, r.path))) {
        let parsed: Method = method.parse().expect("a method");
        let (status, body) = send(&cluster, &parsed, path, Some(MASTER_KEY)).await;
        let no_path = status == StatusCode::NOT_FOUND && body.is_empty();
        if no_path || status == StatusCode::METHOD_NOT_ALLOWED {
            // A setting of the name `7` is no setting.
            assert_eq!(path, "/indexes/{}/settings/{}", "{method} {path} is no route: {status}");
        }
        assert!(!body.contains("invalid_api_key") && !body.contains("table of rights"), "{method} {path}: {body}");
    }
}

#[tokio::test]
async fn what_is_no_route_is_nobodys() {
    let cluster = instance().await;
    for key in [None, Some(MASTER_KEY)] {
        for path in ["/unheard-of", "/indexes/a/unheard-of", "/keys/a/b"] {
            assert_eq!(send(&cluster, &Method::GET, path, key).await, (StatusCode::NOT_FOUND, String::new()));
        }
        assert_eq!(send(&cluster, &Method::HEAD, "/indexes", key).await.0, StatusCode::METHOD_NOT_ALLOWED);
    }
}

/// The rows of the table of routes: method, path, what becomes of it.
fn documented() -> Vec<(String, String, String)> {
    let text = include_str!("../../../../docs/compatibility.md");
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split('|').map(str::trim);
        let (method, path, verdict) = (cells.next()?, cells.next()?, cells.next()?);
        let path = path.strip_prefix("`/")?.strip_suffix('`')?;
        Some((method.to_owned(), format!("/{path}"), verdict.to_owned()))
    });
    rows.collect()
}

/// Enough for each route that is refused to come to its refusal.
const BODY: &str = r#"{"target":"","mode":"human","template":{"inline":""}}"#;

#[tokio::test]
async fn the_compatibility_table_lists_every_route() {
    let cluster = instance().await;
    let unnamed = |path: &str| {
        let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
        parts.collect::<Vec<_>>().join("/")
    };
    let mut listed: Vec<(String, String)> = Vec::new();
    for (method, path, verdict) in documented() {
        let parsed: Method = method.parse().expect("a method");
        let (status, body) = send_body(&cluster, &parsed, &path, Some(MASTER_KEY), Body::from(BODY)).await;
        // A setting of the name `7` is no setting.
        let is_setting = path.starts_with("/indexes/{uid}/settings/{");
        let is_refused = status == StatusCode::NOT_IMPLEMENTED || body.contains("feature_not_enabled");
        match verdict.as_str() {
            "refused" => assert!(is_refused, "{method} {path} answers {status} {body}"),
            "done" => assert!(
                status != StatusCode::NOT_IMPLEMENTED && (is_setting || status != StatusCode::METHOD_NOT_ALLOWED),
                "{method} {path} answers {status} {body}"
            ),
            other => panic!("{method} {path} is said to be {other}"),
        }
        listed.push((method, unnamed(&path)));
    }
    let mut served: Vec<(String, String)> = RIGHTS
        .iter()
        .flat_map(|resource| {
            resource.methods.iter().map(|(method, _)| ((*method).to_owned(), resource.path.to_owned()))
        })
        .collect();
    listed.sort();
    served.sort();
    assert_eq!(listed, served);
}

#[tokio::test]
async fn leases_and_jobs_are_shown_to_operators() {
    let cluster = instance().await;
    let get = async |path| {
        let (status, body) = send(&cluster, &Method::GET, path, Some(ADMIN_KEY)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str::<serde_json::Value>(&body).expect("JSON")
    };
    let lease = cluster.state.store.acquire("reshard:movies", "one", Duration::from_secs(60)).await.expect("asked");
    let jobs = Jobs::new(cluster.state.store.clone(), JobOptions::default());
    for _ in 0..2 {
        let new = jobs.enqueue("dump_import", serde_json::json!({ "secret": "s3cret" })).await.expect("room");
        cluster.state.store.commit(Batch { writes: vec![new.write], ..Batch::default() }).await.expect("written");
    }
    let claim = jobs.claim(&["dump_import"], "two").await.expect("asked").claim.expect("free");

    let leases = get("/_miroir/leases").await;
    let led = &leases["leases"][1];
    assert_eq!((led["scope"].as_str(), led["holder"].as_str()), (Some("reshard:movies"), Some("one")));
    assert_eq!(led["token"].as_u64(), lease.map(|lease| lease.token));
    assert!(led["endsInMs"].as_u64().is_some_and(|left| (30_000..=60_000).contains(&left)), "{led}");

    let listed = get("/_miroir/jobs").await;
    let (first, second) = (&listed["jobs"][0], &listed["jobs"][1]);
    assert_eq!((first["id"].as_str(), first["state"].as_str()), (Some(claim.id()), Some("running")));
    assert_eq!(first["claim"]["scope"], format!("job:{}", claim.id()));
    assert_eq!((&second["state"], &second["claim"]), (&"waiting".into(), &serde_json::Value::Null));
    assert!(!listed.to_string().contains("s3cret"), "{listed}");
}

/// What only looks, or is answered alike whatever is sent.
const LOOKS: &[&str] = &[
    "/indexes/{}/search",
    "/indexes/{}/facet-search",
    "/indexes/{}/similar",
    "/multi-search",
    "/indexes/{}/documents/fetch",
    "/indexes/{}/fields",
    "/render-template",
];

/// A request of each route of clients that changes something: its row in the table of rights, the path, the body.
const CHANGES: &[(&str, &str, &str, &str)] = &[
    ("POST", "/indexes/{}/documents", "/indexes/a/documents", r#"[{"id":1}]"#),
    ("PUT", "/indexes/{}/documents", "/indexes/a/documents", r#"[{"id":1}]"#),
    ("DELETE", "/indexes/{}/documents", "/indexes/a/documents", ""),
    ("POST", "/indexes/{}/documents/delete", "/indexes/a/documents/delete", r#"{"filter":"a = 1"}"#),
    ("POST", "/indexes/{}/documents/delete-batch", "/indexes/a/documents/delete-batch", "[1]"),
    ("POST", "/indexes/{}/documents/edit", "/indexes/a/documents/edit", r#"{"function":"doc.a = 1"}"#),
    ("DELETE", "/indexes/{}/documents/{}", "/indexes/a/documents/1", ""),
    ("POST", "/indexes", "/indexes", r#"{"uid":"a"}"#),
    ("PATCH", "/indexes/{}", "/indexes/a", r#"{"primaryKey":"id"}"#),
    ("DELETE", "/indexes/{}", "/indexes/a", ""),
    ("POST", "/indexes/{}/compact", "/indexes/a/compact", ""),
    ("POST", "/swap-indexes", "/swap-indexes", r#"[{"indexes":["a","b"]}]"#),
    ("PATCH", "/indexes/{}/settings", "/indexes/a/settings", "{}"),
    ("DELETE", "/indexes/{}/settings", "/indexes/a/settings", ""),
    ("PUT", "/indexes/{}/settings/{}", "/indexes/a/settings/stop-words", r#"["a"]"#),
    ("PATCH", "/indexes/{}/settings/{}", "/indexes/a/settings/typo-tolerance", r#"{"enabled":true}"#),
    ("DELETE", "/indexes/{}/settings/{}", "/indexes/a/settings/stop-words", ""),
    ("DELETE", "/tasks", "/tasks?uids=1", ""),
    ("POST", "/tasks/cancel", "/tasks/cancel?uids=1", ""),
    ("POST", "/keys", "/keys", r#"{"actions":["*"],"indexes":["*"],"expiresAt":null}"#),
    ("PATCH", "/keys/{}", "/keys/a", r#"{"name":"a"}"#),
    ("DELETE", "/keys/{}", "/keys/a", ""),
    ("PATCH", "/experimental-features", "/experimental-features", r#"{"metrics":true}"#),
    ("POST", "/webhooks", "/webhooks", r#"{"url":"https://example.org/"}"#),
    ("PATCH", "/webhooks/{}", "/webhooks/8c0f2d62-6f1c-4d4e-8f5c-6f1c4d4e8f5c", "{}"),
    ("DELETE", "/webhooks/{}", "/webhooks/8c0f2d62-6f1c-4d4e-8f5c-6f1c4d4e8f5c", ""),
    ("DELETE", "/dynamic-search-rules", "/dynamic-search-rules", ""),
    ("PATCH", "/dynamic-search-rules/{}", "/dynamic-search-rules/a", r#"{"active":true}"#),
    ("DELETE", "/dynamic-search-rules/{}", "/dynamic-search-rules/a", ""),
];

/// The same for operators.
const OPERATORS_CHANGES: &[(&str, &str, &str)] = &[
    ("POST", "/_miroir/stale/promote", r#"{"node":"a","acceptDataLoss":true}"#),
    ("POST", "/_miroir/anti-entropy/run", ""),
    ("POST", "/_miroir/nodes", r#"{"id":"b","address":"http://127.0.0.1:2"}"#),
    ("DELETE", "/_miroir/nodes/a", ""),
    ("POST", "/_miroir/nodes/a/drain", ""),
    ("POST", "/_miroir/nodes/a/undrain", ""),
    ("POST", "/_miroir/groups", r#"{"nodes":[{"id":"b","address":"http://127.0.0.1:2"}]}"#),
    ("DELETE", "/_miroir/groups/0", ""),
    ("POST", "/_miroir/rebalance", ""),
    ("POST", "/_miroir/rebalance/pause", ""),
    ("POST", "/_miroir/rebalance/resume", ""),
    ("POST", "/_miroir/rebalance/cancel", ""),
];

#[tokio::test]
async fn whatever_changes_something_is_the_instances_own_undertaking() {
    let cluster = instance().await;
    let features = Body::from(r#"{"editDocumentsByFunction":true,"dynamicSearchRules":true}"#);
    let (status, body) =
        send_body(&cluster, &Method::PATCH, "/experimental-features", Some(MASTER_KEY), features).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    for (method, path) in RIGHTS.iter().flat_map(|row| row.methods.iter().map(|(method, _)| (*method, row.path))) {
        let changes = CHANGES.iter().any(|(other, row, ..)| (*other, *row) == (method, path));
        let lists_rules = (method, path) == ("POST", "/dynamic-search-rules");
        if method == "GET" || changes || lists_rules || LOOKS.contains(&path) {
            continue;
        }
        let parsed = method.parse().expect("a method");
        let (status, body) = send_body(&cluster, &parsed, path, Some(MASTER_KEY), Body::from(BODY)).await;
        let is_refused = status == StatusCode::NOT_IMPLEMENTED || body.contains("feature_not_enabled");
        assert!(is_refused, "{method} {path} is in no list of this test: {status} {body}");
    }
    let key = Body::from(r#"{"actions":["*"],"indexes":["*"],"expiresAt":null}"#);
    let (_, key) = send_body(&cluster, &Method::POST, "/keys", Some(MASTER_KEY), key).await;
    let key: serde_json::Value = serde_json::from_str(&key).expect("a key");
    let key = format!("/keys/{}", key["uid"].as_str().expect("its uid"));
    // From now on there are no undertakings any more.
    cluster.writes.everything_recorded().await;
    let clients = CHANGES.iter().map(|(method, _, path, body)| (MASTER_KEY, *method, *path, *body));
    let operators = OPERATORS_CHANGES.iter().map(|(method, path, body)| (ADMIN_KEY, *method, *path, *body));
    for (with, method, path, body) in clients.chain(operators) {
        let parsed = method.parse().expect("a method");
        // A key that is not there is said to be missing before anything is begun.
        let path = if path == "/keys/a" { key.as_str() } else { path };
        let (status, answer) = send_body(&cluster, &parsed, path, Some(with), Body::from(body)).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{method} {path}: {answer}");
        assert!(answer.contains("this instance is stopping"), "{method} {path}: {answer}");
    }
}

#[test]
fn no_handler_speaks_to_the_store() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let files = std::fs::read_dir(folder).expect("the handlers").map(|entry| entry.expect("an entry").path());
    let mut looked_at = 0;
    for path in files.filter(|path| path.is_file() && !path.ends_with("tests.rs")) {
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(!code.contains("state.store"), "{} asks the store: let `State` do it", path.display());
        looked_at += 1;
    }
    assert!(looked_at > 20, "{looked_at} files were looked at");
}

#[test]
fn operators_find_every_code_of_ours_with_its_status() {
    let page = include_str!("../../../../docs/operations.md");
    // `| 503 | `miroir_no_quorum` | ...`
    let row = |line: &'static str| {
        let (status, rest) = line.strip_prefix("| ")?.split_once(" | `miroir_")?;
        Some((rest.split_once("` | ")?.0, status.parse().ok()?))
    };
    let of_page: BTreeSet<(&str, u16)> = page.lines().filter_map(row).collect();
    let ours = Code::ALL.iter().filter_map(|code| Some((code.name().strip_prefix("miroir_")?, code.status())));
    assert_eq!(of_page, ours.collect());
}
