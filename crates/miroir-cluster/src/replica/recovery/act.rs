//! What is done with a node before it counts: indexes are made, and what it should not hold goes.

use std::sync::Arc;

use http::Method;
use miroir_core::base::id::{IndexUid, ShardId};
use miroir_core::replica::recovery::{PlanForIndex, ReadmissionPlan};
use miroir_node::{Call, Node};

use crate::write::access::OnNode;
use crate::write::erase::Erasing;
use crate::{Error, Replicas};

impl Replicas {
    pub(super) async fn carry_out_plan(&self, node: &Arc<Node>, plan: &ReadmissionPlan) -> Result<(), Error> {
        for (physical, of_index) in &plan.indexes {
            self.carry_out_for_index(node, physical, of_index).await?;
        }
        // Among them are those of the plan.
        self.writes.sweep_tombstones(node).await
    }

    async fn carry_out_for_index(&self, node: &Node, physical: &IndexUid, plan: &PlanForIndex) -> Result<(), Error> {
        let id = &node.member.id;
        let lost = |error| Error::answer(&node.member.id, error);
        if plan.wipe || plan.create {
            // Under the lock, so that an index that is deleted meanwhile is not made anew.
            let Some((guard, index)) = self.writes.lock_physical(physical).await? else { return Ok(()) };
            let on_node = self.writes.on_node(&index, id).map_err(lost)?;
            let mut tasks = Vec::new();
            if plan.wipe {
                tracing::warn!(node = %id, index = %index.uid, "an index with another primary key is replaced");
                let call = Call::bare(
                    "replica_index",
                    Method::DELETE,
                    format!("/indexes/{physical}"),
                    self.state.write_timeout(),
                );
                let erasing = self.erasing_for_recovery(node).await?;
                let told = erasing.tell(&on_node, call).await;
                erasing.done().await;
                tasks.push(told.map_err(lost)?);
            }
            tracing::info!(node = %id, index = %index.uid, "an index is made anew on a node");
            let create = Call { operation: "replica_index", ..self.writes.creation_call(&index) };
            tasks.push(on_node.tell(create).await.map_err(lost)?);
            tasks.push(on_node.tell(self.settings.whole_settings_call(&index)).await.map_err(lost)?);
            drop(guard);
            on_node.done(&tasks).await.map_err(lost)?;
        }
        let Some(index) = self.state.catalog.by_physical(physical) else { return Ok(()) };
        if plan.settings {
            // Whatever it holds is read, and what differs is recorded: no read asks it until it was brought up to date.
            self.settings.check_drift(&index, id).await?;
        }
        if !plan.orphans.is_empty() {
            let shards: Vec<ShardId> = plan.orphans.iter().copied().collect();
            tracing::warn!(node = %id, index = %index.uid, shards = shards.len(), "shards that a node is not to hold are deleted");
            let on_node: OnNode = self.writes.on_node(&index, id).map_err(lost)?;
            let erasing = self.erasing_for_recovery(node).await?;
            let told = erasing.delete_shards(&on_node, &shards).await;
            erasing.done().await;
            on_node.done(&[told.map_err(lost)?]).await.map_err(lost)?;
        }
        Ok(())
    }

    /// Somebody else deletes from the node, or gives it something: then it is looked at anew.
    async fn erasing_for_recovery(&self, node: &Node) -> Result<Erasing<'_>, Error> {
        let busy =
            || Error::answer(&node.member.id, "somebody else deletes from it, or it is about to be given shards");
        self.writes.erasing(&node.member.id).await?.ok_or_else(busy)
    }

    /// Nobody knows what a node that was away was told.
    pub(super) fn forget_what_was_told(&self, id: &miroir_core::base::id::NodeId) {
        self.state.features.forget(id);
        self.state.rules.forget(id);
    }

    /// What holds for a node as a whole: it is told before it counts.
    pub(super) async fn features_and_rules_for(&self, node: &Node) -> Result<(), Error> {
        self.settings.bring_features_to(node).await?;
        self.state.look_at_rules();
        Ok(())
    }
}
