//! Floors: a read that wants no node whose settings are older than a version.

use thiserror::Error;

use crate::base::error::{Code, ErrorBody};

/// The header of a request that sets a floor.
pub const MIN_SETTINGS_VERSION: &str = "X-Miroir-Min-Settings-Version";

/// The least version of an index's settings that a node may answer with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Floor(pub u64);

/// The header holds no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("`{MIN_SETTINGS_VERSION}` has to be a whole number from 0, as in `{MIN_SETTINGS_VERSION}: 3`.")]
pub struct InvalidFloor;

/// Shards are left that only nodes below the floor could answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("No nodes with settings of version {} or later can answer for the whole index `{uid}`.", floor.0, uid = .uid)]
pub struct TooStale<'a> {
    /// What the request wants.
    pub floor: Floor,
    /// The client's name of the index.
    pub uid: &'a str,
}

impl Floor {
    /// What stands in the header.
    ///
    /// # Errors
    /// [`InvalidFloor`] when that is not an unsigned integer of 64 bits.
    pub fn parse(header: &str) -> Result<Self, InvalidFloor> {
        let digits = header.trim_matches([' ', '\t']);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidFloor);
        }
        digits.parse().map(Self).map_err(|_| InvalidFloor)
    }

    /// Whether a node recorded at this version is not to be asked; none: it was never verified.
    pub fn leaves_out(self, recorded: Option<u64>) -> bool {
        recorded.unwrap_or(0) < self.0
    }
}

impl InvalidFloor {
    /// As clients see it.
    pub fn body(self) -> ErrorBody {
        ErrorBody::new(Code::MiroirInvalidHeader, self.to_string())
    }
}

impl TooStale<'_> {
    /// As clients see it.
    pub fn body(self) -> ErrorBody {
        ErrorBody::new(Code::MiroirSettingsVersionStale, self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_an_unsigned_integer() {
        for (text, floor) in [("0", 0), ("3", 3), (" 007\t", 7), ("18446744073709551615", u64::MAX)] {
            assert_eq!(Floor::parse(text), Ok(Floor(floor)), "{text}");
        }
        for text in ["", " ", "-1", "+1", "1.0", "1e3", "0x1", "three", "1 2", "1,2", "18446744073709551616", "١"] {
            assert_eq!(Floor::parse(text), Err(InvalidFloor), "{text}");
        }
        let body = InvalidFloor.body();
        assert_eq!(body.code, "miroir_invalid_header");
        assert!(body.message.contains("X-Miroir-Min-Settings-Version") && body.message.contains("whole number"));
    }

    #[test]
    fn nodes_below_the_floor_are_left_out() {
        assert!(Floor(3).leaves_out(Some(2)) && Floor(1).leaves_out(None));
        assert!(!Floor(3).leaves_out(Some(3)) && !Floor(3).leaves_out(Some(4)) && !Floor(0).leaves_out(None));
        let body = TooStale { floor: Floor(9), uid: "books" }.body();
        assert_eq!((body.code.as_str(), body.kind.as_str()), ("miroir_settings_version_stale", "system"));
        assert!(body.message.contains("version 9") && body.message.contains("books"), "{}", body.message);
    }
}
