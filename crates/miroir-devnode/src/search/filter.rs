//! Filters: a string, or an array of ANDed members each of which may be an array of ORed strings.

use milli_core::Filter;
use serde_json::Value;

use crate::error::{ApiError, ApiResult};

/// Parses `filter`. `None` means that it filters nothing out.
///
/// # Errors
/// `code` when it is malformed, `feature_not_enabled` when it uses an operator this node does not offer.
pub fn parse<'f>(filter: &'f Value, code: &str) -> ApiResult<Option<Filter<'f>>> {
    let parsed = match Filter::from_json(filter) {
        Ok(parsed) => parsed,
        // The engine of this node does not know such conditions at all.
        Err(_) if is_foreign(filter) => {
            return Err(ApiError::new(
                "feature_not_enabled",
                "Using a foreign filter requires enabling the `foreign_keys` experimental feature.",
            ));
        }
        Err(error) => return Err(ApiError::from(error).with_code(code)),
    };
    if let Some(filter) = &parsed
        && filter.use_contains_operator().is_some()
    {
        return Err(ApiError::new(
            "feature_not_enabled",
            "Using `CONTAINS` or `STARTS WITH` in a filter requires enabling the `contains filter` experimental feature.",
        ));
    }
    Ok(parsed)
}

/// Whether a filter has a whole condition on another index.
fn is_foreign(filter: &Value) -> bool {
    match filter {
        Value::String(text) => text.split_once("_foreign(").is_some_and(|(_, rest)| rest.contains(')')),
        Value::Array(members) => members.iter().any(is_foreign),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}
