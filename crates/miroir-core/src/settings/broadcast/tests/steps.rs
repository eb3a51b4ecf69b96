//! A broadcast, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::base::error::{Code, ErrorBody};
use crate::base::id::NodeId;
use crate::settings::broadcast::{
    Answers, BroadcastFacts, BroadcastRecord, BroadcastStep, Committed, Failed, PatchResponse, Phase, Policy, Proposal,
    Question, Stage, Strategy, TaskReport, decide,
};
use crate::settings::{Secrets, Settings};
use crate::write::task::TaskStatus;

const POLICY: Policy =
    Policy { verify_timeout: Duration::from_secs(60), max_repair_retries: 3, freeze_writes_on_unrepairable: true };

fn node(name: &str) -> NodeId {
    NodeId::new(name)
}

fn base() -> Value {
    json!({"stopWords": ["old"], "pagination": {"maxTotalHits": 5}})
}

fn applied() -> Value {
    json!({"stopWords": ["new"], "pagination": {"maxTotalHits": 5}})
}

/// A broadcast, its leader and what the world tells it.
struct Led {
    record: BroadcastRecord,
    facts: BroadcastFacts,
    policy: Policy,
}

impl Led {
    fn new(nodes: &[&str], strategy: Strategy) -> Self {
        let proposal = Proposal {
            patch: json!({"stopWords": ["new"]}),
            kept: Settings::default().kept(None),
            base: Some(base()),
            base_version: 6,
            secrets: Secrets::default(),
        };
        let nodes: BTreeSet<NodeId> = nodes.iter().map(|name| node(name)).collect();
        let facts = BroadcastFacts {
            now: OffsetDateTime::UNIX_EPOCH,
            live: nodes.clone(),
            answers: Answers::default(),
            cancel: false,
        };
        Self { record: BroadcastRecord::new(proposal, strategy, nodes), facts, policy: POLICY }
    }

    /// Decide until something is to be done, as a leader that is killed after each save and replaced.
    fn next(&mut self) -> BroadcastStep {
        for _ in 0..20 {
            let step = decide(&self.record, &self.facts, &self.policy);
            let BroadcastStep::Save(record) = step else { return step };
            let saved = serde_json::to_string(&record).expect("a record can be saved");
            self.record = serde_json::from_str(&saved).expect("a record can be loaded");
            assert_eq!(self.record, *record);
        }
        panic!("does not come to rest: {:?}", self.record);
    }

    fn sends(&mut self) -> BTreeMap<NodeId, Value> {
        let BroadcastStep::Send(patches) = self.next() else { panic!("sends nothing: {:?}", self.record) };
        patches
    }

    fn waits(&mut self) {
        assert!(matches!(self.next(), BroadcastStep::Wait(_)), "{:?}", self.record);
    }

    fn commits(&mut self) -> Committed {
        let BroadcastStep::Commit(committed) = self.next() else { panic!("does not commit: {:?}", self.record) };
        *committed
    }

    fn fails(&mut self) -> Failed {
        let BroadcastStep::Fail(failed) = self.next() else { panic!("does not fail: {:?}", self.record) };
        *failed
    }

    fn answer(&mut self, answers: &[(&str, PatchResponse)]) {
        let answers = answers.iter().map(|(name, sent)| (node(name), sent.clone())).collect();
        self.record = self.record.clone().after_sending(answers, self.facts.now, &self.policy);
    }

    fn task(&mut self, name: &str, uid: u64, status: TaskStatus) {
        let error = (status == TaskStatus::Failed).then(|| ErrorBody::new(Code::Internal, "disk full"));
        self.facts.answers.tasks.insert((node(name), uid), TaskReport::Known(status, error));
    }

    fn reads(&mut self, name: &str, settings: Value) {
        self.facts.answers.settings.insert(node(name), settings);
    }

    fn pass(&mut self, seconds: u64) {
        self.facts.now += Duration::from_secs(seconds);
    }

    fn stage(&self, name: &str) -> &Stage {
        &self.record.parts()[&node(name)].stage
    }

    /// All of them accept and apply, but say nothing of their settings yet.
    fn apply_on(&mut self, names: &[&str]) {
        assert_eq!(self.sends().keys().map(NodeId::as_str).collect::<Vec<_>>(), names);
        for name in names {
            self.answer(&[(name, PatchResponse::Accepted(7))]);
            self.task(name, 7, TaskStatus::Succeeded);
        }
    }
}

fn names(nodes: &BTreeSet<NodeId>) -> Vec<&str> {
    nodes.iter().map(NodeId::as_str).collect()
}

fn bad_request() -> ErrorBody {
    ErrorBody::new(Code::BadRequest, "no")
}

