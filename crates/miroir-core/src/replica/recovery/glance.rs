//! Whether a node that answers again may serve what it has before it has done all that it had accepted.
//!
//! What a node has accepted is on its disk, and whoever asks it meanwhile gets what it has done so far, as from any server
//! with a queue. It lacks nothing that was promised: a task that others ended without it made its replicas stale, and so did
//! every write that it missed. All of that holds only of a node that has its own disk, with everything that was on it. Where
//! a glance cannot show that, the node is looked at first, which is possible only when it has done what it had accepted.
//!
//! Invariant: a node that knows fewer tasks than it had accepted, or other ones, or lacks an index that it is to hold, does
//! not serve at a glance; nor does one of which nothing is known to compare with.

use std::collections::BTreeMap;

use thiserror::Error;

use super::release::Release;
use crate::base::id::IndexUid;

/// What is remembered of the node.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// The oldest Meilisearch that is known to behave as it must.
    pub oldest: Release,
    /// The newest task that it is known to have accepted; none: it is not known to have accepted any.
    pub newest_task: Option<u64>,
    /// One of its newest tasks, and what it was about.
    pub task: Option<(u64, IndexUid)>,
    /// The indexes that clients see, by their physical names, with their primary keys; none: it has none yet.
    pub indexes: BTreeMap<IndexUid, Option<String>>,
}

/// What the node says at once.
#[derive(Clone, Debug)]
pub struct Glance {
    /// `GET /version`.
    pub version: String,
    /// The newest task that it knows of; none: it has none.
    pub newest_task: Option<u64>,
    /// What [`Remembered::task`] is about according to the node; none: it does not know the task.
    pub task: Option<IndexUid>,
    /// All of its indexes, with their primary keys.
    pub indexes: BTreeMap<IndexUid, Option<String>>,
}

/// Why a node is looked at before it serves.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Doubt {
    /// It may have been replaced by another release.
    #[error("it runs another Meilisearch than will do: {0}")]
    Release(String),
    /// Nobody can tell its disk from another one.
    #[error("no task is known that it had accepted")]
    NoTask,
    /// Its disk is an older one.
    #[error("it has forgotten tasks: it had task {had}, and its newest is {newest:?}")]
    Forgot {
        /// What it had accepted.
        had: u64,
        /// What it knows.
        newest: Option<u64>,
    },
    /// Its disk is another one's.
    #[error("its task {0} is another one than it had accepted")]
    OtherTask(u64),
    /// It was made while the node was away, or is lost.
    #[error("it lacks the index `{0}`")]
    Lacks(IndexUid),
    /// It is another index.
    #[error("its index `{0}` has another primary key")]
    OtherKey(IndexUid),
}

/// Whether the node may serve what it has.
///
/// # Errors
/// Why it is to be looked at first.
pub fn at_a_glance(remembered: &Remembered, glance: &Glance) -> Result<(), Doubt> {
    if glance.version.parse::<Release>().map_or(true, |release| release < remembered.oldest) {
        return Err(Doubt::Release(glance.version.clone()));
    }
    let had = remembered.newest_task.ok_or(Doubt::NoTask)?;
    if glance.newest_task < Some(had) {
        return Err(Doubt::Forgot { had, newest: glance.newest_task });
    }
    if let Some((uid, index)) = &remembered.task
        && glance.task.as_ref() != Some(index)
    {
        return Err(Doubt::OtherTask(*uid));
    }
    for (uid, key) in &remembered.indexes {
        match glance.indexes.get(uid) {
            None => return Err(Doubt::Lacks(uid.clone())),
            // As long as one of both does not know it, they do not contradict each other.
            Some(found) if found.is_some() && key.is_some() && found != key => {
                return Err(Doubt::OtherKey(uid.clone()));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn uid(text: &str) -> IndexUid {
        text.parse().expect("a uid")
    }

    fn remembered() -> Remembered {
        let indexes = BTreeMap::from([(uid("a"), Some("id".into())), (uid("b"), None)]);
        let oldest = Release { major: 1, minor: 50, patch: 0 };
        Remembered { oldest, newest_task: Some(20), task: Some((18, uid("a"))), indexes }
    }

    fn glance() -> Glance {
        let indexes = BTreeMap::from([(uid("a"), Some("id".into())), (uid("b"), Some("sku".into())), (uid("c"), None)]);
        Glance { version: "1.50.1".into(), newest_task: Some(25), task: Some(uid("a")), indexes }
    }

    #[test]
    fn a_node_with_its_own_disk_serves_at_once() {
        assert_eq!(at_a_glance(&remembered(), &glance()), Ok(()));
        let newest = Glance { newest_task: Some(20), ..glance() };
        assert_eq!(at_a_glance(&remembered(), &newest), Ok(()));
    }

    #[test]
    fn whatever_points_to_another_disk_has_it_looked_at_first() {
        let doubt = |remembered: Remembered, glance: Glance| at_a_glance(&remembered, &glance).expect_err("a doubt");
        let with = |change: fn(&mut Glance)| {
            let mut glance = glance();
            change(&mut glance);
            doubt(remembered(), glance)
        };
        assert_eq!(with(|glance| glance.version = "1.49.0".into()), Doubt::Release("1.49.0".into()));
        assert_eq!(with(|glance| glance.version = String::new()), Doubt::Release(String::new()));
        assert_eq!(with(|glance| glance.newest_task = None), Doubt::Forgot { had: 20, newest: None });
        assert_eq!(with(|glance| glance.newest_task = Some(19)), Doubt::Forgot { had: 20, newest: Some(19) });
        assert_eq!(with(|glance| glance.task = None), Doubt::OtherTask(18));
        assert_eq!(with(|glance| glance.task = Some(uid("b"))), Doubt::OtherTask(18));
        assert_eq!(with(|glance| _ = glance.indexes.remove(&uid("b"))), Doubt::Lacks(uid("b")));
        let other = |glance: &mut Glance| _ = glance.indexes.insert(uid("a"), Some("sku".into()));
        assert_eq!(with(other), Doubt::OtherKey(uid("a")));
        assert_eq!(doubt(Remembered { newest_task: None, ..remembered() }, glance()), Doubt::NoTask);
    }

    proptest! {
        #[test]
        fn nobody_serves_at_a_glance_who_has_less_than_is_remembered(
            had in prop::option::of(0u64..5),
            newest in prop::option::of(0u64..5),
            wanted in prop::collection::btree_set("[ab]", 0..3),
            held in prop::collection::btree_set("[ab]", 0..3),
        ) {
            let of = |names: &std::collections::BTreeSet<String>| names.iter().map(|n| (uid(n), None)).collect();
            let remembered = Remembered { newest_task: had, task: None, indexes: of(&wanted), ..remembered() };
            let glance = Glance { newest_task: newest, indexes: of(&held), ..glance() };
            let has_all = had.is_some() && newest >= had && wanted.is_subset(&held);
            prop_assert_eq!(at_a_glance(&remembered, &glance).is_ok(), has_all);
        }
    }
}
