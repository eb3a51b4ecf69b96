//! One instance as far as background work is concerned: the library that the proxy runs, with a kind of job and a kind of
//! led work that leave their traces in logs of the store. The tests start several, stop them and kill them.
//!
//! `miroir-test-worker REDIS_URL NAME [HANG_AT]`: in chunk HANG_AT and later ones it hangs, with its heart beating.

use std::sync::Arc;

use anyhow::{Context, Result};
use miroir_store::{JobOptions, Jobs, RedisStore};
use miroir_tests::background::{CLAIM_TTL, COUNT, Count, HEARTBEAT, LEASE_TTL, RENEW_EVERY, SLICE, Walk};
use miroir_work::Unobserved;
use miroir_work::jobs::{Handlers, Worker, WorkerOptions};
use miroir_work::led::{LeadOptions, Leaders};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

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
    let walk = Walk::new(&name, store.clone());
    let leaders = Leaders::new(store.clone(), leads, Arc::new(Unobserved)).with(walk);
    let leaders = tokio::spawn(leaders.run(stopped.clone()));

    let jobs = Jobs::new(store.clone(), JobOptions { ttl: CLAIM_TTL, ..JobOptions::default() });
    let handlers = Handlers::default().with(COUNT, Count::new(&name, hang_at));
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
