//! Indexes change names: in the catalog alone, all at once, without a word to the nodes.
//!
//! From the request on writes go by the new names. Readers are cut over to them when everything that was asked for
//! before is done, as with one server, which does one task after the other: so an index that is still being filled is
//! not swapped in before it is full. When nothing is under way the task ends at once.

use std::sync::Arc;

use http::Method;
use miroir_core::base::error::Code;
use miroir_core::base::id::IndexUid;
use miroir_core::write::task::{NameCutOver, TaskKind};
use miroir_node::Call;
use miroir_store::Fence;
use serde_json::{Value, json};

use crate::state::catalog::Renaming;
use crate::state::catalog::all_shards;
use crate::state::index_lock::IndexGuard;
use crate::write::fan_out::{Accepted, Change, raw};
use crate::write::parts::Step;
use crate::{Error, Index, Writer};

/// One pair of `POST /swap-indexes`.
#[derive(Clone, Debug)]
pub struct Swap {
    /// Both indexes, or the index and its new name.
    pub indexes: [IndexUid; 2],
    /// The second is a name that is free.
    pub rename: bool,
}

impl Writer {
    /// `PATCH /indexes/{uid}`: give the index a primary key, another name, or both. Either all of it is done or nothing.
    ///
    /// # Errors
    /// As `Writer::change`. An unknown index, and a change that cannot be made, is a task that fails.
    pub async fn update_index(
        &self,
        uid: &IndexUid,
        primary_key: Option<String>,
        new_uid: Option<IndexUid>,
    ) -> Result<Accepted, Error> {
        let guards = self.lock_indexes([uid].into_iter().chain(&new_uid)).await?;
        let _renaming = Renames(guards.clone());
        let details = match &new_uid {
            Some(new) => json!({ "primaryKey": primary_key, "oldIndexUid": uid, "newIndexUid": new }),
            None => json!({ "primaryKey": primary_key }),
        };
        let also = new_uid.iter().filter(|new| *new != uid).cloned().collect();
        let change = Change {
            uid: Some(uid.clone()),
            details: raw(&details),
            also,
            fences: fences(&guards),
            ..Change::of_no_index(TaskKind::IndexUpdate)
        };
        let Some(index) = self.state.catalog.get(uid) else {
            return self.conclude_at_once(change.without_index()).await;
        };
        if let Some(new) = new_uid.as_ref().filter(|new| *new != uid && self.state.catalog.get(new).is_some()) {
            let message = format!("Index `{new}` already exists.");
            return self.conclude_at_once(change.failing_with(Code::IndexAlreadyExists, message)).await;
        }
        let new_key = primary_key.filter(|key| index.key() != Some(key));
        if new_key.is_some() && self.has_or_awaits_documents(&index).await? {
            let key = index.key().cloned().unwrap_or_default();
            let message = format!("Index `{uid}`: Index already has a primary key: `{key}`.");
            return self.conclude_at_once(change.failing_with(Code::IndexPrimaryKeyAlreadyExists, message)).await;
        }
        let renamings: Vec<Renaming> =
            new_uid.into_iter().filter(|new| new != uid).map(|new| Renaming { from: uid.clone(), to: new }).collect();
        match new_key {
            Some(key) => self.send_primary_key(&index, key, change, renamings).await,
            None => self.rename(change, renamings).await,
        }
    }

    async fn has_or_awaits_documents(&self, index: &Arc<Index>) -> Result<bool, Error> {
        // The first documents fix the key, also while their task is under way.
        let filling = index.key().is_some()
            && self.state.is_busy(std::slice::from_ref(&index.uid), Some(TaskKind::DocumentAdditionOrUpdate)).await?;
        Ok(filling || (index.ready && self.reads.count_documents(index).await?.0 > 0))
    }

    async fn send_primary_key(
        &self,
        index: &Index,
        key: String,
        mut change: Change,
        renamings: Vec<Renaming>,
    ) -> Result<Accepted, Error> {
        let path = format!("/indexes/{}", index.physical);
        let body = json!({ "primaryKey": key }).to_string().into_bytes();
        let call = Call::json("update_index", Method::PATCH, path, body, self.state.write_timeout());
        let topology = self.state.ensure_placement(index.shards).await?;
        change.take_key(index, key);
        if !renamings.is_empty() {
            change.effects.cuts_over = Some(NameCutOver { token: token(), physical: vec![index.physical.clone()] });
        }
        change.renamings = renamings;
        change.touched = all_shards(index);
        change.parts = self.on_every_node(&topology, &[Step { call, shards: Vec::new() }]);
        self.change(&topology, index, change).await
    }

