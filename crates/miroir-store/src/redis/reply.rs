//! Answers of Redis as what they should be.

#![allow(clippy::wildcard_enum_match_arm)] // the library's kinds of values: any other is not what should have come

use bytes::Bytes;
use redis::Value;

/// A number, also one that is written in digits.
pub(super) fn number(value: Option<Value>) -> Option<u64> {
    match value? {
        Value::Int(number) => u64::try_from(number).ok(),
        other => std::str::from_utf8(&bytes(Some(other))?).ok()?.parse().ok(),
    }
}

/// A string of bytes.
pub(super) fn bytes(value: Option<Value>) -> Option<Bytes> {
    match value? {
        Value::BulkString(bytes) => Some(bytes.into()),
        Value::SimpleString(text) => Some(text.into_bytes().into()),
        Value::Okay => Some(Bytes::from_static(b"OK")),
        _ => None,
    }
}

/// A text.
pub(super) fn text(value: Option<Value>) -> Option<String> {
    String::from_utf8(bytes(value)?.into()).ok()
}

/// Several answers.
pub(super) fn list(value: Option<Value>) -> Option<Vec<Value>> {
    match value? {
        Value::Array(values) | Value::Set(values) => Some(values),
        // Protocol 3 says pairs where protocol 2 said keys and values in turn.
        Value::Map(pairs) => Some(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()),
        _ => None,
    }
}

/// A list of numbers; `None`: the reply is something else.
pub(super) fn numbers(value: Option<Value>) -> Option<Vec<u64>> {
    list(value)?.into_iter().map(|value| number(Some(value))).collect()
}

/// Nothing is there.
pub(super) fn is_nil(value: &Value) -> bool {
    matches!(value, Value::Nil | Value::Boolean(false))
}
