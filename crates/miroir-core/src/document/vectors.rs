//! Whether `_vectors` can be indexed. A node checks it while it indexes, and then fails the whole task.
//!
//! Of every document: `_vectors` is an object, and each of its members something that can be vectors. Of members that are
//! embedders of the index: what they hold are arrays of numbers, as many as the embedder has dimensions. And whoever has an
//! embedder for vectors that clients provide must find them in each new document.

use super::error::{DocumentError, quoted};
use crate::base::json;
use crate::document::Embedder;

/// The field that holds a document's vectors.
pub(super) const FIELD: &str = "_vectors";

/// Embedders that documents are told apart by; an index has far fewer.
const MAX_EMBEDDERS: usize = 64;

/// What is wrong with a document's vectors, in the order in which a node comes upon it: all documents are looked at for
/// the first before any is for the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// They cannot be stored.
    Shape,
    /// They cannot be indexed.
    Embedding,
}

/// A document's `_vectors` as far as they matter: what is wrong with them, and which embedders find nothing in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vectors {
    /// The first fault.
    pub fault: Option<(Rank, DocumentError)>,
    /// A bit for each embedder, in their order, whose vectors are provided, or that the document has opted out of.
    provided: u64,
}

impl Vectors {
    /// The first embedder whose vectors have to be provided, and are not. They may be known still when the document is
    /// stored with them already.
    pub fn lacking<'e>(&self, embedders: &'e [Embedder]) -> Option<&'e Embedder> {
        let mut wanted =
            embedders.iter().take(MAX_EMBEDDERS).enumerate().filter(|(_, embedder)| embedder.is_user_provided);
        wanted.find(|(place, _)| self.provided & (1_u64 << place) == 0).map(|(_, embedder)| embedder)
    }
}

/// Looks at the raw value of `_vectors` in the document with this id.
pub(super) fn check(id: &str, raw: &[u8], embedders: &[Embedder]) -> Vectors {
    let mut vectors = Vectors::default();
    if kind(raw) != Kind::Object {
        let message = format!("invalid type: {}, expected a map at line 1 column {}", described(raw), column(raw, 0));
        vectors.fault = Some((Rank::Shape, DocumentError::InvalidVectorsMap(message)));
        return vectors;
    }
    // It is valid as a part of a valid document.
    for member in json::members(raw).into_iter().flatten().flatten() {
        let name = member.key_text();
        let place = embedders.iter().take(MAX_EMBEDDERS).position(|embedder| embedder.name == name);
        let entry = match Entry::read(&name, member.value) {
            Ok(entry) => entry,
            Err(reason) => {
                let error = DocumentError::InvalidVectors { id: id.to_owned(), reason };
                vectors.fault = Some((Rank::Shape, error));
                return vectors;
            }
        };
        let Some((place, embedder)) = place.and_then(|place| Some((place, embedders.get(place)?))) else { continue };
        let bit = 1_u64 << place;
        // To be made anew, they are not provided; a node minds that only when the document has changed.
        match &entry {
            Entry { embeddings: None, regenerate: true, .. } => vectors.provided &= !bit,
            Entry { .. } => vectors.provided |= bit,
        }
        if vectors.fault.is_none()
            && let Err(error) = entry.fits(id, embedder)
        {
            vectors.fault = Some((Rank::Embedding, error));
        }
    }
    vectors
}

/// What a member of `_vectors` says.
struct Entry<'a> {
    /// What holds the vectors; none: there are none here.
    embeddings: Option<&'a [u8]>,
    /// Where that is, for messages.
    at: &'static str,
    /// They are made by the embedder.
    regenerate: bool,
}

impl<'a> Entry<'a> {
    fn read(name: &str, raw: &'a [u8]) -> Result<Self, String> {
        let wrong = |kind: &str, value: &str| {
            Err(format!(
                "Expected `._vectors.{name}` to be an array of floats, an array of arrays of floats, or an object with at least the field `regenerate`, but got the {kind} `{value}`"
            ))
        };
        let text = || String::from_utf8_lossy(raw);
        match kind(raw) {
            Kind::Null | Kind::Array => Ok(Self { embeddings: Some(raw), at: "", regenerate: false }),
            Kind::Object => Self::read_object(name, raw),
            Kind::Bool => wrong("boolean", &text()),
            Kind::Number if is_integer(raw) => wrong("integer", &text()),
            Kind::Number => wrong("number", &quoted(raw)),
            Kind::String => wrong("string", &json::unquote(raw).unwrap_or_else(text)),
        }
    }

    fn read_object(name: &str, raw: &'a [u8]) -> Result<Self, String> {
        let (mut regenerate, mut embeddings) = (None, None);
        for member in json::members(raw).into_iter().flatten().flatten() {
            match &*member.key_text() {
                "regenerate" => match member.value {
                    b"true" => regenerate = Some(true),
                    b"false" => regenerate = Some(false),
                    other => {
                        let (what, column) = (described(other), column(other, member.span.end - other.len()));
                        return Err(format!(
                            "Could not parse `._vectors.{name}.regenerate`: invalid type: {what}, expected a boolean at line 1 column {column}"
                        ));
                    }
                },
                "embeddings" if member.value == b"null" => {}
                "embeddings" => embeddings = Some(member.value),
                _ => {
                    // A node stops reading there, and finds more.
                    let key_end = member.span.start + member.key.len() + 2;
                    let rest = raw.get(key_end..).unwrap_or_default();
                    let column = key_end + rest.iter().position(|byte| *byte == b':').unwrap_or(0) + 1;
                    return Err(format!(
                        "Could not parse `._vectors.{name}`: trailing characters at line 1 column {column}"
                    ));
                }
            }
        }
        match regenerate {
            Some(regenerate) => Ok(Self { embeddings, at: ".embeddings", regenerate }),
            None => Err(format!(
                "Missing field `._vectors.{name}.regenerate`\n  - note: `._vectors.{name}` must be an array of floats, an array of arrays of floats, or an object with field `regenerate`"
            )),
        }
    }

