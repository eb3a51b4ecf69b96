//! What the backlog says to do next, for schedules of tasks, nodes and others who end tasks.

use proptest::prelude::*;

use super::*;
use crate::write::task::{BroadcastTask, NewTask};

fn index(name: u8) -> IndexUid {
    format!("i{name}").parse().expect("a uid")
}

fn node(name: u8) -> NodeId {
    NodeId::new(format!("n{name}"))
}

/// A task of an index with a part on each of these nodes, numbered as the task.
fn task(uid: u64, of: u8, nodes: &[u8]) -> Task {
    let mut task = NewTask::new(TaskKind::DocumentAdditionOrUpdate, OffsetDateTime::UNIX_EPOCH).numbered(TaskUid(uid));
    task.physical = Some(index(of));
    let part = |name: &u8| NodeTask {
        node: node(*name),
        uid,
        shards: Vec::new(),
        status: TaskStatus::Enqueued,
        error: None,
        deleted_documents: None,
    };
    task.node_tasks = nodes.iter().map(part).collect();
    task
}

fn broadcast(uid: u64, of: u8) -> Task {
    let mut task = task(uid, of, &[]);
    task.effects.broadcast = Some(BroadcastTask { token: uid.to_string(), version: None });
    task
}

fn cancelation(uid: u64, of: impl IntoIterator<Item = u64>) -> Task {
    let mut task = NewTask::new(TaskKind::TaskCancelation, OffsetDateTime::UNIX_EPOCH).numbered(TaskUid(uid));
    of.into_iter().for_each(|uid| task.effects.cancels.push(TaskUid(uid)));
    task
}

fn state(status: TaskStatus) -> NodeTaskState {
    NodeTaskState { status, ..NodeTaskState::lost() }
}

fn uids(uids: &[u64]) -> Vec<TaskUid> {
    uids.iter().copied().map(TaskUid).collect()
}

fn filled(tasks: &[Task]) -> Backlog {
    let mut backlog = Backlog::default();
    tasks.iter().for_each(|task| backlog.add(task, true));
    backlog
}

/// Nothing is remembered of tasks that are gone.
fn is_empty(backlog: &Backlog) -> bool {
    let Backlog {
        open, queues, by_index, broadcasts, held_up, by_themselves, elsewhere, ready, begun, waiting, ..
    } = backlog;
    let maps =
        open.is_empty() && queues.is_empty() && by_index.is_empty() && broadcasts.is_empty() && held_up.is_empty();
    let sets = [by_themselves, elsewhere, ready, begun, waiting];
    maps && sets.into_iter().all(BTreeSet::is_empty) && backlog.cancelations.is_empty() && backlog.to_cancel.is_empty()
}

#[test]
fn a_node_is_asked_for_the_oldest_of_its_tasks() {
    let backlog = filled(&[task(1, 0, &[0, 1]), task(2, 1, &[1]), task(3, 0, &[0])]);
    assert_eq!(backlog.nodes(), [node(0), node(1)]);
    assert_eq!(backlog.oldest_on(&node(0), None, 10), [1, 3]);
    assert_eq!(backlog.oldest_on(&node(1), Some(1), 10), [2]);
    assert_eq!(backlog.oldest_on(&node(0), None, 1), [1]);
}

#[test]
fn a_task_is_weighed_when_every_node_that_answers_has_ended_its_part() {
    let mut backlog = filled(&[task(1, 0, &[0, 1]), task(2, 0, &[0])]);
    assert!(backlog.report(&node(0), 1, state(TaskStatus::Succeeded)));
    assert!(!backlog.report(&node(0), 1, state(TaskStatus::Succeeded)), "heard already");
    assert_eq!(backlog.take_ready(10), []);
    assert_eq!(backlog.take_begun(10), uids(&[1]));
    backlog.are_down([node(1)].into());
    assert_eq!(backlog.take_ready(10), uids(&[1]), "nobody waits for a node that does not answer");
    backlog.wait(TaskUid(1));
    assert_eq!(backlog.take_ready(10), []);
    assert_eq!(backlog.reconsider(None, 10), Some(TaskUid(1)));
    assert_eq!(backlog.take_ready(10), uids(&[1]));
    backlog.wait(TaskUid(1));
    backlog.are_down(BTreeSet::new());
    backlog.take_ready(10);
    assert!(backlog.report(&node(1), 1, state(TaskStatus::Failed)));
    assert_eq!(backlog.take_ready(10), uids(&[1]));
    let mut whole = task(1, 0, &[0, 1]);
    backlog.update(&mut whole);
    let statuses: Vec<TaskStatus> = whole.node_tasks.iter().map(|part| part.status).collect();
    assert_eq!(statuses, [TaskStatus::Succeeded, TaskStatus::Failed]);
}

