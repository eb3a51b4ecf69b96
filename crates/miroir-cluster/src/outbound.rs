//! The client for requests to where somebody else wants Miroir to send them: webhooks. Nodes have a client of their own, in
//! `miroir-node`: they are the configuration's, and what it knows of connections and answers is of no use here.
//!
//! Invariant: the addresses that are judged are those that are connected to, all of them: a name is looked up once, and
//! what is behind it cannot change in between. One address that is not allowed is enough to connect to none.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use miroir_core::base::address::AddressPolicy;
use thiserror::Error;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tower::Service;

/// From connecting to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of an answer, to keep the connection. Nobody looks at it.
const MAX_ANSWER: usize = 64 * 1024;

/// Sends requests by http or https to where the policy allows it. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct Outbound(Client<HttpsConnector<Guarded>, Full<Bytes>>);

/// Why nobody answered.
#[derive(Debug, Error)]
pub enum OutboundError {
    /// Not connected, or the connection broke. The client's own text leaves out why.
    #[error("{0:?}")]
    Lost(hyper_util::client::legacy::Error),
    /// Whoever was connected to took too long.
    #[error("no answer within {0:?}")]
    Late(Duration),
}

impl Outbound {
    /// A client that connects where `policy` allows it.
    pub fn new(policy: AddressPolicy) -> Self {
        let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1();
        Self(Client::builder(TokioExecutor::new()).build(connector.wrap_connector(Guarded(Arc::new(policy)))))
    }

    /// The status of the answer. One that points elsewhere is not followed.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn send(&self, request: Request<Bytes>) -> Result<StatusCode, OutboundError> {
        let exchange = async {
            let response = self.0.request(request.map(Full::new)).await.map_err(OutboundError::Lost)?;
            let status = response.status();
            // The connection is kept only when the answer was read.
            drop(Limited::new(response.into_body(), MAX_ANSWER).collect().await);
            Ok(status)
        };
        timeout(TIMEOUT, exchange).await.unwrap_or(Err(OutboundError::Late(TIMEOUT)))
    }
}

/// Connects where the policy allows it.
#[derive(Clone)]
struct Guarded(Arc<AddressPolicy>);

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let policy = self.0.clone();
        Box::pin(async move {
            let host = uri.host().ok_or_else(|| io::Error::other("an address without a host"))?;
            let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
            let stream = TcpStream::connect(&*allowed(&policy, host, port).await?).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}

/// All addresses of a host, when each of them is allowed.
///
/// # Errors
/// When the host has none, or one that is not allowed.
pub async fn allowed(policy: &AddressPolicy, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![(address, port).into()],
        Err(_) => lookup_host((host, port)).await?.collect(),
    };
    match addresses.iter().find(|address| !policy.allows(address.ip())) {
        Some(denied) => {
            let ip = denied.ip();
            let why = format!("{ip} is in none of the networks that may be connected to (address_policy)");
            Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
        }
        None if addresses.is_empty() => Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address")),
        None => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn post(address: SocketAddr) -> Request<Bytes> {
        Request::post(format!("http://{address}/hook")).body(Bytes::from_static(b"{}")).expect("a request")
    }

    #[tokio::test]
    async fn an_answer_that_points_elsewhere_is_not_followed_and_nobody_denied_is_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = vec![0; 1024];
            let read = stream.read(&mut request).await.expect("a request");
            let answer = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.expect("sent");
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let denied = Outbound::new(AddressPolicy::PublicAnd(Vec::new())).send(post(address)).await.expect_err("denied");
        assert!(denied.to_string().contains("address_policy"), "{denied}");
        let status = Outbound::new(AddressPolicy::Any).send(post(address)).await.expect("an answer");
        assert_eq!(status, StatusCode::TEMPORARY_REDIRECT);
        assert!(answering.await.expect("answered").starts_with("POST /hook HTTP/1.1\r\n"));
    }

    #[tokio::test]
    async fn a_host_is_connected_to_only_when_all_of_its_addresses_are_allowed() {
        let public = AddressPolicy::PublicAnd(Vec::new());
        for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:10.0.0.1]", "169.254.169.254", "0"] {
            let denied = allowed(&public, host, 80).await.map_err(|error| error.kind());
            assert_eq!(denied, Err(io::ErrorKind::PermissionDenied), "{host}");
        }
        let local = AddressPolicy::PublicAnd(vec!["127.0.0.0/8".parse().expect("a network")]);
        let socket: SocketAddr = ([127, 0, 0, 1], 81).into();
        assert_eq!(allowed(&local, "127.0.0.1", 81).await.expect("allowed"), vec![socket]);
        assert!(allowed(&AddressPolicy::Any, "localhost", 80).await.is_ok());
    }
}
