//! A node that does not do as it is told: a relay in front of a real one that spoils chosen requests.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::raw::{Connection, RawAnswer, request};
use crate::rng::Rng;

/// What the writes of an index's documents that an instance sends nodes have in their path, and reads have not: comparisons
/// of replicas, which begin with every start, post to `/documents/fetch`.
pub fn writes_of(index: &str) -> String {
    format!("/indexes/{index}/documents?")
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The node never sees it; this status, and the body of an error, are answered.
    Answer(u16, Value),
    /// The node never sees it, and the connection breaks.
    Drop,
    /// The node answers, and the connection breaks before the answer.
    Swallow,
    /// The node answers, and this status and page are answered in its place, as a proxy does that had no patience.
    Mask(u16),
    /// The node gets this in place of the body.
    Replace(Value),
    /// The node sees it only after a while.
    Delay(Duration),
    /// The node answers, and the body trickles in, taking so long altogether.
    Trickle(Duration),
}

/// How many of the requests that no rule is about go wrong, and how long those take that are late.
#[derive(Clone, Debug)]
pub struct Weather {
    /// The share that is late.
    pub late: f64,
    /// By how much at most; at least by a tenth of that.
    pub by: Duration,
    /// The share that never arrives.
    pub dropped: f64,
    /// The share whose answer is lost.
    pub swallowed: f64,
    /// The share whose answer is replaced by what a proxy says.
    pub masked: f64,
}

impl Weather {
    fn strike(&self, rng: &mut Rng) -> Option<Fault> {
        let by = self.by.mul_f64(0.1 + 0.9 * rng.fraction());
        let mut left = rng.fraction();
        let mut falls = |share: f64| {
            left -= share;
            left < 0.0
        };
        if falls(self.late) {
            Some(Fault::Delay(by))
        } else if falls(self.dropped) {
            Some(Fault::Drop)
        } else if falls(self.swallowed) {
            Some(Fault::Swallow)
        } else if falls(self.masked) {
            Some(Fault::Mask(502))
        } else {
            None
        }
    }
}

#[derive(Clone, Debug)]
struct Rule {
    method: String,
    path: String,
    left: usize,
    fault: Fault,
}

#[derive(Debug, Default)]
struct Rules {
    rules: Vec<Rule>,
    weather: Option<(Weather, Rng)>,
    struck: usize,
    /// Methods and paths that came by.
    seen: Vec<String>,
    /// The same with what was sent, as far as that is short.
    sent: Vec<(String, String)>,
    /// The names of requests that came by.
    request_ids: Vec<String>,
}

/// The relay. It ends with the process.
#[derive(Clone, Debug)]
pub struct Faults {
    port: u16,
    rules: Arc<Mutex<Rules>>,
}

impl Faults {
    /// A relay to `host:port` that spoils nothing yet.
    ///
    /// # Panics
    /// When no port is free.
    pub fn before(node: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let rules: Arc<Mutex<Rules>> = Arc::default();
        let known = rules.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (node, rules) = (node.clone(), known.clone());
                // A connection that breaks is what both sides are made for.
                std::thread::spawn(move || relay(client, &node, &rules));
            }
        });
        Self { port, rules }
    }

    /// `http://host:port`.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spoil the next requests of this method (of any, where it is empty) whose path and query contain this text, so many times.
    pub fn spoil(&self, method: &str, path: &str, times: usize, fault: Fault) {
        self.rules().rules.push(Rule { method: method.into(), path: path.into(), left: times, fault });
    }

    /// From now on any request goes wrong now and then.
    pub fn storm(&self, weather: Weather, seed: u64) {
        self.rules().weather = Some((weather, Rng::new(seed)));
    }

    /// Spoil nothing any more.
    pub fn clear(&self) {
        let mut rules = self.rules();
        rules.rules.clear();
        rules.weather = None;
    }

    /// How many requests of this method whose path and query contain this text have come by.
    pub fn seen(&self, method: &str, path: &str) -> usize {
        let fits = |seen: &&String| seen.strip_prefix(method).is_some_and(|rest| rest.contains(path));
        self.rules().seen.iter().filter(fits).count()
    }

    /// The bodies of the requests of this method whose path and query contain this text, the short ones.
    pub fn sent(&self, method: &str, path: &str) -> Vec<String> {
        let fits = |seen: &str| seen.strip_prefix(method).is_some_and(|rest| rest.contains(path));
        self.rules().sent.iter().filter(|(seen, _)| fits(seen)).map(|(_, body)| body.clone()).collect()
    }

    /// What the requests that have come by were called, as far as they were.
    pub fn request_ids(&self) -> Vec<String> {
        self.rules().request_ids.clone()
    }

    /// Requests spoiled so far.
    pub fn struck(&self) -> usize {
        self.rules().struck
    }
}

