//! Decommissions nodes that are no members any more: the cluster forgets what it knows of them, and deletes the indexes of
//! Miroir on those that can be reached, so that they can join again.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use http::Method;
use miroir_core::base::id::NodeId;
use miroir_core::membership::topology::Member;
use miroir_core::membership::transition::Phase;
use miroir_node::Call;
use miroir_store::{Batch, Table, TypedTable};
use miroir_work::led::{Facts, Next, Step};
use time::OffsetDateTime;

use super::machine::{Rebalancing, TransitionAction};
use super::observe::TransitionObservation;
use super::record::{FinishedChange, LastChange, TransitionRecord};
use crate::{Error, Index, Membership};

const LAST: TypedTable<LastChange> = TypedTable::new(Table::Meta);
const LAST_KEY: &str = "rebalance/last";

impl Rebalancing {
    /// Decommission the nodes that are gone. Every instance acts on the last topology by now and sends them nothing any
    /// more.
    pub(super) async fn decommission(&self, record: &TransitionRecord) -> Result<Next<TransitionRecord>, Error> {
        let Some(ended) = record.ended.clone() else { return Ok(Next::to(record.clone())) };
        let membership = &self.membership;
        membership.catch_up_all().await?;
        for member in &ended.gone {
            membership.forget_node(&member.id).await?;
        }
        let wiped = join_all(ended.gone.iter().map(|member| membership.wipe(member, record))).await;
        for (member, why) in ended.gone.iter().zip(wiped).filter_map(|(member, wiped)| Some((member, wiped.err()?))) {
            tracing::warn!(
                node = %member.id, address = member.address, %why,
                "a node that is no member any more keeps what it holds: empty it before it joins again"
            );
        }
        let took = OffsetDateTime::now_utc() - record.started_at;
        membership.state.metrics.rebalanced(took.try_into().unwrap_or_default());
        tracing::info!(
            id = record.id, change = ?record.transition.change, canceled = ended.canceled,
            "a change of the cluster has ended"
        );
        Ok(Next::to(TransitionRecord {
            ended: Some(FinishedChange { decommissioned: true, ..ended }),
            ..record.clone()
        }))
    }

    /// The operation ends.
    pub(super) fn over(
        &self,
        record: &TransitionRecord,
        ended: &FinishedChange,
        facts: &Facts<TransitionObservation>,
    ) -> Step<TransitionRecord, TransitionAction> {
        let last = LastChange {
            id: record.id.clone(),
            change: record.transition.change.clone(),
            canceled: ended.canceled,
            moved: record.moved,
            documents: record.documents,
            started_at: record.started_at,
            finished_at: facts.now,
        };
        let writes = LAST.put(LAST_KEY, &last);
        if let Err(error) = &writes {
            tracing::warn!(%error, "how a change of the cluster ended cannot be remembered");
        }
        Step::Finish(Batch { writes: writes.into_iter().collect(), ..Batch::default() })
    }
}

impl Membership {
    /// How the last change ended.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn last_change(&self) -> Result<Option<LastChange>, Error> {
        Ok(LAST.get(&*self.state.store, LAST_KEY).await?.map(|last| last.value))
    }

    async fn forget_node(&self, id: &NodeId) -> Result<(), Error> {
        for index in self.state.catalog.all() {
            if !index.lagging.contains_key(id) && !index.frozen.contains(id) {
                continue;
            }
            let forget = |index: &mut Index| {
                index.lagging.remove(id);
                index.frozen.remove(id);
            };
            self.state.catalog.update(&index.physical, forget).await?;
        }
        let alone = BTreeSet::from([id.clone()]);
        for physical in self.state.tombstones.on(id) {
            self.state.tombstones.deleted_on(&physical, &alone).await?;
        }
        Ok(())
    }

    /// Delete the indexes of Miroir on an unregistered node.
    async fn wipe(&self, member: &Member, record: &TransitionRecord) -> Result<(), Error> {
        let node = self.state.unregistered_node(member);
        let timeout = self.state.write_timeout();
        let not_done = |error: String| Error::answer(&member.id, error);
        let held = node.indexes(self.state.read_timeout()).await.map_err(|error| not_done(error.to_string()))?;
        let given = record.given.get(&member.id);
        // Who never was a member may hold others' indexes of the names that ours have got since.
        let was_member = record.transition.phase == Phase::Moving;
        let ours = |uid: &str| {
            let Ok(uid) = uid.parse() else { return false };
            let was_given = given.is_some_and(|given| given.contains(&uid));
            was_given || (was_member && self.state.catalog.by_physical(&uid).is_some())
        };
        let mut tasks = Vec::new();
        for index in held.iter().filter(|index| ours(&index.uid)) {
            let path = format!("/indexes/{}", index.uid);
            let told = node.enqueue(Call::bare("delete_index", Method::DELETE, path, timeout)).await;
            tasks.push(told.map_err(|error| not_done(error.to_string()))?);
        }
        node.await_tasks(&tasks, self.state.read_timeout()).await.map_err(|error| not_done(error.to_string()))
    }
}
