//! Background work that leaves its traces in logs of the store: done by the processes that tests start, stop and kill.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use miroir_store::{Append, Batch, Job, Store, StoreError};
use miroir_work::jobs::{Chunk, JobHandler, NotDone};
use miroir_work::led::{Facts, Leadership, Machine, Next, NotActed, Step};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::sleep;

/// The kind of job.
pub const COUNT: &str = "count";
/// The log that chunks write to: `JOB CHUNK NAME`.
pub const CHUNKS: &str = "test-chunks";
/// How long a chunk takes.
pub const CHUNK: Duration = Duration::from_millis(20);
/// How long a job is kept.
pub const SLICE: Duration = Duration::from_millis(150);
/// A claim without a heartbeat ends after this.
pub const CLAIM_TTL: Duration = Duration::from_secs(3);
/// Between two heartbeats.
pub const HEARTBEAT: Duration = Duration::from_millis(400);

/// The log that acts write to: `TOKEN STEP NAME`, or `TOKEN nag`.
pub const ACTS: &str = "test-acts";
/// How long an act takes.
pub const STEP: Duration = Duration::from_millis(20);
/// A lease that is not renewed ends after this.
pub const LEASE_TTL: Duration = Duration::from_millis(1500);
/// Between two renewals.
pub const RENEW_EVERY: Duration = Duration::from_millis(400);

/// The record of the led work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Steps {
    /// Steps taken.
    pub taken: u64,
    /// Steps to be taken.
    pub of: u64,
}

fn entry(log: &str, text: String) -> Batch {
    Batch { appends: vec![Append { log: log.into(), value: Bytes::from(text) }], ..Batch::default() }
}

/// Each chunk says which it was.
#[derive(Debug)]
pub struct Count {
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

impl Count {
    /// For the process of this name. In chunk `hang_at` and later ones it hangs, with its heart beating.
    pub fn new(name: &str, hang_at: Option<u64>) -> Self {
        Self { name: name.to_owned(), hang_at }
    }
}

/// Each step says which it was, and under which token.
pub struct Walk {
    name: String,
    store: Arc<dyn Store>,
    /// The token under which somebody nags already.
    nagging: AtomicU64,
}

impl Walk {
    /// For the process of this name.
    pub fn new(name: &str, store: Arc<dyn Store>) -> Self {
        Self { name: name.to_owned(), store, nagging: AtomicU64::new(0) }
    }
}

#[async_trait]
impl Machine for Walk {
    const KIND: &'static str = "walk";
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
