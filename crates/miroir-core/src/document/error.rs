//! What can be wrong with a batch, and how Meilisearch says it.

use std::fmt;

use thiserror::Error;

use super::split::Format;
use crate::base::error::{Code, ErrorBody};
use crate::base::json;

/// The greatest length of a piece of the client's text inside a message, in bytes: a message is kept with its task.
const QUOTE_LIMIT: usize = 16 * 1024;

/// Why a batch was not taken. Nothing of it may be sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SplitError {
    /// The request is answered with this error.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The request is answered with this error: a document holds a field of ours.
    #[error("The field `{field}` is reserved: documents must not contain it.")]
    Reserved {
        /// Which one.
        field: &'static str,
    },
    /// The request is accepted and its task fails with this error.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

impl SplitError {
    /// As clients see it.
    pub fn body(&self) -> ErrorBody {
        match self {
            Self::Payload(error) => error.body(),
            Self::Reserved { .. } => ErrorBody::new(Code::MiroirReservedField, self.to_string()),
            Self::Document(error) => error.body(),
        }
    }
}

/// The payload as a whole is not a batch of documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadError {
    /// There are no bytes at all.
    Missing(Format),
    /// It does not follow its format.
    Malformed {
        /// The format it should follow.
        format: Format,
        /// What is wrong and where.
        reason: String,
    },
    /// It follows its format, but something stands where a document should. Meilisearch takes it for an error of its
    /// own, status 500.
    NotAnObject {
        /// What stands there.
        reason: String,
    },
}

impl std::error::Error for PayloadError {}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(format) => write!(f, "A {format} payload is missing."),
            Self::Malformed { format: format @ Format::Csv { .. }, reason } => {
                write!(f, "The `{format}` payload provided is malformed: `{reason}`.")
            }
            Self::Malformed { format: format @ (Format::Json | Format::Ndjson), reason } => write!(
                f,
                "The `{format}` payload provided is malformed. `Couldn't serialize document value: {}`.",
                shorten(reason)
            ),
            Self::NotAnObject { reason } => f.write_str(reason),
        }
    }
}

impl PayloadError {
    /// As clients see it.
    pub fn body(&self) -> ErrorBody {
        let code = match self {
            Self::Missing(_) => Code::MissingPayload,
            Self::Malformed { .. } => Code::MalformedPayload,
            Self::NotAnObject { .. } => Code::Internal,
        };
        ErrorBody::new(code, self.to_string())
    }
}

/// Cuts the middle out of a reason that quotes much of the payload.
fn shorten(reason: &str) -> String {
    const HEAD: usize = 50;
    const TAIL: usize = 85;
    if reason.len() <= HEAD + TAIL + "...".len() {
        return reason.into();
    }
    let (head, _) = reason.split_at(reason.floor_char_boundary(HEAD));
    let (_, tail) = reason.split_at(reason.ceil_char_boundary(reason.len() - TAIL));
    format!("{head}...{tail}")
}

/// One document of a well-formed batch cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// The document has no value at the primary key.
    #[error("Document doesn't have a `{primary_key}` attribute: `{document}`.")]
    MissingId {
        /// Where the id should be.
        primary_key: String,
        /// The document as JSON.
        document: String,
    },
    /// The document has several values at a dotted primary key, or the key twice.
    #[error("Document have too many matching `{primary_key}` attribute: `{document}`.")]
    SeveralIds {
        /// Where the id should be.
        primary_key: String,
        /// The document as JSON.
        document: String,
    },
    /// The id is neither an integer nor a text of the characters that an id may have.
    #[error(
        "Document identifier `{id}` is invalid. A document identifier can be of type integer or string, only composed of alphanumeric characters (a-z A-Z 0-9), hyphens (-) and underscores (_), and can not be more than 511 bytes."
    )]
    InvalidId {
        /// The id as JSON.
        id: String,
    },
    /// `_geo` is not a point.
    #[error("{0}")]
    InvalidGeo(String),
    /// `_geojson` is not a geometry.
    #[error("{0}")]
    InvalidGeojson(String),
    /// `_vectors` is not an object.
    #[error("{0}")]
    InvalidVectorsMap(String),
    /// What `_vectors` has for an embedder is not vectors.
    #[error("Bad embedder configuration in the document with id: `{id}`. {reason}")]
    InvalidVectors {
        /// Of the document.
        id: String,
        /// What is wrong and where.
        reason: String,
    },
    /// A vector is of another length than the embedder's.
    #[error(
        "Invalid vector dimensions in document with id `{id}` in `._vectors.{embedder}`.\n  - note: embedding #{embedding} has dimensions {found}\n  - note: embedder `{embedder}` requires {expected}"
    )]
    InvalidVectorDimensions {
        /// Of the document.
        id: String,
        /// The embedder.
        embedder: String,
        /// Which of its vectors.
        embedding: usize,
        /// How many numbers it should have.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// Vectors that only the client can provide are not there.
    #[error(
        "While embedding documents for embedder `{embedder}`: no vectors provided for document `{id}`{}\n- Note: `{embedder}` has `source: userProvided`, so documents must provide embeddings as an array in `_vectors.{embedder}`.\n- Hint: opt-out for a document with `_vectors.{embedder}: null`",
        and_others(*.others)
    )]
    NoVectors {
        /// Of the first such document.
        id: String,
        /// The embedder.
        embedder: String,
        /// How many other documents there are.
        others: usize,
    },
    /// A value is within the grammar but cannot be read: a lone surrogate, a number no float holds, too much nesting.
    #[error("internal: {0}.")]
    Unreadable(String),
    /// No field of the first document can be the primary key.
    #[error(
        "The primary key inference failed as the engine did not find any field ending with `id` in its name. Please specify the primary key manually using the `primaryKey` query parameter."
    )]
    NoPrimaryKeyCandidate,
    /// Several fields of the first document can be the primary key.
    #[error(
        "The primary key inference failed as the engine found {count} fields ending with `id` in their names: '{first}' and '{second}'. Please specify the primary key manually using the `primaryKey` query parameter."
    )]
    SeveralPrimaryKeyCandidates {
        /// How many.
        count: usize,
        /// The first in lexicographic order.
        first: String,
        /// The second.
        second: String,
    },
}