impl Rules {
    fn strike(&mut self, method: &str, path: &str, body: &[u8]) -> Option<Fault> {
        /// Bytes of a short body.
        const SHORT: usize = 4096;
        self.seen.push(format!("{method} {path}"));
        if !body.is_empty() && body.len() <= SHORT {
            self.sent.push((format!("{method} {path}"), String::from_utf8_lossy(body).into_owned()));
        }
        let fits = |rule: &&mut Rule| {
            rule.left > 0 && (rule.method.is_empty() || rule.method == method) && path.contains(&rule.path)
        };
        let fault = match self.rules.iter_mut().find(fits) {
            Some(rule) => {
                rule.left -= 1;
                Some(rule.fault.clone())
            }
            None => self.weather.as_mut().and_then(|(weather, rng)| weather.strike(rng)),
        };
        self.struck += usize::from(fault.is_some());
        fault
    }
}

struct Asked {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

fn relay(client: TcpStream, node: &str, rules: &Mutex<Rules>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut writer = client.try_clone()?;
    let mut reader = BufReader::new(client);
    while let Some(asked) = read(&mut reader)? {
        let fault = {
            let mut rules = rules.lock().unwrap_or_else(PoisonError::into_inner);
            let named = asked.headers.iter().filter(|(name, _)| name == "x-request-id");
            rules.request_ids.extend(named.map(|(_, id)| id.clone()));
            rules.strike(&asked.method, &asked.path, &asked.body)
        };
        let slow = if let Some(Fault::Trickle(within)) = &fault { Some(*within) } else { None };
        let answer = match fault {
            Some(Fault::Delay(pause)) => {
                std::thread::sleep(pause);
                forward(node, &asked, &asked.body)?
            }
            None | Some(Fault::Trickle(_)) => forward(node, &asked, &asked.body)?,
            Some(Fault::Replace(body)) => forward(node, &asked, body.to_string().as_bytes())?,
            Some(Fault::Answer(status, body)) => {
                let headers = vec![("content-type".into(), "application/json".into())];
                RawAnswer { status, headers, body: body.to_string().into_bytes() }
            }
            Some(Fault::Mask(status)) => {
                forward(node, &asked, &asked.body)?;
                let headers = vec![("content-type".into(), "text/html".into())];
                RawAnswer { status, headers, body: b"<html>sorry</html>".to_vec() }
            }
            Some(Fault::Drop) => return Ok(()),
            Some(Fault::Swallow) => return forward(node, &asked, &asked.body).map(drop),
        };
        let kind = answer.header("content-type").unwrap_or("application/json");
        let head = format!(
            "HTTP/1.1 {} Relayed\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            answer.status,
            answer.body.len()
        );
        match slow {
            None => writer.write_all(&[head.as_bytes(), answer.body.as_slice()].concat())?,
            Some(within) => trickle(&mut writer, head.as_bytes(), &answer.body, within)?,
        }
    }
    Ok(())
}

/// In ten pieces.
fn trickle(writer: &mut impl Write, head: &[u8], body: &[u8], within: Duration) -> io::Result<()> {
    writer.write_all(head)?;
    for piece in body.chunks((body.len() / 10).max(1)) {
        std::thread::sleep(within / 10);
        writer.write_all(piece)?;
    }
    Ok(())
}

fn forward(node: &str, asked: &Asked, body: &[u8]) -> io::Result<RawAnswer> {
    let headers: Vec<(&str, &str)> =
        asked.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Connection::open(node)?.exchange(&request(&asked.method, &asked.path, &headers, body))
}

/// The next request; none: the client has gone.
fn read(reader: &mut impl BufRead) -> io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let (mut headers, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        match name.as_str() {
            "content-length" => length = value.parse().map_err(io::Error::other)?,
            "host" | "connection" => {}
            _ => headers.push((name, value)),
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Asked { method, path, headers, body }))
}
