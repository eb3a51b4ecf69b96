//! Background work of three processes over one Redis: killed in mid-chunk, stopped beyond a lease, and none the worse.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use miroir_store::{Batch, JobOptions, JobState, Jobs, RedisStore, Store};
use miroir_tests::background::{ACTS, CHUNKS, CLAIM_TTL, COUNT, LEASE_TTL, Steps, Walk};
use miroir_tests::node::Scratch;
use miroir_tests::process::Process;
use miroir_tests::redis::Redis;
use miroir_tests::wait::eventually;
use miroir_work::led::start;
use serde_json::json;
use tokio::runtime::Runtime;

const BOUND: Duration = Duration::from_secs(60);
/// Beyond a time to live, on a machine that does other things as well.
const SLACK: Duration = Duration::from_secs(4);
const OF: u64 = 40;

/// A Redis, and what the test itself has of it.
struct Bench {
    store: Arc<dyn Store>,
    runtime: Runtime,
    redis: Redis,
    // Last, so that the process is gone before its files.
    scratch: Scratch,
}

impl Bench {
    fn start() -> Self {
        let scratch = Scratch::new().expect("a directory");
        let redis = Redis::start(scratch.path());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let store = runtime.block_on(RedisStore::open(&redis.url())).expect("a store");
        Self { store, runtime, redis, scratch }
    }

    fn process(&self, name: &str, hang_at: Option<u64>) -> Process {
        let program = Path::new(env!("CARGO_BIN_EXE_miroir-test-worker"));
        let mut arguments = vec![self.redis.url(), name.to_owned()];
        arguments.extend(hang_at.map(|at| at.to_string()));
        let log = self.scratch.path().join(format!("{name}.log"));
        let process = Process::start(name, program, &arguments, &log).expect("it starts");
        eventually("it is ready", BOUND, || process.log().contains("ready").then_some(()));
        process
    }

    fn commit(&self, batch: Batch) {
        self.runtime.block_on(self.store.commit(batch)).expect("written");
    }

    /// All entries of a log, as words.
    fn log(&self, log: &str) -> Vec<Vec<String>> {
        let entries = self.runtime.block_on(self.store.log(log, 0, 1_000_000)).expect("read");
        let words = |text: &[u8]| String::from_utf8_lossy(text).split(' ').map(str::to_owned).collect();
        entries.iter().map(|entry| words(&entry.value)).collect()
    }

    fn jobs(&self) -> Jobs {
        Jobs::new(self.store.clone(), JobOptions::default())
    }

    fn enqueue(&self) -> String {
        let new = self.runtime.block_on(self.jobs().enqueue(COUNT, json!({ "chunks": OF }))).expect("room");
        self.commit(Batch { writes: vec![new.write], ..Batch::default() });
        new.id
    }

    fn state(&self, job: &str) -> JobState {
        self.runtime.block_on(self.jobs().get(job)).expect("read").expect("kept").state
    }

    /// The steps that were taken: token, number, name.
    fn steps(&self) -> Vec<(u64, u64, String)> {
        let log = self.log(ACTS);
        let steps = log.iter().filter(|words| words.len() == 3);
        steps.map(|words| (number(&words[0]), number(&words[1]), words[2].clone())).collect()
    }

