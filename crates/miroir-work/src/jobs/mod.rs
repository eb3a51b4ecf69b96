//! Queued work: handlers by kind, and the worker that claims jobs for them.

mod handler;
mod slice;
mod worker;

pub use handler::{Chunk, Handlers, JobHandler, NotDone};
pub use worker::{Worker, WorkerOptions};
