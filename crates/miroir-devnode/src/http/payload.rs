//! Document payloads: from what a client sends to a durable file of JSON objects, one after the other.

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{ApiError, ApiResult};

/// How documents are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An array of objects, or one object.
    Json,
    /// Objects one after the other.
    Ndjson,
}

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
        }
    }

    fn malformed(self, error: impl fmt::Display) -> ApiError {
        let name = self.name();
        ApiError::new(
            "malformed_payload",
            format!("The `{name}` payload provided is malformed. `Couldn't serialize document value: {error}`."),
        )
    }
}

/// The documents in `body`, each as it was sent.
///
/// # Errors
/// `missing_payload` for an empty body, `malformed_payload` when it is not JSON, `internal` when a document is no object.
pub fn split(format: Format, body: &[u8]) -> ApiResult<Vec<&RawValue>> {
    if body.is_empty() {
        let name = format.name();
        return Err(ApiError::new("missing_payload", format!("A {name} payload is missing.")));
    }
    let documents = match format {
        Format::Json => json_documents(body)?,
        Format::Ndjson => serde_json::Deserializer::from_slice(body)
            .into_iter::<&RawValue>()
            .map(|document| match document {
                Ok(document) if document.get().starts_with('{') => Ok(document),
                // What comes first is answered first.
                Ok(_) => Err(ApiError::internal("a document is not an object")),
                Err(error) => Err(format.malformed(error)),
            })
            .collect::<ApiResult<Vec<_>>>()?,
    };
    if documents.iter().all(|document| document.get().starts_with('{')) {
        return Ok(documents);
    }
    let is_list = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if is_list {
        // A fault of the client's, but this is how a server answers it.
        return Err(ApiError::internal("a document is not an object"));
    }
    Err(format.malformed("data are neither an object nor a list of objects"))
}

fn json_documents(body: &[u8]) -> ApiResult<Vec<&RawValue>> {
    let malformed = |error| Format::Json.malformed(error);
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        // What follows the array is not looked at, as in Meilisearch.
        return serde_json::Deserializer::from_slice(body).deserialize_seq(Documents).map_err(malformed);
    }
    serde_json::from_slice(body).map(|document| vec![document]).map_err(malformed)
}

struct Documents;

impl<'de> Visitor<'de> for Documents {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut documents = Vec::new();
        while let Some(document) = seq.next_element()? {
            documents.push(document);
        }
        Ok(documents)
    }
}

/// A payload on disk.
#[derive(Debug)]
pub struct Stored {
    /// Its file name; none when there are no documents.
    pub name: Option<String>,
    /// Its size.
    pub bytes: u64,
    /// How many documents it holds.
    pub documents: u64,
}

/// Writes `documents` into a new file in `dir`. When this returns, the file survives a crash.
///
/// # Errors
/// When it cannot be written.
pub fn store(dir: &Path, documents: &[&RawValue]) -> ApiResult<Stored> {
    if documents.is_empty() {
        return Ok(Stored { name: None, bytes: 0, documents: 0 });
    }
    let name = format!("{}.ndjson", uuid::Uuid::new_v4());
    let path = dir.join(&name);
    let written = write_durably(dir, &path, documents);
    if written.is_err() {
        // Nobody knows the file; a leftover is swept at the next start.
        let _ = std::fs::remove_file(&path);
    }
    Ok(Stored { name: Some(name), bytes: written?, documents: documents.len() as u64 })
}

fn write_durably(dir: &Path, path: &Path, documents: &[&RawValue]) -> std::io::Result<u64> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    let mut bytes = 0;
    for document in documents {
        file.write_all(document.get().as_bytes())?;
        file.write_all(b"\n")?;
        bytes += document.get().len() as u64 + 1;
    }
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_data()?;
    File::open(dir)?.sync_all()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(format: Format, body: &str) -> Vec<&str> {
        split(format, body.as_bytes()).unwrap().into_iter().map(RawValue::get).collect()
    }

    fn code(format: Format, body: &[u8]) -> String {
        split(format, body).unwrap_err().code
    }

    #[test]
    fn documents_are_kept_as_they_were_sent() {
        let body = r#" [ {"id": 1.0} , {"id":2,"a":[1e2]} ] trailing"#;
        assert_eq!(texts(Format::Json, body), [r#"{"id": 1.0}"#, r#"{"id":2,"a":[1e2]}"#]);
        assert_eq!(texts(Format::Json, r#"{"id":1}"#), [r#"{"id":1}"#]);
        assert_eq!(texts(Format::Json, "[]"), Vec::<&str>::new());
        assert_eq!(texts(Format::Ndjson, "{\"a\":1}\n\n{\"a\":2}"), [r#"{"a":1}"#, r#"{"a":2}"#]);
    }

    #[test]
    fn anything_but_objects_is_refused() {
        for body in ["[{}", "[{},]", "\"a\"", "[{\"a\":}]", " \n"] {
            assert_eq!(code(Format::Json, body.as_bytes()), "malformed_payload", "{body}");
        }
        assert_eq!(code(Format::Json, b""), "missing_payload");
        assert_eq!(code(Format::Ndjson, b"{}\n{"), "malformed_payload");
        assert_eq!(code(Format::Ndjson, b"{\"a\":\"\xff\"}"), "malformed_payload");
        // Well-formed values that are no documents are answered like a fault of the server, as Meilisearch does.
        assert_eq!(code(Format::Json, b"[{}, 1]"), "internal");
        assert_eq!(code(Format::Ndjson, b"{}\n2"), "internal");
    }

    #[test]
    fn a_stored_payload_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let documents = split(Format::Json, br#"[{"id":1},{"id":2}]"#).unwrap();
        let stored = store(dir.path(), &documents).unwrap();
        let text = std::fs::read_to_string(dir.path().join(stored.name.unwrap())).unwrap();
        assert_eq!(text, "{\"id\":1}\n{\"id\":2}\n");
        assert_eq!((stored.bytes, stored.documents), (text.len() as u64, 2));
    }
}
