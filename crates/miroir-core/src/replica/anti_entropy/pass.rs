//! One shard in one pass: what to look at next, and what to repair.

use std::collections::{BTreeMap, BTreeSet};

use super::Origin;
use super::resolve::{Resolution, resolve};
use crate::base::id::NodeId;
use crate::replica::digest::{Depth, Digest, Version};

/// What to look at after the counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing: there are no documents, or nobody to compare with.
    Nothing,
    /// These replicas have lost everything: they are stale, and to be mirrored.
    Mirror(BTreeSet<NodeId>),
    /// The buckets of every replica, at this depth.
    Digests(Depth),
    /// The ids at once, since something differs for sure; at this depth.
    Ids(Depth),
}

/// The counts of all fresh replicas are known.
pub fn after_counts(counts: &BTreeMap<NodeId, u64>, depth: Depth) -> Look {
    let empty: BTreeSet<NodeId> =
        counts.iter().filter(|(_, count)| **count == 0).map(|(node, _)| node.clone()).collect();
    let most = counts.values().copied().max().unwrap_or_default();
    if counts.len() < 2 || most == 0 {
        return Look::Nothing;
    }
    // A few documents may be on their way; a whole shard is not, and is better copied than repaired.
    if !empty.is_empty() && most >= WHOLE {
        return Look::Mirror(empty);
    }
    let alike = counts.values().all(|count| *count == most);
    if alike { Look::Digests(depth) } else { Look::Ids(depth) }
}

/// Documents of a shard that are not on their way all at once.
const WHOLE: u64 = 1000;

/// The buckets on which not all replicas agree, ascending, each with the documents of the fullest.
pub fn after_digests(digests: &BTreeMap<NodeId, Digest>) -> Vec<(u8, u64)> {
    let mut found: BTreeMap<u8, u64> = BTreeMap::new();
    let mut all = digests.values();
    let Some(first) = all.next() else { return Vec::new() };
    for (bucket, documents) in all.flat_map(|other| first.differing(other, &BTreeSet::new())) {
        let most = found.entry(bucket).or_default();
        *most = documents.max(*most);
    }
    found.into_iter().collect()
}

/// The documents that not all replicas list alike, and those that have expired.
pub fn suspects(listings: &BTreeMap<NodeId, BTreeMap<String, Version>>, now: u64) -> BTreeSet<String> {
    let ids: BTreeSet<&String> = listings.values().flat_map(|listing| listing.keys()).collect();
    let unlike = |id: &&String| {
        let mut held = listings.values().map(|listing| listing.get(*id));
        let first = held.next().flatten();
        first.is_some_and(|version| version.is_expired(now)) || held.any(|other| other != first)
    };
    ids.into_iter().filter(unlike).cloned().collect()
}

/// What a pass does about what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToRepair {
    /// Nothing was left of it.
    Nothing,
    /// `auto_repair` is off: count them, and alert.
    Report {
        /// Documents that differ.
        documents: usize,
    },
    /// Hand these to the nodes.
    Repair(Repairs),
}

/// What is handed to nodes. Deletions go first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repairs {
    /// Goes with every change, so that nobody takes it for a client's.
    pub origin: Origin,
    /// Documents that are put, as they were read: to whom, from whom, which.
    pub put: BTreeMap<NodeId, BTreeMap<NodeId, BTreeSet<String>>>,
    /// Documents that are deleted, by node.
    pub delete: BTreeMap<NodeId, BTreeSet<String>>,
    /// Documents that are touched.
    pub documents: usize,
}