#[test]
fn what_all_nodes_agree_on_is_committed() {
    let mut led = Led::new(&["a", "b"], Strategy::TwoPhase);
    let patches = led.sends();
    assert_eq!(patches.values().collect::<Vec<_>>(), [&json!({"stopWords": ["new"]}); 2]);
    led.answer(&[("a", PatchResponse::Accepted(1)), ("b", PatchResponse::Accepted(9))]);
    led.waits();
    let live = led.facts.live.clone();
    assert_eq!(led.record.questions(&live), [Question::Task(node("a"), 1), Question::Task(node("b"), 9)]);
    led.task("a", 1, TaskStatus::Succeeded);
    led.task("b", 9, TaskStatus::Processing);
    led.waits();
    assert_eq!(
        (led.record.phase(), led.record.questions(&live).len()),
        (Phase::Propose, 1),
        "a is read when b is done"
    );
    led.task("b", 9, TaskStatus::Succeeded);
    led.waits();
    assert_eq!(led.record.phase(), Phase::Verify);
    assert_eq!(led.record.questions(&live), [Question::Settings(node("a")), Question::Settings(node("b"))]);
    led.reads("a", applied());
    led.reads("b", applied());
    let committed = led.commits();
    assert_eq!((committed.version, names(&committed.nodes)), (7, vec!["a", "b"]));
    assert_eq!(committed.settings.get("stopWords"), Some(&json!(["new"])));
    assert_eq!(led.record.phase(), Phase::Commit);
    assert_eq!(led.commits(), committed, "whoever decides again decides the same");
    led.facts.live.clear();
    assert_eq!(led.commits(), committed, "all was known when the phase was saved");
}

#[test]
fn nodes_are_marked_before_they_are_told() {
    let mut led = Led::new(&["a"], Strategy::TwoPhase);
    assert!(matches!(decide(&led.record, &led.facts, &POLICY), BroadcastStep::Save(_)));
    led.sends();
    led.facts.cancel = true;
    assert_eq!(led.sends()[&node("a")], json!({"stopWords": ["old"]}), "the answer was lost with the leader");
}

#[test]
fn re_indexing_is_waited_for_and_silence_is_not() {
    let mut led = Led::new(&["a"], Strategy::TwoPhase);
    led.sends();
    led.answer(&[("a", PatchResponse::Accepted(1))]);
    led.task("a", 1, TaskStatus::Processing);
    for _ in 0..100 {
        led.pass(3600);
        led.waits();
    }
    led.facts.answers.tasks.clear();
    led.waits();
    led.pass(59);
    led.waits();
    assert!(matches!(led.stage("a"), Stage::Accepted { .. }));
    led.task("a", 1, TaskStatus::Processing);
    led.waits();
    led.facts.answers.tasks.clear();
    led.waits();
    led.pass(61);
    led.waits();
    assert!(matches!(led.stage("a"), Stage::Due { not_before: Some(_) }), "silent for too long");
    led.pass(1);
    led.sends();
}

#[test]
fn lost_answers_are_sent_again_after_a_growing_wait() {
    let mut led = Led::new(&["a", "b"], Strategy::TwoPhase);
    led.sends();
    led.answer(&[("a", PatchResponse::Lost), ("b", PatchResponse::Accepted(1))]);
    led.task("b", 1, TaskStatus::Succeeded);
    for milliseconds in [500, 1000] {
        led.facts.now += Duration::from_millis(milliseconds - 1);
        led.waits();
        led.facts.now += Duration::from_millis(1);
        assert_eq!(led.sends().len(), 1);
        led.answer(&[("a", PatchResponse::Lost)]);
    }
    led.pass(2);
    led.apply_on(&["a"]);
    led.reads("a", applied());
    led.reads("b", applied());
    assert_eq!(led.commits().version, 7);
}

#[test]
fn a_node_that_does_not_know_its_task_is_told_again() {
    let mut led = Led::new(&["a"], Strategy::TwoPhase);
    led.sends();
    led.answer(&[("a", PatchResponse::Accepted(1))]);
    led.facts.answers.tasks.insert((node("a"), 1), TaskReport::Unknown);
    led.waits();
    led.pass(1);
    led.sends();
}

#[test]
fn nodes_that_are_down_are_left_behind_and_stay_so() {
    let mut led = Led::new(&["a", "b", "c"], Strategy::TwoPhase);
    led.facts.live.remove(&node("a"));
    led.apply_on(&["b", "c"]);
    led.facts.live.remove(&node("c"));
    led.facts.live.insert(node("a"));
    led.reads("b", applied());
    let committed = led.commits();
    assert_eq!(names(&committed.nodes), ["b"]);
    assert_eq!((led.stage("a"), led.stage("c")), (&Stage::LeftBehind, &Stage::LeftBehind));
}

