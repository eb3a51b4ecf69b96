//! Thousands of generated requests: no answer tells a cluster from one server.
//!
//! `MIROIR_DIFFERENTIAL_SEED`, `MIROIR_DIFFERENTIAL_REQUESTS` and `MIROIR_DIFFERENTIAL_ENOUGH` (differences to stop
//! after) choose another run; a failure names its seed.

use miroir_tests::config::CLIENT_KEY;
use miroir_tests::differential::{
    Generator, Recorded, Request, Seen, Server, difference, is_comparable, load, load_little, normalised,
};
use miroir_tests::node::NODE_KEY;
use miroir_tests::{Answer, Client, Twin, binaries};

const READS: usize = 2000;
const WRITES: usize = 300;
const CONTROLS: usize = 250;
/// What was recorded of a server.
const RECORDED_SEED: u64 = 7;
/// After so many differences the rest says nothing new.
const ENOUGH: usize = 12;

fn enough() -> usize {
    setting("MIROIR_DIFFERENTIAL_ENOUGH", ENOUGH)
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn seed() -> u64 {
    setting("MIROIR_DIFFERENTIAL_SEED", 7) as u64
}

/// Task numbers are compared as well: nobody else may write to these.
fn servers(twin: &Twin) -> [Server; 2] {
    let [ours, theirs] = twin.clients();
    [Server { client: ours, master_key: CLIENT_KEY }, Server { client: theirs, master_key: NODE_KEY }]
}

/// The differences found, each with the smallest request that shows it.
struct Findings(Vec<String>);

impl Findings {
    fn note(&mut self, request: &Request, text: &str) {
        self.0.push(format!("{request}\n{text}"));
    }

    #[track_caller]
    fn none(self) {
        assert!(self.0.is_empty(), "seed {}: {} differences:\n{}", seed(), self.0.len(), self.0.join("\n"));
    }
}

fn differs(request: &Request, [ours, theirs]: &[Server; 2]) -> Option<String> {
    if !is_comparable(request) {
        return None;
    }
    difference(request, &request.send(ours), &request.send(theirs))
}

#[test]
fn no_generated_read_tells_a_cluster_from_one_server() {
    let twin = Twin::start();
    load(&twin, seed());
    let clients = servers(&twin);
    let mut generator = Generator::new(seed());
    let mut findings = Findings(Vec::new());
    for _ in 0..setting("MIROIR_DIFFERENTIAL_REQUESTS", READS) {
        let request = generator.read();
        if differs(&request, &clients).is_some() {
            let smallest = request.shrunk(|smaller| differs(smaller, &clients).is_some());
            findings.note(&smallest, &differs(&smallest, &clients).unwrap_or_default());
        }
        if findings.0.len() >= enough() {
            break;
        }
    }
    findings.none();
}

/// What became of a write: the task at its end, or the refusal.
fn outcome(client: &Client, answer: &Answer) -> Answer {
    let mut ended = answer.clone();
    if answer.status == 202 {
        ended.body = client.ended(answer);
    }
    ended
}

#[test]
fn no_generated_write_tells_a_cluster_from_one_server() {
    let twin = Twin::start();
    twin.create("scratch");
    let [ours, theirs] = servers(&twin);
    let mut generator = Generator::new(seed());
    let mut findings = Findings(Vec::new());
    for _ in 0..setting("MIROIR_DIFFERENTIAL_WRITES", WRITES) {
        let request = generator.write();
        if !is_comparable(&request) {
            continue;
        }
        let answers = [request.send(&ours), request.send(&theirs)];
        let accepted = difference(&request, &answers[0], &answers[1]);
        let ended = || difference(&request, &outcome(&ours.client, &answers[0]), &outcome(&theirs.client, &answers[1]));
        if let Some(text) = accepted.or_else(ended) {
            findings.note(&request, &text);
            if answers.iter().any(|answer| answer.status < 400) || findings.0.len() >= enough() {
                break;
            }
        }
        for path in ["/indexes/scratch/documents?limit=1000", "/indexes/scratch/settings", "/indexes"] {
            let [a, b] = [&ours, &theirs].map(|server| normalised(&server.client.get(path).body, false));
            if a != b {
                findings.note(&request, &format!("   {path} then:\n   candidate {a}\n   reference {b}"));
            }
        }
        if findings.0.last().is_some_and(|finding| finding.contains(" then:")) {
            break;
        }
    }
    findings.none();
}

/// Development nodes have no keys: without a server to ask, its recorded answers to the same requests stand for it.
#[test]
fn no_key_and_no_listing_tells_a_cluster_from_one_server() {
    let twin = Twin::start();
    load_little(&twin, RECORDED_SEED);
    let [ours, theirs] = servers(&twin);
    let is_live = binaries::meilisearch().is_some();
    let is_record = is_live && setting("MIROIR_DIFFERENTIAL_RECORD", 0) > 0;
    let mut generator = Generator::new(if is_live && !is_record { seed() } else { RECORDED_SEED });
    let mut recorded = if is_live { None } else { Some(Recorded::read()) };
    let mut findings = Findings(Vec::new());
    let mut seen = Vec::new();
    let count = if is_record { CONTROLS } else { setting("MIROIR_DIFFERENTIAL_CONTROLS", CONTROLS) };
    for _ in 0..count {
        let request = generator.control();
        let candidate = Seen::of(&request, &outcome(&ours.client, &request.send(&ours)));
        let reference = match &mut recorded {
            Some(recorded) => recorded.next(&request),
            None => Seen::of(&request, &outcome(&theirs.client, &request.send(&theirs))),
        };
        if let Some(text) = candidate.difference(&reference) {
            findings.note(&request, &text);
        }
        if findings.0.len() >= enough() {
            break;
        }
        seen.push((request, reference));
    }
    if is_record {
        Recorded::write(&seen);
    }
    findings.none();
}