#[test]
fn what_comes_after_a_change_of_settings_ends_after_it() {
    let mut backlog = filled(&[task(3, 0, &[0]), broadcast(5, 0), task(6, 0, &[0]), task(7, 1, &[0]), broadcast(8, 0)]);
    for uid in [3, 6, 7] {
        backlog.report(&node(0), uid, state(TaskStatus::Succeeded));
    }
    assert_eq!(backlog.take_ready(10), uids(&[3, 6, 7]));
    let held: Vec<bool> = [3, 6, 7].map(|uid| backlog.hold_up(TaskUid(uid))).into();
    assert_eq!(held, [false, true, false]);
    backlog.remove(TaskUid(5));
    assert_eq!(backlog.take_ready(10), uids(&[6]));
    assert!(!backlog.hold_up(TaskUid(6)), "the other change comes after it");
}

#[test]
fn an_index_is_busy_with_what_came_before() {
    let mut backlog = filled(&[task(3, 0, &[0]), task(5, 1, &[0])]);
    assert!(backlog.is_busy(&index(0), TaskUid(4)) && !backlog.is_busy(&index(0), TaskUid(3)));
    assert!(!backlog.is_busy(&index(1), TaskUid(4)) && !backlog.is_busy(&index(2), TaskUid(9)));
    backlog.remove(TaskUid(3));
    assert!(!backlog.is_busy(&index(0), TaskUid(4)));
}

#[test]
fn a_cancelation_is_about_tasks_before_it_whenever_they_come() {
    let mut backlog = filled(&[task(1, 0, &[0, 1]), task(2, 0, &[0])]);
    let selection = cancelation(9, [1, 3, 4]);
    backlog.cancel(selection.uid, selection.effects.cancels.clone());
    backlog.add(&task(3, 1, &[0]), true);
    backlog.add(&task(4, 1, &[0]), false);
    assert_eq!(backlog.take_to_cancel(&node(0), 1), [1]);
    assert_eq!(backlog.take_to_cancel(&node(0), 10), [3], "somebody else has the fourth canceled");
    backlog.cancel_again(&node(0), &[1, 2, 77]);
    assert_eq!(backlog.take_to_cancel(&node(0), 10), [1, 2]);
    let mut canceled = task(1, 0, &[0, 1]);
    backlog.update(&mut canceled);
    assert_eq!(canceled.effects.canceler, Some(TaskUid(9)));
    let unfinished = |backlog: &Backlog| backlog.has_selected(TaskUid(9), &selection.effects.cancels);
    assert!(unfinished(&backlog));
    [1, 3].into_iter().for_each(|uid| backlog.remove(TaskUid(uid)));
    assert!(unfinished(&backlog));
    backlog.own(|_| true);
    assert_eq!(backlog.take_to_cancel(&node(0), 10), [4], "it is this one's to have canceled now");
    backlog.remove(TaskUid(4));
    assert!(!unfinished(&backlog));
}

#[test]
fn tasks_that_others_have_ended_are_forgotten() {
    let mut backlog = filled(&[task(1, 0, &[0]), broadcast(2, 0)]);
    backlog.add(&task(3, 1, &[0]), false);
    assert!(backlog.has_others());
    assert_eq!(backlog.oldest_on(&node(0), None, 10), [1], "of another's tasks nobody is asked here");
    backlog.are_open(None, TaskUid(2), &[TaskUid(1)].into());
    backlog.are_open(Some(TaskUid(2)), TaskUid(9), &BTreeSet::new());
    assert!(!backlog.has_others() && backlog.len() == 1);
}

