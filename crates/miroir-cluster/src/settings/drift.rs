//! Nodes that do not hold the committed settings: those that missed a change, and those that somebody else changed. They
//! are found, brought up to date, and read again.
//!
//! Invariant: a node is taken for one that holds the committed settings only after it has read them back, under the
//! write lock of the index, so that no change can begin between the reading and the record of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use miroir_core::base::id::{IndexUid, NodeId, ShardId};
use miroir_core::settings::drift::{Drift, DriftFacts, check};
use miroir_core::settings::{initial, towards};
use miroir_core::write::task::TaskKind;
use miroir_node::{Call, Node};
use miroir_work::Backoff;
use serde_json::Value;
use tokio::sync::Notify;

use crate::state::index_lock::IndexGuard;
use crate::write::weigh::shards_of;
use crate::{Error, Index, Pair, SharedSettings};

/// Between two attempts to bring a node to the committed settings.
const AGAIN: Backoff = Backoff { from: Duration::from_millis(250), to: Duration::from_secs(5) };

/// The pairs that somebody else changed, until they are repaired.
#[derive(Default)]
pub struct Drifted {
    pairs: Mutex<BTreeSet<Pair>>,
    found: Notify,
}

impl Drifted {
    fn add(&self, pair: Pair) {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner).insert(pair);
        self.found.notify_one();
    }

    fn remove(&self, pair: &Pair) -> bool {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner).remove(pair)
    }

    fn all(&self) -> BTreeSet<Pair> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How far one step has brought a node to the committed settings.
enum Convergence {
    /// It holds them, and is recorded as such.
    Holds,
    /// Others were committed in this moment.
    Overtaken,
    /// It was sent what it needs to hold those of this version, and does it in this task.
    Accepted { version: u64, task: u64 },
}

fn not_held(node: &NodeId, why: impl ToString) -> Error {
    Error::NotHeld { node: node.to_string(), why: why.to_string() }
}

impl SharedSettings {
    /// Whether this instance takes care of the settings of an index on a node.
    pub fn owns_settings(&self, physical: &IndexUid, node: &NodeId) -> bool {
        self.state.peers.owns(&format!("settings/{physical}/{node}"))
    }

    /// Wait until drift is found.
    pub async fn drift_found(&self) {
        self.drifted.found.notified().await;
    }

    /// The nodes that can be brought to the settings of an index now, as far as this instance takes care of them.
    pub fn lagging_pairs(&self) -> BTreeSet<Pair> {
        let mut pairs = self.drifted.all();
        for index in self.state.indexes().iter().filter(|index| !index.changing) {
            let frozen = index.frozen.iter().filter(|_| self.state.config.settings_drift_check.auto_repair);
            let owned = index.lagging.keys().chain(frozen).filter(|node| self.owns_settings(&index.physical, node));
            pairs.extend(owned.map(|node| (index.physical.clone(), node.clone())));
        }
        pairs.retain(|(_, node)| self.state.is_live(node));
        pairs
    }

    /// Look whether a node holds the settings of an index, and record it as lagging when it does not: lagging nodes are
    /// brought up to date.
    ///
    /// # Errors
    /// When the node does not answer, or the store cannot be written.
    pub async fn check_drift(&self, before: &Index, node: &NodeId) -> Result<(), Error> {
        let Some(index) = self.state.catalog.now(before) else { return Ok(()) };
        match self.compare_settings(&index, node, &self.settings_of_node(&index, node).await?) {
            Drift::None | Drift::Wait | Drift::CatchUp => return Ok(()),
            Drift::Record(_) | Drift::Repair | Drift::Report => {}
        }
        // A change may be on its way that this instance does not know of; under the lock there is none.
        let Some((guard, index)) = self.writes.lock_physical(&index.physical).await? else { return Ok(()) };
        let read = self.settings_of_node(&index, node).await?;
        match self.compare_settings_under_lock(&index, node, &read).await? {
            Drift::None | Drift::Wait | Drift::CatchUp => Ok(()),
            Drift::Record(version) => {
                self.state.catalog.caught_up(&index.physical, node, version, guard.fence()).await?;
                Ok(())
            }
            Drift::Report => {
                self.record_drift(&index, node);
                Ok(())
            }
            Drift::Repair => {
                self.record_drift(&index, node);
                if self.can_do_without(&index, node) {
                    self.state.catalog.distrust(&index.physical, node, index.settings_version, guard.fence()).await?;
                }
                self.drifted.add((index.physical.clone(), node.clone()));
                Ok(())
            }
        }
    }

