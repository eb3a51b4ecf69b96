//! Document ids: which texts and JSON values are one, and the text that stands for each.

use std::borrow::Cow;

use super::error::DocumentError;
use crate::base::error::{Code, ErrorBody};
use crate::base::json;

/// The greatest length of an id, in bytes.
pub const MAX_LENGTH: usize = 511;

/// Whether a document can have this id: 1 to 511 ASCII letters, digits, `-` and `_`.
#[inline]
pub fn is_valid(text: &[u8]) -> bool {
    (1..=MAX_LENGTH).contains(&text.len()) && text.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Checks an id that stands in a path. Meilisearch finds no document under an invalid one instead of refusing it; with
/// this a caller can tell without asking a node.
pub fn document_id(text: &str) -> Result<&str, DocumentError> {
    if is_valid(text.as_bytes()) { Ok(text) } else { Err(DocumentError::invalid_id_text(text)) }
}

/// The text of the id that is written as this valid JSON value: a string's text, or the digits of an integer from -2^63
/// to 2^64-1. Everything else is no id.
#[inline]
pub(crate) fn of_value(raw: &[u8]) -> Result<Cow<'_, str>, DocumentError> {
    let text = match raw {
        [b'"', inner @ .., b'"'] if is_valid(inner) => std::str::from_utf8(inner).ok().map(Cow::Borrowed),
        [b'"', ..] => json::unquote(raw).filter(|text| is_valid(text.as_bytes())),
        [b'-' | b'0'..=b'9', ..] => std::str::from_utf8(raw).ok().filter(|text| is_integer(text)).map(Cow::Borrowed),
        _ => None,
    };
    text.ok_or_else(|| DocumentError::invalid_id(raw))
}

/// Likewise of a value that stands in a request.
pub fn document_id_of(raw: &[u8]) -> Result<Cow<'_, str>, DocumentError> {
    of_value(raw)
}

/// Whether a JSON number is an integer that 64 bits hold. `-0` is a float to Meilisearch.
#[inline]
fn is_integer(number: &str) -> bool {
    number.parse::<u64>().is_ok() || (number != "-0" && number.parse::<i64>().is_ok())
}

/// The ids in the body of a deletion by ids, as texts: strings as they are, other values as compact JSON. Meilisearch
/// takes anything here; a text that is no valid id deletes nothing, but counts as provided.
pub fn route_ids(ids: &[u8]) -> Result<Vec<String>, RouteIdsError> {
    if ids.is_empty() {
        return Err(RouteIdsError(ErrorBody::new(Code::MissingPayload, "A json payload is missing.")));
    }
    match fast_ids(ids) {
        Some(ids) => Ok(ids),
        None => serde_json::from_slice::<Vec<serde_json::Value>>(ids)
            .map(|ids| ids.into_iter().map(text_of).collect())
            .map_err(|error| RouteIdsError(refusal(&error))),
    }
}

/// The ids when all of them are strings and integers, which they nearly always are.
fn fast_ids(ids: &[u8]) -> Option<Vec<String>> {
    std::str::from_utf8(ids).ok()?;
    json::elements(ids).ok()?.map(|id| of_value(id.ok()?).ok().map(Cow::into_owned)).collect()
}

fn text_of(id: serde_json::Value) -> String {
    match id {
        serde_json::Value::String(text) => text,
        other @ (serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_)) => other.to_string(),
    }
}

fn refusal(error: &serde_json::Error) -> ErrorBody {
    if error.is_data() {
        ErrorBody::new(Code::BadRequest, format!("Json deserialize error: {error}"))
    } else {
        ErrorBody::new(Code::MalformedPayload, format!("The json payload provided is malformed. `{error}`."))
    }
}

/// The body of a deletion by ids is not an array; holds what the client is answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.message)]
pub struct RouteIdsError(pub ErrorBody);

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &str) -> Option<String> {
        of_value(raw.as_bytes()).ok().map(Cow::into_owned)
    }

    #[test]
    fn integers_of_64_bits_and_short_plain_texts_are_ids() {
        for (raw, id) in [
            ("0", "0"),
            ("42", "42"),
            ("-1", "-1"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("\"42\"", "42"),
            ("\"01\"", "01"),
            ("\"a-B_9\"", "a-B_9"),
            ("\"\\u0061\"", "a"),
        ] {
            assert_eq!(text(raw).as_deref(), Some(id), "{raw}");
        }
        assert_eq!(text(&format!("\"{}\"", "a".repeat(511))), Some("a".repeat(511)));
    }

    #[test]
    fn everything_else_is_no_id() {
        for raw in [
            "-0",
            "1.0",
            "1e2",
            "18446744073709551616",
            "-9223372036854775809",
            "true",
            "null",
            "[1]",
            "{\"a\":1}",
            "\"\"",
            "\" 1\"",
            "\"a.b\"",
            "\"caf\\u00e9\"",
            "\"é\"",
            "\"a\\nb\"",
        ] {
            assert_eq!(text(raw), None, "{raw}");
        }
        assert_eq!(text(&format!("\"{}\"", "a".repeat(512))), None);
    }

    #[test]
    fn the_error_shows_the_id_as_json() {
        let message = |raw: &str| of_value(raw.as_bytes()).unwrap_err().to_string();
        assert!(message("-0").starts_with("Document identifier `-0.0` is invalid. A document identifier can be"));
        assert!(message("\"caf\\u00e9\"").starts_with("Document identifier `\"café\"` is"));
        assert_eq!(document_id("a b").unwrap_err().body().code, "invalid_document_id");
        assert!(document_id("a b").unwrap_err().to_string().starts_with("Document identifier `\"a b\"` is"));
        assert_eq!(document_id("a-b"), Ok("a-b"));
    }

    #[test]
    fn ids_to_delete_are_texts() {
        let ids = |body: &str| route_ids(body.as_bytes()).map_err(|error| (error.0.code, error.0.message));
        assert_eq!(ids(" [1, \"2\",\"x\"] "), Ok(vec!["1".into(), "2".into(), "x".into()]));
        assert_eq!(ids("[null,1.5,3.0,\" x\",{\"a\": 1}]").unwrap(), ["null", "1.5", "3.0", " x", "{\"a\":1}"]);
        assert_eq!(ids("[]"), Ok(vec![]));
        let error = |code: &str, message: &str| Err((code.to_owned(), message.to_owned()));
        assert_eq!(ids(""), error("missing_payload", "A json payload is missing."));
        assert_eq!(
            ids("{}"),
            error("bad_request", "Json deserialize error: invalid type: map, expected a sequence at line 1 column 0")
        );
        assert_eq!(
            ids("[1] x"),
            error(
                "malformed_payload",
                "The json payload provided is malformed. `trailing characters at line 1 column 5`."
            )
        );
    }
}
