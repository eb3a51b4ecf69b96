//! The tally of what nodes say to a read, and whose fault it is when they refuse.
//!
//! A node that refuses may be the one that is wrong: it lacks a setting or a feature, or somebody changed it. So whoever else
//! can take a part of a read is asked for it, and a refusal is the client's only when of some part all who spoke refused.
//!
//! Invariant: a part that was answered is not refused, whatever other nodes said of it; and a part that was refused, and that
//! nobody answered, makes the whole read refused: one server would have looked at all of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::id::{NodeId, ShardId};

/// What an answer means to whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// What was asked for.
    Answer,
    /// There is no such thing: any other node would say the same.
    Nothing,
    /// The node will not, and another one might.
    Refusal,
    /// The node has too much to do; what takes long is not sent to it again.
    Busy,
    /// The node does not work.
    Failure,
}

impl Said {
    /// From the status and the code of the error, if there is one.
    pub fn of(status: u16, code: Option<&str>) -> Self {
        match (status, code) {
            (200, _) => Self::Answer,
            (408 | 429, _) => Self::Busy,
            // The catalog says that the index is there, and it is our key.
            (400..500, Some("index_not_found" | "invalid_api_key" | "missing_authorization_header")) => Self::Failure,
            (404, Some("document_not_found")) => Self::Nothing,
            (400..500, _) => Self::Refusal,
            _ => Self::Failure,
        }
    }
}

/// A part of a read: the shard of one of its targets.
pub type TargetShard = (usize, ShardId);

/// The tally of one read: what nodes have said so far about its parts.
#[derive(Clone, Debug, Default)]
pub struct ReadTally {
    refused: BTreeMap<TargetShard, BTreeSet<NodeId>>,
    nobody_left: BTreeSet<TargetShard>,
}

/// What becomes of a read that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadVerdict {
    /// The client is told what these nodes have against it.
    Refused {
        /// Those that refused a part which nobody answered.
        by: BTreeSet<NodeId>,
    },
    /// The client gets what was answered. These nodes have refused parts, of these targets, that others answered.
    Taken {
        /// Ascending.
        alone: BTreeSet<(usize, NodeId)>,
    },
}

impl ReadTally {
    /// A node refuses these parts.
    pub fn refused(&mut self, node: &NodeId, parts: impl IntoIterator<Item = TargetShard>) {
        for part in parts {
            self.refused.entry(part).or_default().insert(node.clone());
        }
    }

    /// Nobody is left to be asked for a part. Returns whether it is merely missing; otherwise the read is refused.
    #[must_use]
    pub fn nobody_left(&mut self, part: TargetShard) -> bool {
        self.nobody_left.insert(part);
        !self.refused.contains_key(&part)
    }

    /// Whether there is no need to ask anybody else.
    pub fn is_refused(&self) -> bool {
        self.nobody_left.iter().any(|part| self.refused.contains_key(part))
    }

    /// What comes of it all, when each part was answered or has nobody left to be asked for it.
    pub fn verdict(self) -> ReadVerdict {
        if self.is_refused() {
            let by = self.nobody_left.iter().filter_map(|part| self.refused.get(part)).flatten();
            return ReadVerdict::Refused { by: by.cloned().collect() };
        }
        let alone =
            self.refused.into_iter().flat_map(|((target, _), nodes)| nodes.into_iter().map(move |n| (target, n)));
        ReadVerdict::Taken { alone: alone.collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_node_that_is_busy_or_lacks_an_index_does_not_refuse() {
        assert_eq!(Said::of(200, None), Said::Answer);
        for status in [408, 429] {
            assert_eq!(Said::of(status, Some("invalid_search_q")), Said::Busy);
            assert_eq!(Said::of(status, None), Said::Busy);
        }
        assert_eq!(Said::of(404, Some("index_not_found")), Said::Failure);
        assert_eq!(Said::of(403, Some("invalid_api_key")), Said::Failure);
        assert_eq!(Said::of(404, Some("document_not_found")), Said::Nothing);
        assert_eq!(Said::of(400, Some("invalid_search_filter")), Said::Refusal);
        assert_eq!(Said::of(404, None), Said::Refusal);
        for status in [202, 301, 500, 503] {
            assert_eq!(Said::of(status, None), Said::Failure);
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Manner {
        Takes,
        Refuses,
        Fails,
    }

    fn manner() -> impl Strategy<Value = Manner> {
        prop_oneof![Just(Manner::Takes), Just(Manner::Refuses), Just(Manner::Fails)]
    }

    proptest! {
        /// Each part has its replicas, asked one after the other; each node treats a part in its own manner.
        #[test]
        fn a_read_is_refused_when_of_some_part_all_who_spoke_refused(
            parts in prop::collection::vec(prop::collection::vec(manner(), 1..4), 1..6),
        ) {
            let mut tally = ReadTally::default();
            let mut answered = 0;
            let mut missing = 0;
            for (shard, replicas) in parts.iter().enumerate() {
                let part = (0, ShardId(shard as u32));
                let mut taken = false;
                for (n, manner) in replicas.iter().enumerate() {
                    match manner {
                        Manner::Takes => taken = true,
                        Manner::Refuses => tally.refused(&NodeId::new(format!("n{n}")), [part]),
                        Manner::Fails => {}
                    }
                    if taken {
                        break;
                    }
                }
                answered += usize::from(taken);
                missing += usize::from(!taken && tally.nobody_left(part));
            }
            let refused = |replicas: &Vec<Manner>| {
                !replicas.contains(&Manner::Takes) && replicas.contains(&Manner::Refuses)
            };
            let expected = parts.iter().any(refused);
            prop_assert_eq!(tally.is_refused(), expected);
            match tally.verdict() {
                ReadVerdict::Refused { by } => prop_assert!(expected && !by.is_empty()),
                ReadVerdict::Taken { alone } => {
                    prop_assert!(!expected);
                    prop_assert_eq!(answered + missing, parts.len());
                    let overruled = parts.iter().any(|replicas| replicas.iter().take_while(|m| **m != Manner::Takes).any(|m| *m == Manner::Refuses));
                    prop_assert_eq!(!alone.is_empty(), overruled);
                }
            }
        }
    }
}
