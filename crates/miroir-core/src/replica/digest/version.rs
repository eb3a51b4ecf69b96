//! What of a document is compared.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::content::{Content, content_of};
use crate::base::inert::{UPDATED_AT_FIELD, decode_millis};
use crate::base::json::{self, SyntaxError};
use crate::document;

/// How closely documents are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// Ids and stamps: finds a replica that missed whole documents, but not one that merged an update into an older
    /// document than others did, for the stamp comes with the update.
    Stamps,
    /// What clients wrote, too.
    Content,
}

/// One copy of a document, as far as it is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// When it was written, in milliseconds; none: it carries no stamp.
    pub stamp: Option<u64>,
    /// When it expires, in milliseconds; none: never. Nothing that a document holds says so yet: whatever looks like it is a
    /// client's own.
    pub expires_at: Option<u64>,
    /// What clients wrote; none: not looked at.
    pub content: Option<Content>,
}

/// A copy of a document as it was read from a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// The text of its id.
    pub id: String,
    /// What it is.
    pub version: Version,
}

/// A node's document that cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// It is not JSON.
    #[error("a node's document is not JSON: {0}")]
    Syntax(#[from] SyntaxError),
    /// Its primary key is missing, or no id.
    #[error("a node's document has no valid id")]
    NoId,
}

impl Version {
    /// Whether it has expired by now, in milliseconds since 1970.
    pub fn is_expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

impl Copied {
    /// Read a raw document as a node returned it.
    ///
    /// # Errors
    /// [`Unreadable`] when it is no document.
    pub fn read(raw: &[u8], primary_key: &str, depth: Depth) -> Result<Self, Unreadable> {
        let id = document::id_text(raw, primary_key)?.ok_or(Unreadable::NoId)?;
        let content = match depth {
            Depth::Stamps => None,
            Depth::Content => Some(content_of(raw)?),
        };
        let stamp = json::get(raw, UPDATED_AT_FIELD)?.and_then(inert_millis);
        let version = Version { stamp, expires_at: None, content };
        Ok(Self { id, version })
    }
}

fn inert_millis(raw: &[u8]) -> Option<u64> {
    json::unquote(raw).and_then(|text| decode_millis(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::inert::encode_millis;

    #[test]
    fn a_document_is_read_with_its_stamp() {
        let raw = format!(r#"{{"id": 5, "a": 1, "_miroir_updated_at": "{}"}}"#, encode_millis(7));
        let read = Copied::read(raw.as_bytes(), "id", Depth::Stamps).expect("a document");
        assert_eq!(read.id, "5");
        assert_eq!(read.version, Version { stamp: Some(7), expires_at: None, content: None });
        assert!(Copied::read(raw.as_bytes(), "id", Depth::Content).expect("a document").version.content.is_some());
    }

    #[test]
    fn times_that_clients_wrote_are_theirs() {
        let read =
            Copied::read(br#"{"id":"x","_miroir_updated_at":7,"_miroir_expires_at":"soon"}"#, "id", Depth::Stamps);
        assert_eq!(read.expect("a document").version, Version::default());
        let past = format!(r#"{{"id":"x","_miroir_expires_at":"{}"}}"#, encode_millis(1));
        let read = Copied::read(past.as_bytes(), "id", Depth::Content).expect("a document");
        assert!(!read.version.is_expired(u64::MAX), "no document expires yet, whatever a client has written");
        let other = Copied::read(br#"{"id":"x"}"#, "id", Depth::Content).expect("a document");
        assert_ne!(read.version, other.version, "what a client wrote is compared");
    }

    #[test]
    fn what_is_no_document_is_refused() {
        assert_eq!(Copied::read(br#"{"a":1}"#, "id", Depth::Stamps), Err(Unreadable::NoId));
        assert_eq!(Copied::read(br#"{"id":1.5}"#, "id", Depth::Stamps), Err(Unreadable::NoId));
        assert!(matches!(Copied::read(b"{\"id\":1", "id", Depth::Content), Err(Unreadable::Syntax(_))));
    }
}
