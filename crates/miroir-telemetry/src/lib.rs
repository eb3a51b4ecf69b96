//! What an operator sees of an instance: its metrics, and the names of requests, by which log lines of one request are found.

mod comparing;
mod metrics;
mod outside;
mod request_id;

pub use metrics::{Metrics, RequestLabels};
pub use outside::Outside;
pub use request_id::{REQUEST_ID, RequestId};
