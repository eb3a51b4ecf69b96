//! The catalog: which indexes there are. The store is its truth; a view in memory answers every request.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use miroir_core::base::id::{IndexUid, NodeId, ShardId};
use miroir_core::settings::{Secrets, Settings};
use miroir_store::{Batch, Committed, Edit, Fence, Records, Store, StoreError, Table, TypedTable, View};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::state::follow::Follow;
use crate::state::names::Names;

/// An index, as nodes call it, on a node.
pub type Pair = (IndexUid, NodeId);

/// An index as clients know it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// The client's name.
    pub uid: IndexUid,
    /// The name on the nodes.
    pub physical: IndexUid,
    /// Given or inferred, as clients see it.
    pub primary_key: Option<String>,
    /// The key that tasks under way bring: documents are routed by it already. It is the index's when one of them succeeds,
    /// and is given back when none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_key: Option<String>,
    /// Number of shards, fixed at creation.
    pub shards: NonZeroU32,
    /// When it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// Its creation has been processed. Before that, as with one server, only writes know it.
    pub ready: bool,
    /// Previous names, under which readers see it until the tasks from before its renaming are done, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous_names: Vec<PreviousName>,
    /// As committed: what the nodes read back, without the overlay.
    pub settings: Settings,
    /// How often a change of settings was committed; 0: never, the index has those that it came with.
    #[serde(default)]
    pub settings_version: u64,
    /// Keys of embedding services, which nodes and clients show only the beginning of.
    #[serde(default, skip_serializing_if = "Secrets::is_empty")]
    pub secrets: Secrets,
    /// The lagging nodes, which have not shown to hold the committed settings, and the version that they were last seen
    /// at; 0: never, or they may hold anything. They are not read from. All other nodes are at the committed version.
    #[serde(rename = "behind", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lagging: BTreeMap<NodeId, u64>,
    /// Nodes may be at other settings than the committed ones, because a change is on its way to them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changing: bool,
    /// The nodes that did not comply with a change of settings: until they are repaired, no documents are taken.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub frozen: BTreeSet<NodeId>,
}

/// A name under which readers still see an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousName {
    /// The name.
    pub uid: IndexUid,
    /// The mark of the task with whose end readers are cut over from this name.
    pub until: String,
}

impl Index {
    /// An index that has just been asked for.
    pub fn new(uid: IndexUid, physical: IndexUid, primary_key: Option<String>, shards: NonZeroU32) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            uid,
            physical,
            primary_key,
            pending_key: None,
            shards,
            created_at: now,
            updated_at: now,
            ready: false,
            previous_names: Vec::new(),
            settings: Settings::default(),
            settings_version: 0,
            secrets: Secrets::default(),
            lagging: BTreeMap::new(),
            changing: false,
            frozen: BTreeSet::new(),
        }
    }

    /// The primary key that documents are routed by.
    pub fn key(&self) -> Option<&String> {
        self.pending_key.as_ref().or(self.primary_key.as_ref())
    }

    /// The version of the settings that a node has shown to hold.
    pub fn settings_version_on(&self, node: &NodeId) -> u64 {
        self.lagging.get(node).copied().unwrap_or(self.settings_version)
    }

    /// The name by which readers know it.
    pub(crate) fn shown_name(&self) -> &IndexUid {
        self.previous_names.first().map_or(&self.uid, |name| &name.uid)
    }

    /// As readers know it.
    pub(crate) fn shown(self: &Arc<Self>) -> Arc<Self> {
        match self.previous_names.first() {
            None => self.clone(),
            Some(name) => Arc::new(Self { uid: name.uid.clone(), ..Self::clone(self) }),
        }
    }
}

/// Exchange the names of two indexes, or give one a name that is free.
#[derive(Clone, Debug)]
pub struct Renaming {
    /// The index.
    pub from: IndexUid,
    /// The other index, or the new name.
    pub to: IndexUid,
}

/// All indexes.
pub struct Catalog(View<Arc<Index>, Names>);

const TABLE: TypedTable<Arc<Index>> = TypedTable::new(Table::Catalog);

