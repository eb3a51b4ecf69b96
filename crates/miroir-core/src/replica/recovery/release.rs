//! Which Meilisearch a node runs.

use std::fmt;
use std::str::FromStr;

use semver::Version;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A version as `GET /version` says it: `1.50.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Release {
    /// The first number.
    pub major: u64,
    /// The second.
    pub minor: u64,
    /// The third.
    pub patch: u64,
}

/// The oldest that does all that nodes are asked for: what facets and filters of an attribute are kept for is said
/// attribute by attribute, and documents are fetched by lists of ids.
pub const OLDEST: Release = Release { major: 1, minor: 15, patch: 0 };

/// The text is no version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a version of Meilisearch")]
pub struct UnreadableRelease(pub String);

impl FromStr for Release {
    type Err = UnreadableRelease;

    /// What follows a `-` or `+` is not compared: a candidate of a release has what the release has.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let version = Version::parse(text.trim()).map_err(|_| UnreadableRelease(text.to_owned()))?;
        Ok(Self { major: version.major, minor: version.minor, patch: version.patch })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_and_ordered_by_number() {
        let of = |text: &str| text.parse::<Release>();
        assert_eq!(of("1.50.0").map(|release| release.to_string()), Ok("1.50.0".into()));
        assert!(of("1.9.3").expect("one") < of("1.50.0-rc.1").expect("one"));
        for same in ["1.50.0-rc.1", "1.50.0-prototype-x.2+build.7", "1.50.0+abc", " 1.50.0\n"] {
            assert_eq!(of(same), of("1.50.0"), "{same}");
        }
        for text in ["", "1", "1.50", "1.50.x", "v1.50.0", "1.50.0.1", "+1.50.0", "1.-50.0", "1.50.", "1.50.0 x"] {
            assert_eq!(of(text), Err(UnreadableRelease(text.into())));
        }
    }
}
