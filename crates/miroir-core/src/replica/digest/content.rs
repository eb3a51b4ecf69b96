//! The hash of what clients wrote.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::base::json::{self, SyntaxError};
use crate::base::strip;

/// A document without our fields: equal for equal documents, whatever the order of members and the whitespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Content(pub u64);

/// Each kind of value has its own seed, so that `[]`, `{}` and `""` differ.
const SCALAR: u64 = 1;
const TEXT: u64 = 2;
const ARRAY: u64 = 3;
const OBJECT: u64 = 4;
const MEMBER: u64 = 5;

/// The hash of a raw document, vectors included. Numbers are compared as they are written: nodes return them as they got
/// them.
///
/// # Errors
/// When it is not a JSON object.
pub fn content_of(document: &[u8]) -> Result<Content, SyntaxError> {
    let mut sum = 0u64;
    for member in json::members(document)? {
        let member = member?;
        if !strip::is_our_member(member.key, member.value) {
            sum = sum.wrapping_add(of_member(&member)?);
        }
    }
    Ok(Content(mixed(OBJECT, sum)))
}

/// Members are summed up, so that their order does not matter.
fn of_member(member: &json::Member<'_>) -> Result<u64, SyntaxError> {
    let key = xxh3_64(member.key_text().as_bytes());
    Ok(mixed(MEMBER ^ key, of_value(member.value)?))
}

/// The scanner has bounded how deep values nest, and with it this recursion.
fn of_value(raw: &[u8]) -> Result<u64, SyntaxError> {
    match raw.first() {
        Some(b'{') => {
            let mut sum = 0u64;
            for member in json::members(raw)? {
                sum = sum.wrapping_add(of_member(&member?)?);
            }
            Ok(mixed(OBJECT, sum))
        }
        Some(b'[') => {
            let mut chain = 0u64;
            for element in json::elements(raw)? {
                chain = mixed(chain, of_value(element?)?);
            }
            Ok(mixed(ARRAY, chain))
        }
        Some(b'"') => {
            let hashed = match json::unquote(raw) {
                Some(text) => xxh3_64_with_seed(text.as_bytes(), TEXT),
                None => xxh3_64_with_seed(raw, TEXT),
            };
            Ok(hashed)
        }
        Some(_) | None => Ok(xxh3_64_with_seed(raw, SCALAR)),
    }
}

pub(super) fn mixed(seed: u64, value: u64) -> u64 {
    xxh3_64_with_seed(&value.to_le_bytes(), seed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::base::inert::{encode_millis, encode_shard};

    fn of(value: &Value) -> Content {
        content_of(value.to_string().as_bytes()).expect("an object")
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c\"\\\\é]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-c]{1,2}", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn documents() -> impl Strategy<Value = Map<String, Value>> {
        prop::collection::vec(("[a-d]{1,2}", values()), 0..5).prop_map(|members| members.into_iter().collect())
    }

    /// Members in the reverse order at every level.
    fn reversed(value: &Value) -> String {
        match value {
            Value::Object(members) => {
                let members = members.iter().rev();
                let members =
                    members.map(|(key, value)| format!("{} : {}", Value::from(key.as_str()), reversed(value)));
                format!("{{ {} }}", members.collect::<Vec<_>>().join(" , "))
            }
            Value::Array(elements) => {
                format!("[{}]", elements.iter().map(reversed).collect::<Vec<_>>().join(",\n"))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
        }
    }

    proptest! {
        #[test]
        fn neither_order_nor_whitespace_nor_fields_of_ours_count(document in documents(), stamp: u64) {
            let document = Value::Object(document);
            prop_assert_eq!(content_of(reversed(&document).as_bytes()), Ok(of(&document)));
            let mut stamped = document.clone();
            stamped["_miroir_updated_at"] = encode_millis(stamp).into();
            stamped["_miroir_shard"] = encode_shard(crate::base::id::ShardId(3)).into();
            prop_assert_eq!(of(&stamped), of(&document));
        }

        #[test]
        fn everything_else_counts(a in documents(), b in documents()) {
            prop_assert_eq!(a == b, of(&Value::Object(a)) == of(&Value::Object(b)));
        }
    }

    #[test]
    fn similar_documents_differ() {
        let all = [
            json!({}),
            json!({"a": null}),
            json!({"a": []}),
            json!({"a": {}}),
            json!({"a": ""}),
            json!({"a": [[]]}),
            json!({"a": [1, 2]}),
            json!({"a": [2, 1]}),
            json!({"a": "1"}),
            json!({"a": 1}),
            json!({"b": 1}),
            json!({"a": 1, "b": 2}),
            json!({"a": 2, "b": 1}),
            json!({"a": {"b": 1}}),
            json!({"a": {"b": 1}, "b": 1}),
            json!({"_vectors": {"e": [0.1, 0.2]}}),
            json!({"_vectors": {"e": [0.2, 0.1]}}),
            json!({"_miroir_updated_at": 7}),
            json!({"_miroir_expires_at": "never"}),
            json!({"_miroir_expires_at": encode_millis(7)}),
        ];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(i == j, of(a) == of(b), "{a} and {b}");
            }
        }
    }

    #[test]
    fn only_objects_are_documents() {
        for text in ["", "[]", "1", "{\"a\":}", "{\"a\":1"] {
            assert!(content_of(text.as_bytes()).is_err(), "{text}");
        }
    }
}
