//! Documents of another index in place of their ids: what one server does with the attributes that the setting
//! `foreignKeys` names, in the hits of searches alone.
//!
//! Invariant: everything but those ids reaches the client byte for byte.

use std::ops::Range;

use crate::base::json::{self, SyntaxError};
use crate::document;
use crate::read::search::covers;
use crate::settings::Settings;

/// An attribute that holds ids of documents of another index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// The other index, by its client's name.
    pub index: String,
    /// The attribute, with dots where it is below others.
    pub field: String,
}

/// The foreign keys of an index, in the order of the setting.
pub fn foreign_keys(settings: &Settings) -> Vec<ForeignKey> {
    let key = |value: &serde_json::Value| {
        let text = |name| value.get(name)?.as_str().map(str::to_owned);
        Some(ForeignKey { index: text("foreignIndexUid")?, field: text("fieldName")? })
    };
    let all = settings.get("foreignKeys").and_then(|value| value.as_array());
    all.into_iter().flatten().filter_map(key).collect()
}

/// What an id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands<'a> {
    /// For this raw document.
    For(&'a [u8]),
    /// For none: one server writes an empty object.
    ForNothing,
    /// Nobody can say: the id stays.
    Unknown,
}

/// An id in an answer.
struct Id {
    /// Which key it belongs to.
    key: usize,
    /// Where it stands.
    span: Range<usize>,
    text: String,
}

/// The ids whose documents a raw hit asks for, each with the number of its key.
///
/// As with one server these are what stands at the attribute itself, or in a list there, up to the first that is no id;
/// lists in lists and what is marked in `_formatted` ask for nothing.
///
/// # Errors
/// When the hit is not a JSON object.
pub fn ids_in(hit: &[u8], keys: &[ForeignKey]) -> Result<Vec<(usize, String)>, SyntaxError> {
    let mut found = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        visit(hit, &key.field, &mut |id| found.push((number, id)))?;
    }
    Ok(found)
}

