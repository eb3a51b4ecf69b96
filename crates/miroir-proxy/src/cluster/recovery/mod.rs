//! Recovery: a node that failed and answers again is looked at before anything counts on it.
//!
//! `core::recovery` decides what is to be done with it; `look` asks the node and the fresh replicas, `act` does it. What
//! the node should hold and does not is known as stale, in the store, before the node is live: from then on it takes
//! writes, and is healed as any stale replica. Each instance looks for itself whenever its own view of a node goes from
//! failed to answering, and once after its start, when nodes may have changed while nobody looked.

mod act;
mod look;
mod mark;

use std::sync::Arc;

use miroir_core::recovery::{Standing, Verdict, check};

use super::{Cluster, Error};
use crate::node::Node;

impl Cluster {
    /// Look at a node that has returned, do what is to be done, and count on it from then on.
    ///
    /// # Errors
    /// Why that was not possible: it is tried again.
    pub async fn take_back(&self, node: &Arc<Node>) -> Result<(), Error> {
        let Some(returned) = node.health.returned() else { return Ok(()) };
        let id = &node.member.id;
        self.forget_what_was_told(id);
        self.examine(node, false).await?;
        self.features_and_rules_for(node).await?;
        if let Some(state) = node.health.examined(returned, self.has_stale_replicas(id)) {
            tracing::info!(node = %id, state = state.name(), "a node that returned was looked at");
            self.healable.notify_one();
        }
        Ok(())
    }

    /// Look at a node that serves, after the start of this instance.
    ///
    /// # Errors
    /// Why that was not possible: it is tried again.
    pub async fn look_at_first(&self, node: &Arc<Node>) -> Result<(), Error> {
        self.examine(node, true).await
    }

    /// `serves`: the node counts already, and what it seems to have lost is looked at once more.
    async fn examine(&self, node: &Arc<Node>, serves: bool) -> Result<(), Error> {
        let id = &node.member.id;
        node.drain(self.read_timeout()).await.map_err(|error| Error::answer(id, error))?;
        // As long as this is alive nobody else takes it for granted that the node holds what it is to hold on a later epoch:
        // what it need not hold on this one is deleted.
        let _acting_on = self.topology();
        let (expected, found) = self.look_at(node).await?;
        let mut plan = match check(Standing::Member, &expected, &found) {
            Verdict::Take(plan) => plan,
            Verdict::Refuse(refused) => {
                if node.health.report().last_error.as_deref() != Some(&refused.to_string()) {
                    tracing::error!(node = %id, %refused, "a node is not taken");
                }
                node.health.refused(&refused.to_string());
                // Without a state to go back to, it serves as it did.
                return if serves { Ok(()) } else { Err(Error::answer(id, refused)) };
            }
        };
        self.keep_what_nobody_else_has(node, &mut plan);
        if serves {
            self.confirm(node, &mut plan, &found).await;
        }
        self.mark(node, &plan, &expected, &found).await?;
        if expected.newest_task > found.newest_task {
            node.begins_anew_at(found.newest_task);
        }
        self.carry_out_plan(node, &plan).await
    }
}
