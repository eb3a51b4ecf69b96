//! One server process: started with its output in a file, ended by its number.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::{reaper, wait};

/// The logs of the servers that run; a failing test prints their ends.
static LOGS: Mutex<Vec<(String, PathBuf)>> = Mutex::new(Vec::new());

/// A running server. Dropped: killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; what it prints is appended to `log`.
    ///
    /// # Errors
    /// When the program or the log cannot be opened.
    pub fn start<S: AsRef<OsStr>>(name: &str, program: &Path, arguments: &[S], log: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log).context("opening the log")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        // What the tester's shell sets for a server of its own must not leak into these.
        for (key, _) in std::env::vars_os() {
            if key.to_str().is_some_and(|key| key.starts_with("MIROIR_") || key.starts_with("MEILI_")) {
                command.env_remove(key);
            }
        }
        let child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        reaper::watch(child.id());
        show_logs_on_panic();
        LOGS.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_owned(), log.to_owned()));
        Ok(Self { child, log: log.to_owned() })
    }

    /// The process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        reaper::forget(self.child.id());
    }

    /// SIGTERM; the status it exits with, or `None` when it is still there after `bound`.
    pub fn terminate(&mut self, bound: Duration) -> Option<ExitStatus> {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let status = wait::poll(bound, || self.ended());
        if status.is_some() {
            reaper::forget(self.child.id());
        }
        status
    }

    /// SIGSTOP.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process number");
        kill_process(pid, signal).expect("a running process");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        LOGS.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, log)| *log != self.log);
    }
}

/// The last `lines` lines of a text.
pub fn tail(text: &str, lines: usize) -> &str {
    let start = text.trim_end().rmatch_indices('\n').nth(lines.saturating_sub(1)).map_or(0, |(at, _)| at + 1);
    &text[start..]
}

/// Of an orchestrator's log: `MIROIR_TEST_LOG_LINES`.
fn lines() -> usize {
    std::env::var("MIROIR_TEST_LOG_LINES").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

fn show_logs_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            before(info);
            let logs = LOGS.try_lock().map(|logs| logs.clone()).unwrap_or_default();
            for (name, path) in logs {
                let text = std::fs::read(&path).unwrap_or_default();
                let lines = if name.starts_with("miroir") { lines() } else { 2 };
                eprintln!("--- {name}: {}\n{}", path.display(), tail(String::from_utf8_lossy(&text).trim_end(), lines));
            }
        }));
    });
}
