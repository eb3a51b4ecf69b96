//! What can go wrong with a request, as facts. `miroir-proxy` (`http/error.rs`) turns them into Meilisearch's vocabulary.

use std::collections::BTreeSet;
use std::time::Duration;

use miroir_core::base::error::ErrorBody;
use miroir_core::base::id::{NodeId, ShardId};
use miroir_core::base::strip;
use miroir_core::document::SplitError;
use miroir_core::membership::transition::Refused;
use miroir_core::read::hidden;
use miroir_core::read::merge::MergeError;
use miroir_node::budget::Spent;
use miroir_store::StoreError;
use miroir_work::led::NotActed;
use thiserror::Error;

use crate::Index;

/// Why a request was not done.
#[derive(Debug, Error)]
pub enum Error {
    /// The catalog has no such index, or its creation has not been processed yet.
    #[error("Index `{0}` not found.")]
    IndexNotFound(String),
    /// Every node that was asked refused alike: its answer is the client's.
    #[error("refused by the nodes with {status}: {}", body.message)]
    Refused {
        /// HTTP status.
        status: u16,
        /// Cleaned of our names.
        body: ErrorBody,
    },
    /// We refuse by ourselves.
    #[error("{}", .0.message)]
    Invalid(ErrorBody),
    /// The documents cannot be taken.
    #[error(transparent)]
    Documents(#[from] SplitError),
    /// A write was accepted by no replica of these shards, or by too few under `write.degraded: refuse`.
    #[error("Too few replicas accepted the write for shards {}. What was accepted is kept: send the write again.", list(.shards))]
    NoQuorum {
        /// The shards concerned.
        shards: BTreeSet<ShardId>,
    },
    /// Nodes did not comply with a change of the index's settings: until they are repaired it takes no documents.
    /// Which nodes is for operators to know: the index's status says it.
    #[error("The index `{uid}` takes no documents until its settings have been repaired.")]
    Frozen {
        /// As clients call it.
        uid: String,
    },
    /// A read could not be answered for these shards.
    #[error("No replica can answer for shards {}.", list(.shards))]
    ShardUnavailable {
        /// The shards concerned.
        shards: BTreeSet<ShardId>,
    },
    /// A node does not come to hold the committed settings of an index.
    #[error("Node `{node}` does not hold the committed settings: {why}.")]
    NotHeld {
        /// The id of the node that does not hold the settings.
        node: String,
        /// Why not.
        why: String,
    },
    /// The membership is not changed, and nothing else was.
    #[error(transparent)]
    Membership(#[from] Refused),
    /// The store did not take or give what it should.
    #[error("the store is unavailable")]
    Store(#[from] StoreError),
    /// Another instance may hold the index write lock under which a change was made.
    #[error("Another instance has taken over the index meanwhile: the change may have been made, or not.")]
    IndexLockLost,
    /// This instance is isolated: the others may be about to evict it.
    #[error("This instance has had no contact with its peers for {} s and accepts no writes.", .silent.as_secs())]
    Isolated {
        /// Time since its last heartbeat.
        silent: Duration,
    },
    /// Nobody waits for the change any more, of which nothing was sent.
    #[error("The client left before its change was begun, which was not made.")]
    ClientLeft,
    /// A bound of ours is reached.
    #[error("Too much is in flight: {0}.")]
    Overloaded(&'static str),
    /// Nobody's answer may be so large.
    #[error("The answer is larger than {limit} bytes (server.max_reply_bytes). Ask for less at one time.")]
    ReplyTooLarge {
        /// The bound.
        limit: usize,
    },
    /// The body is beyond `server.max_body_bytes`.
    #[error("The provided payload reached the size limit. The maximum accepted payload size is {limit} bytes.")]
    TooLarge {
        /// The bound.
        limit: u64,
    },
    /// The body cannot be decompressed.
    #[error("The payload cannot be decoded as {encoding}: {source}")]
    Encoding {
        /// As in `Content-Encoding`.
        encoding: &'static str,
        /// What the decoder said.
        source: std::io::Error,
    },
    /// The client went away, or its connection broke.
    #[error("the request body did not arrive: {0}")]
    Body(String),
    /// The client sends its body too slowly to be waited for.
    #[error("The request body pauses or arrives too slowly (server.body_timeout_ms, server.min_body_bytes_per_s).")]
    SlowBody,
    /// A node answered something that is not Meilisearch's.
    #[error("node {node} gave an answer that cannot be read: {why}")]
    Answer {
        /// The id of the node that answered.
        node: String,
        /// What was wrong.
        why: String,
    },
    /// Answers could not be merged.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A bug of ours; the text goes to the log.
    #[error("internal: {0}")]
    Internal(String),
}

impl From<Spent> for Error {
    fn from(Spent(what): Spent) -> Self {
        Self::Overloaded(what)
    }
}

impl Error {
    /// Whether it is a refusal of nodes by this code.
    pub fn is(&self, code: &str) -> bool {
        matches!(self, Self::Refused { body, .. } if body.code == code)
    }

    /// The same, calling the index as clients do, and not naming attributes that it does not display.
    pub fn naming(mut self, index: &Index) -> Self {
        if let Self::Refused { body, .. } = &mut self {
            if let Some(displayed) = index.settings.displayed() {
                body.message = hidden::message(&body.message, &body.code, &displayed);
            }
            body.message = strip::index_name(&body.message, index.physical.as_str(), index.uid.as_str());
        }
        self
    }
}

/// `3,7`, as headers and messages name shards.
pub fn list(shards: &BTreeSet<ShardId>) -> String {
    shards.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

impl Error {
    /// A node did not say or do what it was asked.
    pub(crate) fn answer(node: &NodeId, why: impl std::fmt::Display) -> Self {
        Self::Answer { node: node.to_string(), why: why.to_string() }
    }
}

/// Why led work could not go on, in words for operators: what the store said is among them.
pub(crate) fn not_acted(error: impl Into<Error>) -> NotActed {
    let error = error.into();
    NotActed(if let Error::Store(source) = &error { source.to_string() } else { error.to_string() })
}
