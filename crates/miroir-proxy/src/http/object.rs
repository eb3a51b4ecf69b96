//! JSON objects of operators' requests, read strictly: what is wrong is named by its path.

use miroir_core::base::error::Code;
use serde_json::{Map, Value};

use super::body;
use super::body::Payload;
use super::error::Failure;

/// A field that has to be there.
pub fn missing(path: &str) -> Failure {
    Failure::new(Code::BadRequest, format!("Missing field `{path}`."))
}

/// A field that should be something else.
pub fn wrong_type(path: &str, expected: &str, found: &Value) -> Failure {
    let found: String = found.to_string().chars().take(100).collect();
    Failure::new(Code::BadRequest, format!("Invalid value at `.{path}`: expected {expected}, but found `{found}`."))
}

/// A JSON object of a request, and where it stands there.
pub struct Object {
    members: Map<String, Value>,
    path: String,
}

impl Object {
    /// The body of a request.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub async fn read(payload: &mut Payload) -> Result<Self, Failure> {
        let bytes = payload.json().await?;
        Self::of(serde_json::from_slice(&bytes).map_err(|error| body::malformed(&error))?, String::new())
    }

    /// A value at this place.
    ///
    /// # Errors
    /// When it is no object.
    pub fn of(value: Value, path: String) -> Result<Self, Failure> {
        match value {
            Value::Object(members) => Ok(Self { members, path }),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                let found: String = other.to_string().chars().take(100).collect();
                let place = if path.is_empty() { String::new() } else { format!(" at `{path}`") };
                let message = format!("Invalid value{place}: expected an object, but found `{found}`.");
                Err(Failure::new(Code::BadRequest, message))
            }
        }
    }

    /// A field; null is none.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.members.get(field).filter(|value| !value.is_null())
    }

    /// Refuse what is misspelt.
    ///
    /// # Errors
    /// When there is a field besides these.
    pub fn only(&self, known: &[&str]) -> Result<(), Failure> {
        let Some(unknown) = self.members.keys().find(|field| !known.contains(&field.as_str())) else { return Ok(()) };
        let unknown: String = unknown.chars().take(100).collect();
        let known = known.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ");
        let message = format!("Unknown field `{}.{unknown}`: expected one of {known}.", self.path);
        Err(Failure::new(Code::BadRequest, message))
    }

    /// A string that has to be there.
    ///
    /// # Errors
    /// When it is not, or is something else.
    pub fn text(&self, field: &str) -> Result<&str, Failure> {
        let path = format!("{}.{field}", self.path);
        let path = path.trim_start_matches('.');
        let value = self.get(field).ok_or_else(|| missing(path))?;
        value.as_str().ok_or_else(|| wrong_type(path, "a string", value))
    }

    /// A string that need not be there.
    ///
    /// # Errors
    /// When it is something else.
    pub fn optional_text(&self, field: &str) -> Result<Option<String>, Failure> {
        self.get(field).map(|_| self.text(field).map(str::to_owned)).transpose()
    }

    /// A whole number that need not be there.
    ///
    /// # Errors
    /// When it is something else than `expected`, or too large.
    pub fn number(&self, field: &str, expected: &str) -> Result<Option<u32>, Failure> {
        let read = |value: &Value| {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            number.ok_or_else(|| wrong_type(field, expected, value))
        };
        self.get(field).map(read).transpose()
    }

    /// True or false; none: it is not there.
    ///
    /// # Errors
    /// When it is something else.
    pub fn flag(&self, field: &str) -> Result<Option<bool>, Failure> {
        let value = self.get(field);
        value.map(|value| value.as_bool().ok_or_else(|| wrong_type(field, "true or false", value))).transpose()
    }
}

/// The value at a path, as in `.nodes[2].id`, will not do.
pub fn invalid(path: &str, problem: &impl std::fmt::Display) -> Failure {
    Failure::new(Code::BadRequest, format!("Invalid value at `{path}`: {problem}."))
}
