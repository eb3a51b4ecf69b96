//! Bounds on what is held in memory for clients, whoever holds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use miroir_telemetry::Metrics;

/// A bound on bytes held at once. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    /// What the bytes are, and the setting that bounds them.
    what: &'static str,
    limit: u64,
    used: AtomicU64,
    metrics: Metrics,
    gauge: fn(&Metrics, u64),
}

/// There is no room for more.
#[derive(Clone, Copy, Debug, Error)]
#[error("too much is in flight: {0}")]
pub struct Spent(pub &'static str);

/// A share of a budget, given back when dropped.
pub struct Reserved {
    budget: Budget,
    bytes: u64,
}

impl Budget {
    /// A budget of so many bytes of this; `gauge` shows how many are held.
    pub fn new(what: &'static str, limit: u64, metrics: Metrics, gauge: fn(&Metrics, u64)) -> Self {
        Self(Arc::new(Inner { what, limit, used: AtomicU64::new(0), metrics, gauge }))
    }

    /// A share that holds nothing yet.
    pub fn reserve(&self) -> Reserved {
        Reserved { budget: self.clone(), bytes: 0 }
    }

    fn changed(&self, used: u64) {
        (self.0.gauge)(&self.0.metrics, used);
    }
}

impl Reserved {
    /// Hold so many bytes more, if there is room.
    ///
    /// # Errors
    /// [`Spent`]: nothing more is held than before.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Spent> {
        let Inner { what, limit, used, .. } = &*self.budget.0;
        let room = |used: u64| used.checked_add(bytes).filter(|sum| sum <= limit);
        let before = used.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).map_err(|_| Spent(what))?;
        self.bytes += bytes;
        self.budget.changed(before + bytes);
        Ok(())
    }

    /// Hold so many bytes more, even where there is no room for them: they are there already, and few.
    pub fn grow_anyway(&mut self, bytes: u64) {
        let before = self.budget.0.used.fetch_add(bytes, Ordering::AcqRel);
        self.bytes += bytes;
        self.budget.changed(before + bytes);
    }

    /// Hold so many bytes less.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        let before = self.budget.0.used.fetch_sub(bytes, Ordering::AcqRel);
        self.budget.changed(before.saturating_sub(bytes));
    }

    /// All of it as a share of its own; this one holds nothing then.
    pub fn take(&mut self) -> Self {
        Self { budget: self.budget.clone(), bytes: std::mem::take(&mut self.bytes) }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let before = self.budget.0.used.fetch_sub(self.bytes, Ordering::AcqRel);
        self.budget.changed(before.saturating_sub(self.bytes));
    }
}

impl std::fmt::Debug for Reserved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_held_than_there_is_room_for_and_all_is_given_back() {
        let budget = Budget::new("bytes (a.setting)", 10, Metrics::default(), |_, _| {});
        let (mut one, mut other) = (budget.reserve(), budget.reserve());
        assert!(one.grow(6).is_ok() && other.grow(4).is_ok());
        assert!(one.grow(1).is_err_and(|spent| spent.0 == "bytes (a.setting)"));
        assert!(one.grow(u64::MAX).is_err());
        let moved = one.take();
        drop(one);
        assert!(other.grow(1).is_err(), "what was moved is held still");
        drop(moved);
        assert!(other.grow(6).is_ok());
        other.grow_anyway(5);
        assert!(budget.reserve().grow(1).is_err());
        drop(other);
        assert!(budget.reserve().grow(10).is_ok());
    }
}
