//! One replica of a shard, asked and told directly: what mirrors and comparisons of replicas are made of.
//!
//! Everything here is about one node and bounded: an answer that is too large is not taken, and nothing waits for longer
//! than a request may take, but for tasks, which are waited for as long as the node lives.
//!
//! Invariant: a raw document that was read here is one that puts the same document when it is written: all fields of ours
//! are in it, and all vectors in the form in which a node takes them as they are.

mod counts;
mod read;
mod write;

pub use read::Document;

use std::sync::Arc;
use std::time::Duration;

use miroir_core::base::id::{NodeId, ShardId};
use miroir_node::{Node, NodeError, NotDone, ResponseError};
use thiserror::Error;

use crate::{Index, Writes};

/// Bytes of a page of documents; a few documents may be as large as any answer.
const MAX_PAGE: usize = 32 << 20;
/// Pages of no more documents may be as large as any answer: a single document may be larger than a page.
const FEW: u64 = 16;

/// Why a node did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failed {
    /// It did not answer, or with something that is no answer; it may have done what it was told.
    #[error("{0}")]
    Unanswered(String),
    /// The answer was larger than what is taken.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// It understood, and refused or failed.
    #[error("{0}")]
    Refused(String),
}

impl From<ResponseError> for Failed {
    fn from(error: ResponseError) -> Self {
        match error {
            ResponseError::Unanswered(NodeError::TooLarge(bytes)) => Self::TooLarge(bytes),
            ResponseError::Unanswered(_) | ResponseError::Status { .. } | ResponseError::Unreadable { .. } => {
                Self::Unanswered(error.to_string())
            }
        }
    }
}

impl From<NotDone> for Failed {
    fn from(not_done: NotDone) -> Self {
        match not_done {
            NotDone::Response(error) => error.into(),
            NotDone::Forgotten(_) => Self::Unanswered(not_done.to_string()),
            NotDone::Failed { .. } => Self::Refused(not_done.to_string()),
        }
    }
}

/// A node on which an index is looked at or changed.
#[derive(Clone)]
pub struct OnNode {
    node: Arc<Node>,
    index: Arc<Index>,
    /// For questions that a node answers at once.
    short: Duration,
    /// For pages of documents, and for what a node is told.
    long: Duration,
}

/// A replica of a shard.
#[derive(Clone)]
pub struct Replica {
    on: OnNode,
    shard: ShardId,
}

impl Writes {
    /// An index on a node.
    ///
    /// # Errors
    /// [`Failed::Unanswered`] when the node is no member.
    pub(crate) fn on_node(&self, index: &Arc<Index>, node: &NodeId) -> Result<OnNode, Failed> {
        let known = self.state.node(node).ok_or_else(|| Failed::Unanswered(format!("{node} is not a member")))?;
        let (short, long) = (self.state.read_timeout(), self.state.write_timeout());
        Ok(OnNode { node: known, index: index.clone(), short, long })
    }

    /// A replica of a shard.
    ///
    /// # Errors
    /// As [`Writes::on_node`].
    pub(crate) fn replica(&self, index: &Arc<Index>, shard: ShardId, node: &NodeId) -> Result<Replica, Failed> {
        Ok(Replica { on: self.on_node(index, node)?, shard })
    }
}

impl Replica {
    /// Wait for tasks of the node.
    ///
    /// # Errors
    /// [`Failed::Refused`] when one did not succeed.
    pub async fn done(&self, tasks: &[u64]) -> Result<(), Failed> {
        self.on.done(tasks).await
    }

    /// Wait until the node has done everything that it has accepted by now for the index.
    ///
    /// # Errors
    /// [`Failed::Unanswered`].
    pub async fn drain(&self) -> Result<(), Failed> {
        Ok(self.on.node.drain_index(&self.on.index.physical, self.on.short).await?)
    }
}

impl OnNode {
    /// The index that is looked at.
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Wait for tasks of the node.
    ///
    /// # Errors
    /// [`Failed::Refused`] when one did not succeed.
    pub async fn done(&self, tasks: &[u64]) -> Result<(), Failed> {
        Ok(self.node.await_tasks(tasks, self.short).await?)
    }

    fn path(&self, rest: &str) -> String {
        format!("/indexes/{}{rest}", self.index.physical)
    }
}

fn unreadable(error: impl std::fmt::Display) -> Failed {
    Failed::Unanswered(format!("the answer cannot be read: {error}"))
}
