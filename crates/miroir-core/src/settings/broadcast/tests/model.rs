//! Broadcasts over nodes and leaders that fail in any way at any time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::{Just, ProptestConfig, TestCaseError, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use proptest::strategy::Strategy as Generator;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::base::error::{Code, ErrorBody};
use crate::base::id::NodeId;
use crate::settings::broadcast::{
    Answers, BroadcastFacts, BroadcastRecord, BroadcastStep, Committed, Failed, PatchResponse, Policy, Proposal,
    Question, Strategy, TaskReport, decide,
};
use crate::settings::tests::restore::patched;
use crate::settings::{Secrets, Settings, holds};
use crate::write::task::TaskStatus;

/// How a node deals with what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Honest,
    /// Answers 4xx to the change.
    Refuses,
    /// Accepts the change and fails its task.
    Fails,
    /// Its tasks succeed and change nothing.
    Deaf,
    /// Applies what it is told, and something else besides, so many times.
    Twists(u8),
}

struct Node {
    nature: Nature,
    up: bool,
    settings: Value,
    queue: VecDeque<(u64, Value)>,
    tasks: BTreeMap<u64, TaskReport>,
    /// It was not up all the time.
    was_down: bool,
}

/// The schedule: what goes wrong, until it is used up.
struct Fate(VecDeque<u8>);

impl Fate {
    /// One in so many.
    fn strikes(&mut self, one_in: u8) -> bool {
        self.0.pop_front().is_some_and(|byte| byte % one_in == 0)
    }

    fn number(&mut self, below: usize) -> Option<usize> {
        self.0.pop_front().map(|byte| usize::from(byte) % below)
    }
}

fn base() -> Value {
    json!({
        "stopWords": ["old"], "pagination": {"maxTotalHits": 5},
        "embedders": {"a": {"source": "userProvided", "dimensions": 3}},
    })
}

fn change() -> Value {
    json!({"stopWords": ["new"], "embedders": {"a": null, "b": {"source": "userProvided", "dimensions": 4}}})
}

impl Node {
    fn tell(&mut self, patch: &Value) -> PatchResponse {
        if self.nature == Nature::Refuses && *patch == change() {
            return PatchResponse::Refused(ErrorBody::new(Code::BadRequest, "refused"));
        }
        let uid = self.tasks.len() as u64;
        self.tasks.insert(uid, TaskReport::Known(TaskStatus::Enqueued, None));
        self.queue.push_back((uid, patch.clone()));
        PatchResponse::Accepted(uid)
    }

    fn work(&mut self) {
        let Some((uid, patch)) = self.queue.pop_front() else { return };
        let error =
            (self.nature == Nature::Fails && patch == change()).then(|| ErrorBody::new(Code::Internal, "failed"));
        let status = if error.is_some() { TaskStatus::Failed } else { TaskStatus::Succeeded };
        self.tasks.insert(uid, TaskReport::Known(status, error));
        if self.nature == Nature::Deaf || status == TaskStatus::Failed {
            return;
        }
        self.settings = patched(&self.settings, &patch);
        if let Nature::Twists(times @ 1..) = self.nature {
            self.nature = Nature::Twists(times - 1);
            self.settings =
                patched(&self.settings, &json!({"pagination": {"maxTotalHits": 99}, "prefixSearch": "disabled"}));
        }
    }
}

enum Outcome {
    Committed(Committed),
    Failed(Failed),
}

struct World {
    nodes: BTreeMap<NodeId, Node>,
    fate: Fate,
    now: OffsetDateTime,
    policy: Policy,
    canceled: bool,
}

impl World {
    fn new(natures: &[Nature], fate: Vec<u8>, policy: Policy) -> Self {
        let node = |(i, nature): (usize, &Nature)| {
            let node = Node {
                nature: *nature,
                up: true,
                settings: base(),
                queue: VecDeque::new(),
                tasks: BTreeMap::new(),
                was_down: false,
            };
            (NodeId::new(format!("n{i}")), node)
        };
        let nodes = natures.iter().enumerate().map(node).collect();
        Self { nodes, fate: Fate(fate.into()), now: OffsetDateTime::UNIX_EPOCH, policy, canceled: false }
    }

