//! Identifiers, each its own type: strings and numbers become ids at the edge and stay ids inside.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id! {
    /// One of the `S` slices of an index's key space, in `0..S`.
    ShardId(u32)
}
number_id! {
    /// A replica group: a pool of nodes that together hold every shard.
    GroupId(u32)
}
number_id! {
    /// A task's number in the one cluster-wide sequence.
    TaskUid(u64)
}
number_id! {
    /// The version of the topology; rises with every change of membership or placement.
    Epoch(u64)
}

impl TaskUid {
    /// What an operator may type: `12` or `mtask-00012`.
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix("mtask-").unwrap_or(text).parse().ok().map(Self)
    }
}

/// The operator's name for a node. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Any text names a node; configuration refuses the empty one.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A valid index uid: 1 to 512 bytes of ASCII letters, digits, `-` and `_` (Meilisearch's rule). Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IndexUid(Arc<str>);

/// The text is not an index uid.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a valid index uid. Index uid can be an integer or a string containing only alphanumeric characters, hyphens (-) and underscores (_), and can not be more than 512 bytes."
)]
pub struct InvalidIndexUid(pub String);

impl IndexUid {
    /// The uid as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for IndexUid {
    type Err = InvalidIndexUid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = (1..=512).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if valid { Ok(Self(text.into())) } else { Err(InvalidIndexUid(text.into())) }
    }
}

impl TryFrom<String> for IndexUid {
    type Error = InvalidIndexUid;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<IndexUid> for String {
    fn from(uid: IndexUid) -> Self {
        uid.0.as_ref().into()
    }
}

impl fmt::Display for IndexUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
