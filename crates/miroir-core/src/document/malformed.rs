//! Why a JSON payload is refused, said as Meilisearch says it.
//!
//! The scanner that takes batches apart is fast and silent. When it finds a fault, the payload is read once more here,
//! with the reader and in the order that a node would, so that code, message and position are the same.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Deserializer, Map, Value};

use super::error::{DocumentError, PayloadError, SplitError};
use super::split::Format;

/// A document's fields as a node's receiving end reads them: keys resolved, values only delimited.
type RawFields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// The error of a payload that the scanner refused. `start` is where the document begins that it stopped in.
pub(super) fn explain(payload: &[u8], format: Format, start: usize) -> SplitError {
    let refused = match format {
        Format::Ndjson => ndjson(payload),
        Format::Json | Format::Csv { .. } => json(payload),
    };
    match refused {
        Err(error) => error.into(),
        // The node's receiving end would take it, and its indexer would fail on what it cannot read.
        Ok(()) => unreadable(payload.get(start..).unwrap_or_default()).into(),
    }
}

/// Whether the whole payload passes a node's receiving end. For a batch in which a document is at fault: a malformed
/// payload is refused before any document is looked at.
pub(super) fn is_received(payload: &[u8], format: Format) -> Result<(), PayloadError> {
    match format {
        Format::Json => json(payload),
        Format::Ndjson => ndjson(payload),
        Format::Csv { .. } => Ok(()),
    }
}

fn ndjson(payload: &[u8]) -> Result<(), PayloadError> {
    for document in Deserializer::from_slice(payload).into_iter::<&RawValue>() {
        let fields = document.and_then(|document| serde_json::from_str::<RawFields<'_>>(document.get()));
        fields.map_err(|error| in_document(Format::Ndjson, &error))?;
    }
    Ok(())
}

fn json(payload: &[u8]) -> Result<(), PayloadError> {
    match Deserializer::from_slice(payload).deserialize_seq(Documents) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(in_document(Format::Json, &error)),
        Err(error) if !error.is_data() => Err(malformed(Format::Json, error.to_string())),
        // Not an array: it may be a single document.
        Err(_) => serde_json::from_slice::<Map<String, Value>>(payload).map(drop).map_err(|error| {
            let reason = if error.is_data() {
                "data are neither an object nor a list of objects".into()
            } else {
                error.to_string()
            };
            malformed(Format::Json, reason)
        }),
    }
}

fn malformed(format: Format, reason: String) -> PayloadError {
    PayloadError::Malformed { format, reason }
}

fn in_document(format: Format, error: &serde_json::Error) -> PayloadError {
    if error.is_data() {
        PayloadError::NotAnObject { reason: error.to_string() }
    } else {
        malformed(format, error.to_string())
    }
}

/// Reads an array of documents. What follows the array is not looked at.
struct Documents;

impl<'de> Visitor<'de> for Documents {
    type Value = Result<(), serde_json::Error>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence of documents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut documents: A) -> Result<Self::Value, A::Error> {
        while let Some(document) = documents.next_element::<&RawValue>()? {
            if let Err(error) = serde_json::from_str::<RawFields<'_>>(document.get()) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}

/// The error of the document at the beginning of `rest`, one of whose values cannot be read.
fn unreadable(rest: &[u8]) -> DocumentError {
    let first = Deserializer::from_slice(rest).into_iter::<&RawValue>().next();
    let problem = first.and_then(|document| match document {
        Ok(document) => {
            let fields = serde_json::from_str::<RawFields<'_>>(document.get()).unwrap_or_default();
            fields.values().find_map(|value| serde_json::from_str::<Value>(value.get()).err())
        }
        Err(error) => Some(error),
    });
    DocumentError::Unreadable(problem.map_or_else(|| "the document cannot be read".into(), |error| error.to_string()))
}