/// A primary key that an index has got from a change.
pub struct TakenKey {
    /// The index.
    pub physical: IndexUid,
    /// When it was asked for: another may have its name by now.
    pub born: OffsetDateTime,
    /// The key.
    pub key: String,
}

impl Catalog {
    /// What the store remembers.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        View::derive(store, TABLE, Names::default()).await.map(Self)
    }

    /// The index that a write means, also one whose creation is still under way.
    pub fn get(&self, uid: &IndexUid) -> Option<Arc<Index>> {
        self.0.now().writers.get(uid).cloned()
    }

    /// The index that a read means.
    pub fn read(&self, uid: &IndexUid) -> Option<Arc<Index>> {
        self.0.now().readers.get(uid).cloned()
    }

    /// The index that is called this on the nodes, under the name that writes use.
    pub fn by_physical(&self, physical: &IndexUid) -> Option<Arc<Index>> {
        self.0.now().physical.get(physical).cloned()
    }

    /// An index as it is now that was read before, whatever its name is by now.
    pub fn now(&self, before: &Index) -> Option<Arc<Index>> {
        let same_name = self.read(&before.uid).filter(|index| index.physical == before.physical);
        same_name.or_else(|| self.by_physical(&before.physical))
    }

    /// All indexes, also those whose creation is still under way, by the names that writes use.
    pub fn all(&self) -> Vec<Arc<Index>> {
        self.0.now().writers.values().cloned().collect()
    }

    /// All indexes that reads know, by uid.
    pub fn ready(&self) -> Vec<Arc<Index>> {
        self.0.now().readers.values().cloned().collect()
    }

    /// The indexes as the store has them, for whoever follows its changes.
    pub(crate) fn follow(&self) -> &impl Follow {
        &self.0
    }

    /// Learn what other instances made of a name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn refresh(&self, uid: &IndexUid) -> Result<(), StoreError> {
        self.0.refresh(uid.as_str(), None).await
    }

    /// Insert an index that is not there, together with the rest of the batch. Returns what is there now, and whether it
    /// was inserted.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn insert(&self, index: Index, with: Batch) -> Result<(Arc<Index>, bool, Committed), StoreError> {
        let index = Arc::new(index);
        let plan = |records: &Records<Arc<Index>>| match records.get(index.uid.as_str()) {
            Some(known) => Ok((Edit::nothing(), (known.value.clone(), false))),
            None => {
                let edit = Edit::put(index.uid.as_str(), index.clone()).with(with.clone());
                Ok::<_, StoreError>((edit, (index.clone(), true)))
            }
        };
        self.0.change(plan).await.map(|((index, inserted), committed)| (index, inserted, committed))
    }

    /// Change the index that is called this on the nodes, whatever its name is by now. Returns what is there now.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn update(
        &self,
        physical: &IndexUid,
        change: impl Fn(&mut Index) + Send,
    ) -> Result<Option<Arc<Index>>, StoreError> {
        let plan = |records: &Records<Arc<Index>>| {
            let Some(current) = self.among(records, physical) else { return Ok((Edit::nothing(), None)) };
            let mut next = Index::clone(current);
            change(&mut next);
            let next = Arc::new(next);
            Ok::<_, StoreError>((Edit::put(next.uid.as_str(), next.clone()), Some(next)))
        };
        self.0.change(plan).await.map(|(index, _)| index)
    }

    /// A node has read back the settings that were committed as this version: it is read, and holds up no writes. Returns
    /// false when they are not those of the index any more.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn caught_up(
        &self,
        physical: &IndexUid,
        node: &NodeId,
        version: u64,
        fence: Fence,
    ) -> Result<bool, StoreError> {
        let change = |index: &mut Index| {
            index.lagging.remove(node);
            index.frozen.remove(node);
        };
        self.change_at(physical, version, fence, change).await
    }

    /// Distrust a node: it does not hold the settings that were committed as this version, and nobody knows what it
    /// holds, so it is not read. Returns false when they are not those of the index any more.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn distrust(
        &self,
        physical: &IndexUid,
        node: &NodeId,
        version: u64,
        fence: Fence,
    ) -> Result<bool, StoreError> {
        let change = |index: &mut Index| {
            index.lagging.insert(node.clone(), 0);
        };
        self.change_at(physical, version, fence, change).await
    }

    /// Change an index whose settings are of this version, and are not about to change.
    async fn change_at(
        &self,
        physical: &IndexUid,
        version: u64,
        fence: Fence,
        change: impl Fn(&mut Index) + Send,
    ) -> Result<bool, StoreError> {
        let with = Batch { fences: vec![fence], ..Batch::default() };
        let plan = |records: &Records<Arc<Index>>| {
            let current = self.among(records, physical);
            let Some(current) = current.filter(|index| index.settings_version == version && !index.changing) else {
                return Ok((Edit::nothing(), false));
            };
            let mut next = Index::clone(current);
            change(&mut next);
            if next == **current {
                return Ok((Edit::nothing(), true));
            }
            let next = Arc::new(next);
            Ok::<_, StoreError>((Edit::put(next.uid.as_str(), next.clone()).with(with.clone()), true))
        };
        self.0.change(plan).await.map(|(done, _)| done)
    }

    /// Change the index that is called this on the nodes and was asked for then, together with the rest of the batch,
    /// which is written also when there is no such index any more.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn amend(
        &self,
        physical: &IndexUid,
        born: OffsetDateTime,
        change: impl Fn(&mut Index) + Send,
        with: Batch,
    ) -> Result<Committed, StoreError> {
        let plan = |records: &Records<Arc<Index>>| {
            let current = self.among(records, physical).filter(|index| index.created_at == born);
            let edit = current.map_or_else(Edit::nothing, |current| {
                let mut next = Index::clone(current);
                change(&mut next);
                Edit::put(current.uid.as_str(), Arc::new(next))
            });
            Ok::<_, StoreError>((edit.with(with.clone()), ()))
        };
        self.0.change(plan).await.map(|((), committed)| committed)
    }

    /// Learn what other instances made of the index that is called this on the nodes.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn refresh_physical(&self, physical: &IndexUid) -> Result<(), StoreError> {
        if let Some(known) = self.by_physical(physical) {
            self.refresh(&known.uid).await?;
        }
        // It came, or got another name, through another instance.
        if self.by_physical(physical).is_none() { self.0.reload().await } else { Ok(()) }
    }

    /// Give indexes new names, all at once and together with the rest of the batch. Readers see them under the previous
    /// names until [`Catalog::cut_over`] with the mark `until`; without a mark they are cut over at once. In the same
    /// step an index gets a primary key, for good if the task of the batch has ended.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn rename(
        &self,
        renamings: &[Renaming],
        until: Option<&str>,
        key: Option<&TakenKey>,
        mut with: Batch,
    ) -> Result<Committed, StoreError> {
        with.renamed = renamings.iter().map(|renaming| (renaming.from.clone(), renaming.to.clone())).collect();
        let has_ended = with.new_tasks.iter().all(|task| task.status.is_final());
        let plan = |records: &Records<Arc<Index>>| {
            let mut changed = renamed(records, renamings, until);
            if let Some(key) = key {
                self.give_key(records, &mut changed, key, has_ended);
            }
            Ok::<_, StoreError>((Edit { records: changed, ..Edit::nothing() }.with(with.clone()), ()))
        };
        self.0.change(plan).await.map(|((), committed)| committed)
    }

    /// Cut readers over: the previous names with this mark go, and all that are older.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn cut_over(&self, until: &str) -> Result<(), StoreError> {
        let plan = |records: &Records<Arc<Index>>| {
            let mut edit = Edit::nothing();
            for (uid, record) in records.iter() {
                let Some(last) = record.value.previous_names.iter().rposition(|name| name.until == until) else {
                    continue;
                };
                let mut changed = Index::clone(&record.value);
                changed.previous_names.drain(..=last);
                edit.records.insert(uid.clone(), Some(Arc::new(changed)));
            }
            Ok::<_, StoreError>((edit, ()))
        };
        self.0.change(plan).await.map(drop)
    }

    /// Change several indexes that are called these on the nodes, in one step. What is there no more is not changed.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn update_all(
        &self,
        physical: &BTreeSet<IndexUid>,
        change: impl Fn(&mut Index) + Send,
    ) -> Result<(), StoreError> {
        let plan = |records: &Records<Arc<Index>>| {
            let mut edit = Edit::nothing();
            for current in physical.iter().filter_map(|physical| self.among(records, physical)) {
                let mut next = Index::clone(current);
                change(&mut next);
                edit.records.insert(next.uid.to_string(), Some(Arc::new(next)));
            }
            Ok::<_, StoreError>((edit, ()))
        };
        self.0.change(plan).await.map(drop)
    }

    /// An index among those that change, or one of the others, gets a primary key.
    fn give_key(
        &self,
        records: &Records<Arc<Index>>,
        changed: &mut BTreeMap<String, Option<Arc<Index>>>,
        taken: &TakenKey,
        for_good: bool,
    ) {
        let is_it = |index: &Index| index.physical == taken.physical && index.created_at == taken.born;
        let among_changed = changed.values().flatten().find(|index| is_it(index)).cloned();
        let unchanged = || self.among(records, &taken.physical).filter(|index| is_it(index)).cloned();
        let found = among_changed.or_else(unchanged);
        let Some(mut index) = found.map(|index| Index::clone(&index)) else { return };
        let place = if for_good { &mut index.primary_key } else { &mut index.pending_key };
        *place = Some(taken.key.clone());
        changed.insert(index.uid.to_string(), Some(Arc::new(index)));
    }

    /// The index that is called this on the nodes, among these records.
    fn among<'a>(&self, records: &'a Records<Arc<Index>>, physical: &IndexUid) -> Option<&'a Arc<Index>> {
        let is_it = |index: &&Arc<Index>| index.physical == *physical;
        let known = self.by_physical(physical).and_then(|index| records.get(index.uid.as_str()));
        let known = known.map(|record| &record.value).filter(is_it);
        known.or_else(|| records.values().map(|record| &record.value).find(is_it))
    }

    /// Remove the index that is called this on the nodes, together with what else must go in the same step.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing changed.
    pub async fn remove(&self, physical: &IndexUid, with: Batch) -> Result<Committed, StoreError> {
        let plan = |records: &Records<Arc<Index>>| match self.among(records, physical) {
            Some(index) => Ok::<_, StoreError>((Edit::delete(index.uid.as_str()).with(with.clone()), ())),
            None => Ok((Edit::nothing(), ())),
        };
        self.0.change(plan).await.map(|((), committed)| committed)
    }
}