    /// Wait for a step under a later token than this; who took it, and under which.
    fn next_leader(&self, after: u64) -> (u64, String) {
        eventually("somebody leads", BOUND, || {
            self.steps().into_iter().find(|(token, ..)| *token > after).map(|(token, _, name)| (token, name))
        })
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

/// Stop a process the gentle way.
fn end(mut process: Process) {
    let status = process.terminate(BOUND).expect("it ends");
    assert!(status.success() && process.log().contains("stopped"), "{status}\n{}", process.log());
}

#[test]
fn a_claimant_killed_in_mid_chunk_is_replaced_and_every_chunk_is_there_once() {
    let bench = Bench::start();
    let jobs = [bench.enqueue(), bench.enqueue()];
    let mut killed = bench.process("a", Some(15));
    let (at, job) = eventually("it hangs in a chunk", BOUND, || {
        let log = killed.log();
        let (_, rest) = log.split_once("hangs in ")?;
        let (at, job) = rest.lines().next()?.split_once(" of ")?;
        Some((number(at), job.to_owned()))
    });
    let hangs = Instant::now();
    let others = [bench.process("b", None), bench.process("c", None)];
    let free = jobs.iter().find(|other| **other != job).expect("two jobs");
    eventually("the other job is done", BOUND, || (bench.state(free) == JobState::Finished).then_some(()));
    eventually("a claim would have ended", BOUND, || (hangs.elapsed() > CLAIM_TTL * 2).then_some(()));
    let done = |bench: &Bench| bench.log(CHUNKS).iter().filter(|words| words[0] == job).count() as u64;
    assert_eq!(done(&bench), at, "a claim with a heartbeat is left alone");

    killed.kill();
    let gone = Instant::now();
    eventually("the chunk is done again", BOUND, || (done(&bench) > at).then_some(()));
    let within = gone.elapsed();
    assert!(within < CLAIM_TTL + SLACK, "it took {within:?}");
    eventually("the job is done", BOUND, || (bench.state(&job) == JobState::Finished).then_some(()));
    for other in others {
        end(other);
    }

    let mut chunks: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for words in bench.log(CHUNKS) {
        chunks.entry(words[0].clone()).or_default().push(number(&words[1]));
        names.entry(words[0].clone()).or_default().push(words[2].clone());
    }
    for job in &jobs {
        assert_eq!(chunks[job], (0..OF).collect::<Vec<_>>(), "{job}");
    }
    let (before, after) = names[&job].split_at(usize::try_from(at).expect("small"));
    assert!(before.iter().all(|name| name == "a") && after.iter().all(|name| name != "a"), "{names:?}");
    let leases = bench.runtime.block_on(bench.store.leases()).expect("read");
    assert_eq!(leases, [], "claims are given back");
}

#[test]
fn a_leader_that_slept_beyond_its_lease_is_refused_and_tokens_rise() {
    let bench = Bench::start();
    let walk = start::<Walk>(None, Steps { taken: 0, of: u64::MAX }).expect("JSON");
    bench.commit(Batch { writes: vec![walk], ..Batch::default() });
    let mut processes: BTreeMap<String, Process> =
        ["a", "b", "c"].map(|name| (name.to_owned(), bench.process(name, None))).into();

    let (first, sleeper) = bench.next_leader(0);
    eventually("it gets somewhere", BOUND, || (bench.steps().len() > 10).then_some(()));
    processes[&sleeper].pause();
    let slept = Instant::now();
    let (second, heir) = bench.next_leader(first);
    assert_ne!(heir, sleeper);
    assert!(slept.elapsed() < LEASE_TTL + SLACK, "it took {:?}", slept.elapsed());
    processes[&sleeper].resume();
    let refused = format!("refused under {first}");
    eventually("its stale write is refused", BOUND, || processes[&sleeper].log().contains(&refused).then_some(()));
    eventually("it leads no more", BOUND, || processes[&sleeper].log().contains("leading no more").then_some(()));
    assert!(!processes[&heir].log().contains("refused"), "{}", processes[&heir].log());

    // The next one is killed.
    let taken = bench.steps().len();
    eventually("the heir gets somewhere", BOUND, || (bench.steps().len() > taken + 10).then_some(()));
    processes.remove(&heir).expect("it runs").kill();
    let killed = Instant::now();
    let (third, _) = bench.next_leader(second);
    assert!(killed.elapsed() < LEASE_TTL + SLACK, "it took {:?}", killed.elapsed());

    // And the one after that ends as it should: whoever is left leads.
    let leader = bench.next_leader(second).1;
    end(processes.remove(&leader).expect("it runs"));
    let (_, last) = bench.next_leader(third);
    assert!(processes.contains_key(&last));
    for (_, process) in processes {
        end(process);
    }

    let tokens: Vec<u64> = bench.log(ACTS).iter().map(|words| number(&words[0])).collect();
    assert!(tokens.is_sorted(), "an older leader wrote after a newer one: {tokens:?}");
    let steps = bench.steps();
    let taken: Vec<u64> = steps.iter().map(|(_, step, _)| *step).collect();
    assert_eq!(taken, (0..taken.len() as u64).collect::<Vec<_>>(), "each goes on where the one before saved last");
    let leaders: BTreeMap<u64, &String> = steps.iter().map(|(token, _, name)| (*token, name)).collect();
    assert!(steps.iter().all(|(token, _, name)| leaders[token] == name), "one token, one leader");
}
