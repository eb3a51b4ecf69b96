//! Nodes that stay away for too long are drained, where that is wanted and others hold what they have.

use std::collections::BTreeMap;

use miroir_core::base::id::NodeId;
use miroir_core::membership::transition::{MembershipChange, Refused};
use miroir_node::NodeState;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::{Error, Membership};

/// Who was refused, and when: the same is not said again and again.
#[derive(Default)]
pub struct Replacing {
    refused: BTreeMap<NodeId, (Refused, Instant)>,
}

/// Before a node that could not be drained is tried again.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(30);

impl Replacing {
    /// Look at all nodes once; at most one is drained at a time.
    pub async fn look(&mut self, membership: &Membership) {
        let Some(after) = membership.state.config.rebalancer.replace_after else { return };
        let away = membership.nodes_away_for(after);
        self.refused.retain(|node, _| away.contains(node));
        // Each is one instance's business.
        if away.is_empty() || !membership.state.peers.owns("node replacement") {
            return;
        }
        for node in away {
            if self.refused.get(&node).is_some_and(|(_, since)| since.elapsed() < AGAIN) {
                continue;
            }
            match membership.change_membership(MembershipChange::Drain { node: node.clone() }).await {
                Ok(begun) => {
                    tracing::warn!(%node, away_s = after.as_secs(), id = begun.id, "a node that stays away is drained");
                    return;
                }
                Err(Error::Membership(Refused::UnderWay)) => return,
                Err(Error::Membership(why)) => self.record(node, why),
                Err(error) => tracing::warn!(%node, %error, "a node that stays away could not be drained"),
            }
        }
    }

    fn record(&mut self, node: NodeId, why: Refused) {
        let known = self.refused.get(&node).is_some_and(|(before, _)| *before == why);
        if !known && why != Refused::AlreadyDraining(node.clone()) {
            tracing::error!(%node, %why, "a node that stays away cannot be drained");
        }
        self.refused.insert(node, (why, Instant::now()));
    }
}

impl Membership {
    /// Nodes that are to hold something and have been away for so long, in a cluster that keeps more than one replica.
    fn nodes_away_for(&self, after: std::time::Duration) -> Vec<NodeId> {
        let topology = self.state.topology();
        if topology.shape.replication_factor.get() < 2 {
            return Vec::new();
        }
        let nodes = self.state.nodes();
        let away = nodes.values().filter_map(|node| {
            let report = node.health.report();
            let since: std::time::Duration = (OffsetDateTime::now_utc() - report.since).try_into().ok()?;
            let away = report.state == NodeState::Failed && since >= after;
            (away && !topology.draining.contains(&node.member.id)).then(|| node.member.id.clone())
        });
        away.collect()
    }
}
