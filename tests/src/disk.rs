//! A disk so small that it can be filled.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::process::Process;

/// A file system in memory, for one process.
#[derive(Clone, Debug)]
pub struct SmallDisk {
    at: PathBuf,
    bytes: usize,
}

impl SmallDisk {
    /// A disk of so many bytes in place of a directory. None: this machine lets nobody mount anything.
    pub fn at(directory: &Path, bytes: usize) -> Option<Self> {
        let probe = Command::new("unshare").args(NAMESPACE).arg("true").stderr(Stdio::null()).status();
        let permitted = probe.is_ok_and(|status| status.success());
        permitted.then(|| Self { at: directory.to_owned(), bytes })
    }

    /// Starts `program` with the disk in place. Its number is that of the process.
    pub(crate) fn start(&self, name: &str, program: &Path, arguments: &[&str], log: &Path) -> Result<Process> {
        let (size, at) = (format!("size={}", self.bytes), self.at.to_string_lossy().into_owned());
        let program = program.to_string_lossy().into_owned();
        let mount = r#"mount -t tmpfs -o "$0" miroir "$1" && shift && exec "$@""#;
        let mut all: Vec<&str> = NAMESPACE.to_vec();
        all.extend(["sh", "-c", mount, &size, &at, &program]);
        all.extend(arguments);
        Process::start(name, Path::new("unshare"), &all, log)
    }
}

/// For root and for everybody.
const NAMESPACE: [&str; 2] = ["--map-root-user", "--mount"];
