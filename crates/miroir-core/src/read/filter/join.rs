//! Filters that ask for documents of another index: `_foreign(author, country = fr)` finds what has the id of such an
//! author in `author`.
//!
//! A node sees only its own part of the other index. So each of these conditions is taken out, asked of the other index as
//! a whole, and put back as a list of ids. Miroir finds where a condition begins and ends; what it says is for nodes to
//! read.

use std::ops::Range;

use thiserror::Error;

use super::lexer::{Kind, Lexer, Token};
use super::{JOIN, each_expression, wants_a_value};
use crate::base::json;

/// A condition on documents of another index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The attribute that has their ids.
    pub field: String,
    /// The filter that they have to match: an expression.
    pub filter: String,
    /// It holds a condition of this kind itself.
    pub is_nested: bool,
}

/// The filter has a condition on documents of another index that is not of the form `_foreign(field, filter)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("The `_foreign` operator expects the name of a field and a filter: `_foreign(field, filter)`.")]
pub struct Malformed;

/// Where a join stands in an expression.
struct Found {
    /// All of it.
    whole: Range<usize>,
    /// Its attribute, with quotes if it has any.
    field: Range<usize>,
    join: Join,
}

/// The conditions on other indexes in a raw filter, in the order in which they stand there.
///
/// # Errors
/// [`Malformed`].
pub fn joins(raw: &[u8]) -> Result<Vec<Join>, Malformed> {
    let mut joins = Vec::new();
    let mut outcome = Ok(());
    each_expression(raw, 2, &mut |text| match found_in(text) {
        Ok(found) => joins.extend(found.into_iter().map(|found| found.join)),
        Err(malformed) => outcome = Err(malformed),
    });
    outcome.map(|()| joins)
}

/// The same filter with the ids that were found in place of its conditions on other indexes, one list for each of
/// [`joins`].
///
/// # Errors
/// [`Malformed`].
pub fn with_ids(raw: &[u8], ids: &[Vec<String>]) -> Result<Vec<u8>, Malformed> {
    let mut ids = ids.iter();
    let mut out = Vec::with_capacity(raw.len());
    rewrite(raw, 2, &mut ids, &mut out)?;
    Ok(out)
}

fn rewrite(
    raw: &[u8],
    depth: usize,
    ids: &mut std::slice::Iter<'_, Vec<String>>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    match raw.first() {
        Some(b'"') => {
            let text = json::unquote(raw).ok_or(Malformed)?;
            let mut rewritten = String::with_capacity(text.len());
            let mut copied = 0;
            for found in found_in(&text)? {
                rewritten.push_str(text.get(copied..found.whole.start).unwrap_or_default());
                rewritten.push_str(text.get(found.field).unwrap_or_default());
                rewritten.push_str(" IN [");
                for (position, id) in ids.next().into_iter().flatten().enumerate() {
                    // Ids are letters, digits, `-` and `_`.
                    rewritten.push_str(if position > 0 { ",\"" } else { "\"" });
                    rewritten.push_str(id);
                    rewritten.push('"');
                }
                rewritten.push(']');
                copied = found.whole.end;
            }
            rewritten.push_str(text.get(copied..).unwrap_or_default());
            json::quote_into(&rewritten, out);
        }
        Some(b'[') if depth > 0 => {
            out.push(b'[');
            for (position, element) in json::elements(raw).map_err(|_| Malformed)?.enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                rewrite(element.map_err(|_| Malformed)?, depth - 1, ids, out)?;
            }
            out.push(b']');
        }
        _ => out.extend_from_slice(raw),
    }
    Ok(())
}

/// The joins of an expression that stand in none.
fn found_in(text: &str) -> Result<Vec<Found>, Malformed> {
    let tokens: Vec<Token<'_>> = Lexer::new(text).collect();
    let begins = beginnings(&tokens);
    let mut found: Vec<Found> = Vec::new();
    let mut behind = 0;
    for (position, at) in begins.iter().enumerate() {
        if *at < behind {
            continue;
        }
        let (mut one, end) = one_at(text, &tokens, *at)?;
        one.join.is_nested = begins.get(position + 1).is_some_and(|next| *next < end);
        found.push(one);
        behind = end;
    }
    Ok(found)
}

/// The numbers of the tokens with which joins begin.
fn beginnings(tokens: &[Token<'_>]) -> Vec<usize> {
    let mut begins = Vec::new();
    let mut in_list = false;
    let mut before = None;
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Mark('[') => in_list = true,
            Kind::Mark(']') => in_list = false,
            Kind::Word(JOIN) if !in_list && !wants_a_value(before) => begins.push(at),
            Kind::Keyword(_) | Kind::Word(_) | Kind::Quoted(_) | Kind::Comparison | Kind::Mark(_) | Kind::Other => {}
        }
        before = Some(&token.kind);
    }
    begins
}