impl DocumentError {
    pub(super) fn missing_id(primary_key: &str, document: &[u8]) -> Self {
        Self::MissingId { primary_key: primary_key.into(), document: quoted(document) }
    }

    pub(super) fn several_ids(primary_key: &str, document: &[u8]) -> Self {
        Self::SeveralIds { primary_key: primary_key.into(), document: quoted(document) }
    }

    pub(super) fn invalid_id(raw: &[u8]) -> Self {
        Self::InvalidId { id: quoted(raw) }
    }

    /// The error of a text that can be no id.
    pub(super) fn invalid_id_text(text: &str) -> Self {
        let mut raw = Vec::new();
        json::quote_into(text, &mut raw);
        Self::invalid_id(&raw)
    }

    /// As it stands in the failed task, without the index's name.
    pub fn body(&self) -> ErrorBody {
        ErrorBody::new(self.code(), self.to_string())
    }

    /// As it stands in the failed task of this index: errors found late in indexing name it.
    pub fn task_body(&self, index_uid: &str) -> ErrorBody {
        match self {
            Self::InvalidGeo(_)
            | Self::InvalidGeojson(_)
            | Self::InvalidVectorsMap(_)
            | Self::InvalidVectors { .. }
            | Self::InvalidVectorDimensions { .. }
            | Self::NoVectors { .. }
            | Self::Unreadable(_) => ErrorBody::new(self.code(), format!("Index `{index_uid}`: {self}")),
            Self::MissingId { .. }
            | Self::SeveralIds { .. }
            | Self::InvalidId { .. }
            | Self::NoPrimaryKeyCandidate
            | Self::SeveralPrimaryKeyCandidates { .. } => self.body(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::MissingId { .. } => Code::MissingDocumentId,
            Self::SeveralIds { .. } | Self::InvalidId { .. } => Code::InvalidDocumentId,
            Self::InvalidGeo(_) | Self::InvalidGeojson(_) => Code::InvalidDocumentGeoField,
            Self::InvalidVectors { .. } => Code::InvalidVectorsType,
            Self::InvalidVectorDimensions { .. } => Code::InvalidVectorDimensions,
            Self::NoVectors { .. } => Code::VectorEmbeddingError,
            Self::InvalidVectorsMap(_) | Self::Unreadable(_) => Code::Internal,
            Self::NoPrimaryKeyCandidate => Code::IndexPrimaryKeyNoCandidateFound,
            Self::SeveralPrimaryKeyCandidates { .. } => Code::IndexPrimaryKeyMultipleCandidatesFound,
        }
    }
}

fn and_others(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" and at least {others} other document(s)") }
}

/// Raw JSON as it stands in messages: compact, escapes resolved where they can be, of bounded length.
pub(super) fn quoted(raw: &[u8]) -> String {
    let mut text = match serde_json::from_slice::<serde_json::Value>(raw) {
        Ok(value) => value.to_string(),
        Err(_) => String::from_utf8_lossy(raw).into_owned(),
    };
    if text.len() > QUOTE_LIMIT {
        text.truncate(text.floor_char_boundary(QUOTE_LIMIT));
        text.push_str("...");
    }
    text
}
