//! What a request that was let in may see.

use std::sync::Arc;

use super::{Action, Key, SearchRules};

/// What a request may see and do beyond its route: which indexes, which documents of them, whether to make new ones.
///
/// Invariant: handlers of routes whose index is not in the path ask [`Grant::allows`] for every index they touch.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// None: everything, as for the master key.
    key: Option<Arc<Key>>,
    rules: Option<Arc<SearchRules>>,
}

impl Grant {
    /// What the master key may.
    pub fn everything() -> Self {
        Self::default()
    }

    pub(super) fn of(key: Arc<Key>, rules: Option<SearchRules>) -> Self {
        Self { key: Some(key), rules: rules.map(Arc::new) }
    }

    /// Whether this index may be touched.
    pub fn allows(&self, index: &str) -> bool {
        self.key.as_ref().is_none_or(|key| key.is_for(index)) && self.rules.as_ref().is_none_or(|r| r.allow(index))
    }

    /// Whether all indexes, present and future, may be touched.
    pub fn allows_all(&self) -> bool {
        self.key.as_ref().is_none_or(|key| key.is_for_all()) && self.rules.as_ref().is_none_or(|r| r.allow_all())
    }

    /// Whether a write to this index may bring it into being.
    pub fn may_create(&self, index: &str) -> bool {
        self.key.as_ref().is_none_or(|key| key.may(Action::IndexesCreate)) && self.allows(index)
    }

    /// Whether a task or batch of this index may be seen, canceled or deleted; one that is of no single index only by
    /// who may touch all.
    pub fn sees_task_of(&self, index: Option<&str>) -> bool {
        self.allows_all() || index.is_some_and(|index| self.allows(index))
    }

    /// The filter that every search of this index is restricted by, as JSON text.
    pub fn rule_for(&self, index: &str) -> Option<String> {
        self.rules.as_ref()?.filter_for(index).map(ToString::to_string)
    }
}
