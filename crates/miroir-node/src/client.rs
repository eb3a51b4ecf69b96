//! The HTTP client that all nodes share: kept-alive connections, bounded answers, bounded waiting.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use miroir_telemetry::{REQUEST_ID, RequestId};
use thiserror::Error;

use super::Chunks;
use super::body::TooLate;
use crate::budget::{Budget, Reserved, Spent};
use crate::joined::Joined;

/// What makes connections; tests have nodes within the process besides.
#[cfg(any(test, feature = "testing"))]
use crate::testing::Connector;
#[cfg(not(any(test, feature = "testing")))]
type Connector = HttpConnector;

/// One request to a node.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its name in metrics.
    pub operation: &'static str,
    /// GET, POST, ...
    pub method: Method,
    /// With the query, beginning with `/`.
    pub path: String,
    /// Sent as it is.
    pub body: Chunks,
    /// None: no body.
    pub content_type: Option<&'static str>,
    /// From the wait for a connection to the last byte received; for one search, where there are several. Or for each step
    /// of the answer alone.
    pub timeout: Duration,
    /// Whether it is for each step: until the answer begins, and from each piece of it to the next.
    pub since_last_byte: bool,
    /// Bytes of the answer, where less than the client's own bound is wanted.
    pub max_reply: Option<usize>,
    /// Whether the answer is one for clients, and counts among those in flight.
    pub is_for_client: bool,
    /// Searches that the node does one after the other.
    pub searches: u32,
    /// Whether this is a question about the node itself, which has connections of its own.
    pub is_check: bool,
}

/// What the time that a call takes tells about how its node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// So many searches: what one takes can be compared.
    Searches(u32),
    /// A read of any size: only whether it fails can be compared.
    Read,
    /// Nothing that readers feel.
    Other,
}

impl Call {
    /// A request without a body.
    pub fn get(operation: &'static str, path: impl Into<String>, timeout: Duration) -> Self {
        Self::bare(operation, Method::GET, path, timeout)
    }

    /// A request of any method without a body.
    pub fn bare(operation: &'static str, method: Method, path: impl Into<String>, timeout: Duration) -> Self {
        Self {
            operation,
            method,
            path: path.into(),
            body: Chunks::default(),
            content_type: None,
            timeout,
            since_last_byte: false,
            max_reply: None,
            is_for_client: false,
            searches: 1,
            is_check: false,
        }
    }

    /// A request with a JSON body.
    pub fn json(
        operation: &'static str,
        method: Method,
        path: impl Into<String>,
        body: impl Into<Chunks>,
        timeout: Duration,
    ) -> Self {
        let content_type = Some("application/json");
        Self { body: body.into(), content_type, ..Self::bare(operation, method, path, timeout) }
    }

    /// The same, where the time-out counts from the last byte of the answer: for answers that are large, and come slowly.
    #[must_use]
    pub fn since_last_byte(self) -> Self {
        Self { since_last_byte: true, ..self }
    }

    /// The same, with an answer of so many bytes at most.
    #[must_use]
    pub fn within(self, max_reply: usize) -> Self {
        Self { max_reply: Some(max_reply), ..self }
    }

    /// The same for a client.
    #[must_use]
    pub fn for_client(self) -> Self {
        Self { is_for_client: true, ..self }
    }

    /// The same, for a node that does so many searches one after the other.
    #[must_use]
    pub fn searching(self, searches: usize) -> Self {
        Self { searches: u32::try_from(searches.max(1)).unwrap_or(u32::MAX), ..self }
    }

    /// The same, beside all requests of clients.
    #[must_use]
    pub fn checking(self) -> Self {
        Self { is_check: true, ..self }
    }

    /// What it is to its node.
    pub fn work(&self) -> Work {
        match self.operation {
            "search" | "multi-search" | "facet-search" | "count" => Work::Searches(self.searches),
            "document" | "documents" | "fields" => Work::Read,
            _ => Work::Other,
        }
    }
}

/// A whole answer of any status.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// All of it.
    pub body: Bytes,
    /// What it holds of the budget.
    _reserved: Option<Arc<Reserved>>,
}

