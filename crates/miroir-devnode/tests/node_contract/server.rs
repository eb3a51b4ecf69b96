//! The node under test, and a small client for it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use miroir_devnode::{Node, NodeOptions};
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::http::{Method, Request};

/// The key that the node under test asks for.
pub const KEY: &str = "contract-suite-master-key";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node under test; it stops when dropped.
pub struct Server {
    agent: ureq::Agent,
    address: SocketAddr,
    dir: TempDir,
    running: Running,
}

enum Running {
    /// A devnode in this process; its handle stops it on drop.
    Inside {
        _node: Node,
    },
    Process(Child),
}

/// An answer: status and JSON body, null when there is no JSON.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.body);
        self.body
    }

    /// Status and code of an error.
    #[track_caller]
    pub fn error(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_else(|| panic!("no code in {}", self.body)))
    }
}

impl Server {
    /// The node under test.
    pub fn start() -> Self {
        if std::env::var_os("MEILISEARCH_BIN").is_some() {
            return Self::start_process();
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options = NodeOptions { data_dir: dir.path().join("data"), bind, master_key: Some(KEY.to_owned()) };
        let node = Node::start(options).expect("a devnode");
        Self { agent: agent(), address: node.address(), dir, running: Running::Inside { _node: node } }
    }

    /// The node under test as a process of its own, so that it can be killed.
    pub fn start_process() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (child, address) = spawn(dir.path());
        let server = Self { agent: agent(), address, dir, running: Running::Process(child) };
        server.wait_healthy();
        server
    }

    /// Kills the process as `kill -9` does and starts it again on the same data.
    pub fn kill_and_restart(&mut self) {
        let Running::Process(child) = &mut self.running else { panic!("only a process can be killed") };
        child.kill().expect("kill");
        child.wait().expect("wait");
        let (child, address) = spawn(self.dir.path());
        self.address = address;
        self.running = Running::Process(child);
        self.wait_healthy();
    }

    fn wait_healthy(&self) {
        let deadline = Instant::now() + PATIENCE;
        let url = format!("http://{}/health", self.address);
        while self.agent.get(&url).call().is_err() {
            assert!(Instant::now() < deadline, "the node did not become healthy");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a request with exactly these headers.
    pub fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let uri = format!("http://{}{path}", self.address);
        let mut request = Request::builder().method(method.clone()).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = if method == Method::GET || method == Method::DELETE {
            self.agent.run(request.body(()).expect("a request"))
        } else {
            self.agent.run(request.body(body.to_vec()).expect("a request"))
        };
        let mut response = response.expect("an answer");
        let text = response.body_mut().read_to_string().expect("a body");
        Answer { status: response.status().as_u16(), body: serde_json::from_str(&text).unwrap_or(Value::Null) }
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let authorization = format!("Bearer {KEY}");
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        self.raw(method, path, &headers, body.to_string().as_bytes())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &Value::Null)
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &Value::Null)
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, body)
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, body)
    }

    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, body)
    }

    /// Waits for the end of the task that a write was answered with, and returns it.
    #[track_caller]
    pub fn settled(&self, write: Answer) -> Value {
        assert_eq!(write.status, 202, "{}", write.body);
        let uid = write.body["taskUid"].as_u64().expect("a task number");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let task = self.get(&format!("/tasks/{uid}")).ok();
            if !matches!(task["status"].as_str(), Some("enqueued" | "processing")) {
                return task;
            }
            assert!(Instant::now() < deadline, "the task did not end: {task}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for a write's task and insists that it succeeded.
    #[track_caller]
    pub fn done(&self, write: Answer) -> Value {
        let task = self.settled(write);
        assert_eq!(task["status"], "succeeded", "{task}");
        task
    }

    /// Waits for a write's task, insists that it failed, and returns the code.
    #[track_caller]
    pub fn failed(&self, write: Answer) -> String {
        let task = self.settled(write);
        assert_eq!(task["status"], "failed", "{task}");
        task["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// An index with these settings and documents.
    #[track_caller]
    pub fn index(&self, uid: &str, settings: &Value, documents: &Value) {
        self.patch(&format!("/indexes/{uid}/settings"), settings).ok();
        self.done(self.post(&format!("/indexes/{uid}/documents?primaryKey=id"), documents));
    }

    /// The answer to a search.
    #[track_caller]
    pub fn search(&self, uid: &str, query: &Value) -> Value {
        self.post(&format!("/indexes/{uid}/search"), query).ok()
    }

    /// The ids of the hits of a search, in order.
    #[track_caller]
    pub fn found(&self, uid: &str, query: &Value) -> Vec<Value> {
        ids(&self.search(uid, query)["hits"])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Running::Process(child) = &mut self.running {
            // Already gone is as good as killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The `id` of each document.
#[track_caller]
pub fn ids(documents: &Value) -> Vec<Value> {
    documents.as_array().expect("documents").iter().map(|document| document["id"].clone()).collect()
}

/// The error codes of requests, for a table of cases.
pub fn code_of(answer: &Answer) -> Value {
    json!([answer.status, answer.body["code"]])
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
    config.into()
}

fn spawn(dir: &Path) -> (Child, SocketAddr) {
    let address = {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        free.local_addr().expect("its address")
    };
    let mut command = match std::env::var_os("MEILISEARCH_BIN") {
        Some(binary) => {
            let mut command = Command::new(binary);
            command.args(["--no-analytics", "--http-addr", &address.to_string()]);
            command.args(["--max-indexing-threads", "1", "--max-indexing-memory", "64 MiB"]);
            command.arg("--db-path").arg(dir.join("data"));
            command
        }
        None => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_miroir-devnode"));
            command.args(["--port", &address.port().to_string(), "--data"]).arg(dir.join("data"));
            command
        }
    };
    let command = command.args(["--master-key", KEY]).current_dir(dir);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a node process");
    (child, address)
}
