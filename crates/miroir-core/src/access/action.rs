//! What keys may be allowed to do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

macro_rules! actions {
    ($($variant:ident = $name:literal,)*) => {
        /// An action, or a group of actions (`*`, `*.get`, `documents.*`), by Meilisearch's names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[allow(missing_docs)] // the names say it all
        pub enum Action { $(#[serde(rename = $name)] $variant),* }

        impl Action {
            /// All of them, in the order in which messages list them.
            pub const ALL: &[Action] = &[$(Action::$variant),*];
            /// Their names, in the same order.
            pub const NAMES: &[&str] = &[$($name),*];

            /// As clients write it.
            pub fn name(self) -> &'static str {
                match self { $(Action::$variant => $name),* }
            }
        }
    };
}

actions! {
    All = "*",
    Search = "search",
    DocumentsAll = "documents.*",
    DocumentsAdd = "documents.add",
    DocumentsGet = "documents.get",
    DocumentsDelete = "documents.delete",
    IndexesAll = "indexes.*",
    IndexesCreate = "indexes.create",
    IndexesGet = "indexes.get",
    IndexesUpdate = "indexes.update",
    IndexesDelete = "indexes.delete",
    IndexesSwap = "indexes.swap",
    TasksAll = "tasks.*",
    TasksCancel = "tasks.cancel",
    TasksDelete = "tasks.delete",
    TasksGet = "tasks.get",
    SettingsAll = "settings.*",
    SettingsGet = "settings.get",
    SettingsUpdate = "settings.update",
    StatsAll = "stats.*",
    StatsGet = "stats.get",
    MetricsAll = "metrics.*",
    MetricsGet = "metrics.get",
    DumpsAll = "dumps.*",
    DumpsCreate = "dumps.create",
    SnapshotsAll = "snapshots.*",
    SnapshotsCreate = "snapshots.create",
    Version = "version",
    KeysCreate = "keys.create",
    KeysGet = "keys.get",
    KeysUpdate = "keys.update",
    KeysDelete = "keys.delete",
    ExperimentalGet = "experimental.get",
    ExperimentalUpdate = "experimental.update",
    Export = "export",
    NetworkGet = "network.get",
    NetworkUpdate = "network.update",
    ChatCompletions = "chatCompletions",
    ChatsAll = "chats.*",
    ChatsGet = "chats.get",
    ChatsDelete = "chats.delete",
    ChatsSettingsAll = "chatsSettings.*",
    ChatsSettingsGet = "chatsSettings.get",
    ChatsSettingsUpdate = "chatsSettings.update",
    AllGet = "*.get",
    WebhooksGet = "webhooks.get",
    WebhooksUpdate = "webhooks.update",
    WebhooksDelete = "webhooks.delete",
    WebhooksCreate = "webhooks.create",
    WebhooksAll = "webhooks.*",
    IndexesCompact = "indexes.compact",
    FieldsPost = "fields.post",
    TasksCompact = "tasks.compact",
    DynamicSearchRulesGet = "dynamicSearchRules.get",
    DynamicSearchRulesCreate = "dynamicSearchRules.create",
    DynamicSearchRulesUpdate = "dynamicSearchRules.update",
    DynamicSearchRulesDelete = "dynamicSearchRules.delete",
    DynamicSearchRulesAll = "dynamicSearchRules.*",
}

impl Action {
    /// Whether a key that holds this action may do `wanted`. A group grants its members and not itself: a route that
    /// asks for a group, as editing documents does, is open to `*` alone.
    pub fn grants(self, wanted: Action) -> bool {
        match self.members() {
            Members::Everything => true,
            Members::Reads => wanted.is_read(),
            Members::Of(family) => {
                !wanted.is_group() && wanted.name().strip_prefix(family).is_some_and(|rest| !rest.is_empty())
            }
            Members::Itself => self == wanted,
        }
    }

    fn members(self) -> Members {
        match self.name() {
            "*" => Members::Everything,
            "*.get" => Members::Reads,
            name => name.strip_suffix('*').map_or(Members::Itself, Members::Of),
        }
    }

    fn is_group(self) -> bool {
        !matches!(self.members(), Members::Itself)
    }

    /// Whether `*.get` grants it. Reading keys is left out: their values would give away every other right.
    pub fn is_read(self) -> bool {
        let is_named_get = !self.is_group() && self.name().ends_with(".get") && self != Action::KeysGet;
        is_named_get || matches!(self, Action::Search | Action::Export | Action::Version | Action::FieldsPost)
    }

    /// Whether it concerns the server as a whole, so that a key for some indexes may not name it.
    pub fn is_global(self) -> bool {
        let family = self.name().split('.').next().unwrap_or_default();
        matches!(
            family,
            "metrics"
                | "dumps"
                | "snapshots"
                | "version"
                | "keys"
                | "experimental"
                | "export"
                | "network"
                | "webhooks"
                | "dynamicSearchRules"
                | "chats"
                | "chatsSettings"
        ) || self == Action::TasksCompact
    }
}

/// What an action stands for.
enum Members {
    Everything,
    Reads,
    /// The actions whose names begin so.
    Of(&'static str),
    Itself,
}

/// The text names no action.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not an action")]
pub struct UnknownAction(pub String);

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().find(|action| action.name() == text).copied().ok_or_else(|| UnknownAction(text.into()))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
