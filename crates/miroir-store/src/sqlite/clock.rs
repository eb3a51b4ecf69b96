//! The time of the file: that of the one process that has it open.
//!
//! Invariant: no time goes back while the process lives, whatever becomes of the machine's clock. Only one process has the
//! file, so what it says of time is the same for everybody who uses the store.

use std::sync::LazyLock;
use std::time::Instant;

use miroir_core::write::task::instant;
use time::OffsetDateTime;

/// The machine's clock when it was first looked at, and when that was.
static BEGUN: LazyLock<(i64, Instant)> = LazyLock::new(|| (wall(), Instant::now()));

fn wall() -> i64 {
    instant(OffsetDateTime::now_utc())
}

/// For leases: as much time passes as passes in this process, also when the machine's clock is set.
pub(super) fn steady() -> i64 {
    let (begun, since) = *BEGUN;
    begun.saturating_add(i64::try_from(since.elapsed().as_nanos()).unwrap_or(i64::MAX))
}

/// For what expires: follows the machine's clock forward, and never back.
pub(super) fn forward() -> i64 {
    wall().max(steady())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_time_goes_back() {
        let (steady_before, forward_before) = (steady(), forward());
        assert!(steady() >= steady_before && forward() >= forward_before && forward() >= steady_before);
    }
}
