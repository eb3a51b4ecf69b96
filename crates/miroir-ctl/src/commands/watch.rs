//! Long work of an instance, shown until it is over: on a terminal one line that changes, elsewhere a line for every change.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// Between two questions.
const EVERY: Duration = Duration::from_millis(500);
/// An instance that is restarted is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ask how far it is, in a line, until it has ended.
pub fn until_over<T>(mut look: impl FnMut() -> Result<ControlFlow<T, String>, Failure>) -> Result<T, Failure> {
    let mut shown = Shown::default();
    let mut answered = Instant::now();
    loop {
        match look() {
            Ok(ControlFlow::Break(end)) => return Ok(end),
            Ok(ControlFlow::Continue(line)) => {
                answered = Instant::now();
                shown.show(&line);
            }
            Err(Failure::Unreachable { .. } | Failure::Refused(_)) if answered.elapsed() < PATIENCE => {}
            Err(failure) => return Err(failure),
        }
        sleep(EVERY);
    }
}

/// What stands on standard error.
#[derive(Default)]
struct Shown(Option<String>);

impl Shown {
    /// Show this in place of what was shown.
    fn show(&mut self, line: &str) {
        if self.0.as_deref() == Some(line) {
            return;
        }
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut out = io::stderr().lock();
        // Nobody is left to tell when standard error is closed.
        let _ = match out.is_terminal() {
            true => write!(out, "\r\x1b[2K{line}").and_then(|()| out.flush()),
            false => writeln!(out, "{line}"),
        };
        self.0 = Some(line);
    }
}

impl Drop for Shown {
    /// What follows begins on a line of its own.
    fn drop(&mut self) {
        if self.0.is_some() && io::stderr().is_terminal() {
            let _ = writeln!(io::stderr().lock());
        }
    }
}
