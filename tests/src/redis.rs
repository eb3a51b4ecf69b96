//! A `redis-server` of a test's own, which forgets nothing it has acknowledged.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::node::START_BOUND;
use crate::process::Process;
use crate::{ports, wait};

/// A Redis, running or killed.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    directory: PathBuf,
    process: Option<Process>,
}

impl Redis {
    /// Starts one whose files are in `directory`, and waits until it answers.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(directory: &Path) -> Self {
        let mut redis = Self { port: ports::free(), directory: directory.join("redis"), process: None };
        redis.launch();
        redis
    }

    fn launch(&mut self) {
        std::fs::create_dir_all(&self.directory).unwrap_or_else(|error| panic!("redis: {error}"));
        let port = self.port.to_string();
        let directory = self.directory.to_string_lossy();
        let arguments = ["--bind", "127.0.0.1", "--port", &port, "--dir", &directory];
        let durable = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
        let arguments: Vec<&str> = arguments.into_iter().chain(durable).collect();
        let program = Path::new("redis-server");
        let started = Process::start("redis", program, &arguments, &self.directory.join("log"));
        self.process = Some(started.unwrap_or_else(|error| panic!("{error:#}; on Debian: apt install redis-server")));
        wait::eventually("redis answers", START_BOUND, || self.command("PING").filter(|answer| answer == "+PONG"));
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The first line of what it answers to a command without spaces in its words.
    pub fn command(&self, command: &str) -> Option<String> {
        let mut line = String::new();
        self.send(command)?.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    }

    /// The text that it answers.
    fn reply(&self, command: &str) -> Option<String> {
        let mut answer = self.send(command)?;
        let mut head = String::new();
        answer.read_line(&mut head).ok()?;
        let mut text = vec![0; head.trim_end().strip_prefix('$')?.parse().ok()?];
        answer.read_exact(&mut text).ok()?;
        String::from_utf8(text).ok()
    }

    fn send(&self, command: &str) -> Option<BufReader<TcpStream>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        Some(BufReader::new(stream))
    }

    /// How many scripts it has been asked to run: every operation of the store but plain reads is one.
    ///
    /// # Panics
    /// When it does not say.
    pub fn scripts_run(&self) -> u64 {
        let stats = self.reply("INFO commandstats").unwrap_or_default();
        let calls = |line: &str| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next()?.parse::<u64>().ok();
        stats.lines().find_map(calls).unwrap_or_else(|| panic!("no statistics: {stats}"))
    }

    /// SIGSTOP: connections are accepted, nothing is answered.
    ///
    /// # Panics
    /// When it is not running.
    pub fn pause(&self) {
        self.process.as_ref().expect("a running redis").pause();
    }

    /// SIGCONT.
    ///
    /// # Panics
    /// When it is not running.
    pub fn resume(&self) {
        self.process.as_ref().expect("a running redis").resume();
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again, on its port and files.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
    }
}