fn visit(object: &[u8], path: &str, found: &mut dyn FnMut(String)) -> Result<(), SyntaxError> {
    if let Some(value) = json::get(object, path)? {
        if value.first() == Some(&b'[') {
            for element in json::elements(value)? {
                let Ok(id) = document::id::of_value(element?) else { break };
                found(id.into_owned());
            }
        } else if let Ok(id) = document::id::of_value(value) {
            found(id.into_owned());
        }
    }
    // Depth is bounded by the path's.
    for (dot, _) in path.rmatch_indices('.') {
        let (Some(root), Some(rest)) = (path.get(..dot), path.get(dot + 1..)) else { continue };
        let Some(value) = json::get(object, root)? else { continue };
        match value.first() {
            Some(b'{') => visit(value, rest, found)?,
            Some(b'[') => {
                for element in json::elements(value)? {
                    let element = element?;
                    if element.first() == Some(&b'{') {
                        visit(element, rest, found)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Appends a hit with documents in place of ids; `stands` is asked for each id, with the number of its key.
///
/// # Errors
/// When the hit is not a JSON object; `out` is then as before.
pub fn hydrate<'d>(
    hit: &[u8],
    keys: &[ForeignKey],
    stands: &dyn Fn(usize, &str) -> Stands<'d>,
    out: &mut Vec<u8>,
) -> Result<(), SyntaxError> {
    let ids = ids_of(hit, keys)?;
    let mut copied = 0;
    for id in ids {
        let document = match stands(id.key, &id.text) {
            Stands::For(document) => document,
            Stands::ForNothing => b"{}",
            Stands::Unknown => continue,
        };
        out.extend_from_slice(json::at_most(hit, copied, id.span.start));
        out.extend_from_slice(document);
        copied = id.span.end;
    }
    out.extend_from_slice(json::at_most(hit, copied, hit.len()));
    Ok(())
}

/// Everything that could be an id at the keys, or below them, in the order in which it stands.
fn ids_of(hit: &[u8], keys: &[ForeignKey]) -> Result<Vec<Id>, SyntaxError> {
    let mut walk = Walk { keys, found: Vec::new() };
    for member in json::members(hit)? {
        let member = member?;
        let name = member.key_text();
        let at = member.span.end - member.value.len();
        // These are no members of the document, but for the one that repeats them.
        match &*name {
            "_rankingScore" | "_rankingScoreDetails" | "_matchesPosition" | "_federation" => {}
            "_formatted" => walk.object(member.value, at, "")?,
            name => walk.value(member.value, at, name)?,
        }
    }
    Ok(walk.found)
}

struct Walk<'a> {
    keys: &'a [ForeignKey],
    found: Vec<Id>,
}

impl Walk<'_> {
    /// The scanner has bounded how deep values nest, and with it this recursion.
    fn object(&mut self, raw: &[u8], at: usize, base: &str) -> Result<(), SyntaxError> {
        for member in json::members(raw)? {
            let member = member?;
            let key = member.key_text();
            let path = if base.is_empty() { key.into_owned() } else { format!("{base}.{key}") };
            self.value(member.value, at + member.span.end - member.value.len(), &path)?;
        }
        Ok(())
    }

    /// A member's value, if a key selects the member, something in it, or what it is in.
    fn value(&mut self, raw: &[u8], at: usize, path: &str) -> Result<(), SyntaxError> {
        let key = self.keys.iter().position(|key| covers(path, &key.field) || covers(&key.field, path));
        match key {
            Some(key) => self.selected(raw, at, path, key),
            None => Ok(()),
        }
    }

    fn selected(&mut self, raw: &[u8], at: usize, path: &str, key: usize) -> Result<(), SyntaxError> {
        match raw.first() {
            Some(b'{') => self.object(raw, at, path),
            Some(b'[') => {
                for element in json::elements(raw)? {
                    let element = element?;
                    self.selected(element, at + offset_in(raw, element), path, key)?;
                }
                Ok(())
            }
            _ => {
                if let Ok(text) = document::id::of_value(raw) {
                    self.found.push(Id { key, span: at..at + raw.len(), text: text.into_owned() });
                }
                Ok(())
            }
        }
    }
}

/// Where a slice of `whole` begins in it.
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

/// Visits the raw hits of an answer to a search, in order.
///
/// # Errors
/// When the answer has no hits, or is not JSON.
pub fn hits(answer: &[u8]) -> Result<Vec<&[u8]>, SyntaxError> {
    json::elements(hits_of(answer)?)?.collect()
}

fn hits_of(answer: &[u8]) -> Result<&[u8], SyntaxError> {
    json::get(answer, "hits")?.ok_or(SyntaxError { offset: 0, reason: "an answer without hits" })
}

/// The answer with each hit as `rewrite` appends it; it is told the hit's number.
///
/// # Errors
/// As [`hits`], or what `rewrite` fails with.
pub fn with_hits(
    answer: &[u8],
    mut rewrite: impl FnMut(usize, &[u8], &mut Vec<u8>) -> Result<(), SyntaxError>,
) -> Result<Vec<u8>, SyntaxError> {
    let hits = hits_of(answer)?;
    let at = offset_in(answer, hits);
    let mut out = Vec::with_capacity(answer.len() * 2);
    out.extend_from_slice(json::at_most(answer, 0, at));
    out.push(b'[');
    for (number, hit) in json::elements(hits)?.enumerate() {
        if number > 0 {
            out.push(b',');
        }
        rewrite(number, hit?, &mut out)?;
    }
    out.push(b']');
    out.extend_from_slice(json::at_most(answer, at + hits.len(), answer.len()));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn keys(keys: &[(&str, &str)]) -> Vec<ForeignKey> {
        keys.iter().map(|(index, field)| ForeignKey { index: (*index).into(), field: (*field).into() }).collect()
    }

    fn hydrated(hit: &Value, keys: &[ForeignKey], stands: &dyn Fn(usize, &str) -> Stands<'static>) -> Value {
        let mut out = Vec::new();
        hydrate(hit.to_string().as_bytes(), keys, stands, &mut out).expect("a hit");
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn ids_become_documents_in_lists_and_below_other_attributes() {
        let keys = keys(&[("authors", "author"), ("authors", "others"), ("shops", "sold.by.shop")]);
        let hit = json!({
            "id": "b1", "author": "a1", "others": ["a1", 7, ["a3"], "a2"],
            "sold": [{"by": {"shop": "a1", "else": "a1"}}, {"by": "a1"}, [{"by": {"shop": "a9"}}]],
            "_formatted": {"author": "a1", "title": "a1"}, "_rankingScoreDetails": {"author:asc": {"value": "a1"}},
        });
        let found = ids_in(hit.to_string().as_bytes(), &keys).expect("a hit");
        let found: Vec<(usize, &str)> = found.iter().map(|(key, id)| (*key, id.as_str())).collect();
        // What comes behind something that is no id is not asked for.
        assert_eq!(found, [(0, "a1"), (1, "a1"), (1, "7"), (2, "a1")]);
        let stands = |_, id: &str| match id {
            "a1" => Stands::For(&b"{\"n\":1}"[..]),
            "7" => Stands::ForNothing,
            _ => Stands::Unknown,
        };
        let document = json!({"n": 1});
        assert_eq!(
            hydrated(&hit, &keys, &stands),
            json!({
                "id": "b1", "author": document, "others": [document, {}, ["a3"], "a2"],
                "sold": [{"by": {"shop": document, "else": "a1"}}, {"by": document}, [{"by": {"shop": "a9"}}]],
                "_formatted": {"author": document, "title": "a1"}, "_rankingScoreDetails": {"author:asc": {"value": "a1"}},
            })
        );
    }

    #[test]
    fn an_attribute_with_a_dot_in_its_name_and_one_below_another_are_both_found() {
        let keys = keys(&[("authors", "by.author")]);
        let hit = json!({"by.author": "a1", "by": {"author": "a2"}, "bys": "a3"});
        let found = ids_in(hit.to_string().as_bytes(), &keys).expect("a hit");
        assert_eq!(found, [(0, "a1".to_owned()), (0, "a2".to_owned())]);
        let stands = |_, _: &str| Stands::ForNothing;
        assert_eq!(hydrated(&hit, &keys, &stands), json!({"by.author": {}, "by": {"author": {}}, "bys": "a3"}));
    }

    #[test]
    fn hits_are_rewritten_where_they_stand() {
        let answer = br#"{"hits":[{"a":1}, {"a":2}],"query":"\"hits\":[]","limit":20}"#;
        assert_eq!(hits(answer).expect("hits").len(), 2);
        let rewritten = with_hits(answer, |number, hit, out| {
            out.extend_from_slice(if number == 0 { b"{}" } else { hit });
            Ok(())
        });
        assert_eq!(rewritten.expect("hits"), br#"{"hits":[{},{"a":2}],"query":"\"hits\":[]","limit":20}"#);
        assert!(hits(b"{}").is_err());
    }
}
