//! One orchestrator process.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::client::Client;
use crate::config::{ADMIN_KEY, CLIENT_KEY};
use crate::disk::SmallDisk;
use crate::node::START_BOUND;
use crate::process::Process;
use crate::{binaries, ports, wait};

/// An orchestrator, running or killed.
#[derive(Debug)]
pub struct Instance {
    name: String,
    process: Option<Process>,
    pub(crate) port: u16,
    pub(crate) metrics_port: u16,
    pub(crate) config: PathBuf,
    log: PathBuf,
    disk: Option<SmallDisk>,
}

impl Instance {
    /// One that does not run yet; its files are in `directory`.
    pub(crate) fn new(number: usize, directory: &Path) -> Self {
        let name = format!("miroir-{number}");
        let (config, log) = (directory.join(format!("{name}.yaml")), directory.join(format!("{name}.log")));
        Self { name, process: None, port: ports::free(), metrics_port: ports::free(), config, log, disk: None }
    }

    /// A directory gets a disk of its own, which only the process sees.
    pub(crate) fn on(&mut self, disk: SmallDisk) {
        self.disk = Some(disk);
    }

    /// A file as the process sees it.
    pub fn sees(&self, file: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid())).join(file.strip_prefix("/").unwrap_or(file))
    }

    /// Starts it; it may not answer yet.
    ///
    /// # Panics
    /// When the process cannot be started.
    pub fn start(&mut self) {
        let file = self.config.to_string_lossy();
        let started = binaries::proxy().and_then(|binary| match &self.disk {
            None => Process::start(&self.name, &binary, &["--config", &file], &self.log),
            Some(disk) => disk.start(&self.name, &binary, &["--config", &file], &self.log),
        });
        self.process = Some(started.unwrap_or_else(|error| panic!("orchestrator: {error:#}")));
    }

    /// Waits until it says that it is ready, if it was started.
    ///
    /// # Panics
    /// When it ends, or does not become ready in time.
    pub fn wait_ready(&mut self) {
        let client = self.client();
        let Some(process) = self.process.as_mut() else { return };
        wait::eventually("the orchestrator is ready", START_BOUND, || {
            if let Some(status) = process.ended() {
                panic!("the orchestrator ended ({status}):\n{}", process.log());
            }
            client.try_send("GET", "/_miroir/ready?cluster=true", None, &[]).ok().filter(|answer| answer.status == 200)
        });
    }

    /// `http://host:port`.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A client with the clients' key.
    pub fn client(&self) -> Client {
        Client::new(&self.address(), CLIENT_KEY)
    }

    /// A client with the operators' key.
    pub fn admin(&self) -> Client {
        Client::new(&self.address(), ADMIN_KEY)
    }

    /// A client of the metrics port.
    pub fn metrics(&self) -> Client {
        Client::anonymous(&format!("http://127.0.0.1:{}", self.metrics_port))
    }

    /// Its process number; 0 while it is not running.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::pid)
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGSTOP.
    ///
    /// # Panics
    /// When it is not running.
    pub fn pause(&self) {
        self.process.as_ref().expect("a running orchestrator").pause();
    }

    /// SIGCONT.
    ///
    /// # Panics
    /// When it is not running.
    pub fn resume(&self) {
        self.process.as_ref().expect("a running orchestrator").resume();
    }

    /// SIGTERM; the status it exits with, `None` when it does not within `bound`.
    pub fn terminate(&mut self, bound: Duration) -> Option<ExitStatus> {
        self.process.as_mut().and_then(|process| process.terminate(bound))
    }

    /// Starts it again, on its port and store, and waits until it is ready.
    pub fn restart(&mut self) {
        self.kill();
        self.start();
        self.wait_ready();
    }
}
