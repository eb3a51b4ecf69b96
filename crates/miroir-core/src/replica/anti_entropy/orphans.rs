//! Orphaned documents: those on a node that holds no replica of their shard.

use std::collections::BTreeMap;

use crate::base::id::{NodeId, ShardId};

/// What is known of a shard's documents on a node.
#[derive(Clone, Debug)]
pub struct OrphanFacts<'a> {
    /// Where they are.
    pub node: &'a NodeId,
    /// Of which shard.
    pub shard: ShardId,
    /// How many.
    pub documents: u64,
    /// The node is placed for the shard, or takes its writes because it is to be or has just been.
    pub takes_writes: bool,
    /// The owners of the shard that are fresh and answer, each with its number of documents.
    pub owners: &'a BTreeMap<NodeId, u64>,
    /// Whether `auto_repair` is on.
    pub auto_repair: bool,
}

/// What to do about the documents of a shard on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrphanAction {
    /// Nothing: there are none, or they are not orphaned.
    None,
    /// Remove them, by the filter of their shard.
    Remove,
    /// No owner can be seen to hold the shard: these might be the last copies.
    Keep,
    /// Report them: they could be removed, but `auto_repair` is off.
    Report,
}

/// Whether a node's documents are orphaned, and may be removed.
///
/// An owner with no document at all is no reason to remove any: that may be how it came to be the only owner.
pub fn orphan_action(found: &OrphanFacts<'_>) -> OrphanAction {
    if found.takes_writes || found.documents == 0 {
        return OrphanAction::None;
    }
    let held = found.owners.iter().any(|(owner, documents)| owner != found.node && *documents > 0);
    match (held, found.auto_repair) {
        (true, true) => OrphanAction::Remove,
        (true, false) => OrphanAction::Report,
        (false, _) => OrphanAction::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orphans_are_removed_only_while_an_owner_holds_the_shard() {
        let (node, owner) = (NodeId::new("a"), NodeId::new("b"));
        let of = |documents, takes_writes, owned: &[(NodeId, u64)], auto_repair| {
            let owners = owned.iter().cloned().collect();
            orphan_action(&OrphanFacts {
                node: &node,
                shard: ShardId(1),
                documents,
                takes_writes,
                owners: &owners,
                auto_repair,
            })
        };
        let held = [(owner.clone(), 9)];
        assert_eq!(of(5, false, &held, true), OrphanAction::Remove);
        assert_eq!(of(5, false, &held, false), OrphanAction::Report);
        assert_eq!(of(5, true, &held, true), OrphanAction::None);
        assert_eq!(of(0, false, &held, true), OrphanAction::None);
        assert_eq!(of(5, false, &[], true), OrphanAction::Keep);
        assert_eq!(of(5, false, &[(owner, 0)], true), OrphanAction::Keep);
        assert_eq!(of(5, false, &[(node.clone(), 5)], true), OrphanAction::Keep);
    }
}
