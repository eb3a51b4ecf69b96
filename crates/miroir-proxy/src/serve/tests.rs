//! Connections over a real socket: what is bounded, and who is let in while others take all there is.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use miroir_core::config::ConnectionLimits;
use miroir_telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Held, Seat, listen, serve};

const SOON: Duration = Duration::from_secs(10);

fn limits() -> ConnectionLimits {
    let some = |n| NonZeroUsize::new(n).expect("some");
    ConnectionLimits {
        max_connections: some(4),
        head_timeout: SOON * 6,
        idle_timeout: SOON * 6,
        write_timeout: SOON * 6,
        max_head_bytes: some(8192),
        max_head_lines: some(100),
        max_uri_bytes: some(1000),
    }
}

struct Server {
    address: SocketAddr,
    metrics: Metrics,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Server {
    async fn start(limits: ConnectionLimits, app: Router) -> Self {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let address = listener.local_addr().expect("its address");
        let (stop, stopped) = oneshot::channel();
        let metrics = Metrics::default();
        let stopped = async {
            let _ = stopped.await;
        };
        let served = tokio::spawn(serve(listener, app, limits, metrics.clone(), stopped));
        Self { address, metrics, stop, served }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    fn ended(&self, reason: &str) -> bool {
        self.metrics.encode().contains(&format!("miroir_connections_ended_total{{reason=\"{reason}\"}}"))
    }
}

/// `/` answers at once; `/held` holds a permit until its large answer has been sent; `/waits` waits for a word.
fn app(permits: &Arc<Semaphore>, word: &Arc<Notify>) -> Router {
    let (permits, word) = (permits.clone(), word.clone());
    let held = move |request: Request| async move {
        let Ok(permit) = permits.clone().try_acquire_owned() else { return "busy".into_response() };
        if let Some(seat) = request.extensions().get::<Seat>() {
            seat.keep();
        }
        let mut response: Response = vec![b'x'; 64 << 20].into_response();
        Held::by(&mut response, permit);
        response
    };
    let waits = move || async move {
        word.notified().await;
        "done"
    };
    Router::new().route("/", get(|| async { "hello" })).route("/held", get(held)).route("/waits", get(waits))
}

fn simple() -> Router {
    app(&Arc::new(Semaphore::new(1)), &Arc::default())
}

async fn ask(stream: &mut TcpStream, path: &str) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.expect("sent");
}

/// What comes until there is this text, or until the end.
async fn until(stream: &mut TcpStream, text: &str) -> String {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = timeout(SOON, stream.read(&mut piece)).await.expect("something comes").unwrap_or(0);
        all.extend_from_slice(&piece[..read]);
        let so_far = String::from_utf8_lossy(&all).into_owned();
        if read == 0 || so_far.contains(text) {
            return so_far;
        }
    }
}

