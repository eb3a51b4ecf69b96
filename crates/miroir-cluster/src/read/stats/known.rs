//! What was last known of indexes, for when their nodes cannot say it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use miroir_core::base::id::IndexUid;
use miroir_core::read::stats::Remembered;

/// Indexes that are remembered; of further ones nothing is.
const MOST_INDEXES: usize = 20_000;
/// Names of fields that are remembered, of all indexes together; of further indexes the numbers alone are.
const MOST_NAMES: usize = 500_000;

/// The statistics of an index that are about its documents and not about disks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub documents: u64,
    pub raw_size: u64,
    pub embeddings: u64,
    pub embedded: u64,
    pub fields: BTreeMap<String, u64>,
}

/// What was true of an index at one time.
#[derive(Clone, Debug)]
pub(super) struct LastStats {
    pub then: Remembered,
    pub numbers: Arc<Numbers>,
}

#[derive(Default)]
struct Inner {
    by_index: BTreeMap<IndexUid, LastStats>,
    names: usize,
}

/// By the nodes' name of the index. Bounded.
#[derive(Default)]
pub struct LastKnown(Mutex<Inner>);

impl LastKnown {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// None: nothing was ever known of it, or it did not fit.
    pub(super) fn of(&self, index: &IndexUid) -> Option<LastStats> {
        self.inner().by_index.get(index).cloned()
    }

    /// This is true now.
    pub(super) fn record(&self, index: &IndexUid, then: Remembered, numbers: &Numbers) {
        let mut inner = self.inner();
        if let Some(before) = inner.by_index.remove(index) {
            inner.names -= before.numbers.fields.len();
        }
        if inner.by_index.len() >= MOST_INDEXES {
            return;
        }
        let mut numbers = numbers.clone();
        if inner.names + numbers.fields.len() > MOST_NAMES {
            numbers.fields.clear();
        }
        inner.names += numbers.fields.len();
        inner.by_index.insert(index.clone(), LastStats { then, numbers: Arc::new(numbers) });
    }

    /// No other indexes exist.
    pub(super) fn keep_only(&self, indexes: &BTreeSet<&IndexUid>) {
        let mut inner = self.inner();
        inner.by_index.retain(|index, _| indexes.contains(index));
        inner.names = inner.by_index.values().map(|known| known.numbers.fields.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: usize) -> IndexUid {
        format!("index-{number}").parse().expect("a uid")
    }

    #[test]
    fn no_more_is_remembered_than_fits() {
        let known = LastKnown::default();
        let fields = |count: usize| (0..count).map(|number| (format!("field-{number}"), 1)).collect();
        let numbers = Numbers { documents: 7, fields: fields(MOST_NAMES / 2), ..Numbers::default() };
        for number in 0..3 {
            known.record(&uid(number), Remembered::default(), &numbers);
            // Again: it counts once.
            known.record(&uid(number), Remembered::default(), &numbers);
        }
        let of = |number| known.of(&uid(number)).expect("remembered").numbers;
        assert_eq!((of(1).fields.len(), of(2).fields.len(), of(2).documents), (MOST_NAMES / 2, 0, 7));
        let plain = Numbers::default();
        (3..MOST_INDEXES + 5).for_each(|number| known.record(&uid(number), Remembered::default(), &plain));
        assert!(known.of(&uid(MOST_INDEXES - 1)).is_some() && known.of(&uid(MOST_INDEXES)).is_none());
        known.keep_only(&[&uid(2), &uid(3)].into());
        assert!(known.of(&uid(1)).is_none() && known.of(&uid(3)).is_some());
        known.record(&uid(1), Remembered::default(), &numbers);
        assert_eq!(of(1).fields.len(), MOST_NAMES / 2);
    }
}