    fn record_drift(&self, index: &Index, node: &NodeId) {
        self.state.metrics.settings_mismatches(1);
        let (index, version) = (&index.uid, index.settings_version);
        tracing::warn!(%node, %index, version, "a node holds other settings than were committed");
    }

    /// Whether other nodes can answer for all that this one holds of an index.
    fn can_do_without(&self, index: &Index, node: &NodeId) -> bool {
        let topology = self.state.topology();
        let Some(groups) = topology.placements(index.shards) else { return false };
        let stale = self.state.stale.of(&index.physical);
        let usable = |shard: ShardId, other: &NodeId| {
            let trusted = !index.lagging.contains_key(other) && !stale.contains(&(shard, other.clone()));
            other != node && trusted && self.state.is_live(other)
        };
        let others = |shard: ShardId| groups.values().flat_map(move |placement| placement.replicas(shard));
        shards_of(&topology, index.shards, node)
            .into_iter()
            .all(|shard| others(shard).any(|other| usable(shard, other)))
    }

    /// Bring a node to the committed settings of an index, whatever it holds now, and read from it again. Waits for the
    /// node's task for as long as the node lives.
    ///
    /// # Errors
    /// [`Error::NotHeld`] when it does not come to hold them, or a change of settings is under way; as `IndexLocks::lock`; when
    /// the store cannot be written.
    pub async fn bring_up_to_date(&self, index: &Index, node: &NodeId) -> Result<(), Error> {
        let mut told = None;
        let mut attempts = 0;
        loop {
            let (version, task) = match self.converge_once(&index.physical, node).await? {
                Convergence::Holds => return Ok(()),
                Convergence::Overtaken => continue,
                Convergence::Accepted { version, task } => (version, task),
            };
            if told.replace(version) != Some(version) {
                attempts = 0;
            }
            attempts += 1;
            let ended = self.end_of(node, task).await;
            if attempts > self.state.config.settings_broadcast.max_repair_retries {
                // What it holds after the last attempt is what counts.
                return match self.has_converged(&index.physical, node).await? {
                    true => Ok(()),
                    false => Err(ended.err().unwrap_or_else(|| not_held(node, "it reads something else back"))),
                };
            }
            if let Err(error) = ended {
                tracing::debug!(%node, index = %index.uid, %error, "a node did not take settings; trying again");
                tokio::time::sleep(AGAIN.after(attempts)).await;
            }
        }
    }

    /// The same, of a pair from [`SharedSettings::lagging_pairs`].
    ///
    /// # Errors
    /// As [`SharedSettings::bring_up_to_date`].
    pub async fn catch_up_pair(&self, pair: &Pair) -> Result<(), Error> {
        match self.state.catalog.by_physical(&pair.0) {
            Some(index) => self.bring_up_to_date(&index, &pair.1).await,
            None => {
                self.drifted.remove(pair);
                Ok(())
            }
        }
    }

    /// One step towards the committed settings: read what the node holds, record that it holds them, or send what differs.
    async fn converge_once(&self, physical: &IndexUid, node: &NodeId) -> Result<Convergence, Error> {
        let Some((guard, index)) = self.writes.lock_physical(physical).await? else { return Ok(Convergence::Holds) };
        let read = self.settings_of_node(&index, node).await?;
        match self.compare_settings_under_lock(&index, node, &read).await? {
            Drift::Wait => Err(not_held(node, "a change of settings is under way")),
            Drift::None | Drift::Record(_) => self.record(&guard, &index, node).await,
            Drift::CatchUp | Drift::Repair | Drift::Report => self.send_difference(&index, node, &read).await,
        }
    }

    /// Whether the node holds the committed settings now. Sends it nothing.
    async fn has_converged(&self, physical: &IndexUid, node: &NodeId) -> Result<bool, Error> {
        let Some((guard, index)) = self.writes.lock_physical(physical).await? else { return Ok(true) };
        let read = self.settings_of_node(&index, node).await?;
        match self.compare_settings_under_lock(&index, node, &read).await? {
            Drift::None | Drift::Record(_) => {
                Ok(matches!(self.record(&guard, &index, node).await?, Convergence::Holds))
            }
            Drift::Wait | Drift::CatchUp | Drift::Repair | Drift::Report => Ok(false),
        }
    }

