//! What bounds requests, and what they leave behind.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use futures_util::{Stream, StreamExt, stream};
use http_body_util::BodyExt;
use miroir_cluster::testing::{ADMIN_KEY, MASTER_KEY, instance, instance_with};
use tower::ServiceExt;

use super::{Shared, endpoint};

async fn send(cluster: &Shared, method: &str, path: &str, body: Body) -> (StatusCode, String) {
    send_as(cluster, method, path, MASTER_KEY, body).await
}

async fn send_as(cluster: &Shared, method: &str, path: &str, key: &str, body: Body) -> (StatusCode, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {key}"))
        .body(body)
        .expect("a request");
    let Ok(response) = endpoint(cluster.clone()).oneshot(request).await;
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

async fn get(cluster: &Shared, path: &str) -> (StatusCode, String) {
    send(cluster, "GET", path, Body::empty()).await
}

async fn get_as_operator(cluster: &Shared, path: &str) -> (StatusCode, String) {
    send_as(cluster, "GET", path, ADMIN_KEY, Body::empty()).await
}

fn streamed(pieces: impl Stream<Item = Vec<u8>> + Send + 'static) -> Body {
    Body::from_stream(pieces.map(|piece| Ok::<_, Infallible>(Bytes::from(piece))))
}

/// So much of a body, and then nothing for ever.
fn unfinished(bytes: usize) -> Body {
    streamed(stream::iter([vec![b' '; bytes]]).chain(stream::pending()))
}

#[tokio::test]
async fn what_clients_invent_leaves_the_metrics_as_they_are() {
    let cluster = instance().await;
    let invent = async |n: usize| {
        for (method, path) in [
            (format!("M{n}"), "/indexes".to_owned()),
            (format!("M{n}"), format!("/invented/{n}")),
            ("GET".to_owned(), format!("/nothing/{n}")),
            ("GET".to_owned(), format!("/indexes/invented-{n}")),
            ("DELETE".to_owned(), format!("/webhooks/{}", uuid::Uuid::from_u128(n as u128))),
        ] {
            send(&cluster, &method, &path, Body::empty()).await;
        }
    };
    invent(1).await;
    let lines = || cluster.state.metrics.encode().lines().count();
    let before = lines();
    assert!(cluster.state.metrics.encode().contains("method=\"other\""));
    for n in 2..2000 {
        invent(n).await;
    }
    assert_eq!(lines(), before);
    assert!(!cluster.state.metrics.encode().contains("M1"));
}

#[tokio::test]
async fn a_refusal_quotes_no_more_of_a_request_than_can_be_of_use() {
    let cluster = instance().await;
    let long = "x".repeat(200_000);
    for (method, path, body) in [
        ("PATCH", "/webhooks/1".to_owned(), format!(r#"{{"{long}":1}}"#)),
        ("POST", "/indexes".to_owned(), format!(r#"{{"uid":"{long} "}}"#)),
        ("GET", format!("/tasks?{}=1", &long[..60_000]), String::new()),
        ("GET", format!("/indexes/{}", &long[..60_000]), String::new()),
    ] {
        let (status, text) = send(&cluster, method, &path, Body::from(body)).await;
        assert!(status.is_client_error(), "{status}");
        assert!(text.len() < 40_000, "{method}: {} bytes", text.len());
    }
}

#[tokio::test]
async fn a_body_that_pauses_is_given_up_and_one_that_is_slow_is_taken() {
    let settings = [("server.body_timeout_ms", "150"), ("server.min_body_bytes_per_s", "0")];
    let cluster = instance_with(&settings).await;
    let (status, text) = send(&cluster, "POST", "/indexes", unfinished(10)).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT, "{text}");
    assert!(text.contains("server.body_timeout_ms"), "{text}");
    // Longer than a request may take and than a pause may be, but it goes on.
    let settings = [
        ("server.body_timeout_ms", "5000"),
        ("server.request_timeout_ms", "200"),
        ("scatter.node_timeout_ms", "50"),
        ("write.node_timeout_ms", "50"),
        ("health.timeout_ms", "50"),
    ];
    let cluster = instance_with(&settings).await;
    let slow = stream::iter(0..8).then(|_| async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        b" ".to_vec()
    });
    let (status, text) = send(&cluster, "POST", "/indexes", streamed(slow)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    assert!(text.contains("malformed_payload"), "{text}");
}

#[tokio::test]
async fn a_body_that_dribbles_is_given_up() {
    let settings = [("server.body_timeout_ms", "150"), ("server.min_body_bytes_per_s", "1000")];
    let cluster = instance_with(&settings).await;
    let dribble = stream::iter(0..1000).then(|_| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        b" ".to_vec()
    });
    let (status, text) = send(&cluster, "POST", "/indexes", streamed(dribble)).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT, "{text}");
}

#[tokio::test]
async fn bodies_of_all_routes_share_one_budget() {
    let settings = [("server.max_body_bytes", "2000"), ("server.max_ingest_bytes", "2000")];
    for path in ["/indexes/a/search", "/indexes/a/documents", "/keys", "/multi-search"] {
        let cluster = instance_with(&settings).await;
        let (waiting, other) = (cluster.clone(), cluster.clone());
        let first = tokio::spawn(async move { send(&waiting, "POST", path, unfinished(1500)).await });
        let has_come = async {
            while !cluster.state.metrics.encode().contains("miroir_ingest_bytes_in_flight 1500") {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), has_come).await.expect("the first body is counted");
        let (status, text) = send(&other, "POST", path, Body::from(vec![b' '; 800])).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {text}");
        assert!(text.contains("server.max_ingest_bytes"), "{path}: {text}");
        first.abort();
        assert!(first.await.is_err());
        let (status, text) = send(&other, "POST", path, Body::from(vec![b' '; 800])).await;
        assert_ne!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}: what was held is given back: {text}");
    }
}

#[tokio::test]
async fn operators_and_whoever_asks_for_health_have_room_while_clients_take_all_of_theirs() {
    let cluster = instance().await;
    let all = u32::try_from(cluster.state.requests.available_permits()).expect("a number");
    let taken = cluster.state.requests.clone().acquire_many_owned(all).await.expect("all of them");
    let (status, text) = get(&cluster, "/indexes").await;
    assert_eq!((status, text.contains("server.max_concurrent_requests")), (StatusCode::SERVICE_UNAVAILABLE, true));
    for path in ["/health", "/_miroir/metrics", "/_miroir/version", "/_miroir/topology"] {
        let (status, text) = get_as_operator(&cluster, path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
    }
    assert!(!get(&cluster, "/_miroir/ready").await.1.contains("miroir_overloaded"));
    let all = u32::try_from(cluster.state.admin_requests.available_permits()).expect("a number");
    let theirs = cluster.state.admin_requests.clone().acquire_many_owned(all).await.expect("all of them");
    let (status, text) = get_as_operator(&cluster, "/_miroir/version").await;
    assert_eq!((status, text.contains("admin.max_concurrent_requests")), (StatusCode::SERVICE_UNAVAILABLE, true));
    assert_eq!(get(&cluster, "/health").await.0, StatusCode::OK);
    drop((taken, theirs));
    assert_eq!(get(&cluster, "/indexes").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_listing_is_read_in_slices_and_bounded_in_bytes() {
    let settings = [("server.max_reply_bytes", "200000")];
    let cluster = instance_with(&settings).await;
    for _ in 0..600 {
        assert_eq!(send(&cluster, "DELETE", "/indexes/nobody", Body::empty()).await.0, StatusCode::ACCEPTED);
    }
    let page = async |query: &str| {
        let (status, text) = get(&cluster, &format!("/tasks?{query}")).await;
        (status, serde_json::from_str::<serde_json::Value>(&text).expect("JSON"))
    };
    let uids = |page: &serde_json::Value| -> Vec<u64> {
        page["results"].as_array().expect("tasks").iter().filter_map(|task| task["uid"].as_u64()).collect()
    };
    let (_, page_of_400) = page("limit=400").await;
    assert_eq!(uids(&page_of_400), (200..600).rev().collect::<Vec<u64>>());
    assert_eq!((&page_of_400["from"], &page_of_400["next"]), (&599.into(), &199.into()));
    assert_eq!((&page_of_400["total"], &page_of_400["limit"]), (&600.into(), &400.into()));
    let (_, rest) = page("limit=400&from=199").await;
    assert_eq!((uids(&rest), &rest["next"]), ((0..200).rev().collect(), &serde_json::Value::Null));
    let (_, forward) = page("limit=300&reverse=true").await;
    assert_eq!((uids(&forward), &forward["next"]), ((0..300).collect(), &300.into()));
    let (_, none) = page("limit=0").await;
    assert_eq!((uids(&none), &none["from"]), (Vec::new(), &serde_json::Value::Null));
    // Each of them is longer than 333 bytes.
    let (status, refused) = page("limit=4294967295").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{refused}");
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("server.max_reply_bytes")), "{refused}");
}
