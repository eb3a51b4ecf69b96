//! Queued work: the kinds of jobs that an instance does.

use std::sync::Arc;

use miroir_store::{JobOptions, Jobs};
use miroir_work::jobs::{Handlers, Worker, WorkerOptions};
use tokio::sync::watch;

use miroir_cluster::Cluster;

/// Every kind of job registers its handler here.
fn handlers(_cluster: &Arc<Cluster>) -> Handlers {
    Handlers::default()
}

/// Do jobs until asked to stop; then claims are given back. `instance` is of this run alone.
pub async fn do_jobs(cluster: Arc<Cluster>, instance: String, stopped: watch::Receiver<bool>) {
    let jobs = Jobs::new(cluster.state.store.clone(), JobOptions::default());
    let metrics = Arc::new(cluster.state.metrics.clone());
    Worker::new(jobs, handlers(&cluster), instance, WorkerOptions::default(), metrics).run(stopped).await;
}
