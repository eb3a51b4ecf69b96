//! Recovery: a node that failed and answers again is probed before it counts as one that holds what it should.
//!
//! `core::recovery` decides what is to be done with it; `probe` asks the node and the fresh replicas, `act` does it. What
//! the node should hold and does not is known as stale, in the store, before the node is live: from then on it takes
//! writes, and is healed as any stale replica. Each instance probes for itself whenever its own view of a node goes from
//! failed to answering, and once after its start, when nodes may have changed while nobody looked.
//!
//! A probe has to wait until the node has done what it had accepted, which may take as long as a bulk load. A node that
//! has its own disk at a `glance` serves meanwhile: what it has missed is in the store as stale already, and what it
//! holds besides its shards is kept out of reads by filters.

mod act;
mod mark;
mod probe;

use std::sync::Arc;
use std::time::Duration;

use miroir_core::replica::recovery::{MembershipStatus, ProbeVerdict, check};
use miroir_node::Node;

use crate::state::follow::Follow;
use crate::{Error, Replicas};

/// Whether a node that is looked at serves already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serves {
    /// Nothing counts on it.
    No,
    /// Since it has returned.
    SinceReturn,
    /// Since this instance has started.
    SinceStart,
}

/// Between two looks whether a node that has much to do is still there.
const THERE: Duration = Duration::from_millis(250);

impl Replicas {
    /// Know of all that nodes have missed, as the store has it: a node is about to serve that this instance did not ask for a
    /// while.
    pub(super) async fn know_what_it_missed(&self) -> Result<(), Error> {
        if self.state.store.is_shared() {
            self.state.catalog.follow().everything().await?;
            self.state.stale.follow().everything().await?;
        }
        Ok(())
    }

    /// Readmit a node that has returned: at once if a glance shows that it has its own disk, else once it was probed
    /// and repaired. Returns whether it was probed.
    ///
    /// # Errors
    /// Why that was not possible: it is tried again.
    pub async fn readmit(&self, node: &Arc<Node>) -> Result<bool, Error> {
        let Some(returned) = node.health.returned() else { return Ok(true) };
        let id = &node.member.id;
        self.forget_what_was_told(id);
        let glance = self.reads.glance_at(node).await?;
        match &glance {
            Ok(()) => self.know_what_it_missed().await?,
            Err(doubt) => {
                tracing::info!(node = %id, %doubt, "a node that returned is probed when it has done what it had accepted");
                self.probe_and_repair(node, Serves::No).await?;
            }
        }
        self.features_and_rules_for(node).await?;
        node.set_serves_unseen(glance.is_ok());
        if let Some(state) = node.health.examined(returned, self.state.has_stale_replicas(id)) {
            let seen = if glance.is_ok() { "serves what it has" } else { "was probed" };
            tracing::info!(node = %id, state = state.name(), "a node that returned {seen}");
            self.state.healable.notify_one();
        }
        Ok(glance.is_err())
    }

    /// Probe a node that serves: after the start of this instance, or since the node has returned.
    ///
    /// # Errors
    /// Why that was not possible: it is tried again.
    pub async fn probe_serving(&self, node: &Arc<Node>) -> Result<(), Error> {
        let serves = if node.serves_unseen() { Serves::SinceReturn } else { Serves::SinceStart };
        self.probe_and_repair(node, serves).await?;
        node.set_serves_unseen(false);
        self.state.healable.notify_one();
        Ok(())
    }

    /// Probe a node when it has done what it had accepted, record what it lacks, and do what can be done about it at once.
    /// `serves`: the node counts already, and what it seems to have lost is confirmed first.
    async fn probe_and_repair(&self, node: &Arc<Node>, serves: Serves) -> Result<(), Error> {
        let id = &node.member.id;
        tokio::select! {
            drained = node.drain(self.state.read_timeout()) => drained.map_err(|error| Error::answer(id, error))?,
            // It may be back by the time that anybody asks for its tasks again: that is another return.
            () = lost(node), if serves != Serves::No => return Err(Error::answer(id, "it has failed")),
        }
        // As long as this is alive nobody else takes it for granted that the node holds what it is to hold on a later epoch:
        // what it need not hold on this one is deleted.
        let _acting_on = self.state.topology();
        let (expected, found) = self.probe(node).await?;
        let mut plan = match check(MembershipStatus::Member, &expected, &found) {
            ProbeVerdict::Take(plan) => plan,
            ProbeVerdict::Refuse(refused) => {
                if node.health.report().last_error.as_deref() != Some(&refused.to_string()) {
                    tracing::error!(node = %id, %refused, "a node is not taken");
                }
                node.health.refused(&refused.to_string());
                // Without a state to go back to, it serves as it did.
                return if serves == Serves::No { Err(Error::answer(id, refused)) } else { Ok(()) };
            }
        };
        self.keep_what_nobody_else_has(node, &mut plan);
        let is_sure = serves == Serves::No || self.confirm(node, &mut plan, &found, serves).await;
        self.mark(node, &plan, &expected, &found).await?;
        if expected.newest_task > found.newest_task {
            node.begins_anew_at(found.newest_task);
        }
        self.carry_out_plan(node, &plan).await?;
        if is_sure { Ok(()) } else { Err(Error::answer(id, "somebody who holds the same shards does not tell")) }
    }
}

/// Returns when a node is live no more.
async fn lost(node: &Node) {
    while node.health.state().is_live() {
        tokio::time::sleep(THERE).await;
    }
}
