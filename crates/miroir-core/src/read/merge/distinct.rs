//! One hit per distinct value, across nodes of which each already returns one.

use std::collections::HashSet;

use crate::base::json;
use crate::read::facet::key;
use crate::read::rank;
use crate::read::search::SearchRequest;

/// A value as Meilisearch tells values apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Value {
    /// A number's bits.
    Number(u64),
    /// Folded text, or a boolean's name.
    Text(String),
}

/// The values that hits already merged hold.
#[derive(Default)]
pub(super) struct Taken {
    values: HashSet<Value>,
    /// The values are ids, which differ in case.
    are_ids: bool,
    /// Of the hit at hand; kept for its memory.
    current: Vec<Value>,
}

impl Taken {
    /// For a search: with the document that it leaves out.
    pub fn of(request: &SearchRequest) -> Self {
        let values = request.left_out().map(|id| Value::Text(id.to_owned()));
        Self { are_ids: values.is_some(), values: values.into_iter().collect(), current: Vec::new() }
    }

    /// Whether the hit may appear: none of its values is taken, or it has none. Its values are taken afterwards.
    pub fn admits(&mut self, path: &str, roots: &[(&[u8], &[u8])]) -> bool {
        self.current.clear();
        for (key, raw) in roots {
            let rest = std::str::from_utf8(key).ok().and_then(|key| path.strip_prefix(key));
            match rest {
                Some("") if self.are_ids => self.current.push(Value::Text(id(raw))),
                Some("") => leaves(raw, &mut self.current),
                Some(rest) => {
                    if let Some(below) = rest.strip_prefix('.') {
                        descend(raw, below, &mut self.current);
                    }
                }
                None => {}
            }
        }
        if self.current.iter().any(|value| self.values.contains(value)) {
            return false;
        }
        self.values.extend(self.current.drain(..));
        true
    }
}

/// A raw id as text: 1 and "1" are the same.
fn id(raw: &[u8]) -> String {
    json::unquote(raw).map_or_else(|| String::from_utf8_lossy(raw).into_owned(), |text| text.into_owned())
}

/// Collects the values at `path` below a raw value. Depth is bounded by the path's.
fn descend(raw: &[u8], path: &str, found: &mut Vec<Value>) {
    match raw.first() {
        Some(b'{') => {
            let Ok(members) = json::members(raw) else {
                return;
            };
            for member in members.flatten() {
                let key = member.key_text();
                match path.strip_prefix(&*key) {
                    Some("") => leaves(member.value, found),
                    Some(rest) => {
                        if let Some(below) = rest.strip_prefix('.') {
                            descend(member.value, below, found);
                        }
                    }
                    None => {}
                }
            }
        }
        Some(b'[') => {
            let Ok(elements) = json::elements(raw) else {
                return;
            };
            for element in elements.flatten() {
                descend(element, path, found);
            }
        }
        _ => {}
    }
}

/// Collects a scalar, or the scalars in an array, also those of arrays in arrays. The scanner has bounded how deep values
/// nest, and with it this recursion.
fn leaves(raw: &[u8], found: &mut Vec<Value>) {
    if raw.first() == Some(&b'[') {
        if let Ok(elements) = json::elements(raw) {
            elements.flatten().for_each(|element| leaves(element, found));
        }
    } else {
        found.extend(leaf(raw));
    }
}

fn leaf(raw: &[u8]) -> Option<Value> {
    match raw {
        b"true" => Some(Value::Text("true".into())),
        b"false" => Some(Value::Text("false".into())),
        // An empty text is none; one of spaces alone is a value like others.
        [b'"', ..] => {
            let text = json::unquote(raw).filter(|text| !text.is_empty())?;
            Some(Value::Text(key(&text).into_owned()))
        }
        // Adding zero makes -0 the same as 0.
        _ => rank::number(raw).map(|number| Value::Number((number + 0.0).to_bits())),
    }
}
