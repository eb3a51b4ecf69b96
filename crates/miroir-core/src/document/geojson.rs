//! Whether `_geojson` is a geometry. A node checks it once the field is filterable, and then fails the whole task.

use std::str::FromStr;

use geojson::GeoJson;

use super::error::DocumentError;

/// The field that holds a document's shape.
pub(super) const FIELD: &str = "_geojson";

/// Checks the raw value of `_geojson`, as nodes do.
pub(super) fn check(raw: &[u8]) -> Result<(), DocumentError> {
    let text = String::from_utf8_lossy(raw);
    let geometry = GeoJson::from_str(&text).and_then(geo_types::Geometry::<f64>::try_from);
    geometry.map(drop).map_err(|error| DocumentError::InvalidGeojson(error.to_string()))
}
