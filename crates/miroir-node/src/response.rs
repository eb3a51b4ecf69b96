//! Responses of a node, read into types.

use std::time::Duration;

use miroir_core::base::text::shown;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::{Call, Node, NodeError, Reply};

/// Indexes asked for in one request.
const INDEXES: usize = 1000;
/// Requests for the indexes of a node: one that has more of them than that is not one of the cluster.
const PAGES: usize = 100;

/// Why a request to a node has no usable response.
#[derive(Debug, Error)]
pub enum ResponseError {
    /// No complete response came: the node was not reached, timed out, or broke off.
    #[error(transparent)]
    Unanswered(#[from] NodeError),
    /// The response has another status than the one that the caller expected.
    #[error("{status} to {path}: {body}")]
    Status {
        /// HTTP status.
        status: u16,
        /// Path of the request.
        path: String,
        /// The beginning of the body.
        body: String,
    },
    /// The status is the expected one, and the body is not of the expected form.
    #[error("the answer to {path} cannot be read: {error}")]
    Unreadable {
        /// Path of the request.
        path: String,
        /// Why the body cannot be read.
        error: serde_json::Error,
    },
}

impl ResponseError {
    fn unexpected_status(path: String, reply: &Reply) -> Self {
        Self::Status { status: reply.status, path, body: reply.shown() }
    }

    /// The unexpected status. `None`: there was no response, or only its body was unreadable.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Unanswered(_) | Self::Unreadable { .. } => None,
        }
    }

    /// Whether the node understood the request and refused it, so that a retry would change nothing.
    pub fn is_refusal(&self) -> bool {
        self.status().is_some_and(|status| (400..500).contains(&status) && !matches!(status, 401 | 403 | 408 | 429))
    }

    /// Whether the node refused the key that Miroir shows it.
    pub fn is_about_the_key(&self) -> bool {
        matches!(self.status(), Some(401 | 403))
    }
}

/// An index, as a node lists it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexResponse {
    /// Its name.
    pub uid: String,
    /// `None`: the node has not found one yet.
    pub primary_key: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Results<T> {
    pub results: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    pkg_version: String,
}

/// The response to a request that the node carries out later, as a task.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Enqueued {
    task_uid: u64,
}

impl Reply {
    /// The body as logs and errors show it.
    pub fn shown(&self) -> String {
        /// Bytes of it.
        const SHOWN: usize = 300;
        // No more is looked at than is shown, and the rest of a character.
        let begin = self.body.get(..SHOWN + 4).unwrap_or(&self.body);
        let mut text = shown(&String::from_utf8_lossy(begin), SHOWN).into_owned();
        if begin.len() < self.body.len() {
            text = format!("{text} of {}", self.body.len());
        }
        text
    }

    /// The number of the task that the node made of the request. `None`: it has not accepted it, or the body names no task.
    pub fn task(&self) -> Option<u64> {
        parse(String::new(), self).ok().filter(|_| self.status == 202).map(|enqueued: Enqueued| enqueued.task_uid)
    }
}

fn parse<T: DeserializeOwned>(path: String, reply: &Reply) -> Result<T, ResponseError> {
    serde_json::from_slice(&reply.body).map_err(|error| ResponseError::Unreadable { path, error })
}

impl Node {
    async fn ask_for(&self, call: Call, status: u16) -> Result<(String, Reply), ResponseError> {
        let path = call.path.clone();
        let reply = self.call(call).await?;
        if reply.status == status { Ok((path, reply)) } else { Err(ResponseError::unexpected_status(path, &reply)) }
    }

    /// Send a request that is to be answered with status 200. Returns the response as it is.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub async fn ask(&self, call: Call) -> Result<Reply, ResponseError> {
        self.ask_for(call, 200).await.map(|(_, reply)| reply)
    }

    /// Send a request that is to be answered with status 200. Returns its body, read.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub async fn read<T: DeserializeOwned>(&self, call: Call) -> Result<T, ResponseError> {
        let (path, reply) = self.ask_for(call, 200).await?;
        parse(path, &reply)
    }

    /// Send a request that the node is to accept as a task (status 202). Returns the number of the task.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub async fn enqueue(&self, call: Call) -> Result<u64, ResponseError> {
        let (path, reply) = self.ask_for(call, 202).await?;
        parse(path, &reply).map(|enqueued: Enqueued| enqueued.task_uid)
    }

    /// The version of Meilisearch that the node runs.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub async fn version(&self, timeout: Duration) -> Result<String, ResponseError> {
        let call = Call::get("version", "/version", timeout).checking();
        self.read(call).await.map(|version: Version| version.pkg_version)
    }

    /// All indexes of the node.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub async fn indexes(&self, timeout: Duration) -> Result<Vec<IndexResponse>, ResponseError> {
        let mut all = Vec::new();
        for page in 0..PAGES {
            let path = format!("/indexes?limit={INDEXES}&offset={}", page * INDEXES);
            let page: Results<IndexResponse> = self.read(Call::get("indexes", path, timeout)).await?;
            let last = page.results.len() < INDEXES;
            all.extend(page.results);
            if last {
                break;
            }
        }
        Ok(all)
    }
}
