//! What nodes say of themselves, read.

use std::time::Duration;

use miroir_core::text::shown;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::{Call, Node, NodeError, Reply};

/// Indexes asked for in one request.
const INDEXES: usize = 1000;
/// Requests for the indexes of a node: one that has more of them than that is no node of ours.
const PAGES: usize = 100;

/// Why a node did not say what it was asked, or did not accept what it was told.
#[derive(Debug, Error)]
pub enum Untold {
    /// No whole answer came.
    #[error(transparent)]
    Unanswered(#[from] NodeError),
    /// It answered something else.
    #[error("{status} to {path}: {body}")]
    Otherwise {
        /// HTTP status.
        status: u16,
        /// What it was asked.
        path: String,
        /// The beginning of what it said.
        body: String,
    },
    /// It said what cannot be understood.
    #[error("the answer to {path} cannot be read: {error}")]
    Unreadable {
        /// What it was asked.
        path: String,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

impl Untold {
    /// The answer has another status than was hoped for.
    fn otherwise(path: String, reply: &Reply) -> Self {
        Self::Otherwise { status: reply.status, path, body: reply.shown() }
    }

    /// The status of an answer that is another than was hoped for.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Otherwise { status, .. } => Some(*status),
            Self::Unanswered(_) | Self::Unreadable { .. } => None,
        }
    }

    /// It understood, and will not: asking again changes nothing.
    pub fn is_refusal(&self) -> bool {
        self.status().is_some_and(|status| (400..500).contains(&status) && !matches!(status, 401 | 403 | 408 | 429))
    }

    /// It does not take our key.
    pub fn is_about_the_key(&self) -> bool {
        matches!(self.status(), Some(401 | 403))
    }
}

/// An index of a node.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToldIndex {
    /// Its name.
    pub uid: String,
    /// None: it does not have one yet.
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

/// What a node answers to whatever it does later.
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

    /// The number of the task by which the node does what it was told; none: it has not accepted that, or does not say.
    pub fn task(&self) -> Option<u64> {
        parse(String::new(), self).ok().filter(|_| self.status == 202).map(|enqueued: Enqueued| enqueued.task_uid)
    }
}

fn parse<T: DeserializeOwned>(path: String, reply: &Reply) -> Result<T, Untold> {
    serde_json::from_slice(&reply.body).map_err(|error| Untold::Unreadable { path, error })
}

impl Node {
    async fn ask_for(&self, call: Call, status: u16) -> Result<(String, Reply), Untold> {
        let path = call.path.clone();
        let reply = self.call(call).await?;
        if reply.status == status { Ok((path, reply)) } else { Err(Untold::otherwise(path, &reply)) }
    }

    /// An answer of status 200, as it is.
    ///
    /// # Errors
    /// [`Untold`].
    pub async fn ask(&self, call: Call) -> Result<Reply, Untold> {
        self.ask_for(call, 200).await.map(|(_, reply)| reply)
    }

    /// An answer of status 200, read.
    ///
    /// # Errors
    /// [`Untold`].
    pub async fn read<T: DeserializeOwned>(&self, call: Call) -> Result<T, Untold> {
        let (path, reply) = self.ask_for(call, 200).await?;
        parse(path, &reply)
    }

    /// Have it accept something. Returns the number of its task.
    ///
    /// # Errors
    /// [`Untold`].
    pub async fn enqueue(&self, call: Call) -> Result<u64, Untold> {
        let (path, reply) = self.ask_for(call, 202).await?;
        parse(path, &reply).map(|enqueued: Enqueued| enqueued.task_uid)
    }

    /// Which version of Meilisearch it is.
    ///
    /// # Errors
    /// [`Untold`].
    pub async fn version(&self, timeout: Duration) -> Result<String, Untold> {
        let call = Call::get("version", "/version", timeout).checking();
        self.read(call).await.map(|version: Version| version.pkg_version)
    }

    /// All of its indexes.
    ///
    /// # Errors
    /// [`Untold`].
    pub async fn indexes(&self, timeout: Duration) -> Result<Vec<ToldIndex>, Untold> {
        let mut all = Vec::new();
        for page in 0..PAGES {
            let path = format!("/indexes?limit={INDEXES}&offset={}", page * INDEXES);
            let told: Results<ToldIndex> = self.read(Call::get("indexes", path, timeout)).await?;
            let last = told.results.len() < INDEXES;
            all.extend(told.results);
            if last {
                break;
            }
        }
        Ok(all)
    }
}
