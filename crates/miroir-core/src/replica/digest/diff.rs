//! The ids of buckets, compared one by one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::bucket::bucket_of;
use super::version::{Copied, Version};

/// The documents of some buckets on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    buckets: BTreeSet<u8>,
    limit: usize,
    documents: BTreeMap<String, Version>,
}

/// More documents than a listing may hold: the buckets have grown since they were counted, and are looked into again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("more than {0} documents in the buckets that differ")]
pub struct TooMany(pub usize);

/// How a target differs from a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Only the source has them.
    pub missing: BTreeSet<String>,
    /// Both have them, not alike.
    pub differing: BTreeSet<String>,
    /// Only the target has them.
    pub surplus: BTreeSet<String>,
}

impl Listing {
    /// A listing of these buckets, of so many documents at most.
    pub fn of(buckets: impl IntoIterator<Item = u8>, limit: usize) -> Self {
        Self { buckets: buckets.into_iter().collect(), limit, documents: BTreeMap::new() }
    }

    /// Record a document, if it is of these buckets. One that is listed twice counts as it was seen last.
    ///
    /// # Errors
    /// [`TooMany`]
    pub fn add(&mut self, document: &Copied) -> Result<(), TooMany> {
        if !self.buckets.contains(&bucket_of(&document.id)) {
            return Ok(());
        }
        if self.documents.len() >= self.limit && !self.documents.contains_key(&document.id) {
            return Err(TooMany(self.limit));
        }
        self.documents.insert(document.id.clone(), document.version);
        Ok(())
    }

    /// What is listed.
    pub fn documents(&self) -> &BTreeMap<String, Version> {
        &self.documents
    }
}

/// What has to change for the target to be as the source.
pub fn compare(source: &BTreeMap<String, Version>, target: &BTreeMap<String, Version>) -> Difference {
    let mut found = Difference::default();
    for (id, version) in source {
        match target.get(id) {
            None => _ = found.missing.insert(id.clone()),
            Some(other) if other != version => _ = found.differing.insert(id.clone()),
            Some(_) => {}
        }
    }
    found.surplus = target.keys().filter(|id| !source.contains_key(*id)).cloned().collect();
    found
}

impl Difference {
    /// Every id in it.
    pub fn ids(self) -> BTreeSet<String> {
        let Self { mut missing, mut differing, mut surplus } = self;
        missing.append(&mut differing);
        missing.append(&mut surplus);
        missing
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn versions(stamps: &BTreeMap<u8, u64>) -> BTreeMap<String, Version> {
        let version = |stamp: u64| Version { stamp: Some(stamp), ..Version::default() };
        stamps.iter().map(|(id, stamp)| (id.to_string(), version(*stamp))).collect()
    }

    proptest! {
        #[test]
        fn what_is_found_makes_both_equal(
            a in prop::collection::btree_map(any::<u8>(), 0u64..3, 0..40),
            b in prop::collection::btree_map(any::<u8>(), 0u64..3, 0..40),
        ) {
            let (source, mut target) = (versions(&a), versions(&b));
            let found = compare(&source, &target);
            for id in &found.surplus {
                target.remove(id);
            }
            for id in found.missing.iter().chain(&found.differing) {
                prop_assert_ne!(target.get(id), source.get(id));
                target.insert(id.clone(), source[id]);
            }
            prop_assert_eq!(&source, &target);
            prop_assert!(compare(&source, &target).ids().is_empty());
        }
    }

    #[test]
    fn a_listing_holds_its_buckets_and_no_more_than_it_may() {
        let document = |id: u32| Copied { id: id.to_string(), version: Version::default() };
        let wanted = bucket_of("1");
        let mut listing = Listing::of([wanted], 1);
        let other = (2..).find(|id: &u32| bucket_of(&id.to_string()) != wanted).expect("another bucket");
        let same = (2..).find(|id: &u32| bucket_of(&id.to_string()) == wanted).expect("the same bucket");
        assert_eq!(listing.add(&document(other)), Ok(()));
        assert_eq!(listing.add(&document(1)), Ok(()));
        assert_eq!(listing.add(&document(1)), Ok(()));
        assert_eq!(listing.add(&document(same)), Err(TooMany(1)));
        assert_eq!(listing.documents().keys().collect::<Vec<_>>(), ["1"]);
    }
}
