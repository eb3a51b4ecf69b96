//! What a node was found to hold, and what is to be done about it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::release::Release;
use crate::base::id::{IndexUid, ShardId};
use crate::replica::digest::Digest;

/// What the node is to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipStatus {
    /// It belongs to it: what it holds under the name of an index is that index, however old.
    Member,
    /// It is to belong to it: what it holds is not ours to overwrite.
    Joining,
}

/// What the node should hold.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The oldest Meilisearch that is known to behave as it must.
    pub oldest: Release,
    /// The newest task that it is known to have accepted; none: it never accepted any.
    pub newest_task: Option<u64>,
    /// All indexes, by their physical names.
    pub indexes: BTreeMap<IndexUid, ExpectedIndex>,
    /// Physical names that were given up, which the node may still hold.
    pub given_up: BTreeSet<IndexUid>,
}

/// What the node should hold of an index.
#[derive(Clone, Debug, Default)]
pub struct ExpectedIndex {
    /// None: the index has none yet.
    pub primary_key: Option<String>,
    /// The committed version of its settings.
    pub settings_version: u64,
    /// The shards whose writes the node takes, each with what a fresh replica holds; none: there is no other that is
    /// fresh and answers.
    pub shards: BTreeMap<ShardId, Option<Measure>>,
    /// Of those, the ones it is known as stale for.
    pub stale: BTreeSet<ShardId>,
}

/// What a replica of a shard amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    /// How many documents.
    pub documents: u64,
    /// Their ids and stamps, where they were read.
    pub digest: Option<Digest>,
}

/// What the node said.
#[derive(Clone, Debug)]
pub struct NodeInventory {
    /// `GET /version`.
    pub version: String,
    /// The newest task that it knows of; none: it has none.
    pub newest_task: Option<u64>,
    /// All of its indexes.
    pub indexes: BTreeMap<IndexUid, FoundIndex>,
}

/// What the node holds of an index.
#[derive(Clone, Debug, Default)]
pub struct FoundIndex {
    /// None: it has none yet.
    pub primary_key: Option<String>,
    /// Whether its settings are those that were committed.
    pub settings_hold: bool,
    /// The version of settings that it is recorded at.
    pub recorded_version: Option<u64>,
    /// What each shard on it amounts to. A shard that is not in here has no document.
    pub shards: BTreeMap<ShardId, Measure>,
}

/// Why a node is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// Too old.
    #[error("the node runs Meilisearch {found}, and {oldest} is the oldest that will do")]
    TooOld {
        /// What it runs.
        found: Release,
        /// What it should.
        oldest: Release,
    },
    /// Perhaps no Meilisearch.
    #[error("the node's version cannot be read: {0}")]
    Unreadable(String),
    /// It holds data that is not known to be ours.
    #[error("the node holds an index `{0}` of its own")]
    ForeignIndex(IndexUid),
}

/// Why a replica is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It missed writes while its node was away.
    KnownStale,
    /// The index is not there, or was wiped.
    Absent,
    /// The node has forgotten tasks that it had accepted: its disk is an older one.
    Forgot,
    /// It holds another number of documents.
    Count,
    /// It holds other documents.
    Digest,
}

/// What is to be done with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeVerdict {
    /// Leave it alone.
    Refuse(Refused),
    /// Take it once this is done; without anything to do it serves at once.
    Take(ReadmissionPlan),
}

/// What is to be done before the node counts, in this order: wipe, create, settings; the replicas are then known as
/// stale, take writes, and are mirrored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadmissionPlan {
    /// Indexes with something to do.
    pub indexes: BTreeMap<IndexUid, PlanForIndex>,
    /// Indexes to be deleted: nobody needs them.
    pub delete: BTreeSet<IndexUid>,
}

/// What is to be done with an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanForIndex {
    /// It holds documents under another primary key: delete it first.
    pub wipe: bool,
    /// Create it.
    pub create: bool,
    /// Bring its settings to those committed, and record their version.
    pub settings: bool,
    /// Its replicas that are stale from now on.
    pub mirror: BTreeMap<ShardId, Why>,
    /// Shards to be deleted before it counts: it takes none of their writes.
    pub orphans: BTreeSet<ShardId>,
}

impl ReadmissionPlan {
    /// Whether the node serves as it is.
    pub fn is_empty(&self) -> bool {
        self.indexes.is_empty() && self.delete.is_empty()
    }
}

