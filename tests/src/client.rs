//! A JSON client that does not judge: every status is an answer.

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

use crate::wait;

/// The longest that a test waits for a task.
pub const TASK_BOUND: Duration = Duration::from_secs(60);

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers; names in any case.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body as JSON; null when it is not.
    pub body: Value,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The error code, or "" when there is none.
    pub fn code(&self) -> &str {
        self.body.get("code").and_then(Value::as_str).unwrap_or("")
    }

    /// Status and code: what clients branch on.
    pub fn verdict(&self) -> (u16, String) {
        (self.status, self.code().to_owned())
    }

    /// What it says, as a type of the admin API.
    ///
    /// # Panics
    /// When it has another shape.
    #[track_caller]
    pub fn read<T: DeserializeOwned>(&self) -> T {
        serde_json::from_value(self.body.clone()).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The same answer, when it has this status.
    ///
    /// # Panics
    /// When the status is another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }
}

/// One server and the key it is asked with.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    base: String,
    headers: Vec<(String, String)>,
}

fn agent(patience: Duration) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(patience))
        .max_idle_connections_per_host(32)
        .allow_non_standard_methods(true)
        .build();
    config.into()
}

impl Client {
    /// A client of `base` (scheme, host and port) with a bearer key.
    pub fn new(base: &str, key: &str) -> Self {
        Self::anonymous(base).with_header("authorization", &format!("Bearer {key}"))
    }

    /// A client that sends no key.
    pub fn anonymous(base: &str) -> Self {
        Self { agent: agent(Duration::from_secs(60)), base: base.to_owned(), headers: Vec::new() }
    }

    /// The same client, which hangs up when it has no answer after so long.
    #[must_use]
    pub fn hanging_up_after(&self, patience: Duration) -> Self {
        Self { agent: agent(patience), ..self.clone() }
    }

    /// The same client, sending this header too (instead of one of the same name).
    pub fn with_header(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.retain(|(known, _)| known != name);
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    /// Scheme, host and port.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request with exactly these bytes; `None`: no body.
    ///
    /// # Errors
    /// When there is no answer: the connection was refused or broke.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, ureq::Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            if !headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                request = request.header(name, value);
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = match body {
            Some(body) => self.agent.run(request.body(body)?)?,
            None => self.agent.run(request.body(())?)?,
        };
        let bytes = response.body_mut().with_config().limit(256 << 20).read_to_vec()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), text, body })
    }

    /// As [`Client::try_send`].
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, body: Option<&[u8]>, headers: &[(&str, &str)]) -> Answer {
        match self.try_send(method, path, body, headers) {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {}{path}: {error}", self.base),
        }
    }

    /// Sends JSON.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(method, path, Some(body.to_string().as_bytes()), &[("content-type", "application/json")])
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, &[])
    }

    /// DELETE.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None, &[])
    }

    /// POST of JSON.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, body)
    }

    /// PUT of JSON.
    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, body)
    }

    /// PATCH of JSON.
    #[track_caller]
    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call("PATCH", path, body)
    }

    /// A search.
    #[track_caller]
    pub fn search(&self, index: &str, body: &Value) -> Answer {
        self.post(&format!("/indexes/{index}/search"), body)
    }

    /// Adds or replaces documents.
    #[track_caller]
    pub fn add(&self, index: &str, documents: &Value) -> Answer {
        self.post(&format!("/indexes/{index}/documents"), documents)
    }

    /// Adds documents and waits until they are searchable.
    #[track_caller]
    pub fn load(&self, index: &str, documents: &Value) {
        self.done(&self.add(index, documents));
    }

    /// Waits for the task that a write was answered with, whatever its end.
    ///
    /// # Panics
    /// When the write was not accepted or its task does not end in time.
    #[track_caller]
    pub fn ended(&self, accepted: &Answer) -> Value {
        assert!(matches!(accepted.status, 200 | 202), "not accepted: {} {}", accepted.status, accepted.text);
        let Some(uid) = accepted.body["taskUid"].as_u64() else { panic!("no task number: {}", accepted.text) };
        self.task(uid)
    }

    /// Waits for the end of the task `uid`.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn task(&self, uid: u64) -> Value {
        wait::eventually(&format!("task {uid} ends"), TASK_BOUND, || {
            let task = self.get(&format!("/tasks/{uid}"));
            assert_eq!(task.status, 200, "task {uid}: {}", task.text);
            matches!(task.body["status"].as_str(), Some("succeeded" | "failed" | "canceled")).then_some(task.body)
        })
    }

    /// Waits until every task has ended.
    ///
    /// # Panics
    /// When they do not within `bound`.
    #[track_caller]
    pub fn all_ended(&self, bound: Duration) {
        wait::eventually("all tasks end", bound, || {
            let open = self.get("/tasks?statuses=enqueued,processing&limit=1").expect(200);
            (open.body["total"] == 0).then_some(())
        });
    }

    /// Waits until the task has succeeded.
    ///
    /// # Panics
    /// When it has not.
    #[track_caller]
    pub fn done(&self, accepted: &Answer) -> Value {
        let task = self.ended(accepted);
        assert_eq!(task["status"], "succeeded", "{task}");
        task
    }

    /// Waits until the task has failed; its error code.
    ///
    /// # Panics
    /// When it succeeds instead.
    #[track_caller]
    pub fn failed(&self, accepted: &Answer) -> String {
        let task = self.ended(accepted);
        assert_eq!(task["status"], "failed", "{task}");
        task["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The verdict on a write: of the request when it was refused, of its task when it was accepted.
    #[track_caller]
    pub fn outcome(&self, answer: &Answer) -> (u16, String) {
        if answer.status == 202 {
            let task = self.ended(answer);
            let end = task["status"].as_str().unwrap_or("?");
            let code = task["error"]["code"].as_str().unwrap_or("");
            return (202, format!("{end} {code}").trim().to_owned());
        }
        answer.verdict()
    }

    /// How many documents an index says it holds.
    #[track_caller]
    pub fn count(&self, index: &str) -> u64 {
        let stats = self.get(&format!("/indexes/{index}/stats")).expect(200);
        stats.body["numberOfDocuments"].as_u64().unwrap_or(u64::MAX)
    }

    /// Every document, page by page.
    #[track_caller]
    pub fn documents(&self, index: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let page = self.get(&format!("/indexes/{index}/documents?limit=1000&offset={}", all.len())).expect(200);
            let Some(results) = page.body["results"].as_array() else { panic!("{}", page.text) };
            if results.is_empty() {
                return all;
            }
            all.extend(results.iter().cloned());
        }
    }

    /// Waits for the server to answer its health route.
    ///
    /// # Panics
    /// When it does not within `bound`.
    #[track_caller]
    pub fn healthy(&self, bound: Duration) {
        let started = Instant::now();
        wait::eventually(&format!("{} is healthy (since {started:?})", self.base), bound, || {
            self.try_send("GET", "/health", None, &[]).ok().filter(|answer| answer.status == 200)
        });
    }

    /// Creates an index with a primary key and waits for it.
    #[track_caller]
    pub fn create(&self, index: &str, primary_key: &str) {
        self.done(&self.post("/indexes", &json!({ "uid": index, "primaryKey": primary_key })));
    }

    /// Changes settings and waits for them.
    #[track_caller]
    pub fn configure(&self, index: &str, settings: &Value) {
        self.done(&self.patch(&format!("/indexes/{index}/settings"), settings));
    }
}