#[test]
fn without_any_node_nothing_is_changed() {
    let mut led = Led::new(&["a", "b"], Strategy::TwoPhase);
    led.facts.live.clear();
    let failed = led.fails();
    assert_eq!(failed.error.map(|error| error.code).as_deref(), Some("miroir_no_quorum"));
    assert!(failed.doubtful.is_empty() && failed.frozen.is_empty());
}

#[test]
fn when_all_have_gone_one_is_waited_for() {
    let mut led = Led::new(&["a", "b"], Strategy::TwoPhase);
    led.apply_on(&["a", "b"]);
    led.facts.live.clear();
    led.facts.answers = Answers::default();
    led.pass(3600);
    led.waits();
    led.facts.live.insert(node("b"));
    led.task("b", 7, TaskStatus::Succeeded);
    led.reads("b", applied());
    assert_eq!(names(&led.commits().nodes), ["b"]);
}

#[test]
fn a_node_that_refuses_makes_the_others_go_back() {
    let mut led = Led::new(&["a", "b", "c"], Strategy::TwoPhase);
    led.sends();
    led.answer(&[
        ("a", PatchResponse::Accepted(1)),
        ("b", PatchResponse::Refused(bad_request())),
        ("c", PatchResponse::Accepted(1)),
    ]);
    led.task("a", 1, TaskStatus::Processing);
    let back = led.sends();
    assert_eq!(back.keys().map(NodeId::as_str).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(back[&node("a")], json!({"stopWords": ["old"]}));
    for name in ["a", "c"] {
        led.answer(&[(name, PatchResponse::Accepted(2))]);
        led.task(name, 2, TaskStatus::Succeeded);
        led.reads(name, base());
    }
    led.reads("b", base());
    let failed = led.fails();
    assert_eq!(failed.error, Some(bad_request()));
    assert_eq!(names(&failed.restored), ["a", "b", "c"]);
    assert!(failed.doubtful.is_empty() && failed.frozen.is_empty());
}

#[test]
fn a_task_that_fails_makes_the_others_go_back_and_its_node_is_only_read() {
    let mut led = Led::new(&["a", "b"], Strategy::TwoPhase);
    led.sends();
    led.answer(&[("a", PatchResponse::Accepted(1)), ("b", PatchResponse::Accepted(1))]);
    led.task("a", 1, TaskStatus::Succeeded);
    led.task("b", 1, TaskStatus::Failed);
    led.facts.live.insert(node("b"));
    assert_eq!(led.sends().keys().map(NodeId::as_str).collect::<Vec<_>>(), ["a"]);
    led.answer(&[("a", PatchResponse::Accepted(2))]);
    led.task("a", 2, TaskStatus::Succeeded);
    led.reads("a", base());
    led.reads("b", base());
    let failed = led.fails();
    assert_eq!(failed.error.map(|error| error.message).as_deref(), Some("disk full"));
    assert_eq!(names(&failed.restored), ["a", "b"]);
}

#[test]
fn what_a_node_does_on_the_way_back_in_one_batch_with_the_change_may_fail_with_it() {
    let mut led = Led::new(&["a", "b"], Strategy::TwoPhase);
    led.sends();
    led.answer(&[("a", PatchResponse::Accepted(1)), ("b", PatchResponse::Accepted(1))]);
    led.task("a", 1, TaskStatus::Failed);
    led.facts.live.insert(node("a"));
    // The other has not begun yet.
    assert_eq!(led.sends().keys().map(NodeId::as_str).collect::<Vec<_>>(), ["b"]);
    led.answer(&[("b", PatchResponse::Accepted(2))]);
    led.task("b", 2, TaskStatus::Failed);
    led.reads("a", base());
    led.reads("b", base());
    let failed = led.fails();
    assert_eq!((names(&failed.restored), failed.frozen.len()), (vec!["a", "b"], 0));
}

#[test]
fn a_node_that_holds_something_else_is_repaired() {
    let mut led = Led::new(&["a", "b", "c"], Strategy::TwoPhase);
    led.apply_on(&["a", "b", "c"]);
    // Two had drifted before, and applied the change: most nodes are wrong.
    let drifted = json!({"stopWords": ["new"], "pagination": {"maxTotalHits": 9}, "distinctAttribute": "x"});
    led.reads("a", drifted.clone());
    led.reads("b", applied());
    led.reads("c", drifted);
    led.waits();
    led.pass(1);
    let repairs = led.sends();
    assert_eq!(repairs.keys().map(NodeId::as_str).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(repairs[&node("a")], json!({"pagination": {"maxTotalHits": 5}, "distinctAttribute": null}));
    for name in ["a", "c"] {
        led.answer(&[(name, PatchResponse::Accepted(8))]);
        led.task(name, 8, TaskStatus::Succeeded);
        led.reads(name, applied());
    }
    let committed = led.commits();
    assert_eq!((committed.nodes.len(), committed.settings.max_total_hits()), (3, 5));
}

#[test]
fn a_node_that_never_complies_fails_the_task_and_freezes_the_index() {
    let mut led = Led::new(&["a", "b"], Strategy::TwoPhase);
    led.apply_on(&["a", "b"]);
    led.reads("a", applied());
    led.reads("b", base());
    for _ in 0..3 {
        led.waits();
        led.pass(10);
        led.apply_on(&["b"]);
    }
    let back = led.sends();
    assert_eq!(back.len(), 2, "it too is put back: what it holds is anybody's guess");
    for name in ["a", "b"] {
        led.answer(&[(name, PatchResponse::Accepted(9))]);
        led.task(name, 9, TaskStatus::Succeeded);
        led.reads(name, base());
    }
    let failed = led.fails();
    assert!(failed.error.is_some_and(|error| error.message.ends_with("on 1 of the nodes.")));
    assert_eq!((names(&failed.frozen), names(&failed.restored)), (vec!["b"], vec!["a", "b"]));
    led.policy.freeze_writes_on_unrepairable = false;
    let failed = led.fails();
    assert_eq!((names(&failed.unrepairable), failed.frozen.len()), (vec!["b"], 0), "told all the same");
}

#[test]
fn a_node_that_cannot_be_put_back_freezes_the_index() {
    let mut led = Led::new(&["a", "b"], Strategy::TwoPhase);
    led.sends();
    led.answer(&[("a", PatchResponse::Accepted(1)), ("b", PatchResponse::Refused(bad_request()))]);
    led.reads("b", base());
    for _ in 0..4 {
        assert_eq!(led.sends().len(), 1);
        led.answer(&[("a", PatchResponse::Lost)]);
        led.pass(60);
    }
    let failed = led.fails();
    assert_eq!((failed.error, names(&failed.frozen)), (Some(bad_request()), vec!["a"]));
    assert_eq!(names(&failed.doubtful), ["a"]);
}

#[test]
fn a_change_that_is_canceled_is_undone() {
    let mut led = Led::new(&["a"], Strategy::TwoPhase);
    led.facts.cancel = true;
    let failed = led.fails();
    assert_eq!((failed.error, failed.restored.len(), failed.doubtful.len()), (None, 0, 0), "nothing was sent");
}

#[test]
fn an_index_that_comes_into_being_goes_with_the_change() {
    let mut led = Led::new(&["a", "b"], Strategy::TwoPhase);
    led.record.proposal.base = None;
    led.sends();
    led.answer(&[("a", PatchResponse::Accepted(1)), ("b", PatchResponse::Refused(bad_request()))]);
    let failed = led.fails();
    assert!(failed.error.is_some() && failed.frozen.is_empty() && failed.unrepairable.is_empty());
    assert!(failed.doubtful.contains(&node("a")));
}

#[test]
fn one_after_the_other_each_is_verified_before_the_next_is_told() {
    let mut led = Led::new(&["a", "b", "c"], Strategy::Sequential);
    led.apply_on(&["a"]);
    led.waits();
    led.reads("a", applied());
    led.apply_on(&["b"]);
    led.reads("b", applied());
    led.sends();
    assert_eq!((led.stage("a"), led.stage("b")), (&Stage::Verified, &Stage::Verified));
    led.answer(&[("c", PatchResponse::Refused(bad_request()))]);
    led.reads("c", base());
    assert_eq!(led.sends().keys().map(NodeId::as_str).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn one_after_the_other_a_refusal_leaves_those_after_it_alone() {
    let mut led = Led::new(&["a", "b"], Strategy::Sequential);
    assert_eq!(led.sends().len(), 1);
    led.answer(&[("a", PatchResponse::Refused(bad_request()))]);
    led.reads("a", base());
    let failed = led.fails();
    assert_eq!((names(&failed.restored), failed.doubtful.len()), (vec!["a"], 0));
}

#[test]
fn waits_double_and_end_at_a_bound() {
    let waits: Vec<u128> = (1..=9).map(|attempts| Policy::backoff(attempts).as_millis()).collect();
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    assert_eq!(Policy::backoff(u32::MAX), Policy::backoff(9));
}
