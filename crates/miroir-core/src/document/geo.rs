//! Whether `_geo` is a point. A node checks it once the field is filterable or sortable, and then fails the whole task.

use serde_json::{Map, Value};

use super::error::DocumentError;

/// The field that holds a document's point.
pub(super) const FIELD: &str = "_geo";

/// Checks the raw value of `_geo` in the document with this id: `null`, or an object of exactly `lat` and `lng`, each a
/// finite number or a text of one. The range of the numbers is not checked.
pub(super) fn check(id: &str, raw: &[u8]) -> Result<(), DocumentError> {
    problem(&Value::from(id), raw).map_or(Ok(()), |problem| Err(DocumentError::InvalidGeo(problem)))
}

fn problem(id: &Value, raw: &[u8]) -> Option<String> {
    let mut geo = match serde_json::from_slice::<Value>(raw) {
        Ok(Value::Null) => return None,
        Ok(Value::Object(geo)) => geo,
        Ok(value @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_))) => {
            return Some(format!(
                "The `_geo` field in the document with the id: `{id}` is not an object. Was expecting an object with the `_geo.lat` and `_geo.lng` fields but instead got `{value}`."
            ));
        }
        Err(error) => return Some(error.to_string()),
    };
    let (lat, lng) = match (geo.remove("lat"), geo.remove("lng")) {
        (Some(lat), Some(lng)) => (lat, lng),
        (lat, lng) => return Some(missing(id, lat.is_none(), lng.is_none())),
    };
    if !geo.is_empty() {
        return Some(unexpected(id, geo));
    }
    let expecting = match (is_finite(&lat), is_finite(&lng)) {
        (true, true) => return None,
        (true, false) => ("longitude", format!("a finite number but instead got `{lng}`")),
        (false, true) => ("latitude", format!("a finite number but instead got `{lat}`")),
        (false, false) => ("latitude nor longitude", format!("finite numbers but instead got `{lat}` and `{lng}`")),
    };
    let (what, expected) = expecting;
    Some(format!("Could not parse {what} in the document with the id: `{id}`. Was expecting {expected}."))
}

fn missing(id: &Value, lat: bool, lng: bool) -> String {
    let (what, fields) = match (lat, lng) {
        (true, true) => ("latitude nor longitude", "`_geo.lat` and `_geo.lng` fields"),
        (true, false) => ("latitude", "a `_geo.lat` field"),
        (false, _) => ("longitude", "a `_geo.lng` field"),
    };
    format!("Could not find {what} in the document with the id: `{id}`. Was expecting {fields}.")
}

fn unexpected(id: &Value, rest: Map<String, Value>) -> String {
    let rest = Value::Object(rest);
    format!("The `_geo` field in the document with the id: `{id}` contains the following unexpected fields: `{rest}`.")
}

fn is_finite(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(f64::is_finite),
        Value::String(text) => text.parse::<f64>().is_ok_and(f64::is_finite),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_and_null_are_valid() {
        for raw in ["null", r#"{"lat":1,"lng":2}"#, r#"{"lng":"-2e3","lat":"1"}"#, r#"{"lat":1,"lat":2,"lng":1e3}"#] {
            assert_eq!(check("1", raw.as_bytes()), Ok(()), "{raw}");
        }
    }

    #[test]
    fn each_fault_has_its_message() {
        for (raw, message) in [
            (
                "1",
                "The `_geo` field in the document with the id: `\"1\"` is not an object. Was expecting an object with the `_geo.lat` and `_geo.lng` fields but instead got `1`.",
            ),
            (
                "{}",
                "Could not find latitude nor longitude in the document with the id: `\"1\"`. Was expecting `_geo.lat` and `_geo.lng` fields.",
            ),
            (
                r#"{"lat":1}"#,
                "Could not find longitude in the document with the id: `\"1\"`. Was expecting a `_geo.lng` field.",
            ),
            (
                r#"{"lng":1,"z":1}"#,
                "Could not find latitude in the document with the id: `\"1\"`. Was expecting a `_geo.lat` field.",
            ),
            (
                r#"{"lat":"1","lng":" 2"}"#,
                "Could not parse longitude in the document with the id: `\"1\"`. Was expecting a finite number but instead got `\" 2\"`.",
            ),
            (
                r#"{"lat":"NaN","lng":1}"#,
                "Could not parse latitude in the document with the id: `\"1\"`. Was expecting a finite number but instead got `\"NaN\"`.",
            ),
            (
                r#"{"lat":"a","lng":true}"#,
                "Could not parse latitude nor longitude in the document with the id: `\"1\"`. Was expecting finite numbers but instead got `\"a\"` and `true`.",
            ),
            (
                r#"{"lat":1,"lng":2,"z":3}"#,
                "The `_geo` field in the document with the id: `\"1\"` contains the following unexpected fields: `{\"z\":3}`.",
            ),
        ] {
            assert_eq!(check("1", raw.as_bytes()), Err(DocumentError::InvalidGeo(message.into())), "{raw}");
        }
    }
}
