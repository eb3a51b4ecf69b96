//! The binary, as operators and their scripts run it.

mod commands;
mod https;
#[cfg(unix)]
mod profiles;
mod stub;
#[cfg(unix)]
mod terminal;
