//! What an operator may want, and why it is refused.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::base::id::{GroupId, NodeId, ShardId};
use crate::membership::topology::Member;
use crate::replica::recovery;

/// A change of the membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum MembershipChange {
    /// A node joins a group, and takes its share of it.
    AddNode {
        /// The node.
        member: Member,
    },
    /// A node gives its shards to the others of its group, and stays a member that holds nothing.
    Drain {
        /// The node.
        node: NodeId,
    },
    /// A drained node takes its share again.
    Undrain {
        /// The node.
        node: NodeId,
    },
    /// A node gives its shards to the others of its group, and is a member no longer.
    RemoveNode {
        /// The node.
        node: NodeId,
    },
    /// A group is filled from the others, and then read.
    AddGroup {
        /// Its number.
        group: GroupId,
        /// Its nodes.
        members: Vec<Member>,
    },
    /// A group is read and written no longer.
    RemoveGroup {
        /// Its number.
        group: GroupId,
    },
    /// Nobody comes or goes: every node gets its share, where a change that was called off has left another.
    Rebalance,
}

/// Why a change is not begun. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// One at a time.
    #[error("another change of the cluster is under way")]
    UnderWay,
    /// No such node.
    #[error("there is no node `{0}`")]
    UnknownNode(NodeId),
    /// No such group.
    #[error("there is no replica group {0}")]
    UnknownGroup(GroupId),
    /// The id is taken.
    #[error("there is a node `{0}` already")]
    DuplicateNode(NodeId),
    /// The address is taken.
    #[error("the node `{node}` has the address {address} already")]
    DuplicateAddress {
        /// Who has it.
        node: NodeId,
        /// The address.
        address: String,
    },
    /// The group exists.
    #[error("there is a replica group {0} already")]
    DuplicateGroup(GroupId),
    /// A group has to have nodes, all of them its own.
    #[error("a new replica group needs nodes, each of them of that group")]
    BadGroup,
    /// Nobody could take the shards.
    #[error("the node `{0}` holds the last replica of its shards in its group")]
    LastReplica(NodeId),
    /// The node does not answer, and nobody else has what it holds.
    #[error("the node `{node}` does not answer, and nobody else holds all that was written to shard {shard}")]
    OnlyCopy {
        /// The node.
        node: NodeId,
        /// A shard that would be lost.
        shard: ShardId,
    },
    /// Somebody has to hold the data.
    #[error("the replica group {0} is the last one")]
    LastGroup(GroupId),
    /// It is drained, or being drained.
    #[error("the node `{0}` is drained already")]
    AlreadyDraining(NodeId),
    /// It is not.
    #[error("the node `{0}` is not drained")]
    NotDraining(NodeId),
    /// A node that is to join does not answer.
    #[error("the node `{0}` does not answer at its address")]
    NoAnswer(NodeId),
    /// A node that is to join is where no node may be.
    #[error(
        "the address of the node `{0}` is in none of the networks that nodes may be in (`address_policy.node_networks`)"
    )]
    Elsewhere(NodeId),
    /// A node that is to join takes us for somebody else.
    #[error("the node `{0}` does not accept the key that nodes are asked with (`node_master_key`)")]
    NotOurKey(NodeId),
    /// A node that is to join will not do.
    #[error("the node `{node}` cannot join: {why}")]
    Unfit {
        /// The node.
        node: NodeId,
        /// What stands against it.
        why: recovery::Refused,
    },
}

impl MembershipChange {
    /// The nodes that are to join.
    pub fn joining(&self) -> &[Member] {
        match self {
            Self::AddNode { member } => std::slice::from_ref(member),
            Self::AddGroup { members, .. } => members,
            Self::Drain { .. }
            | Self::Undrain { .. }
            | Self::RemoveNode { .. }
            | Self::RemoveGroup { .. }
            | Self::Rebalance => &[],
        }
    }
}
