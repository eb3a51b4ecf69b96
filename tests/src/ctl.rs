//! The operators' command line, against a running orchestrator.

use std::process::Command;

use serde_json::Value;

use crate::binaries;

/// How `miroir-ctl` ended, and what it printed.
#[derive(Clone, Debug)]
pub struct Printed {
    /// The exit code; none: it was killed.
    pub code: Option<i32>,
    /// On standard output.
    pub out: String,
    /// On standard error.
    pub err: String,
}

impl Printed {
    /// The output as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs `miroir-ctl` with this admin key; nothing of the tester's own environment plays a part.
///
/// # Panics
/// When it cannot be run.
pub fn run(url: &str, admin_key: &str, arguments: &[&str]) -> Printed {
    let program = binaries::ctl().unwrap_or_else(|error| panic!("{error:#}"));
    let mut command = Command::new(program);
    command.env_clear().envs([("MIROIR_URL", url), ("MIROIR_ADMIN_API_KEY", admin_key)]).args(arguments);
    let output = command.output().unwrap_or_else(|error| panic!("miroir-ctl: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Printed { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}
