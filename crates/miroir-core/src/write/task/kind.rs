//! What a task does and where it stands, spelled as in the API.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

macro_rules! named {
    ($(#[$doc:meta])* $name:ident, $error:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[allow(missing_docs)]
        pub enum $name {
            $(#[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// All of them, in the order in which Meilisearch lists them.
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// As the API spells it.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $name {
            type Err = $error;

            /// Case does not matter, as in Meilisearch's filters.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.iter().find(|one| one.name().eq_ignore_ascii_case(text));
                found.copied().ok_or_else(|| $error(text.into()))
            }
        }
    };
}

named! {
    /// Where a task, of ours or of a node, stands.
    TaskStatus, UnknownTaskStatus {
        Enqueued = "enqueued",
        Processing = "processing",
        Succeeded = "succeeded",
        Failed = "failed",
        Canceled = "canceled",
    }
}

impl TaskStatus {
    /// Nothing will change it any more.
    pub fn is_final(self) -> bool {
        match self {
            Self::Enqueued | Self::Processing => false,
            Self::Succeeded | Self::Failed | Self::Canceled => true,
        }
    }
}

named! {
    /// What a task does.
    TaskKind, UnknownTaskKind {
        DocumentAdditionOrUpdate = "documentAdditionOrUpdate",
        DocumentEdition = "documentEdition",
        DocumentDeletion = "documentDeletion",
        SettingsUpdate = "settingsUpdate",
        IndexCreation = "indexCreation",
        IndexDeletion = "indexDeletion",
        IndexUpdate = "indexUpdate",
        IndexSwap = "indexSwap",
        TaskCancelation = "taskCancelation",
        TaskDeletion = "taskDeletion",
        DumpCreation = "dumpCreation",
        SnapshotCreation = "snapshotCreation",
        Export = "export",
        UpgradeDatabase = "upgradeDatabase",
        IndexCompaction = "indexCompaction",
        NetworkTopologyChange = "networkTopologyChange",
        DsrUpdate = "dsrUpdate",
        DsrClear = "dsrClear",
    }
}

/// The text is no status of a task.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a valid task status. Available statuses are {list}.", list = list(TaskStatus::ALL))]
pub struct UnknownTaskStatus(pub String);

/// The text is no type of a task.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a valid task type. Available types are {list}.", list = list(TaskKind::ALL))]
pub struct UnknownTaskKind(pub String);

fn list(all: &[impl fmt::Display]) -> String {
    let quoted: Vec<String> = all.iter().map(|one| format!("`{one}`")).collect();
    quoted.join(", ")
}
