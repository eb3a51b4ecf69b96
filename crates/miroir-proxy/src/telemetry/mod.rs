//! What an operator sees: metrics and logs.

mod comparing;
mod log;
mod metrics;
mod outside;
mod request_id;
mod serve;

pub use log::init as init_logs;
pub use metrics::{Metrics, RequestLabels};
pub use request_id::{REQUEST_ID, RequestId};
pub use serve::{exposition, router as metrics_router};
