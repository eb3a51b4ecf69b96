//! Settlement of a task: what its node tasks amount to.
//!
//! A task succeeds when every shard it touches succeeded on at least one fresh replica; replicas that failed, or whose node
//! is gone before it said what became of its part, become stale. It does not end before every live node has finished:
//! whoever reads after the task succeeded finds what it did, whichever replica answers.
//!
//! What a stale replica has done does not count as long as a fresh one has a say: it would make stale the last one that
//! holds everything. Nodes put tasks together as they like, and a task that fails for its documents may take others with
//! it on one node and not on another.
//!
//! Invariant: a shard that had a fresh replica has one.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::error::ErrorBody;
use crate::base::id::{NodeId, ShardId};
use crate::write::task::{NodeTask, TaskStatus};

/// Where a task stands, from the node tasks it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Nobody has begun.
    Enqueued,
    /// Some node has begun, or the only replica of a shard is on a node that does not answer.
    Processing,
    /// It ended.
    Final {
        /// Succeeded, failed or canceled.
        status: TaskStatus,
        /// The node's reason, when it failed.
        error: Option<ErrorBody>,
        /// The shards that did their part of a task that has not succeeded as a whole: what it says of others does not hold
        /// of them.
        done: BTreeSet<ShardId>,
        /// Replicas that did not do what others did. A node without shards here did an index-wide part wrong.
        stale: Vec<(NodeId, BTreeSet<ShardId>)>,
    },
}

/// What became of one replica's part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PartStatus {
    Succeeded,
    Failed,
    /// Its node does not answer.
    Unknown,
    Pending,
}

/// Weigh the node tasks. `is_down` says that a node does not answer and should not be waited for, `is_fresh` that a
/// replica holds every write before this task's.
pub fn settlement(
    node_tasks: &[NodeTask],
    is_down: impl Fn(&NodeId) -> bool,
    is_fresh: impl Fn(ShardId, &NodeId) -> bool,
) -> Settlement {
    let part = |task: &NodeTask| match task.status {
        TaskStatus::Succeeded => PartStatus::Succeeded,
        TaskStatus::Failed | TaskStatus::Canceled => PartStatus::Failed,
        TaskStatus::Enqueued | TaskStatus::Processing if is_down(&task.node) => PartStatus::Unknown,
        TaskStatus::Enqueued | TaskStatus::Processing => PartStatus::Pending,
    };
    if node_tasks.iter().any(|task| part(task) == PartStatus::Pending) {
        return unfinished(node_tasks);
    }
    // Index-wide parts are weighed as if they were one shard of their own.
    let mut by_shard: BTreeMap<Option<ShardId>, BTreeMap<&NodeId, PartStatus>> = BTreeMap::new();
    for task in node_tasks {
        let shards: Vec<Option<ShardId>> =
            if task.shards.is_empty() { vec![None] } else { task.shards.iter().copied().map(Some).collect() };
        for shard in shards {
            let worst = by_shard.entry(shard).or_default().entry(&task.node).or_insert(PartStatus::Succeeded);
            let now = part(task);
            if now != PartStatus::Succeeded && *worst != PartStatus::Failed {
                *worst = now;
            }
        }
    }
    conclude(node_tasks, &by_shard, is_fresh)
}

fn unfinished(node_tasks: &[NodeTask]) -> Settlement {
    let begun = node_tasks.iter().any(|task| task.status != TaskStatus::Enqueued);
    if begun { Settlement::Processing } else { Settlement::Enqueued }
}

fn conclude(
    node_tasks: &[NodeTask],
    by_shard: &BTreeMap<Option<ShardId>, BTreeMap<&NodeId, PartStatus>>,
    is_fresh: impl Fn(ShardId, &NodeId) -> bool,
) -> Settlement {
    let mut stale: BTreeMap<NodeId, BTreeSet<ShardId>> = BTreeMap::new();
    let mut failed = false;
    let mut done = BTreeSet::new();
    for (shard, parts) in by_shard {
        let fresh = |node: &NodeId| shard.is_none_or(|shard| is_fresh(shard, node));
        let nobody_fresh = !parts.keys().any(|node| fresh(node));
        let is_trusted = |node: &NodeId| nobody_fresh || fresh(node);
        let has = |wanted: PartStatus| parts.iter().any(|(node, part)| *part == wanted && is_trusted(node));
        let succeeded = has(PartStatus::Succeeded);
        if !succeeded && has(PartStatus::Unknown) {
            // Only a node that does not answer can tell.
            return Settlement::Processing;
        }
        failed |= !succeeded;
        done.extend(shard.filter(|_| succeeded));
        for (node, _) in parts.iter().filter(|(_, part)| (**part == PartStatus::Succeeded) != succeeded) {
            stale.entry((*node).clone()).or_default().extend(*shard);
        }
    }
    let (status, error) = if failed { failure(node_tasks) } else { (TaskStatus::Succeeded, None) };
    if !failed {
        done.clear();
    }
    Settlement::Final { status, error, done, stale: stale.into_iter().collect() }
}

