//! How long to wait after failures in a row.

use std::time::Duration;

/// Waits that double with each failure, between two bounds.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// After the first failure.
    pub from: Duration,
    /// Never longer than this.
    pub to: Duration,
}

impl Backoff {
    /// The wait after so many failures in a row; none after none.
    pub fn after(&self, failures: u32) -> Duration {
        match failures {
            0 => Duration::ZERO,
            n => self.from.saturating_mul(2_u32.saturating_pow(n - 1)).min(self.to),
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { from: Duration::from_secs(1), to: Duration::from_secs(60) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound() {
        let backoff = Backoff { from: Duration::from_secs(1), to: Duration::from_secs(5) };
        let waits = [0, 1, 2, 3, 4, u32::MAX].map(|failures| backoff.after(failures).as_secs());
        assert_eq!(waits, [0, 1, 2, 4, 5, 5]);
    }
}
