//! Tasks: what a client asked to be done, the node tasks it stands for, and how it ended.

mod batch;
mod kind;
mod parse;
mod query;
mod selection;
mod view;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use crate::base::error::ErrorBody;
use crate::base::id::{IndexUid, NodeId, ShardId, TaskUid};
use crate::rules::{RULES_INDEX, RuleChange};

pub use kind::{TaskKind, TaskStatus, UnknownTaskKind, UnknownTaskStatus};
pub use query::{TaskPage, TaskQuery, TimeRange, instant};
pub use selection::Selection;
pub use view::duration;

/// A task of one node that a task of ours stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTask {
    /// Who runs it.
    pub node: NodeId,
    /// Its number on that node.
    pub uid: u64,
    /// The shards whose replicas on that node it changes. Empty: the index as a whole.
    pub shards: Vec<ShardId>,
    /// What the node last said.
    pub status: TaskStatus,
    /// Why the node failed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
    /// Documents that the node says it deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_documents: Option<u64>,
}

/// What else becomes true when the task ends. Persisted with it, so that whoever ends it knows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Effects {
    /// The index exists for clients from then on; a failed creation takes it out of the catalog.
    pub creates_index: bool,
    /// The task is a change of settings, which ends together with its broadcast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<BroadcastTask>,
    /// The primary key that the index has from then on, if the task succeeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_key: Option<String>,
    /// What `details` becomes on success, as the JSON text of one object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<RawValue>>,
    /// How many documents go to each shard, if they go to several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_shard: Vec<(ShardId, u64)>,
    /// `details.deletedDocuments` is counted from what the nodes say.
    pub counts_deletions: bool,
    /// The cancelation that was asked for: it ended the task if the task ends canceled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceler: Option<TaskUid>,
    /// The tasks to cancel.
    #[serde(skip_serializing_if = "Selection::is_empty")]
    pub cancels: Selection,
    /// The indexes whose tasks are deleted, when it is not those of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletes_within: Option<BTreeSet<IndexUid>>,
    /// The task ends when earlier tasks have; then readers are cut over to the new names of indexes.
    #[serde(rename = "unveils", skip_serializing_if = "Option::is_none")]
    pub cuts_over: Option<NameCutOver>,
    /// The task changes the search rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<RuleChange>,
}

/// What ties a task to a broadcast of settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroadcastTask {
    /// The change bears the same.
    pub token: String,
    /// The version of the settings from then on, when the task has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// The cut-over of indexes that got new names. Writers use these at once, readers when everything has been done that
/// was asked for before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameCutOver {
    /// Marks the previous names that go when this task ends.
    pub token: String,
    /// The physical names of the indexes.
    pub physical: Vec<IndexUid>,
}

impl Effects {
    fn is_none(&self) -> bool {
        let Self {
            creates_index,
            broadcast,
            primary_key,
            details,
            by_shard,
            counts_deletions,
            canceler,
            cancels,
            deletes_within,
            cuts_over,
            rules,
        } = self;
        let nothing_kept = broadcast.is_none() && primary_key.is_none() && details.is_none() && cuts_over.is_none();
        nothing_kept
            && !creates_index
            && !counts_deletions
            && by_shard.is_empty()
            && canceler.is_none()
            && cancels.is_empty()
            && deletes_within.is_none()
            && rules.is_none()
    }
}

macro_rules! tasks {
    ($($(#[$meta:meta])* $field:ident: $type:ty,)*) => {
        /// A task of the one cluster-wide sequence.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub struct Task {
            /// Given by the store when the task is registered.
            pub uid: TaskUid,
            $($(#[$meta])* pub $field: $type,)*
        }

        /// A task that the store has not numbered yet. Its fields are those of [`Task`].
        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub struct NewTask {
            $($(#[$meta])* pub $field: $type,)*
        }

        impl NewTask {
            /// The task under its number.
            pub fn numbered(self, uid: TaskUid) -> Task {
                Task { uid, $($field: self.$field),* }
            }
        }
    };
}

tasks! {
    /// The client's name of the index; none for tasks over several indexes.
    index_uid: Option<IndexUid>,
    /// Further indexes that listings find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    also: Vec<IndexUid>,
    /// The index on the nodes at the time of the request. The effects of the task concern this one.
    physical: Option<IndexUid>,
    /// What it does.
    kind: TaskKind,
    /// Where it stands.
    status: TaskStatus,
    /// As the API shows it, kept as the JSON text of one object.
    details: Option<Box<RawValue>>,
    /// Why it failed.
    error: Option<ErrorBody>,
    /// When the client was answered.
    #[serde(with = "time::serde::rfc3339")]
    enqueued_at: OffsetDateTime,
    /// When the first node began.
    #[serde(with = "time::serde::rfc3339::option")]
    started_at: Option<OffsetDateTime>,
    /// When the last node ended.
    #[serde(with = "time::serde::rfc3339::option")]
    finished_at: Option<OffsetDateTime>,
    /// The cancelation that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    canceled_by: Option<TaskUid>,
    /// The client's own note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    custom_metadata: Option<String>,
    /// What the nodes were asked to do.
    node_tasks: Vec<NodeTask>,
    /// What else becomes true when it ends.
    #[serde(default, skip_serializing_if = "Effects::is_none")]
    effects: Effects,
}

impl NewTask {
    /// A task that waits, about no index yet.
    pub fn new(kind: TaskKind, enqueued_at: OffsetDateTime) -> Self {
        Self {
            index_uid: None,
            also: Vec::new(),
            physical: None,
            kind,
            status: TaskStatus::Enqueued,
            details: None,
            error: None,
            enqueued_at,
            started_at: None,
            finished_at: None,
            canceled_by: None,
            custom_metadata: None,
            node_tasks: Vec::new(),
            effects: Effects::default(),
        }
    }
}

impl Task {
    /// The indexes that listings find it by.
    pub fn indexes(&self) -> impl Iterator<Item = &IndexUid> {
        self.index_uid.iter().chain(&self.also)
    }

    /// The index that clients see with it: a name that no client's index can have for changes of search rules.
    pub(crate) fn shown_index(&self) -> Option<&str> {
        let of_rules = matches!(self.kind, TaskKind::DsrUpdate | TaskKind::DsrClear);
        if of_rules { Some(RULES_INDEX) } else { self.index_uid.as_ref().map(IndexUid::as_str) }
    }

    /// It asks for an index whose name was taken, and is judged when all that was asked for before has ended.
    pub fn waits_in_queue(&self) -> bool {
        self.kind == TaskKind::IndexCreation && self.effects.creates_index && self.node_tasks.is_empty()
    }

    /// Its batch: every task is a batch of its own number, from the moment it starts.
    pub fn batch_uid(&self) -> Option<TaskUid> {
        let begun = match self.status {
            TaskStatus::Enqueued => false,
            TaskStatus::Processing | TaskStatus::Succeeded | TaskStatus::Failed | TaskStatus::Canceled => true,
        };
        (begun || self.started_at.is_some()).then_some(self.uid)
    }
}

#[cfg(test)]
mod tests;