    /// `POST /swap-indexes`: all pairs or none. Listings do not find the task by its indexes, as with one server.
    ///
    /// # Errors
    /// [`Error::Store`]. A swap that cannot be made is a task that fails.
    pub async fn swap_indexes(&self, swaps: &[Swap]) -> Result<Accepted, Error> {
        let uids: Vec<IndexUid> = swaps.iter().flat_map(|swap| swap.indexes.clone()).collect();
        let guards = self.lock_indexes(&uids).await?;
        let _renaming = Renames(guards.clone());
        let shown = |swap: &Swap| json!({ "indexes": swap.indexes, "rename": swap.rename });
        let details: Vec<Value> = swaps.iter().map(shown).collect();
        let details = raw(&json!({ "swaps": details }));
        let change = Change { details, fences: fences(&guards), ..Change::of_no_index(TaskKind::IndexSwap) };
        if let Some((code, message)) = self.refuse_swaps(swaps) {
            return self.conclude_at_once(change.failing_with(code, message)).await;
        }
        let renamings: Vec<Renaming> = swaps
            .iter()
            .map(|Swap { indexes: [from, to], .. }| Renaming { from: from.clone(), to: to.clone() })
            .collect();
        self.rename(change, renamings).await
    }

    /// Why these swaps cannot be made: first a name that is taken, then the indexes that are missing, in order.
    fn refuse_swaps(&self, swaps: &[Swap]) -> Option<(Code, String)> {
        let exists = |uid: &IndexUid| self.state.catalog.get(uid).is_some();
        let mut missing: Vec<String> = Vec::new();
        for Swap { indexes: [from, to], rename } in swaps {
            if !exists(from) {
                missing.push(format!("`{from}`"));
            }
            if *rename && exists(to) {
                let message = format!(
                    "Cannot rename `{from}` to `{to}` as the index already exists. Hint: You can remove `{to}` first and then do your remove."
                );
                return Some((Code::IndexAlreadyExists, message));
            }
            if !rename && !exists(to) {
                missing.push(format!("`{to}`"));
            }
        }
        missing.sort();
        match missing.as_slice() {
            [] => None,
            [one] => Some((Code::IndexNotFound, format!("Index {one} not found."))),
            several => Some((Code::IndexNotFound, format!("Indexes {} not found.", several.join(", ")))),
        }
    }

    /// Do it, and register the task in the same step. The caller holds the write locks of all names.
    async fn rename(&self, mut change: Change, renamings: Vec<Renaming>) -> Result<Accepted, Error> {
        let names: Vec<IndexUid> =
            renamings.iter().flat_map(|Renaming { from, to }| [from.clone(), to.clone()]).collect();
        change.renamings = renamings;
        // What is owed is of an index, and not of its name.
        for guard in self.guards() {
            if let Some(index) = self.state.catalog.get(guard.index()) {
                self.pay_debts(&guard, &index.physical).await?;
            }
        }
        // An index that readers still see under a previous name is not renamed past that.
        let has_previous =
            |uid: &IndexUid| self.state.catalog.get(uid).is_some_and(|index| !index.previous_names.is_empty());
        if names.is_empty() || (!names.iter().any(has_previous) && !self.state.is_busy(&names, None).await?) {
            return self.conclude_at_once(change).await;
        }
        let physical =
            names.iter().filter_map(|uid| self.state.catalog.get(uid)).map(|index| index.physical.clone()).collect();
        change.effects.cuts_over = Some(NameCutOver { token: token(), physical });
        self.do_later(change).await
    }
}

/// However it ends, the names may be other indexes' from then on.
struct Renames(Vec<IndexGuard>);

impl Drop for Renames {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(IndexGuard::forget);
    }
}

fn fences(guards: &[IndexGuard]) -> Vec<Fence> {
    guards.iter().map(IndexGuard::fence).collect()
}

fn token() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
