//! Instants as core has them, milliseconds since 1970, and as operators read them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An instant; 0 before 1970.
pub fn millis(instant: OffsetDateTime) -> u64 {
    u64::try_from(instant.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

/// The present one.
pub fn now_ms() -> u64 {
    millis(OffsetDateTime::now_utc())
}

/// As the admin API writes it; empty for years that RFC 3339 cannot write.
pub fn rfc3339(instant: OffsetDateTime) -> String {
    instant.format(&Rfc3339).unwrap_or_default()
}
