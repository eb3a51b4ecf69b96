//! Connections of clients: taken, bounded, watched, and ended in order.
//!
//! Invariant: whoever connects is let in. A connection whose request holds none of the permits of requests makes room for
//! one that is new, the longest waiting first; and there are more connections than permits. None waits for ever: neither
//! for a head, nor for the next request, nor for a reader who does not read.

mod answer;
mod io;
mod places;
mod unread;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use miroir_core::config::ConnectionLimits;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

pub use answer::Held;
use answer::Sliced;
use io::Watched;
use miroir_telemetry::Metrics;
use places::{End, Full, Place, Places};
use unread::Unread;

/// What a head has to be read in, sent when it was not. As Meilisearch does it.
const TOO_LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
/// Between two attempts to take a connection when the system has no room for one.
const PAUSE: Duration = Duration::from_millis(20);
/// Header lines that are read without memory of their own.
const USUAL_HEAD_LINES: usize = 100;
/// What the system keeps of an answer that the reader has no room for: enough to keep a line busy, and little enough for
/// somebody who reads slowly to be seen to read.
const UNSENT_BYTES: u32 = 256 * 1024;
/// Connections that wait to be taken.
const BACKLOG: u32 = 1024;

/// Listens for connections.
///
/// # Errors
/// When the address is taken, or not ours.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // Connections that are taken have it from here.
    socket.set_send_buffer_size(UNSENT_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `app` until `stop`. From then on no connection is taken, those that wait are closed, and requests at work are
/// answered: the future ends with the last of them. Dropped, it ends them all.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    limits: ConnectionLimits,
    metrics: Metrics,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Places::new(limits, metrics));
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    let mut sweep = tokio::time::interval(places.sweep_interval());
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if let Some(place) = place(&places, &mut connections).await {
                        connections.spawn(connection(stream, place, app.clone(), limits, stopped.clone()));
                    }
                }
                Err(error) => {
                    // Usually too many files are open: one connection fewer may help.
                    tracing::warn!(%error, "a connection could not be taken");
                    places.make_room();
                    tokio::time::sleep(PAUSE).await;
                }
            },
            _ = sweep.tick() => places.end_overdue(),
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let _ = stopping.send(true);
    loop {
        tokio::select! {
            ended = connections.join_next() => if ended.is_none() { return },
            _ = sweep.tick() => places.end_overdue(),
        }
    }
}

/// A place for a new connection. Where many are about to end, one of them is waited for: they have been told to.
async fn place(places: &Arc<Places>, connections: &mut JoinSet<()>) -> Option<Place> {
    loop {
        match places.take() {
            Ok(place) => return Some(place),
            Err(Full::OfEnding) => drop(connections.join_next().await?),
            Err(Full::OfWork) => return None,
        }
    }
}

async fn connection(
    stream: TcpStream,
    place: Place,
    app: Router,
    limits: ConnectionLimits,
    mut stopped: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_header_size(limits.max_head_bytes.get());
    if limits.max_head_lines.get() != USUAL_HEAD_LINES {
        builder.max_headers(limits.max_head_lines.get());
    }
    let watch = place.watch();
    let service = Service { app, watch: watch.clone(), max_uri_bytes: limits.max_uri_bytes.get() };
    let mut connection = builder.serve_connection(TokioIo::new(Watched::new(stream, watch.clone())), service);
    let mut may_stop = true;
    let end = loop {
        tokio::select! {
            served = &mut connection => {
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            end = watch.ended() => break end,
            _ = stopped.wait_for(|stopped| *stopped), if may_stop => {
                may_stop = false;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if end == End::Head {
        let mut stream = connection.into_parts().io.into_inner().into_stream();
        // Whoever does not read this misses nothing.
        let _ = tokio::time::timeout(PAUSE, stream.write_all(TOO_LATE)).await;
    }
}

/// The connection of a request, among the request's extensions.
#[derive(Clone)]
pub struct Seat(Arc<places::Watch>);

impl Seat {
    /// The request holds something that is bounded in number: its connection is not to make room for another.
    pub fn keep(&self) {
        self.0.keep();
    }
}

/// The endpoint for one connection.
struct Service {
    app: Router,
    watch: Arc<places::Watch>,
    max_uri_bytes: usize,
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Sliced>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let watch = self.watch.clone();
        watch.at_work();
        request.extensions_mut().insert(Seat(watch.clone()));
        let app = self.app.clone();
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        let fits = target <= self.max_uri_bytes;
        let unread = Unread::default();
        let request = request.map(|body| Body::new(unread.lend(body)));
        Box::pin(async move {
            let mut response = if fits {
                let Ok(response) = app.oneshot(request).await;
                response
            } else {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::URI_TOO_LONG;
                response
            };
            if !unread.drained().await {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            let held = response.extensions_mut().remove::<Held>().unwrap_or_default();
            Ok(response.map(|body| Sliced::new(body, held, watch)))
        })
    }
}

#[cfg(test)]
mod tests;
