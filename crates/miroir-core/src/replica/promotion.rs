//! The last resort where every fresh replica of a shard is gone for good: an operator has a stale one promoted. What it
//! lacks is lost, so that it is refused for as long as anybody who answers lacks nothing.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::base::id::NodeId;

/// The replicas of a shard, and what is known of them.
#[derive(Clone, Debug, Default)]
pub struct PromotionFacts {
    /// Placed for it, in any group.
    pub replicas: BTreeSet<NodeId>,
    /// All that take its writes; more than the replicas while some are moved.
    pub writers: BTreeSet<NodeId>,
    /// Those that lack a write, or may.
    pub stale: BTreeSet<NodeId>,
    /// Nodes that nobody can ask.
    pub away: BTreeSet<NodeId>,
}

/// Why a replica is not promoted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    /// It is none, or not all of it was ever copied.
    #[error("it holds no replica of it")]
    NoReplica,
    /// There is nothing to do.
    #[error("its replica is fresh")]
    Fresh,
    /// Nobody could read it.
    #[error("it does not answer")]
    Away,
    /// It is healed, and nothing is lost.
    #[error("the node `{0}` has a fresh replica, from which it is healed")]
    FreshOn(NodeId),
}

/// Whether the replica on a node can be taken for fresh. Returns the replicas that are stale from then on: they may hold
/// what it does not.
///
/// # Errors
/// Why not.
pub fn promote(standing: &PromotionFacts, node: &NodeId) -> Result<BTreeSet<NodeId>, Unfit> {
    if !standing.replicas.contains(node) {
        return Err(Unfit::NoReplica);
    }
    if !standing.stale.contains(node) {
        return Err(Unfit::Fresh);
    }
    if standing.away.contains(node) {
        return Err(Unfit::Away);
    }
    let fresh = || standing.writers.difference(&standing.stale);
    match fresh().find(|other| !standing.away.contains(*other)) {
        Some(other) => Err(Unfit::FreshOn(other.clone())),
        None => Ok(fresh().cloned().collect()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(names: &str) -> BTreeSet<NodeId> {
        names.chars().map(|name| NodeId::new(name.to_string())).collect()
    }

    fn standing(replicas: &str, more: &str, stale: &str, away: &str) -> PromotionFacts {
        let (replicas, stale, away) = (nodes(replicas), nodes(stale), nodes(away));
        let writers = replicas.union(&nodes(more)).cloned().collect();
        PromotionFacts { replicas, writers, stale, away }
    }

    #[test]
    fn only_where_nobody_who_answers_lacks_nothing() {
        let a = NodeId::new("a");
        let of = |replicas, more, stale, away| promote(&standing(replicas, more, stale, away), &a);
        assert_eq!(of("ab", "", "a", "b"), Ok(nodes("b")));
        assert_eq!(of("abc", "", "ac", "b"), Ok(nodes("b")));
        assert_eq!(of("ab", "", "ab", ""), Ok(nodes("")));
        assert_eq!(of("ab", "", "a", ""), Err(Unfit::FreshOn(NodeId::new("b"))));
        // One that is moved to may be the last that has everything.
        assert_eq!(of("ab", "c", "a", "b"), Err(Unfit::FreshOn(NodeId::new("c"))));
        assert_eq!(of("ab", "c", "a", "bc"), Ok(nodes("bc")));
        assert_eq!(of("ab", "", "b", "b"), Err(Unfit::Fresh));
        assert_eq!(of("ab", "", "a", "ab"), Err(Unfit::Away));
        assert_eq!(of("bc", "a", "ab", "bc"), Err(Unfit::NoReplica));
    }

    proptest! {
        #[test]
        fn afterwards_it_alone_is_fresh(replicas in "[a-e]{1,5}", more in "[a-e]{0,2}", stale in "[a-e]{0,5}", away in "[a-e]{0,5}") {
            let standing = standing(&replicas, &more, &stale, &away);
            for node in &standing.writers {
                let Ok(distrusted) = promote(&standing, node) else { continue };
                let mut stale: BTreeSet<NodeId> = standing.stale.union(&distrusted).cloned().collect();
                stale.remove(node);
                let fresh: BTreeSet<NodeId> = standing.writers.difference(&stale).cloned().collect();
                prop_assert_eq!(fresh, BTreeSet::from([node.clone()]));
                prop_assert!(distrusted.is_subset(&standing.away));
            }
        }
    }
}
