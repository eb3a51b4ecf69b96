//! What a page of another origin meets, and what every answer is called.

use axum::body::Body;
use axum::http::header::{ORIGIN, VARY};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use miroir_cluster::testing::{MASTER_KEY, instance};
use miroir_telemetry::REQUEST_ID;
use tower::ServiceExt;

use super::super::{Shared, endpoint};

struct Seen {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

async fn send(cluster: &Shared, method: Method, path: &str, headers: &[(&str, &str)]) -> Seen {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let Ok(response) = endpoint(cluster.clone()).oneshot(request.body(Body::empty()).expect("a request")).await;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Seen { status: parts.status, headers: parts.headers, body: String::from_utf8_lossy(&body).into_owned() }
}

const PAGE: (&str, &str) = ("origin", "https://shop.example");

#[tokio::test]
async fn a_page_may_ask_for_anything_on_any_path_of_clients() {
    let cluster = instance().await;
    for path in ["/multi-search", "/indexes/a/documents/1", "/health", "/no-such-route", "//multi-search/"] {
        let asked = [
            PAGE,
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type,x-meilisearch-client"),
        ];
        let seen = send(&cluster, Method::OPTIONS, path, &asked).await;
        assert_eq!((seen.status, seen.body.as_str()), (StatusCode::OK, ""), "{path}");
        assert_eq!(seen.header("access-control-allow-origin"), Some("*"), "{path}");
        assert_eq!(seen.header("access-control-max-age"), Some("86400"), "{path}");
        assert_eq!(seen.header("access-control-allow-headers"), Some(asked[2].1), "{path}");
        let methods = seen.header("access-control-allow-methods").unwrap_or_default();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            assert!(methods.split(", ").any(|known| known == method), "{path}: {methods}");
        }
    }
    let odd =
        send(&cluster, Method::OPTIONS, "/multi-search", &[PAGE, ("access-control-request-method", "BREW")]).await;
    assert_eq!((odd.status, odd.header("access-control-allow-origin")), (StatusCode::BAD_REQUEST, None));
}

#[tokio::test]
async fn a_page_may_read_every_answer_and_every_refusal() {
    let cluster = instance().await;
    let master = format!("Bearer {MASTER_KEY}");
    for (method, path, key, status) in [
        (Method::GET, "/health", None, 200),
        (Method::GET, "/keys", Some(master.as_str()), 200),
        (Method::GET, "/indexes/none", Some(master.as_str()), 404),
        (Method::GET, "/indexes/none", None, 401),
        (Method::GET, "/indexes/none", Some("Bearer wrong"), 403),
        (Method::GET, "/no-such-route", None, 404),
        (Method::POST, "/health", None, 405),
        (Method::OPTIONS, "/multi-search", None, 405),
        (Method::POST, "/multi-search", Some(master.as_str()), 415),
    ] {
        let key = key.map(|key| ("authorization", key));
        let from_page: Vec<_> = [PAGE].into_iter().chain(key).collect();
        let seen = send(&cluster, method.clone(), path, &from_page).await;
        assert_eq!(seen.status.as_u16(), status, "{method} {path}: {}", seen.body);
        assert_eq!(seen.header("access-control-allow-origin"), Some("*"), "{method} {path}");
        assert!(seen.header("vary").is_some_and(|vary| vary.contains("Origin")), "{method} {path}");
        assert_eq!(seen.header("access-control-expose-headers"), Some("x-request-id"), "{method} {path}");
        // Nobody else is told of it, but caches.
        let others: Vec<_> = key.into_iter().collect();
        let seen = send(&cluster, method.clone(), path, &others).await;
        assert_eq!(seen.header("access-control-allow-origin"), None, "{method} {path}");
        assert!(seen.headers.contains_key(VARY) && !seen.headers.contains_key(ORIGIN), "{method} {path}");
    }
}

#[tokio::test]
async fn a_page_may_read_that_there_is_too_much_to_do() {
    let cluster = instance().await;
    let all = u32::try_from(cluster.state.requests.available_permits()).expect("a bound");
    let _busy = cluster.state.requests.acquire_many(all).await.expect("open");
    let seen = send(&cluster, Method::GET, "/indexes", &[PAGE]).await;
    assert_eq!(seen.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(seen.header("access-control-allow-origin"), Some("*"));
    // Who only asks whether he may is told all the same.
    let asked = [PAGE, ("access-control-request-method", "GET")];
    assert_eq!(send(&cluster, Method::OPTIONS, "/indexes", &asked).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_path_without_a_method_says_which_it_has() {
    let cluster = instance().await;
    for (method, path, allowed) in [
        (Method::POST, "/health", Some("GET")),
        (Method::HEAD, "/indexes", Some("GET, POST")),
        (Method::TRACE, "/indexes/a", Some("GET, PATCH, DELETE")),
        (Method::PATCH, "/indexes/a/settings/stop-words", Some("GET, PUT, DELETE")),
        (Method::PUT, "/indexes/a/settings/pagination", Some("GET, PATCH, DELETE")),
        (Method::POST, "/indexes/a/settings/nonsense", None),
        (Method::POST, "/no-such-route", None),
    ] {
        let key = format!("Bearer {MASTER_KEY}");
        let seen = send(&cluster, method.clone(), path, &[("authorization", &key)]).await;
        let status = if allowed.is_some() { 405 } else { 404 };
        assert_eq!((seen.status.as_u16(), seen.header("allow")), (status, allowed), "{method} {path}");
    }
}

#[tokio::test]
async fn what_is_for_operators_is_not_for_pages() {
    let cluster = instance().await;
    let asked = [PAGE, ("access-control-request-method", "GET")];
    for path in ["/_miroir/topology", "/_miroir/ready", "/_miroir/metrics", "/_miroir", "/_miroir//topology"] {
        for (method, headers) in [(Method::OPTIONS, &asked[..]), (Method::GET, &asked[..1])] {
            let seen = send(&cluster, method.clone(), path, headers).await;
            let told = seen.headers.keys().find(|name| name.as_str().starts_with("access-control-"));
            assert_eq!(told, None, "{method} {path}");
            assert!(method != Method::OPTIONS || seen.status != StatusCode::OK, "{path}");
        }
    }
}

#[tokio::test]
async fn every_answer_says_what_its_request_is_called() {
    let cluster = instance().await;
    for path in ["/health", "/indexes", "/no-such-route", "/_miroir/ready"] {
        let seen = send(&cluster, Method::GET, path, &[("x-request-id", "order-7")]).await;
        assert_eq!(seen.header(REQUEST_ID.as_str()), Some("order-7"), "{path}");
        let seen = send(&cluster, Method::GET, path, &[("x-request-id", "not \"usable\"")]).await;
        let made = seen.header(REQUEST_ID.as_str()).unwrap_or_default().to_owned();
        assert!(uuid::Uuid::parse_str(&made).is_ok(), "{path}: {made}");
        let other = send(&cluster, Method::GET, path, &[]).await;
        assert_ne!(other.header(REQUEST_ID.as_str()), Some(made.as_str()), "{path}");
    }
}
