//! Answers to clients, and the value of `X-Miroir-Degraded`: full redundancy was not met, and where. And what else headers say of an answer.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use miroir_core::base::id::{GroupId, ShardId};

use crate::error::list;
use crate::read::versions::SettingsSeen;

/// An answer to a client, and what was missing when it was made.
#[derive(Debug)]
pub struct Answer {
    /// JSON.
    pub body: Bytes,
    /// For `X-Miroir-Degraded` and the headers about settings.
    pub degraded: Degraded,
}

impl Answer {
    /// An answer that nothing is missing from.
    pub fn whole(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), degraded: Degraded::default() }
    }
}

/// What was missing. Empty: nothing, and no header is sent. With it, the settings under which a read was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Degraded {
    /// Groups that do not hold a write.
    pub groups: BTreeSet<GroupId>,
    /// Shards that a write does not hold for, or that a read answered without.
    pub shards: BTreeSet<ShardId>,
    /// Shards that a possibly outdated replica answered for.
    pub stale: BTreeSet<ShardId>,
    /// Indexes of which statistics tell what was last known.
    pub counts: usize,
    /// Time since the last contact of this instance with the others, if they have evicted it for that: shards may have
    /// moved, and what was written to them since may be missing from a read.
    pub isolated: Option<Duration>,
    /// For `X-Miroir-Settings-Version` and its like; writes say nothing.
    pub settings: SettingsSeen,
}

impl Degraded {
    /// `groups=1;shards=3,7;stale=5;counts=2;isolated=20`, of which only what applies; none when nothing was missing.
    pub fn header(&self) -> Option<String> {
        let mut parts = Vec::new();
        if !self.groups.is_empty() {
            let groups: Vec<String> = self.groups.iter().map(ToString::to_string).collect();
            parts.push(format!("groups={}", groups.join(",")));
        }
        if !self.shards.is_empty() {
            parts.push(format!("shards={}", list(&self.shards)));
        }
        if !self.stale.is_empty() {
            parts.push(format!("stale={}", list(&self.stale)));
        }
        if self.counts > 0 {
            parts.push(format!("counts={}", self.counts));
        }
        if let Some(silent) = self.isolated {
            parts.push(format!("isolated={}", silent.as_secs()));
        }
        (!parts.is_empty()).then(|| parts.join(";"))
    }

    /// Both together.
    pub fn and(mut self, other: Self) -> Self {
        self.groups.extend(other.groups);
        self.shards.extend(other.shards);
        self.stale.extend(other.stale);
        self.counts = self.counts.saturating_add(other.counts);
        self.isolated = self.isolated.max(other.isolated);
        self.settings = self.settings.and(other.settings);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_groups_shards_and_stale_ones() {
        assert_eq!(Degraded::default().header(), None);
        let degraded = Degraded {
            groups: [GroupId(1)].into(),
            shards: [ShardId(7), ShardId(3)].into(),
            stale: [ShardId(5)].into(),
            counts: 2,
            isolated: Some(Duration::from_millis(20_900)),
            ..Degraded::default()
        };
        assert_eq!(degraded.header().as_deref(), Some("groups=1;shards=3,7;stale=5;counts=2;isolated=20"));
    }
}