/// What to do about these documents, which were read in the fence from every fresh replica.
pub fn repairs(read: &BTreeMap<String, BTreeMap<NodeId, Option<Version>>>, now: u64, auto_repair: bool) -> ToRepair {
    let mut repairs =
        Repairs { origin: Origin::AntiEntropy, put: BTreeMap::new(), delete: BTreeMap::new(), documents: 0 };
    for (id, copies) in read {
        match resolve(copies, now) {
            Resolution::Equal => continue,
            Resolution::Put { from, to } => {
                for node in to {
                    if copies.get(&node).is_some_and(Option::is_some) {
                        // Vectors that a document should not have stay when it is replaced.
                        repairs.delete.entry(node.clone()).or_default().insert(id.clone());
                    }
                    repairs.put.entry(node).or_default().entry(from.clone()).or_default().insert(id.clone());
                }
            }
            Resolution::Delete(from) => {
                from.into_iter().for_each(|node| _ = repairs.delete.entry(node).or_default().insert(id.clone()));
            }
        }
        repairs.documents += 1;
    }
    match (repairs.documents, auto_repair) {
        (0, _) => ToRepair::Nothing,
        (_, true) => ToRepair::Repair(repairs),
        (documents, false) => ToRepair::Report { documents },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::digest::{Content, Copied};

    fn node(n: u32) -> NodeId {
        NodeId::new(format!("n{n}"))
    }

    fn version(stamp: u64) -> Version {
        Version { stamp: Some(stamp), expires_at: None, content: Some(Content(stamp)) }
    }

    fn counts(of: &[u64]) -> BTreeMap<NodeId, u64> {
        of.iter().zip(0..).map(|(count, n)| (node(n), *count)).collect()
    }

    #[test]
    fn counts_say_where_to_look() {
        let of = |counts_of: &[u64]| after_counts(&counts(counts_of), Depth::Stamps);
        assert_eq!(of(&[5]), Look::Nothing);
        assert_eq!(of(&[0, 0]), Look::Nothing);
        assert_eq!(of(&[5, 5]), Look::Digests(Depth::Stamps));
        assert_eq!(of(&[5, 4]), Look::Ids(Depth::Stamps));
        assert_eq!(of(&[5, 0]), Look::Ids(Depth::Stamps));
        assert_eq!(of(&[5000, 0, 5000]), Look::Mirror(BTreeSet::from([node(1)])));
    }

    #[test]
    fn buckets_that_any_replica_sees_differently_are_looked_into() {
        let digest = |ids: &[&str]| {
            let mut digest = Digest::default();
            ids.iter().for_each(|id| digest.add(&Copied { id: (*id).to_owned(), version: version(1) }));
            digest
        };
        let digests = BTreeMap::from([
            (node(0), digest(&["a", "b", "c"])),
            (node(1), digest(&["a", "b", "c"])),
            (node(2), digest(&["a", "c"])),
        ]);
        assert_eq!(after_digests(&digests), vec![(crate::replica::digest::bucket_of("b"), 1)]);
        assert!(after_digests(&BTreeMap::new()).is_empty());
    }

    #[test]
    fn only_what_differs_or_has_expired_is_suspected() {
        let listing = |of: &[(&str, Version)]| of.iter().map(|(id, v)| ((*id).to_owned(), *v)).collect();
        let expired = Version { expires_at: Some(3), ..version(1) };
        let listings = BTreeMap::from([
            (node(0), listing(&[("same", version(1)), ("older", version(1)), ("only", version(1)), ("gone", expired)])),
            (node(1), listing(&[("same", version(1)), ("older", version(2)), ("gone", expired)])),
        ]);
        let found: Vec<String> = suspects(&listings, 3).into_iter().collect();
        assert_eq!(found, ["gone", "older", "only"]);
        assert_eq!(suspects(&listings, 2).len(), 2);
    }

    #[test]
    fn repairs_touch_what_differs_and_nothing_else() {
        let read = BTreeMap::from([
            ("same".to_owned(), BTreeMap::from([(node(0), Some(version(1))), (node(1), Some(version(1)))])),
            ("older".to_owned(), BTreeMap::from([(node(0), Some(version(1))), (node(1), Some(version(2)))])),
            ("missing".to_owned(), BTreeMap::from([(node(0), None), (node(1), Some(version(2)))])),
        ]);
        let ToRepair::Repair(found) = repairs(&read, 0, true) else { panic!("nothing to repair") };
        assert_eq!((found.origin.tag(), found.documents), ("antientropy", 2));
        let ids = |of: &[&str]| of.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(found.put, BTreeMap::from([(node(0), BTreeMap::from([(node(1), ids(&["missing", "older"]))]))]));
        assert_eq!(found.delete, BTreeMap::from([(node(0), ids(&["older"]))]));
        assert_eq!(repairs(&read, 0, false), ToRepair::Report { documents: 2 });
        assert_eq!(repairs(&BTreeMap::new(), 0, true), ToRepair::Nothing);
    }
}
