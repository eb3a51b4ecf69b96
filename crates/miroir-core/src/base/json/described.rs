//! Values as Meilisearch's messages name them.

use serde_json::Value;

/// `a positive integer: `5``, and so on.
pub fn described(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => format!("a boolean: `{value}`"),
        Value::Number(number) if number.is_u64() => format!("a positive integer: `{number}`"),
        Value::Number(number) if number.is_i64() => format!("a negative integer: `{number}`"),
        Value::Number(number) => format!("a number: `{number}`"),
        Value::String(text) => format!("a string: `{}`", Value::String(text.clone())),
        Value::Array(_) => format!("an array: `{value}`"),
        Value::Object(_) => format!("an object: `{value}`"),
    }
}
