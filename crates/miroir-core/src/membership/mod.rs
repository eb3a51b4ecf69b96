//! Members of the cluster: which nodes there are, what each of them holds, and how that changes while it serves.

pub mod ownership;
pub mod placement;
pub mod topology;
pub mod transition;
