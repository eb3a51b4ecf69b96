//! Comparing answers up to what differs between any two servers: times, numbers of tasks, sizes on disk.

use serde_json::Value;

/// Fields whose presence and type count, but not their value.
const VARYING: [&str; 18] = [
    "enqueuedAt",
    "startedAt",
    "finishedAt",
    "createdAt",
    "updatedAt",
    "lastUpdate",
    "duration",
    "taskUid",
    "batchUid",
    "uid",
    "requestUid",
    "processingTimeMs",
    "databaseSize",
    "usedDatabaseSize",
    "rawDocumentDbSize",
    "avgDocumentSize",
    "from",
    "next",
];

/// The answer with the values of varying fields replaced by their type; error messages too, whose wording is not
/// promised. A `uid` that names an index stays.
pub fn of(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| {
                let varies = VARYING.contains(&name.as_str()) && !(name == "uid" && value.is_string());
                let is_message = name == "message" && fields.contains_key("code");
                (name.clone(), if varies || is_message { Value::from(kind(value)) } else { of(value) })
            })
            .collect(),
        Value::Array(items) => items.iter().map(of).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "<null>",
        Value::Bool(_) => "<boolean>",
        Value::Number(_) => "<number>",
        Value::String(_) => "<text>",
        Value::Array(_) => "<list>",
        Value::Object(_) => "<object>",
    }
}

/// Documents in the order of their ids: servers may list them in another order.
pub fn by_id(mut documents: Vec<Value>) -> Vec<Value> {
    documents.sort_by_key(|document| document["id"].to_string());
    documents
}

/// Panics unless both have the same shape.
#[track_caller]
pub fn assert_same(what: &str, candidate: &Value, reference: &Value) {
    let (candidate, reference) = (of(candidate), of(reference));
    assert!(candidate == reference, "{what}:\n candidate {candidate}\n reference {reference}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_and_numbers_vary_and_types_do_not() {
        assert_eq!(of(&json!({ "uid": 3, "enqueuedAt": "x" })), of(&json!({ "uid": 9, "enqueuedAt": "y" })));
        assert_ne!(of(&json!({ "uid": 3 })), of(&json!({ "uid": null })));
        assert_ne!(of(&json!({ "uid": "movies" })), of(&json!({ "uid": "books" })));
        assert_ne!(of(&json!({ "a": [1] })), of(&json!({ "a": [2] })));
    }
}
