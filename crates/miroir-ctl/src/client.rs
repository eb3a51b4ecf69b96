//! One call of the admin API.

use std::time::Duration;

use miroir_api::ErrorBody;
use serde::Serialize;
use serde_json::Value;

use crate::cli::Common;
use crate::failure::Failure;
use crate::target::Target;
use crate::tls::{self, CaFile, Distrust};

const TIMEOUT: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(600);
/// The largest answer that is read; a topology of 1024 nodes is far smaller.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// Speaks to one Miroir.
pub struct Client {
    agent: ureq::Agent,
    url: String,
    key: Option<String>,
    /// Who vouches for the server; `None`: the authorities of the system.
    ca_file: Option<CaFile>,
}

/// What came back.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON of the body.
    pub body: Value,
}

impl Client {
    /// A client for the address and key that the options and the environment name.
    pub fn new(common: &Common) -> Result<Self, Failure> {
        let target = Target::resolve(common)?;
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .proxy(None)
            .max_redirects(0);
        if target.is_https() {
            config = config.tls_config(tls::config(target.ca_file.as_ref())?);
        }
        let Target { url, admin_key, ca_file } = target;
        Ok(Self { agent: config.build().into(), url, key: admin_key, ca_file })
    }

    /// Where the requests go.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// GET a path under `/_miroir`; any status is an answer.
    pub fn ask(&self, path: &str) -> Result<Answer, Failure> {
        let mut request = self.agent.get(format!("{}/_miroir{path}", self.url));
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        self.read(request.call())
    }

    /// POST to a path under `/_miroir`, without a body; anything but 200 and 202 is a refusal in Miroir's own words. What is done
    /// takes its time.
    pub fn post(&self, path: &str) -> Result<Value, Failure> {
        let request = self.agent.post(format!("{}/_miroir{path}", self.url));
        let mut request = request.config().timeout_global(Some(LONG)).build();
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let answer = self.read(request.send_empty())?;
        self.done(answer)
    }

    /// POST to a path under `/_miroir`, with a body; what is begun is begun when this returns. A refusal is in Miroir's
    /// own words.
    pub fn post_json(&self, path: &str, body: &impl Serialize) -> Result<Value, Failure> {
        let request = self.agent.post(format!("{}/_miroir{path}", self.url));
        let mut request = request.config().timeout_global(Some(LONG)).build().content_type("application/json");
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let answer = self.read(request.send_json(body))?;
        self.done(answer)
    }

    /// DELETE a path under `/_miroir`. A refusal is in Miroir's own words.
    pub fn delete(&self, path: &str) -> Result<Value, Failure> {
        let request = self.agent.delete(format!("{}/_miroir{path}", self.url));
        let mut request = request.config().timeout_global(Some(LONG)).build();
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let answer = self.read(request.call())?;
        self.done(answer)
    }

    fn done(&self, answer: Answer) -> Result<Value, Failure> {
        if matches!(answer.status, 200 | 202) { Ok(answer.body) } else { Err(self.refusal(answer)) }
    }

    fn read(&self, answered: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, Failure> {
        let mut response = answered.map_err(|error| self.transport(&error))?;
        let status = response.status().as_u16();
        let bytes = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        let bytes = bytes.map_err(|error| self.transport(&error))?;
        match serde_json::from_slice(&bytes) {
            Ok(body) => Ok(Answer { status, body }),
            Err(_) if status == 404 && bytes.is_empty() => Err(Failure::Refused(format!(
                "{} has nothing there: it is not Miroir, or its admin API is off (admin.api_key) or has a port of its own (admin.port)",
                self.url
            ))),
            Err(_) => Err(Failure::Refused(format!("{} answered {status} without JSON; is it Miroir?", self.url))),
        }
    }

    /// GET a path under `/_miroir`; anything but 200 is a refusal in Miroir's own words.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        let answer = self.ask(path)?;
        if answer.status == 200 { Ok(answer.body) } else { Err(self.refusal(answer)) }
    }

    /// What an answer other than 200 says.
    pub fn refusal(&self, answer: Answer) -> Failure {
        let hint = match (answer.status, &self.key) {
            (401 | 403, None) => " (no admin key given: see miroir-ctl --help)",
            (_, Some(_) | None) => "",
        };
        match serde_json::from_value::<ErrorBody>(answer.body) {
            Ok(error) => Failure::Refused(format!("{} [{}]{hint}", error.message, error.code)),
            Err(_) => Failure::Refused(format!("{} answered {}{hint}", self.url, answer.status)),
        }
    }

    /// An answer that does not have the promised shape.
    pub fn misshapen(&self, what: &str, error: &serde_json::Error) -> Failure {
        Failure::Refused(format!("{} answered {what} in another shape than expected: {error}", self.url))
    }

    fn transport(&self, error: &ureq::Error) -> Failure {
        let url = self.url.clone();
        match Distrust::of(error) {
            Some(Distrust { reason, is_unknown_issuer }) => {
                Failure::Untrusted { url, reason, is_unknown_issuer, ca_file: self.ca_file.clone() }
            }
            None => Failure::Unreachable { url, reason: error.to_string() },
        }
    }
}
