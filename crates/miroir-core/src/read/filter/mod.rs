//! A client's filter, read as far as Miroir acts upon it; all else is for nodes to judge.
//!
//! Invariant: whatever attribute a node would look up for the filter is seen here, however the client has written it.

mod join;
mod lexer;

use crate::base::inert::{SHARD_FIELD, UPDATED_AT_FIELD};
use crate::base::json;
pub use join::{Join, Malformed, joins, with_ids};
use lexer::{Kind, Lexer};

/// Reads a filter as the name of a join, where it stands without quotes.
const JOIN: &str = "_foreign";

/// What is in a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterFindings {
    /// A field of ours that it names as an attribute.
    pub ours: Option<&'static str>,
    /// Values that it compares with, those in lists one by one.
    pub values: usize,
    /// It asks for documents of another index.
    pub joins: bool,
}

/// Looks at a raw JSON filter: an expression, or lists of expressions.
pub fn seen(raw: &[u8]) -> FilterFindings {
    let mut seen = FilterFindings::default();
    each_expression(raw, 2, &mut |text| look_at(text, &mut seen));
    seen
}

/// Visits the expressions of a raw filter, in lists that are no deeper than `depth`.
fn each_expression(raw: &[u8], depth: usize, visit: &mut impl FnMut(&str)) {
    match raw.first() {
        Some(b'"') => {
            if let Some(text) = json::unquote(raw) {
                visit(&text);
            }
        }
        Some(b'[') if depth > 0 => {
            for element in json::elements(raw).into_iter().flatten().flatten() {
                each_expression(element, depth - 1, visit);
            }
        }
        _ => {}
    }
}

fn look_at(text: &str, seen: &mut FilterFindings) {
    let mut in_list = false;
    let mut before: Option<Kind<'_>> = None;
    for token in Lexer::new(text) {
        match &token.kind {
            Kind::Mark('[') => in_list = true,
            Kind::Mark(']') => in_list = false,
            Kind::Word(_) | Kind::Quoted(_) if in_list || wants_a_value(before.as_ref()) => seen.values += 1,
            Kind::Word(JOIN) => seen.joins = true,
            Kind::Word(name) => record_attribute(name, seen),
            Kind::Quoted(name) => record_attribute(name, seen),
            Kind::Keyword(_) | Kind::Comparison | Kind::Mark(_) | Kind::Other => {}
        }
        before = Some(token.kind);
    }
}

/// Whether a value stands behind this, and not an attribute.
fn wants_a_value(before: Option<&Kind<'_>>) -> bool {
    match before {
        // `a 1 TO 2` has its first value right behind the attribute.
        Some(Kind::Comparison | Kind::Word(_) | Kind::Quoted(_)) => true,
        Some(Kind::Keyword(keyword)) => matches!(*keyword, "TO" | "CONTAINS" | "WITH"),
        Some(Kind::Mark(_) | Kind::Other) | None => false,
    }
}

fn record_attribute(name: &str, seen: &mut FilterFindings) {
    let ours = [SHARD_FIELD, UPDATED_AT_FIELD].into_iter().find(|field| *field == name);
    seen.ours = seen.ours.or(ours);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn of(filter: &Value) -> FilterFindings {
        seen(filter.to_string().as_bytes())
    }

    #[test]
    fn our_fields_are_seen_however_they_are_written() {
        for filter in [
            json!("_miroir_shard EXISTS"),
            json!("NOT _miroir_shard EXISTS"),
            json!("a = 1 AND (_miroir_shard = x)"),
            json!("a = 1 OR \"_miroir_shard\" IN [x]"),
            json!("'_miroir_updated_at' > 1"),
            json!("_miroir_updated_at 1 TO 2"),
            json!(r#""\u{5f}miroir_shard" = x"#),
            json!(r#""\137miroir_shard" IS NULL"#),
            json!([["a = 1", "_miroir_shard IS EMPTY"]]),
            json!("a IN [b, c] AND _miroir_shard NOT IN [d]"),
            json!("_foreign(author, _miroir_shard = x)"),
            json!("a STARTS WITH b AND _miroir_shard CONTAINS c"),
        ] {
            assert!(of(&filter).ours.is_some(), "{filter}");
        }
        assert!(seen(br#""\u005fmiroir_shard EXISTS""#).ours.is_some());
    }

    #[test]
    fn values_and_other_names_are_nobodys_business() {
        for filter in [
            json!("title = _miroir_shard"),
            json!("title IN [a, \"_miroir_shard\", '_miroir_updated_at']"),
            json!("title CONTAINS _miroir_shard OR title STARTS WITH '_miroir_shard'"),
            json!("n _miroir_shard TO 5"),
            json!("_miroir_sharder = 1 AND my_miroir_shard = 2 AND _miroir_shard.x = 3"),
            json!(""),
            json!(5),
            json!([[["_miroir_shard = 1"]]]),
        ] {
            assert_eq!(of(&filter).ours, None, "{filter}");
        }
    }

    #[test]
    fn values_are_counted_one_by_one() {
        assert_eq!(of(&json!("a = 1 AND b IN [x, 'y', \"z\",] AND c 1 TO 2 AND d EXISTS")).values, 6);
        assert_eq!(of(&json!(["a = 1", ["b = 2", "c != 3"]])).values, 3);
        assert_eq!(of(&json!("a STARTS WITH b AND NOT c CONTAINS d")).values, 2);
        assert_eq!(of(&json!("_geoRadius(1.5, 2, 3)")).values, 0);
    }

    #[test]
    fn joins_are_seen_where_they_are_no_attribute_in_quotes() {
        assert!(of(&json!("n < 5 AND _foreign(author, country = fr)")).joins);
        assert!(of(&json!(["a = 1", ["NOT _foreign (author, x = 1)"]])).joins);
        assert!(!of(&json!("\"_foreign\" = 1 AND a = _foreign")).joins);
    }

    proptest! {
        #[test]
        fn nothing_is_too_odd_to_be_looked_at(text in ".{0,40}") {
            of(&json!(text));
            seen(text.as_bytes());
        }
    }
}
