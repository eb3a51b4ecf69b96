//! Versions of settings in headers: the one that a read demands, and the one that it was answered at.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use miroir_core::settings::{Floor, InvalidFloor, MIN_SETTINGS_VERSION};

use miroir_cluster::SettingsSeen;

/// `X-Miroir-Settings-Version`.
const VERSION: HeaderName = HeaderName::from_static("x-miroir-settings-version");
/// `X-Miroir-Settings-Inconsistent`.
const INCONSISTENT: HeaderName = HeaderName::from_static("x-miroir-settings-inconsistent");

/// What `X-Miroir-Min-Settings-Version` of a request demands; without it, nothing. A fault in it is told by whoever reads it,
/// after the body has arrived.
pub struct AtLeast(pub Result<Floor, InvalidFloor>);

impl<S: Sync> FromRequestParts<S> for AtLeast {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(floor(&parts.headers)))
    }
}

fn floor(headers: &HeaderMap) -> Result<Floor, InvalidFloor> {
    let mut values = headers.get_all(MIN_SETTINGS_VERSION).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(Floor::default()),
        (Some(value), None) => Floor::parse(value.to_str().map_err(|_| InvalidFloor)?),
        // Of two floors none is meant more than the other.
        (Some(_), Some(_)) => Err(InvalidFloor),
    }
}

/// Say with an answer which settings it was made under.
pub fn tell(seen: &SettingsSeen, headers: &mut HeaderMap) {
    if let Some(version) = seen.version() {
        headers.insert(VERSION, HeaderValue::from(version));
    }
    if seen.is_inconsistent() {
        headers.insert(INCONSISTENT, HeaderValue::from_static("true"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let name = HeaderName::from_static("x-miroir-min-settings-version");
        let value = |bytes: &&[u8]| HeaderValue::from_bytes(bytes).expect("a value");
        values.iter().map(|bytes| (name.clone(), value(bytes))).collect()
    }

    #[test]
    fn a_floor_stands_in_one_header() {
        assert_eq!(floor(&headers(&[])), Ok(Floor(0)));
        assert_eq!(floor(&headers(&[b"7"])), Ok(Floor(7)));
        for bad in [&[b"".as_slice()][..], &[b"\xff"], &["٧".as_bytes()], &[b"1", b"1"], &[b"-1"]] {
            assert_eq!(floor(&headers(bad)), Err(InvalidFloor), "{bad:?}");
        }
    }
}
