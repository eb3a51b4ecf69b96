//! Joining nodes get the indexes.
//!
//! An index is made under its write lock, while no client's change of it, and no deletion, is on its way to nodes. Whoever
//! joins is recorded as lagging before, and read only after it has shown to hold what was committed, as any node
//! that was away for a change.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use miroir_core::base::id::{Epoch, IndexUid, NodeId};
use miroir_core::membership::topology::Member;
use miroir_node::{Call, Node};
use miroir_work::led::Next;

use super::machine::Rebalancing;
use super::record::TransitionRecord;
use crate::{Error, Index, Membership};

/// Indexes made on a node at one time.
const AT_ONCE: usize = 4;

/// What became of an index that a node lacks.
enum Made {
    /// The node makes it in these tasks.
    Accepted(Vec<u64>),
    /// It has, or is about to have, one of that name.
    Has,
    /// Nobody wants it any more.
    Gone,
}

impl Rebalancing {
    /// Give nodes all indexes as they are now. `epoch`: the one that was acknowledged before.
    pub(super) async fn prepare(
        &self,
        record: &TransitionRecord,
        nodes: &BTreeSet<NodeId>,
        epoch: Epoch,
    ) -> Result<Next<TransitionRecord>, Error> {
        self.membership.catch_up_all().await?;
        let joining = record.transition.change.joining().iter().filter(|member| nodes.contains(&member.id));
        let mut next = record.clone();
        for member in joining {
            let given = self.membership.give_indexes(member).await?;
            if !given.is_empty() {
                tracing::info!(node = %member.id, indexes = given.len(), "a joining node has got indexes");
            }
            next.given.entry(member.id.clone()).or_default().extend(given);
            next.prepared.insert(member.id.clone(), epoch);
        }
        Ok(Next::to(next))
    }
}

impl Membership {
    /// Make the indexes that a node lacks. Returns which.
    async fn give_indexes(&self, member: &Member) -> Result<BTreeSet<IndexUid>, Error> {
        let id = &member.id;
        let node = self.state.node(id).unwrap_or_else(|| self.state.unregistered_node(member));
        let held = node.indexes(self.state.read_timeout()).await.map_err(|error| Error::answer(id, error))?;
        let held: BTreeSet<String> = held.into_iter().map(|index| index.uid).collect();
        let lacking = self.state.catalog.all().into_iter().filter(|index| !held.contains(index.physical.as_str()));
        let made = stream::iter(lacking).map(|index| self.give_index(&node, index)).buffer_unordered(AT_ONCE);
        let made: Vec<Option<(IndexUid, Vec<u64>)>> = made.try_collect().await?;
        let made: Vec<(IndexUid, Vec<u64>)> = made.into_iter().flatten().collect();
        let tasks: Vec<u64> = made.iter().flat_map(|(_, tasks)| tasks.iter().copied()).collect();
        node.await_tasks(&tasks, self.state.read_timeout()).await.map_err(|error| Error::answer(id, error))?;
        Ok(made.into_iter().map(|(physical, _)| physical).collect())
    }

    async fn give_index(&self, node: &Arc<Node>, index: Arc<Index>) -> Result<Option<(IndexUid, Vec<u64>)>, Error> {
        let Some((_guard, index)) = self.writes.lock_physical(&index.physical).await? else { return Ok(None) };
        Ok(match self.make_index(node, &index).await? {
            Made::Accepted(tasks) => Some((index.physical.clone(), tasks)),
            Made::Has | Made::Gone => None,
        })
    }

    /// The caller holds the index write lock.
    async fn make_index(&self, node: &Arc<Node>, index: &Index) -> Result<Made, Error> {
        let id = &node.member.id;
        let path = format!("/indexes/{}", index.physical);
        match node.ask(Call::get("indexes", path, self.state.read_timeout())).await {
            Ok(_) => return Ok(Made::Has),
            Err(error) if error.status() == Some(404) => {}
            Err(error) => return Err(Error::answer(id, error)),
        }
        let open = node.has_unfinished(&index.physical, self.state.read_timeout()).await;
        if open.map_err(|error| Error::answer(id, error))? {
            // A client has just had it made there.
            return Ok(Made::Has);
        }
        let lagging = |index: &mut Index| _ = index.lagging.entry(id.clone()).or_insert(0);
        if self.state.catalog.update(&index.physical, lagging).await?.is_none() {
            return Ok(Made::Gone);
        }
        let (create, settings) = (self.writes.creation_call(index), self.settings.whole_settings_call(index));
        let made = node.enqueue(create).await.map_err(|error| Error::answer(id, error))?;
        let set = node.enqueue(settings).await.map_err(|error| Error::answer(id, error))?;
        Ok(Made::Accepted(vec![made, set]))
    }
}