async fn eventually(what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < SOON, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_head_that_is_sent_letter_by_letter_is_given_up() {
    let brief = ConnectionLimits { head_timeout: Duration::from_millis(200), ..limits() };
    let server = Server::start(brief, simple()).await;
    let (mut reader, mut writer) = server.connect().await.into_split();
    let dribble = tokio::spawn(async move {
        for letter in "GET / HTTP/1.1\r\nx: ".bytes().chain(std::iter::repeat(b'y')) {
            if writer.write_all(&[letter]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = Vec::new();
    let _ = timeout(SOON, reader.read_to_end(&mut answer)).await.expect("the connection is closed");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
    assert!(server.ended("slow_head"));
    dribble.abort();
}

#[tokio::test]
async fn a_head_that_is_begun_and_left_is_answered_with_408() {
    let brief = ConnectionLimits { head_timeout: Duration::from_millis(100), ..limits() };
    let server = Server::start(brief, simple()).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\n").await.expect("sent");
    assert!(until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_after_a_while() {
    let brief = ConnectionLimits { idle_timeout: Duration::from_millis(100), ..limits() };
    let server = Server::start(brief, simple()).await;
    let mut never = server.connect().await;
    assert_eq!(until(&mut never, "HTTP").await, "");
    let mut once = server.connect().await;
    ask(&mut once, "/").await;
    assert!(until(&mut once, "hello").await.contains("200 OK"));
    assert_eq!(until(&mut once, "HTTP").await, "");
    assert!(server.ended("idle"));
}

#[tokio::test]
async fn heads_and_targets_have_a_greatest_size() {
    let server = Server::start(limits(), simple()).await;
    let status = async |request: String| {
        let mut stream = server.connect().await;
        let _ = stream.write_all(request.as_bytes()).await;
        until(&mut stream, "\r\n\r\n").await.chars().take(12).collect::<String>()
    };
    let lines = |n: usize| (0..n).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    assert_eq!(status(format!("GET / HTTP/1.1\r\n{}\r\n", lines(100))).await, "HTTP/1.1 200");
    assert_eq!(status(format!("GET / HTTP/1.1\r\n{}\r\n", lines(101))).await, "HTTP/1.1 431");
    assert_eq!(status(format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(9000))).await, "HTTP/1.1 431");
    assert_eq!(status(format!("GET /?{} HTTP/1.1\r\n\r\n", "y".repeat(997))).await, "HTTP/1.1 200");
    assert_eq!(status(format!("GET /?{} HTTP/1.1\r\n\r\n", "y".repeat(1000))).await, "HTTP/1.1 414");
}

#[tokio::test]
async fn whoever_is_new_takes_the_place_of_who_waits_longest() {
    let server = Server::start(limits(), simple()).await;
    let mut idle = Vec::new();
    for n in 0..4 {
        let mut stream = server.connect().await;
        // Some have begun a head, some nothing.
        stream.write_all(if n % 2 == 0 { b"GET /" } else { b"" }).await.expect("sent");
        idle.push(stream);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..20 {
        let mut stream = server.connect().await;
        ask(&mut stream, "/").await;
        assert!(until(&mut stream, "hello").await.contains("200 OK"));
        idle.push(stream);
    }
    assert_eq!(until(&mut idle[0], "HTTP").await, "", "the first made room");
    assert!(server.ended("made_room"));
}

#[tokio::test]
async fn who_is_at_work_does_not_make_room() {
    let (permits, word) = (Arc::new(Semaphore::new(1)), Arc::<Notify>::default());
    let server = Server::start(limits(), app(&permits, &word)).await;
    let mut slow = server.connect().await;
    ask(&mut slow, "/held").await;
    eventually("the permit is taken", || permits.available_permits() == 0).await;
    for _ in 0..10 {
        let mut stream = server.connect().await;
        ask(&mut stream, "/").await;
        assert!(until(&mut stream, "hello").await.contains("200 OK"));
        std::mem::forget(stream);
    }
    let mut read = 0;
    let mut piece = vec![0; 1 << 16];
    while read < 64 << 20 {
        let more = timeout(SOON, slow.read(&mut piece)).await.expect("the answer goes on").expect("read");
        assert!(more > 0, "cut after {read} bytes");
        read += more;
    }
    eventually("the permit is given back", || permits.available_permits() == 1).await;
}

#[tokio::test]
async fn a_permit_is_held_until_the_answer_was_sent_and_who_does_not_read_is_cut() {
    let permits = Arc::new(Semaphore::new(1));
    let patient = ConnectionLimits { write_timeout: Duration::from_millis(400), ..limits() };
    let server = Server::start(patient, app(&permits, &Arc::default())).await;
    let mut deaf = server.connect().await;
    ask(&mut deaf, "/held").await;
    assert!(until(&mut deaf, "xxx").await.contains("200 OK"));
    let mut other = server.connect().await;
    ask(&mut other, "/held").await;
    assert!(until(&mut other, "busy").await.contains("busy"), "the permit was given back before the answer was sent");
    eventually("the permit is given back", || permits.available_permits() == 1).await;
    assert!(server.ended("slow_reader"));
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_read_to_its_end_and_the_connection_goes_on() {
    let brief = ConnectionLimits { head_timeout: Duration::from_millis(100), ..limits() };
    let server = Server::start(brief, simple()).await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n").await.expect("sent");
        // The rest comes when the answer is ready already.
        tokio::time::sleep(Duration::from_millis(30)).await;
        stream.write_all(b"12345").await.expect("sent");
        let answer = until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && !answer.contains("close"), "{answer}");
        // Longer than a head may take: none is under way.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(!server.ended("slow_head"));
    // What does not come is not waited for, and the client is told.
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n").await.expect("sent");
    let answer = until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("connection: close"), "{answer}");
    assert_eq!(until(&mut stream, "HTTP").await, "");
}

#[tokio::test]
async fn stopping_closes_who_waits_and_answers_who_is_at_work() {
    let word = Arc::<Notify>::default();
    let server = Server::start(limits(), app(&Arc::new(Semaphore::new(1)), &word)).await;
    let (mut idle, mut busy) = (server.connect().await, server.connect().await);
    ask(&mut idle, "/").await;
    assert!(until(&mut idle, "hello").await.contains("200 OK"));
    ask(&mut busy, "/waits").await;
    // The request has come by the time that another connection's has been answered.
    let mut later = server.connect().await;
    ask(&mut later, "/").await;
    assert!(until(&mut later, "hello").await.contains("200 OK"));
    let Server { address, stop, served, .. } = server;
    stop.send(()).expect("it listens");
    assert_eq!(until(&mut idle, "HTTP").await, "");
    let begun = Instant::now();
    while TcpStream::connect(address).await.is_ok() {
        assert!(begun.elapsed() < SOON, "connections are still taken");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!served.is_finished());
    word.notify_one();
    assert!(until(&mut busy, "done").await.contains("200 OK"));
    timeout(SOON, served).await.expect("it ends").expect("without a panic");
}
