//! Which Meilisearch a node runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A version as `GET /version` says it: `1.50.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Release {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub patch: u32,
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

    /// What follows a `-` or `+` is not compared.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.trim().split(['-', '+']).next().unwrap_or_default();
        let parsed: Option<Vec<u32>> = numbers.split('.').map(|part| part.parse().ok()).collect();
        match parsed.as_deref() {
            Some(&[major, minor, patch]) => Ok(Self { major, minor, patch }),
            Some(_) | None => Err(UnreadableRelease(text.to_owned())),
        }
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
        for text in ["", "1", "1.50", "1.50.x", "v1.50.0", "1.50.0.1"] {
            assert_eq!(of(text), Err(UnreadableRelease(text.into())));
        }
    }
}
