//! Instants as core has them: milliseconds since 1970.

use time::OffsetDateTime;

/// An instant; 0 before 1970.
pub fn millis(instant: OffsetDateTime) -> u64 {
    u64::try_from(instant.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

/// The present one.
pub fn now_ms() -> u64 {
    millis(OffsetDateTime::now_utc())
}