    /// Whether an embedder can take it.
    fn fits(&self, id: &str, embedder: &Embedder) -> Result<(), DocumentError> {
        let Some(raw) = self.embeddings else { return Ok(()) };
        let place = || format!("._vectors.{}{}", embedder.name, self.at);
        let lengths = lengths(raw).map_err(|wrong| DocumentError::InvalidVectors {
            id: id.to_owned(),
            reason: format!(
                "Invalid value type at `{}{}`: expected {}, but found {}",
                place(),
                wrong.at,
                wrong.expected,
                found(wrong.value)
            ),
        })?;
        let Some(dimensions) = embedder.dimensions else { return Ok(()) };
        match lengths.into_iter().enumerate().find(|(_, length)| *length != dimensions) {
            None => Ok(()),
            Some((embedding, length)) => Err(DocumentError::InvalidVectorDimensions {
                id: id.to_owned(),
                embedder: embedder.name.clone(),
                embedding,
                expected: dimensions,
                found: length,
            }),
        }
    }
}

/// A value that is not what it should be.
struct Wrong<'a> {
    at: String,
    expected: &'static str,
    value: &'a [u8],
}

/// How many numbers each vector has: of one vector, or of a list of them.
fn lengths(raw: &[u8]) -> Result<Vec<usize>, Wrong<'_>> {
    match kind(raw) {
        Kind::Null => return Ok(Vec::new()),
        Kind::Array => {}
        Kind::Bool | Kind::Number | Kind::String | Kind::Object => {
            return Err(Wrong { at: String::new(), expected: "null or an array", value: raw });
        }
    }
    let elements = || json::elements(raw).into_iter().flatten().flatten();
    match elements().next().map(|first| (kind(first), first)) {
        None => Ok(Vec::new()),
        Some((Kind::Number, _)) => Ok(vec![count_numbers(raw, "")?]),
        Some((Kind::Array, _)) => elements()
            .enumerate()
            .map(|(place, vector)| match kind(vector) {
                Kind::Array => count_numbers(vector, &format!("[{place}]")),
                Kind::Null | Kind::Bool | Kind::Number | Kind::String | Kind::Object => {
                    Err(Wrong { at: format!("[{place}]"), expected: "an array", value: vector })
                }
            })
            .collect(),
        Some((_, first)) => Err(Wrong { at: "[0]".into(), expected: "a number or an array", value: first }),
    }
}

fn count_numbers<'a>(vector: &'a [u8], at: &str) -> Result<usize, Wrong<'a>> {
    let mut count = 0;
    for (place, number) in json::elements(vector).into_iter().flatten().flatten().enumerate() {
        if kind(number) != Kind::Number {
            return Err(Wrong { at: format!("{at}[{place}]"), expected: "a number", value: number });
        }
        count += 1;
    }
    Ok(count)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// Of a valid value.
fn kind(raw: &[u8]) -> Kind {
    match raw.first() {
        Some(b'n') | None => Kind::Null,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'"') => Kind::String,
        Some(b'[') => Kind::Array,
        Some(b'{') => Kind::Object,
        Some(_) => Kind::Number,
    }
}

fn is_integer(number: &[u8]) -> bool {
    let text = String::from_utf8_lossy(number);
    text.parse::<u64>().is_ok() || text.parse::<i64>().is_ok()
}

/// Where whoever deserialises into something else notices it: behind the value, or at its first bracket.
fn column(raw: &[u8], start: usize) -> usize {
    match kind(raw) {
        Kind::Array | Kind::Object => start,
        Kind::Null | Kind::Bool | Kind::Number | Kind::String => start + raw.len(),
    }
}

/// A value in the words of whoever deserialises into something else.
fn described(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    match kind(raw) {
        Kind::Null => "null".into(),
        Kind::Bool => format!("boolean `{text}`"),
        Kind::Number if is_integer(raw) => format!("integer `{text}`"),
        Kind::Number => format!("floating point `{}`", quoted(raw)),
        Kind::String => format!("string {}", quoted(raw)),
        Kind::Array => "sequence".into(),
        Kind::Object => "map".into(),
    }
}

/// A value and its kind, for people.
fn found(raw: &[u8]) -> String {
    let article = match kind(raw) {
        Kind::Null => return "null".into(),
        Kind::Bool => "a boolean",
        Kind::Number if raw.first() == Some(&b'-') && is_integer(raw) => "a negative integer",
        Kind::Number if is_integer(raw) => "a positive integer",
        Kind::Number => "a number",
        Kind::String => "a string",
        Kind::Array => "an array",
        Kind::Object => "an object",
    };
    format!("{article}: `{}`", quoted(raw))
}
