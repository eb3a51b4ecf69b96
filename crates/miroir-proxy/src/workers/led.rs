//! Led work: the state machines that one instance at a time drives.

use std::sync::Arc;

use miroir_work::led::{LeadOptions, Leaders};
use tokio::sync::watch;

use crate::cluster::{Broadcasting, Cluster, Healing, Rebalancing};

/// Every kind of led work registers its machine here.
fn machines(cluster: &Arc<Cluster>, leaders: Leaders) -> Leaders {
    let leaders = leaders.with(Broadcasting::new(cluster.clone())).with(Rebalancing::new(cluster.clone()));
    leaders.with(Healing::new(cluster.clone()))
}

/// Take part until asked to stop; then leases are released. `instance` is of this run alone.
pub async fn lead(cluster: Arc<Cluster>, instance: String, stopped: watch::Receiver<bool>) {
    let election = &cluster.config.leader_election;
    let options =
        LeadOptions { ttl: election.lease_ttl, renew_every: election.renew_interval, ..LeadOptions::new(instance) };
    let leaders = Leaders::new(cluster.store.clone(), options, Arc::new(cluster.metrics.clone()));
    machines(&cluster, leaders).run(stopped).await;
}
