//! How an operator gets to see logs and metrics.

mod log;
mod serve;

pub use log::init as init_logs;
pub use serve::{exposition, router as metrics_router};