    fn record(&self, strategy: Strategy) -> BroadcastRecord {
        let proposal = Proposal {
            patch: change(),
            kept: Settings::default().kept(None),
            base: Some(base()),
            base_version: 6,
            secrets: Secrets::default(),
        };
        BroadcastRecord::new(proposal, strategy, self.nodes.keys().cloned())
    }

    /// Time passes, nodes go and come back and work.
    fn turn(&mut self) {
        self.now += Duration::from_millis(700);
        let count = self.nodes.len();
        if self.fate.strikes(6)
            && let Some(node) = self.fate.number(count).and_then(|i| self.nodes.values_mut().nth(i))
        {
            node.up = !node.up;
            node.was_down = true;
        }
        self.canceled |= self.fate.strikes(50);
        let quiet = self.fate.0.is_empty();
        for node in self.nodes.values_mut() {
            node.up |= quiet;
            if node.up && !self.fate.strikes(2) {
                node.work();
            }
        }
    }

    fn live(&self) -> BTreeSet<NodeId> {
        self.nodes.iter().filter(|(_, node)| node.up).map(|(id, _)| id.clone()).collect()
    }

    fn ask(&mut self, questions: Vec<Question>) -> Answers {
        let mut answers = Answers::default();
        for question in questions {
            let lost = self.fate.strikes(5);
            let node = match &question {
                Question::Task(node, _) | Question::Settings(node) => node,
            };
            let Some(found) = self.nodes.get(node).filter(|found| found.up && !lost) else { continue };
            match question {
                Question::Task(node, uid) => {
                    let report = found.tasks.get(&uid).cloned().unwrap_or(TaskReport::Unknown);
                    answers.tasks.insert((node, uid), report);
                }
                Question::Settings(node) => {
                    answers.settings.insert(node, found.settings.clone());
                }
            }
        }
        answers
    }

    /// Requests are lost on the way there, or their answers on the way back.
    fn send(&mut self, patches: BTreeMap<NodeId, Value>) -> BTreeMap<NodeId, PatchResponse> {
        let mut answers = BTreeMap::new();
        for (id, patch) in patches {
            let (never_arrives, answer_is_lost) = (self.fate.strikes(5), self.fate.strikes(5));
            let node = self.nodes.get_mut(&id).filter(|node| node.up && !never_arrives);
            let answer = node.map_or(PatchResponse::Lost, |node| node.tell(&patch));
            answers.insert(id, if answer_is_lost { PatchResponse::Lost } else { answer });
        }
        answers
    }

