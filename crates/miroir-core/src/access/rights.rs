//! The one table of rights: what a request needs, by its method and the template of its path.
//!
//! Invariant: a request that no row names is let in by nobody. Names of parameters do not matter: `{uid}` and `{id}` are
//! the same place.

use super::Action;

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// No key: anybody may call it.
    Open,
    /// A key with all of these actions.
    Needs(&'static [Action], Indexes),
}

/// Where the indexes of a request are named, which decides what keys for some indexes may do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indexes {
    /// By the first parameter of the path: the key must be for this one.
    InPath,
    /// In the body, or by what is listed: a key for any index is let in, and the handler asks the grant for each one.
    ByHandler,
    /// Not at all: the server as a whole. Only keys for all indexes.
    Global,
}

/// A path and what each of its methods needs.
#[derive(Debug)]
pub struct Resource {
    /// The template, its parameters in braces.
    pub path: &'static str,
    /// Methods in capitals.
    pub methods: &'static [(&'static str, Access)],
}

const fn path(path: &'static str, methods: &'static [(&'static str, Access)]) -> Resource {
    Resource { path, methods }
}

const fn on(actions: &'static [Action]) -> Access {
    Access::Needs(actions, Indexes::InPath)
}

const fn among(actions: &'static [Action]) -> Access {
    Access::Needs(actions, Indexes::ByHandler)
}

const fn global(actions: &'static [Action]) -> Access {
    Access::Needs(actions, Indexes::Global)
}

/// Every route of a Meilisearch 1.50 client.
pub const RIGHTS: &[Resource] = &[
    // search
    path("/indexes/{}/search", &[("GET", on(&[Action::Search])), ("POST", on(&[Action::Search]))]),
    path("/indexes/{}/facet-search", &[("POST", on(&[Action::Search]))]),
    path("/indexes/{}/similar", &[("GET", on(&[Action::Search])), ("POST", on(&[Action::Search]))]),
    path("/multi-search", &[("POST", among(&[Action::Search]))]),
    // documents
    path(
        "/indexes/{}/documents",
        &[
            ("GET", on(&[Action::DocumentsGet])),
            ("POST", on(&[Action::DocumentsAdd])),
            ("PUT", on(&[Action::DocumentsAdd])),
            ("DELETE", on(&[Action::DocumentsDelete])),
        ],
    ),
    path("/indexes/{}/documents/fetch", &[("POST", on(&[Action::DocumentsGet]))]),
    path("/indexes/{}/documents/delete", &[("POST", on(&[Action::DocumentsDelete]))]),
    path("/indexes/{}/documents/delete-batch", &[("POST", on(&[Action::DocumentsDelete]))]),
    // The group itself is asked for, which no group grants: `documents.*` is not enough, only `*` is.
    path("/indexes/{}/documents/edit", &[("POST", on(&[Action::DocumentsAll]))]),
    path(
        "/indexes/{}/documents/{}",
        &[("GET", on(&[Action::DocumentsGet])), ("DELETE", on(&[Action::DocumentsDelete]))],
    ),
    // indexes
    path("/indexes", &[("GET", among(&[Action::IndexesGet])), ("POST", among(&[Action::IndexesCreate]))]),
    path(
        "/indexes/{}",
        &[
            ("GET", on(&[Action::IndexesGet])),
            ("PATCH", on(&[Action::IndexesUpdate])),
            ("DELETE", on(&[Action::IndexesDelete])),
        ],
    ),
    path("/indexes/{}/compact", &[("POST", on(&[Action::IndexesCompact]))]),
    path("/indexes/{}/fields", &[("POST", on(&[Action::FieldsPost]))]),
    path("/indexes/{}/stats", &[("GET", on(&[Action::StatsGet]))]),
    path("/swap-indexes", &[("POST", among(&[Action::IndexesSwap]))]),
    path("/stats", &[("GET", among(&[Action::StatsGet]))]),
    // settings
    path(
        "/indexes/{}/settings",
        &[
            ("GET", on(&[Action::SettingsGet])),
            ("PATCH", on(&[Action::SettingsUpdate])),
            ("DELETE", on(&[Action::SettingsUpdate])),
        ],
    ),
    path(
        "/indexes/{}/settings/{}",
        &[
            ("GET", on(&[Action::SettingsGet])),
            ("PUT", on(&[Action::SettingsUpdate])),
            ("PATCH", on(&[Action::SettingsUpdate])),
            ("DELETE", on(&[Action::SettingsUpdate])),
        ],
    ),
    // tasks and batches
    path("/tasks", &[("GET", among(&[Action::TasksGet])), ("DELETE", among(&[Action::TasksDelete]))]),
    path("/tasks/cancel", &[("POST", among(&[Action::TasksCancel]))]),
    path("/tasks/compact", &[("POST", global(&[Action::TasksCompact]))]),
    path("/tasks/{}", &[("GET", among(&[Action::TasksGet]))]),
    path("/tasks/{}/documents", &[("GET", among(&[Action::TasksGet]))]),
    path("/batches", &[("GET", among(&[Action::TasksGet]))]),
    path("/batches/{}", &[("GET", among(&[Action::TasksGet]))]),
    // keys
    path("/keys", &[("GET", global(&[Action::KeysGet])), ("POST", global(&[Action::KeysCreate]))]),
    path(
        "/keys/{}",
        &[
            ("GET", global(&[Action::KeysGet])),
            ("PATCH", global(&[Action::KeysUpdate])),
            ("DELETE", global(&[Action::KeysDelete])),
        ],
    ),
    // the server
    path("/", &[("GET", Access::Open)]),
    path("/health", &[("GET", Access::Open)]),
    path("/version", &[("GET", global(&[Action::Version]))]),
    path("/metrics", &[("GET", global(&[Action::MetricsGet]))]),
    path("/logs/stream", &[("POST", global(&[Action::MetricsGet])), ("DELETE", global(&[Action::MetricsGet]))]),
    path("/logs/stderr", &[("POST", global(&[Action::MetricsGet]))]),
    path(
        "/experimental-features",
        &[("GET", global(&[Action::ExperimentalGet])), ("PATCH", global(&[Action::ExperimentalUpdate]))],
    ),
    path("/dumps", &[("POST", global(&[Action::DumpsCreate]))]),
    path("/snapshots", &[("POST", global(&[Action::SnapshotsCreate]))]),
    path("/export", &[("POST", global(&[Action::Export]))]),
    path("/network", &[("GET", global(&[Action::NetworkGet])), ("PATCH", global(&[Action::NetworkUpdate]))]),
    path("/network/control", &[("POST", global(&[Action::NetworkUpdate]))]),
    path("/webhooks", &[("GET", global(&[Action::WebhooksGet])), ("POST", global(&[Action::WebhooksCreate]))]),
    path(
        "/webhooks/{}",
        &[
            ("GET", global(&[Action::WebhooksGet])),
            ("PATCH", global(&[Action::WebhooksUpdate])),
            ("DELETE", global(&[Action::WebhooksDelete])),
        ],
    ),
    path(
        "/dynamic-search-rules",
        &[("POST", global(&[Action::DynamicSearchRulesGet])), ("DELETE", global(&[Action::DynamicSearchRulesDelete]))],
    ),
    path(
        "/dynamic-search-rules/{}",
        &[
            ("GET", global(&[Action::DynamicSearchRulesGet])),
            ("PATCH", global(&[Action::DynamicSearchRulesUpdate])),
            ("DELETE", global(&[Action::DynamicSearchRulesDelete])),
        ],
    ),
    path("/render-template", &[("POST", among(&[Action::SettingsGet, Action::DocumentsGet]))]),
    // chats
    path("/chats", &[("GET", global(&[Action::ChatsGet]))]),
    path("/chats/{}", &[("GET", global(&[Action::ChatsGet])), ("DELETE", global(&[Action::ChatsDelete]))]),
    path(
        "/chats/{}/settings",
        &[
            ("GET", global(&[Action::ChatsSettingsGet])),
            ("PATCH", global(&[Action::ChatsSettingsUpdate])),
            ("DELETE", global(&[Action::ChatsSettingsUpdate])),
        ],
    ),
    path("/chats/{}/chat/completions", &[("POST", among(&[Action::ChatCompletions]))]),
];

/// What a request of this method to a path of this template needs; `None`: it is in no row.
pub fn access(method: &str, template: &str) -> Option<&'static Access> {
    let resource = RIGHTS.iter().find(|resource| same_places(resource.path, template))?;
    resource.methods.iter().find(|(known, _)| *known == method).map(|(_, access)| access)
}

/// The methods that a path of this template has, in the table's order; none: it is in no row.
pub fn methods(template: &str) -> impl Iterator<Item = &'static str> {
    let resource = RIGHTS.iter().find(|resource| same_places(resource.path, template));
    resource.into_iter().flat_map(|resource| resource.methods.iter().map(|(method, _)| *method))
}

/// Equal up to the names of parameters.
fn same_places(a: &str, b: &str) -> bool {
    let is_parameter = |segment: &str| segment.starts_with('{');
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || (is_parameter(a) && is_parameter(b)) => {}
            (Some(_) | None, _) => return false,
        }
    }
}
