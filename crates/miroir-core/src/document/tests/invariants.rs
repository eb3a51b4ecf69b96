//! What holds for every payload, checked against a reading of it by `serde_json`. Shared by the tests and the fuzz
//! target.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};

use serde_json::value::RawValue;
use serde_json::{Deserializer, Map, Value};

use super::{DocumentError, Format, Split, SplitError, SplitRequest, hash, inert, split};

type Document = Map<String, Value>;

/// Splits the payload and checks the result. The request must have a primary key without dots and no check of `_geo`.
pub fn check(payload: &[u8], format: Format, request: &SplitRequest<'_>) {
    let outcome = split(payload, format, request);
    if let Ok(split) = &outcome {
        check_bodies(split, request);
    }
    let expected = match format {
        _ if payload.is_empty() => None,
        Format::Json => read_json(payload),
        Format::Ndjson => read_ndjson(payload),
        // Reading CSV is checked by its own tests.
        Format::Csv { .. } => return,
    };
    let sound = expected.filter(|documents| documents.iter().all(|document| is_sound(document, request)));
    match (outcome, sound) {
        (Ok(split), Some(documents)) => check_documents(&split, documents, request),
        (Ok(_), None) => panic!("accepted what is unsound: {:?}", String::from_utf8_lossy(payload)),
        // A value tree does not show that a key was there twice.
        (Err(SplitError::Document(DocumentError::SeveralIds { .. })), _) => {}
        (Err(SplitError::Reserved { .. }), _) if has_text(payload, "miroir") || has_text(payload, "\\u") => {}
        (Err(error), Some(_)) => panic!("{error}: {:?}", String::from_utf8_lossy(payload)),
        (Err(_), None) => {}
    }
}

/// Each body is NDJSON of documents of its shard, with our fields behind the others.
fn check_bodies(split: &Split, request: &SplitRequest<'_>) {
    assert_eq!(split.shards.len(), request.shards.get() as usize);
    let (mut received, mut ids) = (0, HashSet::new());
    for (shard, body) in split.shards.iter().enumerate() {
        assert!(body.is_empty() || body.ends_with(b"}\n"));
        for document in read_ndjson(body).expect("a body is NDJSON") {
            let mut last = document.iter().rev();
            if let Some(stamp) = request.stamp {
                let (key, value) = last.next().unwrap();
                assert_eq!(key, inert::UPDATED_AT_FIELD);
                assert_eq!(value.as_str().and_then(inert::decode_millis), Some(stamp));
            }
            let (key, value) = last.next().unwrap();
            assert_eq!(key, inert::SHARD_FIELD);
            assert_eq!(value.as_str().and_then(inert::decode_shard).map(|shard| shard.0 as usize), Some(shard));
            let id = id_of(&document, request).expect("a document has an id");
            assert_eq!(hash::shard_of(id.as_bytes(), request.shards).0 as usize, shard);
            ids.insert(id);
            received += 1;
        }
    }
    assert_eq!((split.received, split.unique), (received, ids.len() as u64));
}

/// The documents are those of the payload, and those of one shard in the payload's order.
fn check_documents(split: &Split, documents: Vec<Document>, request: &SplitRequest<'_>) {
    let mut bodies: Vec<VecDeque<Document>> =
        split.shards.iter().map(|body| read_ndjson(body).unwrap_or_default().into()).collect();
    for document in documents {
        let id = id_of(&document, request).unwrap();
        let body = &mut bodies[hash::shard_of(id.as_bytes(), request.shards).0 as usize];
        let mut routed = body.pop_front().expect("no document is lost");
        routed.shift_remove(inert::SHARD_FIELD);
        if request.stamp.is_some() {
            routed.shift_remove(inert::UPDATED_AT_FIELD);
        }
        // Compared as text: two values that print alike are one to every reader.
        assert_eq!(Value::from(routed).to_string(), Value::from(document).to_string());
    }
    assert!(bodies.iter().all(VecDeque::is_empty), "no document is added");
}

fn is_sound(document: &Document, request: &SplitRequest<'_>) -> bool {
    let reserved = document.contains_key(inert::SHARD_FIELD)
        || (request.reserved.updated_at && document.contains_key(inert::UPDATED_AT_FIELD));
    !reserved && id_of(document, request).is_some()
}

fn id_of(document: &Document, request: &SplitRequest<'_>) -> Option<String> {
    match document.get(request.primary_key)? {
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        Value::String(text) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            ((1..=511).contains(&text.len()) && text.chars().all(plain)).then(|| text.clone())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn read_json(payload: &[u8]) -> Option<Vec<Document>> {
    let first = payload.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'[') {
        return serde_json::from_slice(payload).ok().map(|document| vec![document]);
    }
    let documents = Deserializer::from_slice(payload).into_iter::<Vec<&RawValue>>().next()?.ok()?;
    documents.into_iter().map(read_document).collect()
}

fn read_ndjson(payload: &[u8]) -> Option<Vec<Document>> {
    Deserializer::from_slice(payload).into_iter::<&RawValue>().map(|document| read_document(document.ok()?)).collect()
}

/// Reads each value on its own: inside a list, a document may nest one level deeper than a reader of values takes.
fn read_document(document: &RawValue) -> Option<Document> {
    let fields: Fields<'_> = serde_json::from_str(document.get()).ok()?;
    fields.0.into_iter().map(|(key, value)| Some((key.into_owned(), serde_json::from_str(value.get()).ok()?))).collect()
}

/// Fields in their order, duplicates included.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Fields<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

fn has_text(payload: &[u8], text: &str) -> bool {
    payload.windows(text.len()).any(|window| window == text.as_bytes())
}
