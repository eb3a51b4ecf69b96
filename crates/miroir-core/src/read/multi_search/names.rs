//! The names of indexes in a multi-search, wherever a node would look for one.

use std::ops::Range;

use crate::base::json::{self, SyntaxError};

/// A raw multi-search with other names of indexes, all else the same byte for byte. `name` is told each name that stands
/// there and says what is to stand there instead, `None` for the same.
///
/// The request need not be one that anybody could read: whatever a node may take for the name of an index is one here,
/// members of which a node looks at the last alone included.
///
/// # Errors
/// When it is an object that cannot be walked through. What is no object names no index.
pub fn renamed(raw: &[u8], name: impl Fn(&str) -> Option<String>) -> Result<Vec<u8>, SyntaxError> {
    let mut names: Vec<(Range<usize>, String)> = Vec::new();
    let mut found = |at: Range<usize>, known: &str| names.extend(name(known).map(|other| (at, other)));
    if is_object(raw) {
        for member in json::members(raw)? {
            let member = member?;
            match &*member.key_text() {
                "queries" if is_array(member.value) => in_queries(raw, member.value, &mut found)?,
                "federation" if is_object(member.value) => in_federation(raw, member.value, &mut found)?,
                _ => {}
            }
        }
    }
    let mut text = Vec::with_capacity(raw.len());
    let mut done = 0;
    for (at, name) in names {
        text.extend_from_slice(json::at_most(raw, done, at.start));
        json::quote_into(&name, &mut text);
        done = at.end;
    }
    text.extend_from_slice(json::at_most(raw, done, raw.len()));
    Ok(text)
}

fn in_queries(whole: &[u8], queries: &[u8], found: &mut impl FnMut(Range<usize>, &str)) -> Result<(), SyntaxError> {
    for query in json::elements(queries)? {
        let query = query?;
        if !is_object(query) {
            continue;
        }
        for member in json::members(query)? {
            let member = member?;
            if member.key_is("indexUid")
                && let Some(uid) = json::unquote(member.value)
            {
                found(place(whole, member.value), &uid);
            }
        }
    }
    Ok(())
}

fn in_federation(whole: &[u8], raw: &[u8], found: &mut impl FnMut(Range<usize>, &str)) -> Result<(), SyntaxError> {
    for member in json::members(raw)? {
        let member = member?;
        if member.key_is("facetsByIndex") && is_object(member.value) {
            for index in json::members(member.value)? {
                let index = index?;
                let key = place(whole, index.key);
                found(key.start - 1..key.end + 1, &index.key_text());
            }
        }
    }
    Ok(())
}

fn is_object(raw: &[u8]) -> bool {
    raw.trim_ascii_start().first() == Some(&b'{')
}

fn is_array(raw: &[u8]) -> bool {
    raw.trim_ascii_start().first() == Some(&b'[')
}

/// Where a part of a text stands in it.
fn place(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(body: &str, name: impl Fn(&str) -> Option<String>) -> String {
        String::from_utf8(renamed(body.as_bytes(), name).expect("an object")).expect("text")
    }

    #[test]
    fn indexes_are_renamed_where_they_stand() {
        let body = r#"{"queries":[{"q":"a","indexUid":"a"}, {"indexUid" : "b","q":"indexUid"}],
            "federation":{"facetsByIndex":{"b":["x"], "a" : null}}}"#;
        let expected = r#"{"queries":[{"q":"a","indexUid":"a"}, {"indexUid" : "physical","q":"indexUid"}],
            "federation":{"facetsByIndex":{"physical":["x"], "a" : null}}}"#;
        assert_eq!(with(body, |name| (name == "b").then(|| "physical".to_owned())), expected);
    }

    #[test]
    fn no_name_stays_however_the_request_is_written() {
        for (body, expected) in [
            (
                r#"{"queries":[{"indexUid":"real","indexUid":"real","zork":1}],"queries":[{"index\u0055id":"re\u0061l"}]}"#,
                r#"{"queries":[{"indexUid":"X","indexUid":"X","zork":1}],"queries":[{"index\u0055id":"X"}]}"#,
            ),
            (
                r#" {"fe\u0064eration":{"facetsByIndex":{"real":[]},"facetsByIndex":{"re\u0061l":1}},"federation":{"facetsByIndex":{"real":2}}}"#,
                r#" {"fe\u0064eration":{"facetsByIndex":{"X":[]},"facetsByIndex":{"X":1}},"federation":{"facetsByIndex":{"X":2}}}"#,
            ),
            (r#"{"queries":{"indexUid":1}}"#, r#"{"queries":{"indexUid":1}}"#),
            (r#"{"queries":[1,[{"indexUid":2}]]}"#, r#"{"queries":[1,[{"indexUid":2}]]}"#),
            ("[]", "[]"),
            ("", ""),
        ] {
            assert_eq!(with(body, |_| Some("X".to_owned())), expected);
        }
        assert!(renamed(br#"{"queries":[{"indexUid":"a"}"#, |_| None).is_err());
    }
}