/// No whole answer came.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The request never left: the node cannot have seen it.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// Likewise: all connections to the node were taken for too long.
    #[error("no connection to the node was free within {0:?}")]
    Busy(Duration),
    /// The connection broke after the request may have left: the node may have acted on it.
    #[error("connection lost: {0}")]
    Lost(String),
    /// As [`NodeError::Lost`], by waiting too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The answer is beyond the bound.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// There is no room for the answer here; nothing is known of the node.
    #[error(transparent)]
    NoRoom(#[from] Spent),
    /// The request could not be formed.
    #[error("impossible request: {0}")]
    Request(#[from] http::Error),
}

impl NodeError {
    /// For metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Busy(_) => "busy",
            Self::Lost(_) => "lost",
            Self::Timeout(_) => "timeout",
            Self::TooLarge(_) => "too_large",
            Self::NoRoom(_) => "no_room",
            Self::Request(_) => "request",
        }
    }

    /// The node has failed since it was asked. `left`: it may have been reached.
    pub(super) fn failed_meanwhile(left: bool) -> Self {
        let why = "the node has failed".to_owned();
        if left { Self::Lost(why) } else { Self::Connect(why) }
    }

    /// The node was not reached at all.
    pub fn is_connect(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Busy(_)
            | Self::Lost(_)
            | Self::Timeout(_)
            | Self::TooLarge(_)
            | Self::NoRoom(_)
            | Self::Request(_) => false,
        }
    }

    /// The node cannot have seen the request.
    pub fn never_left(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Busy(_) | Self::Request(_) => true,
            Self::Lost(_) | Self::Timeout(_) | Self::TooLarge(_) | Self::NoRoom(_) => false,
        }
    }
}

/// Bounds of the client.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Idle connections kept per node.
    pub max_idle: usize,
    /// For how long.
    pub idle_timeout: Duration,
    /// To establish a connection.
    pub connect_timeout: Duration,
    /// Bytes of one answer.
    pub max_reply: usize,
}

/// Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct NodeClient {
    http: Client<Connector, Chunks>,
    authorization: Option<HeaderValue>,
    max_reply: usize,
    replies: Budget,
}

impl NodeClient {
    /// A client that speaks to nodes with this key; an empty key sends none. Answers for clients are held of `replies`.
    ///
    /// # Errors
    /// When the key cannot stand in a header.
    pub fn new(node_key: &str, limits: Limits, replies: Budget) -> Result<Self, http::header::InvalidHeaderValue> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(limits.connect_timeout));
        #[cfg(any(test, feature = "testing"))]
        let connector = Connector::new(connector);
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits.idle_timeout)
            .pool_max_idle_per_host(limits.max_idle)
            .build(connector);
        let authorization = match node_key {
            "" => None,
            key => {
                let mut value = HeaderValue::try_from(format!("Bearer {key}"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { http, authorization, max_reply: limits.max_reply, replies })
    }

    /// What answers for clients are held of.
    pub fn replies(&self) -> &Budget {
        &self.replies
    }

    /// Send and collect.
    ///
    /// # Errors
    /// [`NodeError`] when no whole answer came in time.
    pub async fn call(&self, address: &str, call: Call) -> Result<Reply, NodeError> {
        let timeout = call.timeout;
        // What counts from the last byte has ends of its own, in the exchange.
        if call.since_last_byte {
            return self.exchange(address, call).await;
        }
        tokio::time::timeout(timeout, self.exchange(address, call)).await.unwrap_or(Err(NodeError::Timeout(timeout)))
    }

    async fn exchange(&self, address: &str, call: Call) -> Result<Reply, NodeError> {
        let max_reply = call.max_reply.map_or(self.max_reply, |wanted| wanted.min(self.max_reply));
        let uri = Uri::try_from(format!("{address}{}", call.path)).map_err(http::Error::from)?;
        let mut request = Request::builder().method(call.method).uri(uri);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(content_type) = call.content_type {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(id) = RequestId::current().and_then(|id| id.header()) {
            request = request.header(REQUEST_ID, id);
        }
        if call.body.is_late() {
            return Err(NodeError::Connect(TooLate.to_string()));
        }
        let silence = call.timeout;
        let response = self.http.request(request.body(call.body)?);
        let response = tokio::time::timeout(silence, response).await.map_err(|_| NodeError::Timeout(silence))?;
        let response = response.map_err(|error| {
            let text = chain(&error);
            if error.is_connect() { NodeError::Connect(text) } else { NodeError::Lost(text) }
        })?;
        let status = response.status().as_u16();
        let mut reserved = call.is_for_client.then(|| self.replies.reserve());
        let mut body = response.into_body();
        let expected = body.size_hint().exact().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let mut joined = Joined::default();
        // Of another call the whole exchange has its end outside.
        let pause = if call.since_last_byte { silence } else { Duration::MAX };
        loop {
            let frame = tokio::time::timeout(pause, body.frame()).await.map_err(|_| NodeError::Timeout(silence))?;
            let Some(frame) = frame else { break };
            let Ok(piece) = frame.map_err(|error| NodeError::Lost(error.to_string()))?.into_data() else { continue };
            if joined.len().saturating_add(piece.len()) > max_reply {
                return Err(NodeError::TooLarge(max_reply));
            }
            if let Some(reserved) = &mut reserved {
                reserved.grow(piece.len() as u64)?;
            }
            joined.push(piece, expected.min(max_reply));
        }
        let body = joined.whole();
        Ok(Reply { status, body, _reserved: reserved.map(Arc::new) })
    }
}

/// An error with its causes: the outer ones rarely say what happened.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
