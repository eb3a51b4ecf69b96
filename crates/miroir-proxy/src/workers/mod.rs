//! Background work: each a future that runs until it is dropped.

mod health;
mod prune;
mod returned;

pub use health::watch_health;
pub use prune::prune_tasks;
pub use returned::catch_up_nodes;
