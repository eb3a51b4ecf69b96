//! Connections to where somebody else wants Miroir to connect to.
//!
//! Invariant: the addresses that are judged are those that are connected to, all of them: a name is looked up once, and
//! what is behind it cannot change in between. One address that is not allowed is enough to connect to none.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use miroir_core::base::address::AddressPolicy;
use tokio::net::{TcpStream, lookup_host};
use tower::Service;

/// Connects where the policy allows it.
#[derive(Clone)]
pub struct Guarded(Arc<AddressPolicy>);

impl Guarded {
    pub fn new(policy: AddressPolicy) -> Self {
        Self(Arc::new(policy))
    }
}

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
    use super::*;

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