impl PlanForIndex {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Check a node.
pub fn check(standing: MembershipStatus, expected: &Expected, found: &NodeInventory) -> ProbeVerdict {
    match found.version.parse::<Release>() {
        Err(error) => return ProbeVerdict::Refuse(Refused::Unreadable(error.0)),
        Ok(release) if release < expected.oldest => {
            return ProbeVerdict::Refuse(Refused::TooOld { found: release, oldest: expected.oldest });
        }
        Ok(_) => {}
    }
    let foreign = found.indexes.keys().find(|uid| expected.indexes.contains_key(*uid));
    if let (MembershipStatus::Joining, Some(uid)) = (standing, foreign) {
        return ProbeVerdict::Refuse(Refused::ForeignIndex(uid.clone()));
    }
    // A node numbers its tasks in one sequence and never again; a number it had given out and does not know was taken back.
    let forgot = expected.newest_task > found.newest_task;
    let plans = expected.indexes.iter().map(|(uid, index)| (uid.clone(), plan(index, found.indexes.get(uid), forgot)));
    let delete = match standing {
        MembershipStatus::Member => {
            found.indexes.keys().filter(|uid| expected.given_up.contains(*uid)).cloned().collect()
        }
        MembershipStatus::Joining => BTreeSet::new(),
    };
    ProbeVerdict::Take(ReadmissionPlan { indexes: plans.filter(|(_, plan)| !plan.is_empty()).collect(), delete })
}

fn plan(expected: &ExpectedIndex, found: Option<&FoundIndex>, forgot: bool) -> PlanForIndex {
    let all = |why: Why| expected.shards.keys().map(|shard| (*shard, why)).collect();
    let Some(found) = found else {
        return PlanForIndex { create: true, settings: true, mirror: all(Why::Absent), ..PlanForIndex::default() };
    };
    let other_key = found.primary_key.is_some() && found.primary_key != expected.primary_key;
    if other_key {
        let mirror = all(Why::Absent);
        return PlanForIndex { wipe: true, create: true, settings: true, mirror, ..PlanForIndex::default() };
    }
    let mirror = if forgot {
        all(Why::Forgot)
    } else {
        let why = |(shard, fresh): (&ShardId, &Option<Measure>)| {
            let stale = expected.stale.contains(shard).then_some(Why::KnownStale);
            Some((*shard, stale.or_else(|| differs(fresh.as_ref()?, found.shards.get(shard)))?))
        };
        expected.shards.iter().filter_map(why).collect()
    };
    let held = found.shards.iter().filter(|(_, measure)| measure.documents > 0).map(|(shard, _)| *shard);
    PlanForIndex {
        settings: !found.settings_hold || found.recorded_version != Some(expected.settings_version),
        mirror,
        orphans: held.filter(|shard| !expected.shards.contains_key(shard)).collect(),
        ..PlanForIndex::default()
    }
}

fn differs(fresh: &Measure, found: Option<&Measure>) -> Option<Why> {
    let documents = found.map_or(0, |measure| measure.documents);
    if documents != fresh.documents {
        return Some(Why::Count);
    }
    let digests = (fresh.digest.as_ref(), found.and_then(|measure| measure.digest.as_ref()));
    matches!(digests, (Some(fresh), Some(found)) if fresh != found).then_some(Why::Digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::digest::{Copied, Version};

    const SHARD: ShardId = ShardId(1);

    fn uid() -> IndexUid {
        "movies".parse().expect("a uid")
    }

    fn measure(ids: &[&str], stamp: u64) -> Measure {
        let mut digest = Digest::default();
        let version = Version { stamp: Some(stamp), ..Version::default() };
        ids.iter().for_each(|id| digest.add(&Copied { id: (*id).to_owned(), version }));
        Measure { documents: ids.len() as u64, digest: Some(digest) }
    }

    fn expected() -> Expected {
        let index = ExpectedIndex {
            primary_key: Some("id".into()),
            settings_version: 3,
            shards: BTreeMap::from([(SHARD, Some(measure(&["a", "b"], 7)))]),
            stale: BTreeSet::new(),
        };
        let oldest = Release { major: 1, minor: 50, patch: 0 };
        let given_up = BTreeSet::from(["old".parse().expect("a uid")]);
        Expected { oldest, newest_task: Some(20), indexes: BTreeMap::from([(uid(), index)]), given_up }
    }

    fn found() -> NodeInventory {
        let index = FoundIndex {
            primary_key: Some("id".into()),
            settings_hold: true,
            recorded_version: Some(3),
            shards: BTreeMap::from([(SHARD, measure(&["a", "b"], 7))]),
        };
        NodeInventory { version: "1.50.2".into(), newest_task: Some(25), indexes: BTreeMap::from([(uid(), index)]) }
    }

    fn plan_of(expected: &Expected, found: &NodeInventory) -> PlanForIndex {
        match check(MembershipStatus::Member, expected, found) {
            ProbeVerdict::Take(mut plan) => plan.indexes.remove(&uid()).unwrap_or_default(),
            ProbeVerdict::Refuse(refused) => panic!("{refused}"),
        }
    }

    fn with(change: impl FnOnce(&mut FoundIndex)) -> NodeInventory {
        let mut found = found();
        change(found.indexes.get_mut(&uid()).expect("there"));
        found
    }

    #[test]
    fn a_node_that_missed_nothing_serves_at_once() {
        assert_eq!(
            check(MembershipStatus::Member, &expected(), &found()),
            ProbeVerdict::Take(ReadmissionPlan::default())
        );
    }

    #[test]
    fn whatever_differs_makes_the_replica_stale() {
        let mirror = |why| PlanForIndex { mirror: BTreeMap::from([(SHARD, why)]), ..PlanForIndex::default() };
        let fewer = with(|index| _ = index.shards.insert(SHARD, measure(&["a"], 7)));
        assert_eq!(plan_of(&expected(), &fewer), mirror(Why::Count));
        let none = with(|index| index.shards.clear());
        assert_eq!(plan_of(&expected(), &none), mirror(Why::Count));
        let older = with(|index| _ = index.shards.insert(SHARD, measure(&["a", "b"], 6)));
        assert_eq!(plan_of(&expected(), &older), mirror(Why::Digest));
        let restored = NodeInventory { newest_task: Some(19), ..found() };
        assert_eq!(plan_of(&expected(), &restored), mirror(Why::Forgot));
        let mut known = expected();
        known.indexes.get_mut(&uid()).expect("there").stale.insert(SHARD);
        assert_eq!(plan_of(&known, &found()), mirror(Why::KnownStale));
    }

    #[test]
    fn an_empty_disk_gets_everything() {
        let empty = NodeInventory { newest_task: None, indexes: BTreeMap::new(), ..found() };
        let plan = plan_of(&expected(), &empty);
        assert!(plan.create && plan.settings && !plan.wipe);
        assert_eq!(plan.mirror, BTreeMap::from([(SHARD, Why::Absent)]));
    }

    #[test]
    fn another_primary_key_is_wiped() {
        let plan = plan_of(&expected(), &with(|index| index.primary_key = Some("sku".into())));
        assert!(plan.wipe && plan.create && plan.mirror.contains_key(&SHARD));
    }

    #[test]
    fn settings_and_orphans_alone_leave_the_replica_fresh() {
        let plan = plan_of(&expected(), &with(|index| index.recorded_version = Some(2)));
        assert!(plan.settings && plan.mirror.is_empty());
        let plan = plan_of(&expected(), &with(|index| _ = index.shards.insert(ShardId(5), measure(&["x"], 1))));
        assert_eq!(plan.orphans, BTreeSet::from([ShardId(5)]));
    }

    #[test]
    fn without_a_fresh_replica_there_is_nothing_to_compare_with() {
        let mut alone = expected();
        alone.indexes.get_mut(&uid()).expect("there").shards.insert(SHARD, None);
        let fewer = with(|index| _ = index.shards.insert(SHARD, measure(&["a"], 7)));
        assert!(plan_of(&alone, &fewer).mirror.is_empty());
    }

    #[test]
    fn what_will_not_do_is_refused() {
        for (version, refused) in [("1.49.9", "oldest"), ("", "cannot be read")] {
            match check(MembershipStatus::Member, &expected(), &NodeInventory { version: version.into(), ..found() }) {
                ProbeVerdict::Refuse(error) => assert!(error.to_string().contains(refused), "{error}"),
                ProbeVerdict::Take(_) => panic!("{version} was taken"),
            }
        }
        let joining = check(MembershipStatus::Joining, &expected(), &found());
        assert_eq!(joining, ProbeVerdict::Refuse(Refused::ForeignIndex(uid())));
    }

    #[test]
    fn indexes_that_were_given_up_go() {
        let mut found = found();
        found.indexes.insert("old".parse().expect("a uid"), FoundIndex::default());
        found.indexes.insert("unknown".parse().expect("a uid"), FoundIndex::default());
        let ProbeVerdict::Take(plan) = check(MembershipStatus::Member, &expected(), &found) else { panic!("refused") };
        assert_eq!(plan.delete.iter().map(IndexUid::as_str).collect::<Vec<_>>(), ["old"]);
    }
}
