//! Reading a request's members one by one, each with the error code Meilisearch gives it.
//!
//! A request is an object of known members. [`Fields`] hands out typed values, remembers which names were asked
//! for, and refuses whatever is left over, so that a mistyped parameter is never silently ignored.

use deserr::errors::JsonError;
use deserr::{Deserr, IntoValue, ValuePointerRef};
use serde_json::{Map, Value};

use crate::error::{ApiError, ApiResult};

/// The members of a request that have not been read yet.
#[derive(Debug, Default)]
pub struct Fields {
    map: Map<String, Value>,
    accepted: Vec<&'static str>,
}

impl Fields {
    /// The members of `map`.
    pub fn new(map: Map<String, Value>) -> Self {
        Self { map, accepted: Vec::new() }
    }

    /// Parses a JSON object.
    ///
    /// # Errors
    /// `missing_payload` when the body is empty, `malformed_payload` when it is not JSON, `bad_request` when it is not
    /// an object.
    pub fn parse(body: &[u8]) -> ApiResult<Self> {
        match parse_json(body)? {
            Value::Object(map) => Ok(Self::new(map)),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                Err(ApiError::new(
                    "bad_request",
                    format!("Invalid value type: expected an object, but found {}", describe(&other)),
                ))
            }
        }
    }

    /// The member `name`, or `None` when it is absent. A present member of the wrong type is an error with `code`;
    /// `T = Option<_>` accepts `null`.
    pub fn take<T: Deserr<JsonError>>(&mut self, name: &'static str, code: &str) -> ApiResult<Option<T>> {
        self.accepted.push(name);
        let Some(value) = self.map.remove(name) else { return Ok(None) };
        typed(name, value, code).map(Some)
    }

    /// The member `name`, `None` when absent or `null`.
    pub fn optional<T: Deserr<JsonError>>(&mut self, name: &'static str, code: &str) -> ApiResult<Option<T>> {
        Ok(self.take::<Option<T>>(name, code)?.flatten())
    }

    /// The member `name`, or `default` when absent.
    pub fn or<T: Deserr<JsonError>>(&mut self, name: &'static str, code: &str, default: T) -> ApiResult<T> {
        Ok(self.take(name, code)?.unwrap_or(default))
    }

    /// Refuses members that nobody asked for.
    ///
    /// # Errors
    /// `bad_request`, naming the first unknown member and the accepted ones.
    pub fn finish(self) -> ApiResult<()> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(unknown) => Err(unknown_field(unknown, &self.accepted)),
        }
    }
}

/// The error for a member that does not exist.
pub fn unknown_field(unknown: &str, accepted: &[&str]) -> ApiError {
    let accepted: Vec<_> = accepted.iter().map(|name| format!("`{name}`")).collect();
    ApiError::new("bad_request", format!("Unknown field `{unknown}`: expected one of {}", accepted.join(", ")))
}

/// Parses a whole JSON body.
///
/// # Errors
/// `missing_payload` or `malformed_payload`.
pub fn parse_json(body: &[u8]) -> ApiResult<Value> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::new("missing_payload", "A json payload is missing."));
    }
    serde_json::from_slice(body).map_err(|error| {
        ApiError::new("malformed_payload", format!("The json payload provided is malformed. `{error}`."))
    })
}

/// Reads `value`, found at `.name`, as a `T`.
///
/// # Errors
/// `code`, with a message that says what was expected and found.
pub fn typed<T: Deserr<JsonError>>(name: &str, value: Value, code: &str) -> ApiResult<T> {
    let at = ValuePointerRef::Origin;
    T::deserialize_from_value(value.into_value(), at.push_key(name))
        .map_err(|error| ApiError::new(code, error.to_string()))
}

fn describe(value: &Value) -> String {
    let kind = match value {
        Value::Null => return "null".to_owned(),
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    format!("{kind}: `{value}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_type_carries_the_members_code() {
        let mut fields = Fields::parse(br#"{"limit":"a"}"#).unwrap();
        let error = fields.or("limit", "invalid_search_limit", 20_usize).unwrap_err();
        assert_eq!(error.code, "invalid_search_limit");
        assert!(error.message.contains("`.limit`"), "{}", error.message);
    }

    #[test]
    fn an_unread_member_is_refused() {
        let mut fields = Fields::parse(br#"{"q":"a","frobnicate":1}"#).unwrap();
        assert_eq!(fields.optional::<String>("q", "invalid_search_q").unwrap().as_deref(), Some("a"));
        let error = fields.finish().unwrap_err();
        assert_eq!(error.code, "bad_request");
        assert!(error.message.contains("frobnicate") && error.message.contains("`q`"));
    }

    #[test]
    fn bodies_that_are_not_objects_are_refused() {
        assert_eq!(Fields::parse(b" ").unwrap_err().code, "missing_payload");
        assert_eq!(Fields::parse(b"{").unwrap_err().code, "malformed_payload");
        assert_eq!(Fields::parse(b"[]").unwrap_err().code, "bad_request");
    }
}