#[derive(Clone, Debug)]
enum Event {
    Add(u8, Vec<u8>, bool),
    Broadcast(u8),
    Cancel(Vec<u64>),
    Hear(u8, u8),
    Down(Vec<u8>),
    Own(u8),
    Settle(usize),
    EndedElsewhere(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let nodes =
        || proptest::collection::btree_set(0u8..3, 0..3).prop_map(|nodes| nodes.into_iter().collect::<Vec<_>>());
    prop_oneof![
        3 => (0u8..3, nodes(), any::<bool>()).prop_map(|(of, nodes, ours)| Event::Add(of, nodes, ours)),
        1 => (0u8..3).prop_map(Event::Broadcast),
        1 => proptest::collection::btree_set(0u64..20, 0..4).prop_map(|uids| Event::Cancel(uids.into_iter().collect())),
        4 => (0u8..3, 0u8..20).prop_map(|(node, nth)| Event::Hear(node, nth)),
        1 => nodes().prop_map(Event::Down),
        1 => (0u8..8).prop_map(Event::Own),
        3 => (0usize..4).prop_map(Event::Settle),
        1 => (0u8..20).prop_map(Event::EndedElsewhere),
    ]
}

/// Whether a task that nobody waits for will be found: it is ready, or was put off until something that will come.
fn is_in_sight(backlog: &Backlog, uid: TaskUid, open: &Open) -> bool {
    let pending = |part: &BacklogPart| !part.ended && !backlog.down.contains(&part.node);
    let held = open.physical.as_ref().and_then(|physical| backlog.held_up.get(physical));
    let put_off = held.is_some_and(|held| held.contains(&uid)) || backlog.waiting.contains(&uid);
    match open.ends {
        Ends::WithNodes => open.parts.iter().any(pending) || backlog.ready.contains(&uid) || put_off,
        Ends::ByItself => backlog.by_themselves.contains(&uid),
        Ends::Elsewhere => backlog.elsewhere.contains(&uid),
    }
}

proptest! {
    /// Whatever happens, no task is lost sight of, a node is asked for what it has to tell, and all is forgotten in the end.
    #[test]
    fn no_task_is_lost_sight_of(events in proptest::collection::vec(event(), 0..60)) {
        let mut backlog = Backlog::default();
        let mut next = 0;
        for event in events {
            match event {
                Event::Add(of, nodes, ours) => {
                    backlog.add(&task(next, of, &nodes), ours);
                    next += 1;
                }
                Event::Broadcast(of) => {
                    backlog.add(&broadcast(next, of), true);
                    next += 1;
                }
                Event::Cancel(uids) => {
                    backlog.add(&cancelation(next, uids), true);
                    next += 1;
                }
                Event::Hear(name, nth) => {
                    let asked = backlog.oldest_on(&node(name), None, 20);
                    if let Some(uid) = asked.get(usize::from(nth)) {
                        backlog.report(&node(name), *uid, state(if nth % 4 == 0 { TaskStatus::Processing } else { TaskStatus::Succeeded }));
                    }
                }
                Event::Down(nodes) => backlog.are_down(nodes.into_iter().map(node).collect()),
                Event::Own(mask) => backlog.own(|physical| physical.is_some_and(|physical| (0..3).any(|of| index(of) == *physical && mask & (1 << of) != 0))),
                Event::Settle(limit) => for uid in backlog.take_ready(limit) {
                    // Those with something pending on a node that is down wait for it, every other time.
                    let alone = backlog.open.get(&uid).is_some_and(|open| open.parts.iter().any(|part| !part.ended));
                    if alone && uid.0 % 2 == 0 {
                        backlog.wait(uid);
                    } else if !backlog.hold_up(uid) {
                        backlog.remove(uid);
                    }
                },
                Event::EndedElsewhere(nth) => if let Some(uid) = backlog.elsewhere.iter().nth(usize::from(nth)).copied() {
                    backlog.remove(uid);
                },
            }
            for (uid, open) in &backlog.open {
                prop_assert!(is_in_sight(&backlog, *uid, open), "{uid} of {backlog:?}");
                for part in open.parts.iter().filter(|part| !part.ended && open.ends == Ends::WithNodes) {
                    prop_assert_eq!(backlog.queues.get(&part.node).and_then(|queue| queue.get(&part.uid)), Some(uid));
                }
            }
        }
        let left: Vec<TaskUid> = backlog.open.keys().copied().collect();
        left.into_iter().for_each(|uid| backlog.remove(uid));
        prop_assert!(is_empty(&backlog), "{backlog:?}");
    }
}
