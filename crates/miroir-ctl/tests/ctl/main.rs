//! The binary, as operators and their scripts run it.

mod commands;
mod stub;
#[cfg(unix)]
mod terminal;