/// The join whose name is the token at `at`, and the number of the token behind it.
fn one_at(text: &str, tokens: &[Token<'_>], at: usize) -> Result<(Found, usize), Malformed> {
    let token = |number: usize| tokens.get(number).ok_or(Malformed);
    let (name, open, field, comma) = (token(at)?, token(at + 1)?, token(at + 2)?, token(at + 3)?);
    let field_name = match &field.kind {
        Kind::Word(name) => (*name).to_owned(),
        Kind::Quoted(name) => name.clone().into_owned(),
        Kind::Keyword(_) | Kind::Comparison | Kind::Mark(_) | Kind::Other => return Err(Malformed),
    };
    if open.kind != Kind::Mark('(') || comma.kind != Kind::Mark(',') {
        return Err(Malformed);
    }
    let mut depth = 1;
    for number in at + 4.. {
        let inner = token(number)?;
        match inner.kind {
            Kind::Mark('(') => depth += 1,
            Kind::Mark(')') => depth -= 1,
            Kind::Keyword(_) | Kind::Word(_) | Kind::Quoted(_) | Kind::Comparison | Kind::Mark(_) | Kind::Other => {}
        }
        if depth == 0 {
            let filter = text.get(comma.span.end..inner.span.start).unwrap_or_default().trim();
            let join = Join { field: field_name, filter: filter.to_owned(), is_nested: false };
            let whole = name.span.start..inner.span.end;
            return Ok((Found { whole, field: field.span.clone(), join }, number + 1));
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn of(filter: &Value) -> Result<Vec<(String, String, bool)>, Malformed> {
        let joins = joins(filter.to_string().as_bytes())?;
        Ok(joins.into_iter().map(|join| (join.field, join.filter, join.is_nested)).collect())
    }

    fn plain(field: &str, filter: &str) -> (String, String, bool) {
        (field.to_owned(), filter.to_owned(), false)
    }

    #[test]
    fn joins_are_found_wherever_they_stand() {
        let filter = json!([
            "n < 12 AND _foreign(others, country = jp AND (born > 1905 OR name = \"a)b\"))",
            ["NOT _foreign( 'au thor' , x IN [1, 2] )", "n = _foreign"],
        ]);
        let found = of(&filter).expect("readable");
        assert_eq!(
            found,
            [plain("others", "country = jp AND (born > 1905 OR name = \"a)b\")"), plain("au thor", "x IN [1, 2]"),]
        );
    }

    #[test]
    fn ids_take_the_place_of_joins() {
        let filter = json!(["a = 1 AND _foreign(\"x.y\", b = 2) OR c = 3", [" _foreign(z, q EXISTS) ", "d = \"é\""]]);
        let ids = [vec!["i-1".to_owned(), "2".to_owned()], vec![]];
        let rewritten = with_ids(filter.to_string().as_bytes(), &ids).expect("readable");
        let expected = json!(["a = 1 AND \"x.y\" IN [\"i-1\",\"2\"] OR c = 3", [" z IN [] ", "d = \"é\""]]);
        assert_eq!(serde_json::from_slice::<Value>(&rewritten).expect("JSON"), expected);
    }

    #[test]
    fn what_is_not_of_their_form_is_malformed_and_nesting_is_told() {
        for text in
            ["_foreign", "_foreign(", "_foreign(a)", "_foreign a, b = 1)", "_foreign(a, b = 1", "_foreign(AND, b = 1)"]
        {
            assert_eq!(of(&json!(text)), Err(Malformed), "{text}");
        }
        let nested = of(&json!("_foreign(a, _foreign(b, c = 1))")).expect("readable");
        assert_eq!(nested, [("a".to_owned(), "_foreign(b, c = 1)".to_owned(), true)]);
    }

    proptest! {
        #[test]
        fn a_filter_without_joins_stays_as_it_is(text in "[a-c_ ()=\"'\\\\,]{0,20}") {
            let filter = json!([text, ["a = 1"]]);
            let raw = filter.to_string();
            if let Ok(found) = joins(raw.as_bytes()) && found.is_empty() {
                let rewritten = with_ids(raw.as_bytes(), &[]).expect("readable");
                prop_assert_eq!(serde_json::from_slice::<Value>(&rewritten).expect("JSON"), filter);
            }
        }
    }
}
