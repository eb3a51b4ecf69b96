//! The names of indexes: which index a write, a read or a node means by one.
//!
//! Invariant: what follows the records one by one is what would be made of all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use miroir_core::base::id::IndexUid;
use miroir_store::Derived;
use rpds::RedBlackTreeMapSync;

use crate::Index;

type Entries = RedBlackTreeMapSync<IndexUid, Arc<Index>>;

/// All indexes at one moment.
#[derive(Clone, Default)]
pub struct Names {
    /// As writes know them.
    pub writers: Entries,
    /// As reads know them; none whose creation is under way.
    pub readers: Entries,
    /// By the names that nodes have for them, as writes know them.
    pub physical: Entries,
    /// Those of the writers' that readers know by another name: few, and not for long.
    renamed: BTreeMap<IndexUid, Arc<Index>>,
}

impl Derived<Arc<Index>> for Names {
    fn apply_change(&mut self, _: &str, before: Option<&Arc<Index>>, after: Option<&Arc<Index>>) {
        if let Some(index) = before {
            self.writers.remove_mut(&index.uid);
            self.renamed.remove(&index.uid);
            // Another record may have taken it over in the same step.
            if self.physical.get(&index.physical).is_some_and(|known| known.uid == index.uid) {
                self.physical.remove_mut(&index.physical);
            }
        }
        if let Some(index) = after {
            self.writers.insert_mut(index.uid.clone(), index.clone());
            self.physical.insert_mut(index.physical.clone(), index.clone());
            if !index.previous_names.is_empty() {
                self.renamed.insert(index.uid.clone(), index.clone());
            }
        }
        for index in before.into_iter().chain(after) {
            self.show(index.shown_name());
        }
    }
}

impl Names {
    /// What readers find by a name: an index that keeps it for them stands before one that has taken it since.
    fn show(&mut self, name: &IndexUid) {
        let keeps = |index: &&Arc<Index>| index.ready && index.shown_name() == name;
        let kept = self.renamed.values().rfind(keeps).map(Index::shown);
        let index = kept.or_else(|| self.writers.get(name).filter(keeps).cloned());
        match index {
            Some(index) => self.readers.insert_mut(name.clone(), index),
            None => _ = self.readers.remove_mut(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::state::catalog::PreviousName;

    fn index(uid: u8, physical: u8, ready: bool, previous: Option<u8>) -> Arc<Index> {
        let name = |name: u8| -> IndexUid { format!("n{name}").parse().expect("a uid") };
        let mut index = Index::new(name(uid), format!("p{physical}").parse().expect("a uid"), None, NonZeroU32::MIN);
        index.ready = ready;
        index.previous_names.extend(previous.map(|previous| PreviousName { uid: name(previous), until: "t".into() }));
        Arc::new(index)
    }

    /// What readers find, by the definition.
    fn readers(indexes: &BTreeMap<IndexUid, Arc<Index>>) -> BTreeMap<IndexUid, IndexUid> {
        let (renamed, others): (Vec<_>, Vec<_>) = indexes.values().partition(|index| !index.previous_names.is_empty());
        let ready = others.into_iter().chain(renamed).filter(|index| index.ready);
        ready.map(|index| (index.shown_name().clone(), index.physical.clone())).collect()
    }

    proptest! {
        #[test]
        fn names_that_follow_one_change_after_the_other_are_those_of_all_records(
            steps in proptest::collection::vec((0u8..5, 0u8..5, any::<bool>(), any::<bool>(), proptest::option::of(0u8..5)), 0..30),
        ) {
            let (mut names, mut all) = (Names::default(), BTreeMap::<IndexUid, Arc<Index>>::new());
            for (uid, physical, there, ready, previous) in steps {
                let after = index(uid, physical, ready, previous);
                // A physical index has one name; it may change hands from one record to the next.
                let taken_over: Vec<_> = all.values().filter(|i| i.physical == after.physical && i.uid != after.uid).cloned().collect();
                let before = all.get(&after.uid).cloned();
                names.apply_change("", before.as_ref(), there.then_some(&after));
                all.remove(&after.uid);
                if there {
                    all.insert(after.uid.clone(), after.clone());
                    for other in taken_over {
                        names.apply_change("", Some(&other), None);
                        all.remove(&other.uid);
                    }
                }
                let shown: BTreeMap<_, _> = names.readers.iter().map(|(name, index)| (name.clone(), index.physical.clone())).collect();
                prop_assert_eq!(shown, readers(&all));
                let physical: BTreeSet<_> = names.physical.keys().cloned().collect();
                prop_assert_eq!(physical, all.values().map(|index| index.physical.clone()).collect::<BTreeSet<_>>());
                prop_assert_eq!(names.writers.keys().cloned().collect::<Vec<_>>(), all.keys().cloned().collect::<Vec<_>>());
            }
        }
    }
}
