//! Long work of an instance, shown until it is over: on a terminal a bar, elsewhere a line for every change.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::thread::sleep;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::Failure;
use crate::output::printable;

/// Between two questions.
const EVERY: Duration = Duration::from_millis(500);
/// An instance that is restarted is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two pictures of the spinner: it shows that the command is alive while the instance is silent.
const TICK: Duration = Duration::from_millis(125);

/// How far long work has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The words.
    pub line: String,
    /// How many of `total` are over.
    pub done: u64,
    /// How many there are; 0 while that is not known.
    pub total: u64,
}

/// Ask how far it is until it has ended.
pub fn until_over<T>(mut look: impl FnMut() -> Result<ControlFlow<T, Progress>, Failure>) -> Result<T, Failure> {
    let mut shown = Shown::new();
    let mut answered = Instant::now();
    loop {
        match look() {
            Ok(ControlFlow::Break(end)) => return Ok(end),
            Ok(ControlFlow::Continue(progress)) => {
                answered = Instant::now();
                shown.show(&progress);
            }
            Err(Failure::Unreachable { .. } | Failure::Refused(_)) if answered.elapsed() < PATIENCE => {}
            Err(failure) => return Err(failure),
        }
        sleep(EVERY);
    }
}

/// Do what takes long in one call. A terminal shows these words meanwhile; nothing else is told of it.
pub fn during<T>(words: &str, work: impl FnOnce() -> T) -> T {
    let bar = bar();
    bar.set_message(printable(words));
    work()
}

/// What stands on standard error.
struct Shown {
    /// Drawn on a terminal alone, and cleared when it is dropped: the report takes its place.
    bar: ProgressBar,
    /// The last words.
    line: String,
}

impl Shown {
    fn new() -> Self {
        Self { bar: bar(), line: String::new() }
    }

    /// Show this in place of what was shown.
    fn show(&mut self, progress: &Progress) {
        let line = printable(&progress.line);
        if self.bar.is_hidden() {
            if line != self.line {
                // Nobody is left to tell when standard error is closed.
                let _ = writeln!(io::stderr().lock(), "{line}");
            }
        } else {
            if progress.total > 0 {
                self.bar.set_style(style("{spinner} [{bar:24}] {wide_msg}"));
                self.bar.set_length(progress.total);
                self.bar.set_position(progress.done);
            }
            self.bar.set_message(line.clone());
        }
        self.line = line;
    }
}

/// A spinner that turns by itself.
fn bar() -> ProgressBar {
    let bar = ProgressBar::no_length().with_style(style("{spinner} {wide_msg}"));
    bar.enable_steady_tick(TICK);
    bar
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}
