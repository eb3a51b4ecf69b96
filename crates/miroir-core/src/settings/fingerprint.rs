//! Fingerprints: whether two nodes hold the same settings, told from a few bytes.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::canonical::{canonical, hidden_in};

/// SHA-256 of the canonical form of settings as nodes hold them, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of settings as a node reads them back, or as the overlay makes them out of committed ones.
    pub fn of(settings: &Value) -> Self {
        Self::hash(&canonical(settings))
    }

    /// Of expected settings, as a node would show them that shows `read`: a setting whose feature is off is not shown,
    /// and so cannot be compared.
    pub fn as_shown(expected: &Value, read: &Value) -> Self {
        let mut expected = canonical(expected);
        if let Value::Object(members) = &mut expected {
            hidden_in(read).for_each(|key| {
                members.shift_remove(key);
            });
        }
        Self::hash(&expected)
    }

    /// As hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn hash(canonical: &Value) -> Self {
        // The map keeps the order that the canonical form gave it.
        Self(hex::encode(Sha256::digest(canonical.to_string())))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a node that reads `read` back holds the expected settings.
pub fn holds(expected: &Value, read: &Value) -> bool {
    Fingerprint::as_shown(expected, read) == Fingerprint::of(read)
}
