//! A node for tests of those who ask nodes.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What a node of the tests' own answers to a method and a path.
type Answer = dyn Fn(&str, &str) -> (StatusCode, Value) + Send + Sync;

/// A node that answers as a test says, and remembers what it was asked. It ends with the test's runtime.
pub struct FakeNode {
    /// As the configuration has it.
    pub address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeNode {
    /// A node that accepts whatever it is told.
    pub async fn start() -> Self {
        Self::answering(|_, _| (StatusCode::ACCEPTED, json!({ "taskUid": 1 }))).await
    }

    /// A node that answers so.
    pub async fn answering(answer: impl Fn(&str, &str) -> (StatusCode, Value) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (log, answer): (_, Arc<Answer>) = (asked.clone(), Arc::new(answer));
        let handle = move |request: Request| {
            let (log, answer) = (log.clone(), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                // A request that does not come to its end is none.
                let Ok(_) = axum::body::to_bytes(body, 1 << 20).await else {
                    return (StatusCode::BAD_REQUEST, String::new());
                };
                let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
                log.lock().expect("no panic").push(format!("{} {path}", parts.method));
                let (status, body) = answer(parts.method.as_str(), path);
                (status, body.to_string())
            }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handle)).await });
        Self { address, asked }
    }

    /// Methods and paths, in the order in which they came.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}
