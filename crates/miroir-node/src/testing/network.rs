//! A network within the test's own process: what happens in it takes no time, so that a test whose clock is paused
//! waits for nothing but what it set out to wait for.
//!
//! Names that end in `.test` are those of nodes here; everything else is reached over sockets.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;
use tower::Service;

/// Bytes that are under way in one direction before the sender waits.
const UNDER_WAY: usize = 64 << 10;

/// Takes a connection, or refuses it.
type Accept = Box<dyn Fn(DuplexStream) -> io::Result<()> + Send + Sync>;

/// Who listens, by name.
static LISTENERS: LazyLock<Mutex<BTreeMap<String, Accept>>> = LazyLock::new(Mutex::default);

/// Lets connections to `name` be given to `accept`. Names are never given twice.
pub(super) fn listen(name: &str, accept: impl Fn(DuplexStream) -> io::Result<()> + Send + Sync + 'static) {
    LISTENERS.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Box::new(accept));
}

fn connect(name: &str) -> io::Result<DuplexStream> {
    let listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
    let accept = listeners.get(name).ok_or(io::ErrorKind::ConnectionRefused)?;
    let (ours, theirs) = tokio::io::duplex(UNDER_WAY);
    accept(theirs)?;
    Ok(ours)
}

/// Connects to nodes of tests within the process, and to all others over sockets.
#[derive(Clone)]
pub struct Connector(HttpConnector);

impl Connector {
    /// Sockets are made by `sockets`.
    pub fn new(sockets: HttpConnector) -> Self {
        Self(sockets)
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Stream, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match uri.host().filter(|host| host.ends_with(".test")) {
            Some(name) => {
                let stream = connect(name).map(|stream| Stream::Memory(TokioIo::new(stream)));
                async move { stream.map_err(Into::into) }.boxed()
            }
            None => {
                let connecting = self.0.call(uri);
                async move { connecting.await.map(Stream::Socket).map_err(Into::into) }.boxed()
            }
        }
    }
}

/// A connection of either kind.
pub enum Stream {
    /// To a node of tests.
    Memory(TokioIo<DuplexStream>),
    /// To any other.
    Socket(TokioIo<TcpStream>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Memory(_) => Connected::new(),
            Self::Socket(socket) => socket.connected(),
        }
    }
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Socket(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Socket(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Memory(stream) => Pin::new(stream).poll_flush(cx),
            Self::Socket(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Socket(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Memory(stream) => stream.is_write_vectored(),
            Self::Socket(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Socket(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }
}
