//! A stub of Miroir that answers one connection after another, and the binary that asks it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

/// Answers each request from the list of (path, status, body), else 404; tells what it was asked and with which key. A
/// path that is listed more than once is answered in that order, and then as at last.
pub struct Stub {
    /// Where it listens.
    pub url: String,
    /// What it was asked, and with which key.
    pub asked: Receiver<(String, Option<String>)>,
}

impl Stub {
    pub fn start(answers: &'static [(&'static str, u16, &'static str)]) -> Self {
        Self::serve("http", answers, Some)
    }

    /// Within TLS.
    pub fn start_https(answers: &'static [(&'static str, u16, &'static str)], config: Arc<ServerConfig>) -> Self {
        Self::serve("https", answers, move |stream| {
            Some(StreamOwned::new(ServerConnection::new(config.clone()).ok()?, stream))
        })
    }

    fn serve<S: Read + Write>(
        scheme: &str,
        answers: &'static [(&'static str, u16, &'static str)],
        wrap: impl Fn(TcpStream) -> Option<S> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let (tell, asked) = channel();
        std::thread::spawn(move || {
            let mut asked_for = HashMap::new();
            for stream in listener.incoming().flatten().filter_map(wrap) {
                answer(stream, answers, &mut asked_for, &tell);
            }
        });
        Self { url, asked }
    }
}

/// Answers one request, on a plain connection or within TLS.
fn answer(
    mut stream: impl Read + Write,
    answers: &[(&str, u16, &str)],
    asked_for: &mut HashMap<String, usize>,
    tell: &Sender<(String, Option<String>)>,
) -> Option<()> {
    let mut reader = BufReader::new(&mut stream);
    let mut lines = reader.by_ref().lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let header = |wanted: &str| {
        let mut headers = headers.iter().filter_map(|line| line.split_once(": "));
        headers.find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then(|| value.to_owned()))
    };
    // What is not read makes the connection break before the answer has been.
    let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    reader.read_exact(&mut vec![0; length]).ok()?;
    // Told before it is answered: the binary may have ended by then, and the test look.
    tell.send((path.clone(), header("authorization"))).ok()?;
    let missing = r#"{"message":"Not here.","code":"task_not_found","type":"invalid_request","link":"x"}"#;
    let times = asked_for.entry(path.clone()).or_default();
    let known: Vec<_> = answers.iter().filter(|(known, _, _)| *known == path).collect();
    let (_, status, body) = known.get(*times).or(known.last()).copied().copied().unwrap_or(("", 404, missing));
    *times += 1;
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    stream.flush().ok()
}

/// Runs the binary, without a terminal, in this environment alone.
pub fn ctl(home: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_miroir-ctl"));
    command.env_clear().env("HOME", home).envs(environment.iter().copied()).args(arguments);
    command.output().expect("it runs")
}

/// An empty home directory.
pub fn home() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// What was printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}
