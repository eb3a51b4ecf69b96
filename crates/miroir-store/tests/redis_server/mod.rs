//! A `redis-server` of the tests' own, which ends with them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Starts the server and ends it when the pipe closes, however the tests end; then the directory goes, too. A `kill` or
/// `stop` in between is told by a word on the pipe.
const KEEPER: &str = r#"
trap '' INT TERM
dir=$1; shift
redis-server "$@" >/dev/null 2>&1 &
pid=$!
while read -r word; do kill "-$word" "$pid" 2>/dev/null; [ "$word" = KILL ] && wait "$pid" 2>/dev/null; echo done; done
kill -KILL "$pid" 2>/dev/null
wait "$pid" 2>/dev/null
[ -n "$dir" ] && rm -rf "$dir"
"#;

/// A server that answers.
pub struct Server {
    keeper: Child,
    port: u16,
}

impl Server {
    /// Start one on a free port, in this directory, with further settings. With `owned` the directory goes with it.
    ///
    /// # Panics
    /// When there is no `redis-server`, or it does not answer.
    pub fn start(directory: &Path, settings: &[&str], owned: bool) -> Self {
        Self::start_at(free_port(), directory, settings, owned)
    }

    /// As [`Server::start`], on this port.
    pub fn start_at(port: u16, directory: &Path, settings: &[&str], owned: bool) -> Self {
        let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
        assert!(
            found.is_ok_and(|status| status.success()),
            "redis-server is missing; on Debian: apt install redis-server"
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", KEEPER, "keeper"]).arg(if owned { directory } else { Path::new("") });
        shell.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(directory);
        shell.args(["--save", ""]).args(settings);
        let keeper = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let server = Self { keeper, port };
        let begun = Instant::now();
        while !server.answers() {
            assert!(begun.elapsed() < Duration::from_secs(30), "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// One for all tests of a file.
    pub fn shared() -> Self {
        let directory = TempDir::new().expect("a directory").keep();
        Self::start(&directory, &["--databases", "1"], true)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    fn answers(&self) -> bool {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let mut answer = [0; 5];
        // Not asked for a password, or asked for one: both is an answer, but loading is not.
        stream.write_all(b"PING\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && (&answer == b"+PONG" || &answer == b"-NOAU")
    }

    /// Send a signal by its name, and wait until that is done.
    pub fn signal(&mut self, name: &str) {
        let pipe = self.keeper.stdin.as_mut().expect("a pipe");
        pipe.write_all(format!("{name}\n").as_bytes()).expect("told");
        let mut done = [0; 5];
        self.keeper.stdout.as_mut().expect("a pipe").read_exact(&mut done).expect("done");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}
