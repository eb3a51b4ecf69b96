//! What is stored: records in tables, and the batches that change them together with tasks.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use miroir_core::base::id::{IndexUid, TaskUid};
use miroir_core::write::task::{NewTask, Task};
use time::OffsetDateTime;

use crate::Fence;

macro_rules! tables {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The tables of records. Tasks are not among them: they have operations of their own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Table {
            $($(#[$doc])* $variant,)*
        }

        impl Table {
            /// All of them.
            pub const ALL: &[Table] = &[$(Table::$variant),*];

            /// The name in the backend. It stays for ever: stores of earlier releases are read by it.
            pub fn name(self) -> &'static str {
                match self { $(Table::$variant => $name),* }
            }
        }
    };
}

tables! {
    /// Indexes, by their logical uid.
    Catalog = "catalog",
    /// Members, placements, epoch and transition.
    Topology = "topology",
    /// Replicas that missed a write.
    StaleReplicas = "stale_replicas",
    /// The phases of led work.
    Operations = "operations",
    /// API keys, by their uid; their values are derived and never stored.
    Keys = "keys",
    /// Tombstones: physical indexes that nodes have to delete still.
    Tombstones = "tombstones",
    /// Experimental features, as clients want them.
    Features = "features",
    /// Search rules.
    Rules = "rules",
    /// Who is told of finished tasks.
    Webhooks = "webhooks",
    /// The instances that are alive.
    Peers = "peers",
    /// Queued work, as it stands.
    Jobs = "jobs",
    /// What instances have found in comparing replicas.
    AntiEntropy = "anti_entropy",
    /// Facts about the store itself and its instance.
    Meta = "meta",
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Rises with every write anywhere in the store, so that a record written anew never has an old version.
    pub version: u64,
    /// JSON text.
    pub value: Bytes,
    /// From then on, by the store's clock, the record is as good as deleted.
    pub expires_at: Option<OffsetDateTime>,
}

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of records
pub enum Write {
    /// Write, whatever is there. With a time to live it expires, by the store's clock.
    Put { table: Table, key: String, value: Bytes, ttl: Option<Duration> },
    /// Write if the record is at this version; `None`: if there is no record.
    PutIf { table: Table, key: String, value: Bytes, ttl: Option<Duration>, expected: Option<u64> },
    /// Delete, if it is there at all.
    Delete { table: Table, key: String },
    /// Delete if the record is at this version.
    DeleteIf { table: Table, key: String, expected: u64 },
}

impl Write {
    /// The record that it is about.
    pub fn target(&self) -> (Table, &str) {
        match self {
            Self::Put { table, key, .. }
            | Self::PutIf { table, key, .. }
            | Self::Delete { table, key }
            | Self::DeleteIf { table, key, .. } => (*table, key),
        }
    }
}

/// One more entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Which log; it need not have been there.
    pub log: String,
    /// What it says.
    pub value: Bytes,
}

/// An entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands: positions of a log begin at 1, rise by 1, and are never given twice.
    pub position: u64,
    /// What it says.
    pub value: Bytes,
}

/// What is to be written together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The leases that the writer believes to hold. Unless each is still its own, nothing is written.
    pub fences: Vec<Fence>,
    /// Pairs of indexes that change names: tasks there are of one are found by the other from now on. Comes before
    /// everything else of the batch, pair after pair.
    pub renamed: Vec<(IndexUid, IndexUid)>,
    /// Records, in this order: a later write sees an earlier one.
    pub writes: Vec<Write>,
    /// Tasks to be numbered, in this order.
    pub new_tasks: Vec<NewTask>,
    /// Tasks that replace those of the same uid. One that was pruned stays away, and a final task is never replaced by
    /// one that is not. They stay tasks of the indexes that the store has for them.
    pub task_updates: Vec<Task>,
    /// Counters to be moved forward, and by how much. A counter that was never moved stands at 0.
    pub counts: Vec<(String, u64)>,
    /// Counters that stand at 0 from then on, as if they had never been moved. Come before those that are moved.
    pub forgotten: Vec<String>,
    /// Entries for logs, in this order.
    pub appends: Vec<Append>,
}

impl Batch {
    /// There is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Self { fences: _, renamed, writes, new_tasks, task_updates, counts, forgotten, appends } = self;
        let records = renamed.is_empty() && writes.is_empty() && forgotten.is_empty();
        records && new_tasks.is_empty() && task_updates.is_empty() && counts.is_empty() && appends.is_empty()
    }
}

/// What a batch became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The numbers of the new tasks, in their order.
    pub tasks: Vec<TaskUid>,
    /// The version of each record written, in the order of the writes; none for a deletion.
    pub versions: Vec<Option<u64>>,
    /// Where the counters stand, in their order.
    pub counts: Vec<u64>,
    /// The positions of the new entries, in their order.
    pub positions: Vec<u64>,
}
