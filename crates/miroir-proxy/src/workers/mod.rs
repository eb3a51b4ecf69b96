//! Background work: each a future that runs until it is dropped, or, where it has claims and leases to give back, until it
//! has done so after being asked to stop.

mod drift;
mod health;
mod jobs;
mod led;
mod membership;
mod prune;
mod returned;

pub use drift::{catch_up_settings, check_settings};
pub use health::watch_health;
pub use jobs::do_jobs;
pub use led::lead;
pub use membership::watch_membership;
pub use prune::prune_tasks;
pub use returned::catch_up_nodes;