fn failure(node_tasks: &[NodeTask]) -> (TaskStatus, Option<ErrorBody>) {
    let failed = node_tasks.iter().find(|task| task.status == TaskStatus::Failed);
    match failed {
        Some(task) => (TaskStatus::Failed, task.error.clone()),
        None => (TaskStatus::Canceled, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::error::Code;

    fn node_task(node: &str, shards: &[u32], status: TaskStatus) -> NodeTask {
        NodeTask {
            node: NodeId::new(node),
            uid: 1,
            shards: shards.iter().map(|s| ShardId(*s)).collect(),
            status,
            error: (status == TaskStatus::Failed).then(|| ErrorBody::new(Code::Internal, "broken")),
            deleted_documents: None,
        }
    }

    fn nobody(_: &NodeId) -> bool {
        false
    }

    fn all(_: ShardId, _: &NodeId) -> bool {
        true
    }

    #[test]
    fn waits_for_every_live_node() {
        let tasks = [node_task("a", &[0], TaskStatus::Succeeded), node_task("b", &[0], TaskStatus::Enqueued)];
        assert_eq!(settlement(&tasks, nobody, all), Settlement::Processing);
        assert_eq!(settlement(&tasks[1..], nobody, all), Settlement::Enqueued);
    }

    #[test]
    fn a_node_that_is_gone_becomes_stale_when_another_did_its_part() {
        let tasks = [node_task("a", &[0, 1], TaskStatus::Succeeded), node_task("b", &[0], TaskStatus::Enqueued)];
        let settled = settlement(&tasks, |node| node.as_str() == "b", all);
        let stale = vec![(NodeId::new("b"), BTreeSet::from([ShardId(0)]))];
        assert_eq!(
            settled,
            Settlement::Final { status: TaskStatus::Succeeded, error: None, done: BTreeSet::new(), stale }
        );
    }

    #[test]
    fn a_node_that_alone_knows_is_waited_for() {
        let tasks = [node_task("a", &[0], TaskStatus::Succeeded), node_task("b", &[1], TaskStatus::Enqueued)];
        assert_eq!(settlement(&tasks, |node| node.as_str() == "b", all), Settlement::Processing);
    }

    #[test]
    fn failing_everywhere_fails_the_task_and_leaves_nothing_stale() {
        let tasks = [node_task("a", &[0], TaskStatus::Failed), node_task("b", &[0], TaskStatus::Failed)];
        let Settlement::Final { status, error, stale, .. } = settlement(&tasks, nobody, all) else {
            panic!("not final")
        };
        assert_eq!((status, stale), (TaskStatus::Failed, vec![]));
        assert_eq!(error.map(|e| e.message).as_deref(), Some("broken"));
    }

    #[test]
    fn what_shards_did_of_a_task_that_failed_is_told() {
        let tasks = [node_task("a", &[0], TaskStatus::Failed), node_task("b", &[1, 2], TaskStatus::Succeeded)];
        let Settlement::Final { status, done, .. } = settlement(&tasks, nobody, all) else { panic!("not final") };
        assert_eq!((status, done), (TaskStatus::Failed, BTreeSet::from([ShardId(1), ShardId(2)])));
        let Settlement::Final { done, .. } = settlement(&tasks[1..], nobody, all) else { panic!("not final") };
        assert!(done.is_empty(), "a task that succeeded did all of it");
    }

    #[test]
    fn a_replica_that_fails_alone_is_stale() {
        let tasks = [node_task("a", &[0], TaskStatus::Failed), node_task("b", &[0], TaskStatus::Succeeded)];
        let Settlement::Final { status, stale, .. } = settlement(&tasks, nobody, all) else { panic!("not final") };
        assert_eq!(status, TaskStatus::Succeeded);
        assert_eq!(stale, vec![(NodeId::new("a"), BTreeSet::from([ShardId(0)]))]);
    }

    #[test]
    fn what_a_stale_replica_did_makes_no_fresh_one_stale() {
        let (of_a, of_b) = (TaskStatus::Succeeded, TaskStatus::Failed);
        let tasks = [node_task("a", &[0], of_a), node_task("b", &[0], of_b)];
        let only_b = |_, node: &NodeId| node.as_str() == "b";
        let Settlement::Final { status, stale, .. } = settlement(&tasks, nobody, only_b) else { panic!("not final") };
        // It has what the fresh one has not.
        assert_eq!((status, stale), (TaskStatus::Failed, vec![(NodeId::new("a"), BTreeSet::from([ShardId(0)]))]));
        let waiting = [node_task("a", &[0], of_a), node_task("b", &[0], TaskStatus::Enqueued)];
        assert_eq!(settlement(&waiting, |node| node.as_str() == "b", only_b), Settlement::Processing);
        let Settlement::Final { status, .. } = settlement(&tasks, nobody, |_, _| false) else { panic!("not final") };
        assert_eq!(status, TaskStatus::Succeeded, "nobody is fresh");
    }

    #[test]
    fn an_index_wide_failure_names_the_node_without_shards() {
        let tasks = [node_task("a", &[], TaskStatus::Failed), node_task("b", &[], TaskStatus::Succeeded)];
        let Settlement::Final { stale, .. } = settlement(&tasks, nobody, all) else { panic!("not final") };
        assert_eq!(stale, vec![(NodeId::new("a"), BTreeSet::new())]);
    }

    fn any_status() -> impl Strategy<Value = TaskStatus> {
        prop_oneof![
            Just(TaskStatus::Enqueued),
            Just(TaskStatus::Processing),
            Just(TaskStatus::Succeeded),
            Just(TaskStatus::Failed),
            Just(TaskStatus::Canceled),
        ]
    }

    proptest! {
        /// Success is never claimed for a shard that no replica confirmed, and every replica that did not confirm is stale.
        #[test]
        fn success_is_confirmed_and_the_rest_is_stale(
            parts in proptest::collection::vec((0u8..4, proptest::collection::vec(0u32..4, 1..4), any_status()), 1..8),
            down in proptest::collection::btree_set(0u8..4, 0..4),
        ) {
            let tasks: Vec<NodeTask> = parts.iter().map(|(n, s, st)| node_task(&n.to_string(), s, *st)).collect();
            let is_down = |node: &NodeId| down.iter().any(|d| d.to_string() == node.as_str());
            let Settlement::Final { status: TaskStatus::Succeeded, stale, .. } = settlement(&tasks, is_down, all) else {
                return Ok(());
            };
            let stale: BTreeMap<_, _> = stale.into_iter().collect();
            for task in &tasks {
                for shard in &task.shards {
                    let confirmed = |t: &&NodeTask| t.shards.contains(shard);
                    prop_assert!(tasks.iter().filter(confirmed).any(|t| t.status == TaskStatus::Succeeded));
                    if task.status != TaskStatus::Succeeded {
                        prop_assert!(stale.get(&task.node).is_some_and(|s| s.contains(shard)));
                    }
                }
            }
        }

        #[test]
        fn a_shard_that_had_a_fresh_replica_has_one(
            parts in proptest::collection::vec((0u8..4, proptest::collection::vec(0u32..4, 1..4), any_status()), 1..8),
            down in proptest::collection::btree_set(0u8..4, 0..4),
            fresh in proptest::collection::btree_set((0u32..4, 0u8..4), 0..16),
        ) {
            let tasks: Vec<NodeTask> = parts.iter().map(|(n, s, st)| node_task(&n.to_string(), s, *st)).collect();
            let is_down = |node: &NodeId| down.iter().any(|d| d.to_string() == node.as_str());
            let is_fresh = |shard: ShardId, node: &NodeId| fresh.iter().any(|(s, n)| *s == shard.0 && n.to_string() == node.as_str());
            let Settlement::Final { stale, .. } = settlement(&tasks, is_down, is_fresh) else { return Ok(()) };
            let stale: BTreeMap<_, _> = stale.into_iter().collect();
            for shard in (0..4).map(ShardId) {
                let about = tasks.iter().filter(|task| task.shards.contains(&shard));
                let before: BTreeSet<&NodeId> = about.map(|task| &task.node).filter(|node| is_fresh(shard, node)).collect();
                let still = before.iter().filter(|node| !stale.get(**node).is_some_and(|s| s.contains(&shard)));
                prop_assert_eq!(still.count() > 0, !before.is_empty());
            }
        }
    }
}
