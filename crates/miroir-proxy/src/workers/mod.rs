//! Background work: each a future that runs until it is dropped, or, where it has claims and leases to give back, until it
//! has done so after being asked to stop.

mod anti_entropy;
mod drift;
mod heal;
mod health;
mod jobs;
mod led;
mod membership;
mod prune;
mod recovery;
mod returned;

pub use anti_entropy::compare_replicas;
pub use drift::{catch_up_settings, check_settings, check_suspects};
pub use heal::begin_healing;
pub use health::watch_health;
pub use jobs::do_jobs;
pub use led::lead;
pub use membership::watch_membership;
pub use prune::prune_tasks;
pub use recovery::examine_nodes;
pub use returned::catch_up_nodes;
