//! Which tasks a cancelation is about: numbers, kept as ranges because they mostly follow one another.

use serde::{Deserialize, Serialize};

use crate::base::id::TaskUid;

/// A set of task numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Selection(Vec<(u64, u64)>);

impl Selection {
    /// Add a number that is larger than all that are there; others are ignored.
    pub fn push(&mut self, uid: TaskUid) {
        match self.0.last_mut() {
            Some((_, last)) if uid.0 <= *last => {}
            Some((_, last)) if uid.0 == *last + 1 => *last = uid.0,
            Some(_) | None => self.0.push((uid.0, uid.0)),
        }
    }

    /// The number is in the set.
    pub fn contains(&self, uid: TaskUid) -> bool {
        let behind = self.0.partition_point(|(first, _)| *first <= uid.0);
        behind.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, last)| uid.0 <= *last)
    }

    /// The set as ranges, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = (TaskUid, TaskUid)> {
        self.0.iter().map(|(first, last)| (TaskUid(*first), TaskUid(*last)))
    }

    /// Nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_selection_holds_what_was_pushed(uids in proptest::collection::btree_set(0u64..60, 0..40)) {
            let mut selection = Selection::default();
            uids.iter().for_each(|uid| selection.push(TaskUid(*uid)));
            let held: BTreeSet<u64> = (0..70).filter(|uid| selection.contains(TaskUid(*uid))).collect();
            prop_assert_eq!(&held, &uids);
            prop_assert_eq!(selection.is_empty(), uids.is_empty());
        }
    }
}
