//! nginx passing requests through to one server: the yardstick for CPU time per request.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use miroir_tests::node::Scratch;
use miroir_tests::process::Process;
use miroir_tests::{Client, ports};

/// A running nginx.
pub struct Nginx {
    process: Process,
    port: u16,
    _scratch: Scratch,
}

fn installed() -> Option<PathBuf> {
    let places = ["nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"];
    let works = |place: &&str| Command::new(place).arg("-v").output().is_ok_and(|output| output.status.success());
    places.into_iter().find(works).map(PathBuf::from)
}

impl Nginx {
    /// Starts one in front of `upstream` (a port on this host); `None` when nginx is not installed.
    pub fn start(upstream: u16) -> Option<Self> {
        let binary = installed()?;
        let scratch = Scratch::new().ok()?;
        let (port, dir) = (ports::free(), scratch.path().display().to_string());
        let config = format!(
            "daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;\n\
             uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi; keepalive_requests 10000000;\n\
             upstream node {{ server 127.0.0.1:{upstream}; keepalive 32; keepalive_requests 10000000; }}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://node; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n"
        );
        let file = scratch.path().join("nginx.conf");
        std::fs::write(&file, config).ok()?;
        let arguments = ["-p", &dir, "-c", &file.to_string_lossy()];
        let process = Process::start("nginx", &binary, &arguments, &scratch.path().join("log")).ok()?;
        let nginx = Self { process, port, _scratch: scratch };
        Client::anonymous(&format!("http://{}", nginx.socket())).healthy(Duration::from_secs(10));
        Some(nginx)
    }

    /// Its host and port.
    pub fn socket(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The number of its first process, the parent of its workers.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Asked first, so that it ends its workers.
        self.process.terminate(Duration::from_secs(5));
    }
}
