//! The values that documents hold at an attribute, as facets and sorts see them.

use serde_json::{Map, Value};

/// Every scalar at `path`, through objects and arrays.
pub fn at(document: &Map<String, Value>, path: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for (key, value) in document {
        match path.strip_prefix(key.as_str()) {
            Some("") => scalars(value, &mut found),
            Some(rest) => {
                if let Some(below) = rest.strip_prefix('.') {
                    inside(value, below, &mut found);
                }
            }
            None => {}
        }
    }
    found
}

/// Whether the document has the attribute, whatever its value.
pub fn exists(document: &Map<String, Value>, path: &str) -> bool {
    document.iter().any(|(key, value)| match path.strip_prefix(key.as_str()) {
        Some("") => true,
        Some(rest) => rest.strip_prefix('.').is_some_and(|below| exists_inside(value, below)),
        None => false,
    })
}

/// A scalar as text that equal facet values share; nothing for what is no facet value.
pub fn as_facet(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => number.as_f64().map(|number| format!("number {number}")),
        Value::Bool(flag) => Some(format!("text {flag}")),
        Value::String(text) => {
            Some(milli_core::normalize_facet(text)).filter(|t| !t.is_empty()).map(|t| format!("text {t}"))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn inside(value: &Value, path: &str, found: &mut Vec<Value>) {
    match value {
        Value::Object(object) => found.extend(at(object, path)),
        Value::Array(array) => array.iter().for_each(|value| inside(value, path, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn exists_inside(value: &Value, path: &str) -> bool {
    match value {
        Value::Object(object) => exists(object, path),
        Value::Array(array) => array.iter().any(|value| exists_inside(value, path)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn scalars(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Array(array) => array.iter().for_each(|value| scalars(value, found)),
        Value::Null | Value::Object(_) => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => found.push(value.clone()),
    }
}