    /// Lead until it is over; a leader that dies loses what it has not saved.
    fn lead(&mut self, strategy: Strategy) -> Result<Outcome, TestCaseError> {
        let mut saved = self.record(strategy);
        for _ in 0..2000 {
            // The last leader's idea of who is live may be old.
            let live = self.live();
            self.turn();
            let answers = self.ask(saved.questions(&live));
            let facts = BroadcastFacts { now: self.now, live, answers, cancel: self.canceled };
            let next = match decide(&saved, &facts, &self.policy) {
                BroadcastStep::Save(record) => *record,
                BroadcastStep::Send(patches) => {
                    let answers = self.send(patches);
                    saved.clone().after_sending(answers, self.now, &self.policy)
                }
                BroadcastStep::Wait(wait) => {
                    prop_assert!(wait > Duration::ZERO);
                    continue;
                }
                BroadcastStep::Commit(_) | BroadcastStep::Fail(_) if self.fate.strikes(3) => continue,
                BroadcastStep::Commit(committed) => return Ok(Outcome::Committed(*committed)),
                BroadcastStep::Fail(failed) => return Ok(Outcome::Failed(*failed)),
            };
            prop_assert!(next != saved, "a step that changes nothing would be decided for ever");
            if !self.fate.strikes(4) {
                let text = serde_json::to_string(&next).map_err(|error| TestCaseError::fail(error.to_string()))?;
                saved = serde_json::from_str(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
            }
        }
        Err(TestCaseError::fail(format!("does not end: {saved:?}")))
    }

    /// Whatever still waits in a queue is done.
    fn drain(&mut self) {
        for node in self.nodes.values_mut() {
            while !node.queue.is_empty() {
                node.work();
            }
        }
    }
}

fn natures() -> impl Generator<Value = Vec<Nature>> {
    let nature = prop_oneof![
        6 => Just(Nature::Honest),
        1 => Just(Nature::Refuses),
        1 => Just(Nature::Fails),
        1 => Just(Nature::Deaf),
        2 => select(vec![Nature::Twists(1), Nature::Twists(2), Nature::Twists(255)]),
    ];
    proptest::collection::vec(nature, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(3000)))]

    #[test]
    fn every_broadcast_ends_in_one_version_everywhere_or_in_the_one_before(
        natures in natures(),
        fate in proptest::collection::vec(any::<u8>(), 0..400),
        strategy in select(vec![Strategy::TwoPhase, Strategy::Sequential]),
        freeze: bool,
    ) {
        let policy = Policy {
            verify_timeout: Duration::from_secs(5), max_repair_retries: 3, freeze_writes_on_unrepairable: freeze,
        };
        let mut world = World::new(&natures, fate, policy);
        let outcome = world.lead(strategy)?;
        world.drain();
        match outcome {
            Outcome::Committed(committed) => {
                prop_assert_eq!(committed.version, 7);
                prop_assert!(!committed.nodes.is_empty());
                let mut held = committed.nodes.iter().map(|id| &world.nodes[id].settings);
                let first = held.next().expect("one");
                prop_assert!(held.all(|other| holds(first, other)), "verified nodes differ");
                prop_assert_eq!(committed.settings.get("stopWords"), first.get("stopWords"));
                for (id, node) in world.nodes.iter().filter(|(_, node)| !node.was_down) {
                    prop_assert!(committed.nodes.contains(id), "{} was left behind: {:?}", id, node.nature);
                }
                if committed.nodes.iter().any(|id| world.nodes[id].nature == Nature::Honest) {
                    prop_assert!(holds(&patched(&base(), &change()), first), "what was proposed: {}", first);
                }
            }
            Outcome::Failed(failed) => {
                prop_assert!(failed.error.is_some() || world.canceled);
                prop_assert!(failed.restored.is_disjoint(&failed.doubtful));
                let freezing = if freeze { failed.unrepairable.clone() } else { BTreeSet::new() };
                prop_assert_eq!(&failed.frozen, &freezing);
                for (id, node) in &world.nodes {
                    if !failed.doubtful.contains(id) {
                        prop_assert!(holds(&base(), &node.settings), "{} is not what it was: {}", id, node.settings);
                    } else if !node.was_down {
                        prop_assert!(failed.unrepairable.contains(id), "{} is in doubt and nobody says so", id);
                    }
                }
            }
        }
    }

    /// Nodes that do as they are told, none of which goes away: nothing that happens to messages and leaders fails it.
    #[test]
    fn leaders_may_die_as_they_like(
        count in 1..5_usize,
        deaths in proptest::collection::vec(any::<bool>(), 0..60),
        strategy in select(vec![Strategy::TwoPhase, Strategy::Sequential]),
    ) {
        let policy = Policy {
            verify_timeout: Duration::from_secs(5), max_repair_retries: 3, freeze_writes_on_unrepairable: true,
        };
        let mut world = World::new(&vec![Nature::Honest; count], Vec::new(), policy);
        let mut saved = world.record(strategy);
        let mut deaths = deaths.into_iter();
        let mut ended = None;
        for _ in 0..500 {
            let live = world.live();
            world.turn();
            let answers = world.ask(saved.questions(&live));
            let facts = BroadcastFacts { now: world.now, live, answers, cancel: false };
            let next = match decide(&saved, &facts, &world.policy) {
                BroadcastStep::Save(record) => *record,
                BroadcastStep::Send(patches) => saved.clone().after_sending(world.send(patches), world.now, &world.policy),
                BroadcastStep::Wait(_) => continue,
                BroadcastStep::Commit(committed) => {
                    ended = Some(committed);
                    if deaths.next() == Some(true) { continue } else { break }
                }
                BroadcastStep::Fail(failed) => return Err(TestCaseError::fail(format!("{failed:?}"))),
            };
            if deaths.next() != Some(true) {
                saved = next;
            }
        }
        world.drain();
        let committed = ended.expect("it ends");
        prop_assert_eq!((committed.version, committed.nodes.len()), (7, count));
        for node in world.nodes.values() {
            prop_assert!(holds(&patched(&base(), &change()), &node.settings));
        }
    }
}
