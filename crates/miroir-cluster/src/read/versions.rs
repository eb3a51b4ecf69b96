//! Under which settings reads are answered: what a read demands of nodes, and what its answer says of them.
//!
//! Invariant: an answer that may be ranked under two sets of rules says so. An index is looked at before its nodes are
//! asked and after they have answered, and a change is known to be on its way before the first node is told of it.

use std::ops::Deref;
use std::sync::Arc;

use miroir_core::base::id::IndexUid;
use miroir_core::settings::{Floor, TooStale};

use crate::{Error, Index, Reads};

/// An index as one read found it before it asked any node.
#[derive(Clone, Debug)]
pub struct Reading {
    index: Arc<Index>,
    floor: Floor,
}

impl Deref for Reading {
    type Target = Index;

    fn deref(&self) -> &Index {
        &self.index
    }
}

impl Reading {
    /// A read that takes whatever was committed.
    pub fn of(index: Arc<Index>) -> Self {
        Self { index, floor: Floor::default() }
    }

    /// The version that it demands.
    pub fn floor(&self) -> Floor {
        self.floor
    }

    /// The refusal of a read whose floor too few nodes reach.
    pub(crate) fn too_stale(&self) -> Error {
        Error::Invalid(TooStale { floor: self.floor, uid: self.index.uid.as_str() }.body())
    }
}

/// What the headers of an answer say of the settings that it was made under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsSeen {
    of: VersionsRead,
    inconsistent: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum VersionsRead {
    #[default]
    Nothing,
    One {
        physical: IndexUid,
        version: u64,
    },
    Several,
}

impl SettingsSeen {
    /// Of an index as it was when it was read, and as it is now that the nodes have answered; none: it is gone.
    fn new(before: &Index, now: Option<&Index>) -> Self {
        let changed = now.is_some_and(|now| now.changing || now.settings_version != before.settings_version);
        // Whoever answered had shown to hold this version, whatever was committed since.
        let of = VersionsRead::One { physical: before.physical.clone(), version: before.settings_version };
        Self { of, inconsistent: before.changing || changed }
    }

    /// The value of `X-Miroir-Settings-Version`: only of an answer about one index, whose settings were ever committed.
    pub fn version(&self) -> Option<u64> {
        match self.of {
            VersionsRead::One { version, .. } => Some(version).filter(|version| *version > 0),
            VersionsRead::Nothing | VersionsRead::Several => None,
        }
    }

    /// Whether hits may be ranked under two sets of rules.
    pub fn is_inconsistent(&self) -> bool {
        self.inconsistent
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let of = match (self.of, other.of) {
            (VersionsRead::Nothing, of) | (of, VersionsRead::Nothing) => of,
            (VersionsRead::One { physical, version }, VersionsRead::One { physical: other, version: later })
                if physical == other =>
            {
                VersionsRead::One { physical, version: version.min(later) }
            }
            (VersionsRead::One { .. } | VersionsRead::Several, VersionsRead::One { .. } | VersionsRead::Several) => {
                VersionsRead::Several
            }
        };
        Self { of, inconsistent: self.inconsistent || other.inconsistent }
    }
}

impl Reads {
    /// Begin to read an index whose settings have to be at the floor. Memory may not know yet what was committed through
    /// another instance.
    ///
    /// # Errors
    /// [`TooStale`]; [`Error::IndexNotFound`] when it has gone meanwhile.
    pub(crate) async fn begin_read(&self, mut index: Arc<Index>, floor: Floor) -> Result<Reading, Error> {
        let too_low = |index: &Index| floor.leaves_out(Some(index.settings_version));
        if too_low(&index) && self.state.store.is_shared() {
            let writers = self.state.catalog.by_physical(&index.physical).map(|index| index.uid.clone());
            if let Err(error) = self.state.catalog.refresh(writers.as_ref().unwrap_or(&index.uid)).await {
                tracing::debug!(%error, "memory has to do");
            }
            index = self.state.index(&index.uid)?;
        }
        let below = too_low(&index);
        let reading = Reading { index, floor };
        if below { Err(reading.too_stale()) } else { Ok(reading) }
    }

    /// What an answer says of an index that it was made from. Called when the nodes have answered.
    pub(crate) fn settings_seen(&self, before: &Index) -> SettingsSeen {
        SettingsSeen::new(before, self.state.catalog.now(before).as_deref())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn index(uid: &str, settings_version: u64, changing: bool) -> Index {
        let uid: IndexUid = uid.parse().expect("a uid");
        Index { settings_version, changing, ..Index::new(uid.clone(), uid, None, NonZeroU32::MIN) }
    }

    #[test]
    fn an_answer_is_inconsistent_when_a_change_was_under_way_before_it_or_after_it_or_came_between() {
        let cases = [
            ((3, false), Some((3, false)), false),
            ((3, true), Some((3, true)), true),
            ((3, true), Some((4, false)), true),
            ((3, true), Some((3, false)), true),
            ((3, false), Some((3, true)), true),
            ((3, false), Some((4, false)), true),
            ((3, false), None, false),
            ((3, true), None, true),
        ];
        for (before, now, inconsistent) in cases {
            let now = now.map(|(version, changing)| index("a", version, changing));
            let seen = SettingsSeen::new(&index("a", before.0, before.1), now.as_ref());
            assert_eq!(seen.is_inconsistent(), inconsistent, "{before:?} {now:?}");
            assert_eq!(seen.version(), Some(3));
        }
    }

    #[test]
    fn a_version_is_told_of_one_index_that_has_committed() {
        let seen = |uid, version| {
            let index = index(uid, version, false);
            SettingsSeen::new(&index, Some(&index))
        };
        assert_eq!(SettingsSeen::default().version(), None);
        assert_eq!(seen("a", 0).version(), None);
        assert_eq!(SettingsSeen::default().and(seen("a", 2)).and(SettingsSeen::default()).version(), Some(2));
        assert_eq!(seen("a", 3).and(seen("a", 2)).version(), Some(2));
        assert_eq!(seen("a", 2).and(seen("b", 2)).version(), None);
        assert_eq!(seen("a", 2).and(seen("b", 2)).and(seen("a", 2)).version(), None);
        let changing = SettingsSeen::new(&index("b", 1, true), None);
        assert!(seen("a", 2).and(changing.clone()).is_inconsistent() && changing.and(seen("a", 2)).is_inconsistent());
    }
}
