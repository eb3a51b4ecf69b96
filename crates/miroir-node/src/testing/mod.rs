//! Nodes for tests of those who ask nodes: within the process, so that they can be tested with a paused clock.

mod documents;
mod network;

pub use documents::Documents;
pub use network::Connector;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::sync::watch;

/// What a node of tests answers to a method, a path with its query, and a body.
type Answer = dyn Fn(&str, &str, &[u8]) -> (StatusCode, Value) + Send + Sync;

/// Which requests something is meant for: by method and path.
type Matches = dyn Fn(&str, &str) -> bool + Send + Sync;

/// How a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It answers at once.
    Well,
    /// It takes connections and requests, and answers none of them until it does otherwise.
    Silent,
    /// Its connections break, and it takes none.
    Gone,
}

/// What befalls some requests.
#[derive(Clone, Copy)]
enum Fault {
    /// They are done so much later.
    Late(Duration),
    /// They are not done, and answered with this status.
    Refused(StatusCode),
    /// They are done, and the answer is lost with the connection.
    Unanswered,
    /// They are done, and answered with this status as if they were not.
    Masked(StatusCode),
    /// They are neither done nor answered.
    Swallowed,
}

struct Inner {
    answer: Box<Answer>,
    asked: Mutex<Vec<String>>,
    condition: watch::Sender<Condition>,
    faults: Mutex<Vec<(Box<Matches>, Fault)>>,
}

/// A node that answers as a test says, and remembers what it was asked. It ends with the test's runtime.
#[derive(Clone)]
pub struct FakeNode {
    /// As the configuration has it.
    pub address: String,
    inner: Arc<Inner>,
}

impl FakeNode {
    /// A node that accepts whatever it is told.
    pub fn start() -> Self {
        Self::answering(|_, _| (StatusCode::ACCEPTED, json!({ "taskUid": 1 })))
    }

    /// A node that answers so to methods and paths.
    pub fn answering(answer: impl Fn(&str, &str) -> (StatusCode, Value) + Send + Sync + 'static) -> Self {
        Self::reading(move |method, path, _| answer(method, path))
    }

    /// A node that answers so to methods, paths, and bodies.
    pub fn reading(answer: impl Fn(&str, &str, &[u8]) -> (StatusCode, Value) + Send + Sync + 'static) -> Self {
        static NODES: AtomicU64 = AtomicU64::new(0);
        let name = format!("node-{}.test", NODES.fetch_add(1, Ordering::Relaxed));
        let inner = Arc::new(Inner {
            answer: Box::new(answer),
            asked: Mutex::default(),
            condition: watch::Sender::new(Condition::Well),
            faults: Mutex::default(),
        });
        let node = Self { address: format!("http://{name}:7700"), inner: inner.clone() };
        network::listen(&name, move |stream| {
            if *inner.condition.borrow() == Condition::Gone {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            tokio::spawn(serve(inner.clone(), stream));
            Ok(())
        });
        node
    }

    /// Methods and paths, in the order in which they came.
    pub fn asked(&self) -> Vec<String> {
        self.inner.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on it does so.
    pub fn is(&self, condition: Condition) {
        self.inner.condition.send_replace(condition);
    }

    /// From now on it does what `matches` so much later than it gets it.
    pub fn delays(&self, by: Duration, matches: impl Fn(&str, &str) -> bool + Send + Sync + 'static) {
        self.faults().push((Box::new(matches), Fault::Late(by)));
    }

    /// From now on it does not do what `matches`, and says this.
    pub fn refuses(&self, status: StatusCode, matches: impl Fn(&str, &str) -> bool + Send + Sync + 'static) {
        self.faults().push((Box::new(matches), Fault::Refused(status)));
    }

    /// From now on it does what `matches` and hangs up instead of answering.
    pub fn hangs_up(&self, matches: impl Fn(&str, &str) -> bool + Send + Sync + 'static) {
        self.faults().push((Box::new(matches), Fault::Unanswered));
    }

    /// From now on it does what `matches`, and says this as if it had not.
    pub fn masks(&self, status: StatusCode, matches: impl Fn(&str, &str) -> bool + Send + Sync + 'static) {
        self.faults().push((Box::new(matches), Fault::Masked(status)));
    }

    /// From now on it neither does nor answers what `matches`.
    pub fn swallows(&self, matches: impl Fn(&str, &str) -> bool + Send + Sync + 'static) {
        self.faults().push((Box::new(matches), Fault::Swallowed));
    }

    /// From now on nothing befalls its requests any more.
    pub fn recovers(&self) {
        self.faults().clear();
        self.is(Condition::Well);
    }

    fn faults(&self) -> MutexGuard<'_, Vec<(Box<Matches>, Fault)>> {
        self.inner.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What befalls a request; of several the one that was said last.
    fn befalls(&self, method: &str, path: &str) -> Option<Fault> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.iter().rev().find(|(matches, _)| matches(method, path)).map(|(_, fault)| *fault)
    }

    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (parts, body) = request.into_parts();
        // A request that does not come to its end is none.
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let (method, path) = (parts.method.as_str(), parts.uri.path_and_query().map_or("/", |path| path.as_str()));
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{method} {path}"));
        let fault = self.befalls(method, path);
        match fault {
            Some(Fault::Late(by)) => tokio::time::sleep(by).await,
            Some(Fault::Swallowed) => return std::future::pending().await,
            Some(Fault::Refused(_) | Fault::Unanswered | Fault::Masked(_)) | None => {}
        }
        let mut condition = self.condition.subscribe();
        // What a silent node has taken it does when it wakes up.
        condition.wait_for(|condition| *condition != Condition::Silent).await.map_err(io::Error::other)?;
        let (status, answer) = if let Some(Fault::Refused(status)) = fault {
            (status, json!({ "message": "said by the test", "code": "internal", "type": "internal" }))
        } else {
            let answered = (self.answer)(method, path, &body);
            match fault {
                Some(Fault::Unanswered) => return Err(io::ErrorKind::ConnectionReset.into()),
                // In the words of what stands before a node, which are none of a node's.
                Some(Fault::Masked(status)) => (status, json!("said before the node")),
                Some(Fault::Late(_) | Fault::Refused(_) | Fault::Swallowed) | None => answered,
            }
        };
        let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
        *response.status_mut() = status;
        Ok(response)
    }
}

async fn serve(inner: Arc<Inner>, stream: DuplexStream) {
    let mut condition = inner.condition.subscribe();
    // What has begun goes on, as on a server, when whoever asked has gone.
    let service = service_fn(move |request| {
        let inner = inner.clone();
        let answering = tokio::spawn(async move { inner.answer(request).await });
        async move { answering.await.unwrap_or_else(|error| Err(io::Error::other(error))) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = connection => {}
        _ = condition.wait_for(|condition| *condition == Condition::Gone) => {}
    }
}
