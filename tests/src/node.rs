//! One node: a development node, or the Meilisearch server that `MEILISEARCH_BIN` names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::client::Client;
use crate::process::Process;
use crate::{binaries, ports, reaper};

/// What nodes accept. Clients of a cluster use another key, so that one taken for the other is noticed.
pub const NODE_KEY: &str = "key-between-orchestrator-and-node";

/// The longest that a server may take to start.
pub const START_BOUND: Duration = Duration::from_secs(30);

/// A temporary directory that also goes when nothing is dropped. `MIROIR_TEST_KEEP` keeps it.
#[derive(Debug)]
pub struct Scratch(Option<TempDir>, PathBuf);

impl Scratch {
    /// A new, empty directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("miroir-test-").tempdir()?;
        if std::env::var_os("MIROIR_TEST_KEEP").is_some() {
            return Ok(Self(None, dir.keep()));
        }
        reaper::sweep(dir.path());
        let path = dir.path().to_owned();
        Ok(Self(Some(dir), path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.1
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(dir) = self.0.take() {
            let path = dir.path().to_owned();
            drop(dir);
            reaper::swept(&path);
        }
    }
}

/// A node, running or killed.
#[derive(Debug)]
pub struct Node {
    name: String,
    port: u16,
    directory: PathBuf,
    process: Option<Process>,
    // Kept for as long as the node; last, so that the process is gone before its files.
    _scratch: Option<Scratch>,
}

impl Node {
    /// A lone node with a directory of its own: the reference.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn single() -> Self {
        let scratch = Scratch::new().unwrap_or_else(|error| panic!("{error:#}"));
        let mut node = Self::start("reference", scratch.path());
        node._scratch = Some(scratch);
        node.client().healthy(START_BOUND);
        node
    }

    /// Starts a node whose files are in `directory/name`; it may not answer yet.
    ///
    /// # Panics
    /// When the process cannot be started.
    pub fn start(name: &str, directory: &Path) -> Self {
        let mut node = Self {
            name: name.to_owned(),
            port: ports::free(),
            directory: directory.join(name),
            process: None,
            _scratch: None,
        };
        node.launch().unwrap_or_else(|error| panic!("{name}: {error:#}"));
        node
    }

    fn launch(&mut self) -> Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        let data = self.directory.join("data");
        let log = self.directory.join("log");
        let port = self.port.to_string();
        let data = data.to_string_lossy();
        self.process = Some(match binaries::meilisearch() {
            Some(server) => {
                let address = format!("127.0.0.1:{port}");
                let dumps = self.directory.join("dumps");
                let snapshots = self.directory.join("snapshots");
                let arguments = [
                    "--no-analytics",
                    "--master-key",
                    NODE_KEY,
                    "--http-addr",
                    &address,
                    "--db-path",
                    &data,
                    "--dump-dir",
                    &dumps.to_string_lossy(),
                    "--snapshot-dir",
                    &snapshots.to_string_lossy(),
                    "--log-level",
                    "OFF",
                ];
                Process::start(&self.name, &server, &arguments, &log)?
            }
            None => {
                let arguments = ["--nodes", "1", "--port", &port, "--data", &data, "--master-key", NODE_KEY];
                Process::start(&self.name, &binaries::devnode()?, &arguments, &log)?
            }
        });
        Ok(())
    }

    /// `http://host:port`.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A client with the node's key.
    pub fn client(&self) -> Client {
        Client::new(&self.address(), NODE_KEY)
    }

    /// Its process number; 0 while it is not running.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::pid)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Loses its disk; it has to be killed.
    ///
    /// # Panics
    /// When the files cannot be removed.
    pub fn wipe(&self) {
        assert!(self.process.is_none(), "{} is running", self.name);
        std::fs::remove_dir_all(self.directory.join("data")).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Keeps a copy of its disk as it is; it has to be killed.
    ///
    /// # Panics
    /// When the files cannot be copied.
    pub fn keep_disk(&self) {
        assert!(self.process.is_none(), "{} is running", self.name);
        copy(&self.directory.join("data"), &self.directory.join("kept"));
    }

    /// Gets the disk back that was kept; it has to be killed.
    ///
    /// # Panics
    /// When the files cannot be copied.
    pub fn restore_disk(&self) {
        self.wipe();
        copy(&self.directory.join("kept"), &self.directory.join("data"));
    }

    /// SIGCONT.
    ///
    /// # Panics
    /// When it is not running.
    pub fn resume(&self) {
        self.process.as_ref().expect("a running node").resume();
    }

    /// SIGSTOP: connections are accepted, nothing is answered.
    ///
    /// # Panics
    /// When it is not running.
    pub fn pause(&self) {
        self.process.as_ref().expect("a running node").pause();
    }

    /// Starts it again on the same port and files, and waits until it answers.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn restart(&mut self) {
        self.kill();
        self.launch().unwrap_or_else(|error| panic!("{}: {error:#}", self.name));
        self.client().healthy(START_BOUND);
    }
}

fn copy(from: &Path, to: &Path) {
    let entries = std::fs::read_dir(from).and_then(|entries| {
        std::fs::create_dir_all(to)?;
        entries.collect::<std::io::Result<Vec<_>>>()
    });
    for entry in entries.unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).map(drop).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        }
    }
}
