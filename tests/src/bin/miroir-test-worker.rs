//! One instance as far as background work is concerned: the library that the proxy runs, with a kind of job and a kind of
//! led work that leave their traces in logs of the store. The tests start several, stop them and kill them.
//!
//! `miroir-test-worker REDIS_URL NAME [HANG_AT]`: in chunk HANG_AT and later ones it hangs, with its heart beating.

use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use miroir_store::{Append, Batch, Job, JobOptions, Jobs, RedisStore, Store, StoreError};
use miroir_tests::background::{
    ACTS, CHUNK, CHUNKS, CLAIM_TTL, COUNT, HEARTBEAT, LEASE_TTL, RENEW_EVERY, SLICE, STEP, Steps, WALK,
};
use miroir_work::jobs::{Chunk, Handlers, JobHandler, NotDone, Worker, WorkerOptions};
use miroir_work::led::{Facts, LeadOptions, Leaders, Leadership, Machine, Next, NotActed, Step};
use miroir_work::Unobserved;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().context("REDIS_URL is missing")?;
    let name = arguments.next().context("NAME is missing")?;
    let hang_at = arguments.next().map(|text| text.parse()).transpose().context("HANG_AT is no number")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(&url, name, hang_at))
}

async fn run(url: &str, name: String, hang_at: Option<u64>) -> Result<()> {
    let store = RedisStore::open(url).await?;
    let (stop, stopped) = watch::channel(false);
    let leads = LeadOptions { ttl: LEASE_TTL, renew_every: RENEW_EVERY, ..LeadOptions::new(name.clone()) };
    let walk = Walk { name: name.clone(), store: store.clone(), nagging: AtomicU64::new(0) };
    let leaders = Leaders::new(store.clone(), leads, Arc::new(Unobserved)).with(walk);
    let leaders = tokio::spawn(leaders.run(stopped.clone()));

    let jobs = Jobs::new(store.clone(), JobOptions { ttl: CLAIM_TTL, ..JobOptions::default() });
    let handlers = Handlers::default().with(COUNT, Count { name: name.clone(), hang_at });
    let options = WorkerOptions { concurrency: 1, heartbeat: HEARTBEAT, slice: SLICE, ..WorkerOptions::default() };
    let worker = tokio::spawn(Worker::new(jobs, handlers, name, options, Arc::new(Unobserved)).run(stopped));
    println!("ready");
    signal(SignalKind::terminate())?.recv().await;
    stop.send(true)?;
    leaders.await?;
    worker.await?;
    store.close().await;
    println!("stopped");
    Ok(())
}

fn entry(log: &str, text: String) -> Batch {
    Batch { appends: vec![Append { log: log.into(), value: Bytes::from(text) }], ..Batch::default() }
}

/// Each chunk says which it was.
struct Count {
    name: String,
    hang_at: Option<u64>,
}

#[async_trait]
impl JobHandler for Count {
    async fn chunk(&self, id: &str, job: &Job) -> Result<Chunk, NotDone> {
        let n = job.cursor.as_u64().unwrap_or(0);
        println!("chunk {n} of {id}");
        sleep(CHUNK / 2).await;
        if self.hang_at.is_some_and(|at| n >= at) {
            println!("hangs in {n} of {id}");
            return pending().await;
        }
        sleep(CHUNK / 2).await;
        let effects = entry(CHUNKS, format!("{id} {n} {}", self.name));
        let of = job.payload["chunks"].as_u64().ok_or_else(|| NotDone::Ever("no number of chunks".into()))?;
        Ok(if n + 1 == of { Chunk::Done { effects } } else { Chunk::Next { cursor: json!(n + 1), effects } })
    }
}

/// Each step says which it was, and under which token.
struct Walk {
    name: String,
    store: Arc<dyn Store>,
    /// The token under which somebody nags already.
    nagging: AtomicU64,
}

#[async_trait]
impl Machine for Walk {
    const KIND: &'static str = WALK;
    type Record = Steps;
    type Seen = ();
    type Action = ();

    async fn observe(&self, _: &str, _: &Steps) -> Result<(), NotActed> {
        Ok(())
    }

    fn decide(&self, record: &Steps, _: &Facts<()>) -> Step<Steps, ()> {
        if record.taken == record.of { Step::Finish(Batch::default()) } else { Step::Act(()) }
    }

    async fn act(&self, lead: &Leadership, record: &Steps, (): ()) -> Result<Next<Steps>, NotActed> {
        let token = lead.token();
        if self.nagging.swap(token, Ordering::SeqCst) != token {
            println!("leads under {token}");
            tokio::spawn(nag(self.store.clone(), lead.clone()));
        }
        sleep(STEP).await;
        let effects = entry(ACTS, format!("{token} {} {}", record.taken, self.name));
        Ok(Next { record: Steps { taken: record.taken + 1, ..record.clone() }, effects })
    }
}

/// What a machine must not do, and the store must withstand: writes on and on under the token, without a look at whether
/// the lease is held still.
async fn nag(store: Arc<dyn Store>, lead: Leadership) {
    let token = lead.token();
    loop {
        let batch = Batch { fences: vec![lead.fence()], ..entry(ACTS, format!("{token} nag")) };
        match store.commit(batch).await {
            Ok(_) => {}
            Err(StoreError::Fenced { .. }) => {
                println!("refused under {token}");
                return;
            }
            Err(error) => println!("nagging failed: {error}"),
        }
        sleep(STEP / 2).await;
    }
}