/// The records that change when indexes change names, pair after pair.
fn renamed(
    records: &Records<Arc<Index>>,
    renamings: &[Renaming],
    until: Option<&str>,
) -> BTreeMap<String, Option<Arc<Index>>> {
    let names = renamings.iter().flat_map(|renaming| [&renaming.from, &renaming.to]);
    let mut next: BTreeMap<String, Option<Arc<Index>>> =
        names.map(|uid| (uid.to_string(), records.get(uid.as_str()).map(|record| record.value.clone()))).collect();
    for Renaming { from, to } in renamings {
        let moved = [(next.insert(from.to_string(), None), to), (next.insert(to.to_string(), None), from)];
        for (index, uid) in moved {
            let Some(mut index) = index.flatten().map(|index| Index::clone(&index)) else { continue };
            match until {
                Some(until) => index.previous_names.push(PreviousName { uid: index.uid, until: until.into() }),
                None => index.previous_names.clear(),
            }
            index.uid = uid.clone();
            index.updated_at = OffsetDateTime::now_utc();
            next.insert(uid.to_string(), Some(Arc::new(index)));
        }
    }
    next
}

/// Every shard of an index.
pub fn all_shards(index: &Index) -> Vec<ShardId> {
    (0..index.shards.get()).map(ShardId).collect()
}
