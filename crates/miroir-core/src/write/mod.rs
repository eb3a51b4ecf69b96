//! Writes and what becomes of them: whether enough replicas accepted one, and the task that a client follows.

pub mod backlog;
pub mod quorum;
pub mod settlement;
pub mod task;
pub mod webhook;
