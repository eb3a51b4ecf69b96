//! Led work: the state machines that one instance at a time drives.

use std::sync::Arc;

use miroir_work::led::{LeadOptions, Leaders};
use tokio::sync::watch;

use miroir_cluster::{Broadcasting, Cluster, Healing, Rebalancing};

/// Every kind of led work registers its machine here.
fn machines(cluster: &Cluster, leaders: Leaders) -> Leaders {
    let leaders = leaders.with(Broadcasting::new(cluster.settings.clone()));
    let leaders = leaders.with(Rebalancing::new(cluster.membership.clone()));
    leaders.with(Healing::new(cluster.replicas.clone()))
}

/// Take part until asked to stop; then leases are released. `instance` is of this run alone.
pub async fn lead(cluster: Arc<Cluster>, instance: String, stopped: watch::Receiver<bool>) {
    let election = &cluster.state.config.leader_election;
    let options =
        LeadOptions { ttl: election.lease_ttl, renew_every: election.renew_interval, ..LeadOptions::new(instance) };
    let leaders = Leaders::new(cluster.state.store.clone(), options, Arc::new(cluster.state.metrics.clone()));
    machines(&cluster, leaders).run(stopped).await;
}
