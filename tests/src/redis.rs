//! A Redis of a test's own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::process::Process;
use crate::{ports, reaper, wait};

/// Debian's package puts it there.
const PROGRAM: &str = "/usr/bin/redis-server";
const START_WITHIN: Duration = Duration::from_secs(20);

/// A running `redis-server` on a free port. Dropped: killed, and its directory removed.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    port: u16,
    dir: TempDir,
}

impl Redis {
    /// Starts one that is empty and keeps what it is told, even when it is killed.
    ///
    /// # Errors
    /// When it is not installed, or does not answer in time.
    pub fn start() -> Result<Self> {
        let dir = tempfile::tempdir().context("a directory for Redis")?;
        reaper::sweep(dir.path());
        let port = ports::free();
        let (name, path) = (port.to_string(), dir.path().display().to_string());
        let arguments = ["--port", &name, "--bind", "127.0.0.1", "--dir", &path, "--save", "", "--appendonly", "yes"];
        let program = std::env::var_os("REDIS_SERVER").map_or_else(|| PathBuf::from(PROGRAM), PathBuf::from);
        let process = Process::start("redis", &program, &arguments, &dir.path().join("redis.log"))?;
        wait::poll(START_WITHIN, || answers(port).then_some(())).context("Redis does not answer")?;
        Ok(Self { process, port, dir })
    }

    /// For `RedisStore::open`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The server itself, to be paused and killed.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill();
        reaper::swept(self.dir.path());
    }
}

fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = [0; 7];
    let timeout = stream.set_read_timeout(Some(Duration::from_secs(1)));
    timeout.is_ok()
        && stream.write_all(b"PING\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && &answer == b"+PONG\r\n"
}
