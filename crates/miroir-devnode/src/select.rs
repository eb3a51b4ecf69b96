//! Choosing and rewriting parts of a JSON document by attribute name, where `a.b` reaches into objects and through
//! arrays of objects.

use serde_json::{Map, Value};

/// A JSON document.
pub type Document = Map<String, Value>;

/// Whether `path` is `prefix` or lies inside it (`a.b` lies inside `a`, `ab` does not).
fn lies_in(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Keeps only what `selectors` name.
pub fn keep(document: &Document, selectors: &[&str]) -> Document {
    let mut kept = Document::new();
    for (key, value) in document {
        if selectors.contains(&key.as_str()) {
            kept.insert(key.clone(), value.clone());
            continue;
        }
        let inner: Vec<&str> =
            selectors.iter().filter_map(|selector| selector.strip_prefix(key.as_str())?.strip_prefix('.')).collect();
        if inner.is_empty() {
            continue;
        }
        match value {
            Value::Object(object) => {
                kept.insert(key.clone(), Value::Object(keep(object, &inner)));
            }
            Value::Array(array) => {
                kept.insert(key.clone(), Value::Array(keep_in_array(array, &inner)));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    kept
}

fn keep_in_array(array: &[Value], selectors: &[&str]) -> Vec<Value> {
    let mut kept = Vec::new();
    for value in array {
        match value {
            Value::Array(inner) => kept.push(Value::Array(keep_in_array(inner, selectors))),
            Value::Object(object) => {
                let object = keep(object, selectors);
                if !object.is_empty() {
                    kept.push(Value::Object(object));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    kept
}

/// Calls `rewrite(path, array indices, leaf)` for every leaf value at or inside one of `selectors`.
pub fn for_each_leaf(document: &mut Document, selectors: &[&str], rewrite: &mut dyn FnMut(&str, &[usize], &mut Value)) {
    walk_object(document, selectors, "", &mut Vec::new(), rewrite);
}

fn walk_object(
    object: &mut Document,
    selectors: &[&str],
    base: &str,
    indices: &mut Vec<usize>,
    rewrite: &mut dyn FnMut(&str, &[usize], &mut Value),
) {
    for (key, value) in object.iter_mut() {
        let path = if base.is_empty() { key.clone() } else { format!("{base}.{key}") };
        if selectors.iter().any(|selector| lies_in(selector, &path) || lies_in(&path, selector)) {
            walk_value(value, selectors, &path, indices, rewrite);
        }
    }
}

fn walk_value(
    value: &mut Value,
    selectors: &[&str],
    path: &str,
    indices: &mut Vec<usize>,
    rewrite: &mut dyn FnMut(&str, &[usize], &mut Value),
) {
    match value {
        Value::Object(object) => walk_object(object, selectors, path, indices, rewrite),
        Value::Array(array) => {
            for (index, value) in array.iter_mut().enumerate() {
                indices.push(index);
                walk_value(value, selectors, path, indices, rewrite);
                indices.pop();
            }
        }
        leaf @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            rewrite(path, indices, leaf);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Document {
        let value = json!({"a": {"b": 1, "c": 2}, "ab": 3, "l": [{"x": 1, "y": 2}, {"y": 3}, 4]});
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn selectors_reach_into_objects_and_arrays() {
        assert_eq!(Value::Object(keep(&document(), &["a.b", "l.x"])), json!({"a": {"b": 1}, "l": [{"x": 1}]}));
        assert_eq!(Value::Object(keep(&document(), &["a"])), json!({"a": {"b": 1, "c": 2}}));
        assert_eq!(Value::Object(keep(&document(), &["nope"])), json!({}));
    }

    #[test]
    fn leaves_are_visited_with_their_path_and_indices() {
        let mut seen = Vec::new();
        let mut document = document();
        for_each_leaf(&mut document, &["l", "a.c"], &mut |path, indices, _| {
            seen.push((path.to_owned(), indices.to_vec()));
        });
        let expected = [("a.c", vec![]), ("l.x", vec![0]), ("l.y", vec![0]), ("l.y", vec![1]), ("l", vec![2])];
        assert_eq!(seen, expected.map(|(path, indices)| (path.to_owned(), indices)));
    }
}
