//! Which indexes are meant: a uid, or the beginning of uids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::base::id::IndexUid;

/// An index uid, or a prefix of uids followed by `*`.
///
/// Read from a key it was checked by [`FromStr`]; in a tenant token it may be any text, which then matches nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IndexPattern(String);

/// The text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a valid index uid pattern. Index uid patterns can be an integer or a string containing only alphanumeric characters, hyphens (-), underscores (_), and optionally end with a star (*)."
)]
pub struct InvalidIndexPattern(pub String);

impl IndexPattern {
    /// The pattern of all indexes.
    pub fn all() -> Self {
        Self("*".into())
    }

    /// Whether it is the pattern of all indexes.
    pub fn is_all(&self) -> bool {
        self.0 == "*"
    }

    /// Whether it means the index.
    pub fn matches(&self, index: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => index.starts_with(prefix),
            None => self.0 == index,
        }
    }

    /// Orders patterns that match the same index: an exact one before any prefix, a longer prefix before a shorter.
    pub(super) fn specificity(&self) -> (bool, usize) {
        (!self.0.ends_with('*'), self.0.len())
    }

    /// As clients write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IndexPattern {
    type Err = InvalidIndexPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let prefix = text.strip_suffix('*');
        // What an error shows is the text without its star, as Meilisearch shows it.
        let uid = prefix.unwrap_or(text);
        let valid = prefix == Some("") || uid.parse::<IndexUid>().is_ok();
        if valid { Ok(Self(text.into())) } else { Err(InvalidIndexPattern(uid.into())) }
    }
}

impl fmt::Display for IndexPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
