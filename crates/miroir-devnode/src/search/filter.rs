//! Filters: a string, or an array of ANDed members each of which may be an array of ORed strings.

use milli_core::Filter;
use serde_json::Value;

use crate::error::{ApiError, ApiResult};

/// Parses `filter`. `None` means that it filters nothing out.
///
/// # Errors
/// `code` when it is malformed, `feature_not_enabled` when it uses an operator this node does not offer.
pub fn parse<'f>(filter: &'f Value, code: &str) -> ApiResult<Option<Filter<'f>>> {
    let parsed = Filter::from_json(filter).map_err(|error| ApiError::from(error).with_code(code))?;
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
