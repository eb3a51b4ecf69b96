//! Which copy of a document holds, when replicas that should be equal are not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::base::id::NodeId;
use crate::replica::digest::Version;

/// What is to become of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// All replicas hold it alike, or none does.
    Equal,
    /// It is to be as it is here on all of these.
    Put {
        /// Who has it.
        from: NodeId,
        /// Who has it not, or otherwise.
        to: BTreeSet<NodeId>,
    },
    /// It is to go from these: it has expired, or most replicas do not have it.
    Delete(BTreeSet<NodeId>),
}

/// What holds, of what every fresh replica has of one document; none: it has it not. `now` in milliseconds since 1970.
///
/// A document that has expired goes everywhere. That is said of the newest copy: another may have missed that the client
/// made it live longer. Else the newest stamp wins, then the higher content. Where some do not have it the majority
/// decides; a tie keeps it.
pub fn resolve(copies: &BTreeMap<NodeId, Option<Version>>, now: u64) -> Resolution {
    let present: BTreeMap<&NodeId, &Version> =
        copies.iter().filter_map(|(node, version)| Some((node, version.as_ref()?))).collect();
    let everyone = || present.keys().copied().cloned().collect();
    let newest = present.values().map(|version| version.stamp).max();
    let expired = present.values().any(|version| Some(version.stamp) == newest && version.is_expired(now));
    let absent = copies.len() - present.len();
    if expired || (absent > present.len() && !present.is_empty()) {
        return Resolution::Delete(everyone());
    }
    // Of equal copies the first node's, so that everybody would decide alike.
    let winner = present.iter().max_by_key(|(node, v)| (v.stamp, v.content, v.expires_at, Reverse(**node)));
    let Some((from, version)) = winner else { return Resolution::Equal };
    let differs = |held: &&Option<Version>| held.as_ref() != Some(*version);
    let to: BTreeSet<NodeId> = copies.iter().filter(|(_, held)| differs(held)).map(|(node, _)| node.clone()).collect();
    if to.is_empty() { Resolution::Equal } else { Resolution::Put { from: (*from).clone(), to } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::replica::digest::Content;

    fn version(stamp: u64, content: u64, expires_at: Option<u64>) -> Option<Version> {
        Some(Version { stamp: Some(stamp), expires_at, content: Some(Content(content)) })
    }

    fn copies(of: &[Option<Version>]) -> BTreeMap<NodeId, Option<Version>> {
        of.iter().enumerate().map(|(n, version)| (NodeId::new(format!("n{n}")), *version)).collect()
    }

    fn nodes(of: &[usize]) -> BTreeSet<NodeId> {
        of.iter().map(|n| NodeId::new(format!("n{n}"))).collect()
    }

    fn put(from: usize, to: &[usize]) -> Resolution {
        Resolution::Put { from: NodeId::new(format!("n{from}")), to: nodes(to) }
    }

    #[test]
    fn the_newest_stamp_wins_then_the_higher_content() {
        let of = |all: &[Option<Version>]| resolve(&copies(all), 100);
        assert_eq!(of(&[version(1, 9, None), version(2, 1, None), version(1, 9, None)]), put(1, &[0, 2]));
        assert_eq!(of(&[version(2, 1, None), version(2, 5, None)]), put(1, &[0]));
        assert_eq!(of(&[version(2, 5, None), version(2, 5, None)]), Resolution::Equal);
        assert_eq!(of(&[None, None]), Resolution::Equal);
        assert_eq!(of(&[Some(Version::default()), version(1, 0, None)]), put(1, &[0]));
    }

    #[test]
    fn the_majority_decides_whether_it_is_there_and_a_tie_keeps_it() {
        let of = |all: &[Option<Version>]| resolve(&copies(all), 100);
        assert_eq!(of(&[None, version(1, 1, None)]), put(1, &[0]));
        assert_eq!(of(&[None, version(1, 1, None), None]), Resolution::Delete(nodes(&[1])));
        assert_eq!(of(&[version(1, 1, None), version(1, 1, None), None]), put(0, &[2]));
    }

    #[test]
    fn what_has_expired_goes_everywhere_and_what_was_prolonged_stays() {
        let of = |all: &[Option<Version>]| resolve(&copies(all), 100);
        assert_eq!(of(&[None, version(1, 1, Some(100))]), Resolution::Delete(nodes(&[1])));
        assert_eq!(of(&[version(1, 1, Some(5)), version(1, 1, Some(5))]), Resolution::Delete(nodes(&[0, 1])));
        assert_eq!(of(&[version(1, 1, Some(5)), version(2, 1, Some(500))]), put(1, &[0]));
        assert_eq!(of(&[version(2, 1, Some(5)), version(1, 1, None)]), Resolution::Delete(nodes(&[0, 1])));
        assert_eq!(of(&[version(1, 1, Some(101)), version(1, 1, Some(101))]), Resolution::Equal);
    }

    fn any_copy() -> impl Strategy<Value = Option<Version>> {
        prop::option::of((0u64..3, 0u64..3, prop::option::of(0u64..4)).prop_map(|(stamp, content, expires_at)| {
            Version { stamp: Some(stamp), expires_at, content: Some(Content(content)) }
        }))
    }

    proptest! {
        #[test]
        fn one_repair_makes_all_equal_and_nothing_expired_stays(all in prop::collection::vec(any_copy(), 1..5), now in 0u64..5) {
            let mut copies = copies(&all);
            match resolve(&copies, now) {
                Resolution::Equal => {}
                Resolution::Put { from, to } => {
                    let version = copies[&from];
                    prop_assert!(version.is_some() && !to.contains(&from));
                    to.into_iter().for_each(|node| _ = copies.insert(node, version));
                }
                Resolution::Delete(from) => from.into_iter().for_each(|node| _ = copies.insert(node, None)),
            }
            let first = copies.values().next().copied().flatten();
            prop_assert!(copies.values().all(|held| *held == first));
            prop_assert!(first.is_none_or(|version| !version.is_expired(now)));
            prop_assert_eq!(resolve(&copies, now), Resolution::Equal);
        }
    }
}