    /// The node has read back what was committed.
    async fn record(&self, guard: &IndexGuard, index: &Index, node: &NodeId) -> Result<Convergence, Error> {
        let version = index.settings_version;
        if !self.state.catalog.caught_up(&index.physical, node, version, guard.fence()).await? {
            return Ok(Convergence::Overtaken);
        }
        if self.drifted.remove(&(index.physical.clone(), node.clone())) {
            self.state.metrics.settings_repaired();
        }
        tracing::info!(%node, index = %index.uid, version, "a node holds the committed settings");
        Ok(Convergence::Holds)
    }

    /// The caller holds the index write lock, and the node has shown that the index is there: it is not made anew by this.
    async fn send_difference(&self, index: &Index, node: &NodeId, read: &Value) -> Result<Convergence, Error> {
        let committed = self.settings_on_nodes(index);
        let committed = committed.ok_or_else(|| not_held(node, "no settings were ever committed"))?;
        let call = self.settings_call(index, &towards(&committed, read, &index.secrets));
        let task = self.known(node)?.enqueue(call).await.map_err(|error| not_held(node, error))?;
        Ok(Convergence::Accepted { version: index.settings_version, task })
    }

    /// All settings of an index, for a node that has just got it.
    pub(crate) fn whole_settings_call(&self, index: &Index) -> Call {
        let defaults = Value::Object(serde_json::Map::new());
        let whole = self.settings_on_nodes(index).map(|committed| towards(&committed, &defaults, &index.secrets));
        let whole = whole.unwrap_or_else(|| initial(index.shards, self.state.config.facets.node_multiplier));
        self.settings_call(index, &whole)
    }

    /// Wait for a node's task for as long as the node lives: it may have to index everything anew.
    async fn end_of(&self, id: &NodeId, task: u64) -> Result<(), Error> {
        let done = self.known(id)?.await_tasks(&[task], self.state.read_timeout()).await;
        done.map_err(|error| not_held(id, error))
    }

    fn known(&self, id: &NodeId) -> Result<Arc<Node>, Error> {
        self.state.node(id).ok_or_else(|| not_held(id, "it is not a member"))
    }

    pub(crate) async fn settings_of_node(&self, index: &Index, id: &NodeId) -> Result<Value, Error> {
        let path = format!("/indexes/{}/settings", index.physical);
        let call = Call::get("settings_check", path, self.state.read_timeout());
        self.known(id)?.read(call).await.map_err(|error| not_held(id, error))
    }

    /// What nodes hold that hold the committed settings.
    fn settings_on_nodes(&self, index: &Index) -> Option<Value> {
        index.settings.on_nodes(index.shards, self.state.config.facets.node_multiplier)
    }

    /// Compare what a node has read back with what was committed.
    pub(crate) fn compare_settings(&self, index: &Index, node: &NodeId, read: &Value) -> Drift {
        let committed = self.settings_on_nodes(index);
        check(&DriftFacts {
            committed: committed.as_ref(),
            version: index.settings_version,
            recorded: (!index.lagging.contains_key(node)).then_some(index.settings_version),
            read,
            broadcast: index.changing,
            auto_repair: self.state.config.settings_drift_check.auto_repair,
        })
    }

    /// As [`SharedSettings::compare_settings`], but as long as the task of a change has not ended there is something to wait
    /// for. The caller holds the index write lock.
    async fn compare_settings_under_lock(&self, index: &Index, node: &NodeId, read: &Value) -> Result<Drift, Error> {
        match self.compare_settings(index, node, read) {
            calm @ (Drift::None | Drift::Wait) => Ok(calm),
            other @ (Drift::Record(_) | Drift::CatchUp | Drift::Repair | Drift::Report) => {
                let busy = self.state.is_busy(std::slice::from_ref(&index.uid), Some(TaskKind::SettingsUpdate)).await?;
                Ok(if busy { Drift::Wait } else { other })
            }
        }
    }
}
