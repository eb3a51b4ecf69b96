//! Changes of one index, one after the other.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::base::id::NodeId;
use crate::settings::broadcast::{
    Answers, BroadcastFacts, BroadcastRecord, ChangeEnd, Line, LineChange, LineFacts, LineStep, Pending, Phase, Policy,
    Presence, Proposal, SettingsRequest, Strategy, creating,
};
use crate::settings::{Secrets, Settings, initial};

const POLICY: Policy =
    Policy { verify_timeout: Duration::from_secs(5), max_repair_retries: 1, freeze_writes_on_unrepairable: true };
const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn facts() -> LineFacts {
    let live = [NodeId::new("a"), NodeId::new("b")].into();
    let broadcast = BroadcastFacts { now: NOW, live, answers: Answers::default(), cancel: false };
    LineFacts { broadcast, index: Presence::Ready, ended: false, earlier_open: false }
}

fn change(base: Option<Value>) -> LineChange {
    let proposal = Proposal {
        patch: json!({"stopWords": ["new"]}),
        kept: Settings::default().kept(None),
        base,
        base_version: 0,
        secrets: Secrets::default(),
    };
    let record = BroadcastRecord::new(proposal, Strategy::TwoPhase, [NodeId::new("a"), NodeId::new("b")]);
    LineChange { token: Some("t".into()), born: NOW, creates_index: false, reserved_until: None, record }
}

fn pending(token: &str) -> Pending {
    Pending { token: token.into(), born: NOW, request: SettingsRequest::Patch(json!({})) }
}

fn line(current: Option<LineChange>, queue: &[&str]) -> Line {
    Line { current, queue: queue.iter().map(|token| pending(token)).collect() }
}

fn saved(step: LineStep) -> Line {
    let LineStep::Save(line) = step else { panic!("saves nothing: {step:?}") };
    *line
}

#[test]
fn a_reserved_line_is_left_alone_until_its_time_is_over() {
    let until = NOW + Duration::from_secs(9);
    let base = json!({"stopWords": ["old"]});
    let reserved = LineChange { token: None, reserved_until: Some(until), ..change(Some(base)) };
    let line = line(Some(reserved), &["q"]);
    assert_eq!(line.next(&facts(), &POLICY), LineStep::Wait(Duration::from_secs(9)));

    let mut late = facts();
    late.broadcast.now = until;
    let over = saved(line.next(&late, &POLICY));
    let current = over.current.clone().expect("the change");
    // Whatever the nodes were told is taken back.
    assert_eq!((current.record.phase(), current.reserved_until), (Phase::GoingBack, None));
    assert!(current.record.parts().values().all(|part| part.touched));
    assert!(matches!(over.next(&late, &POLICY), LineStep::Send(patches) if patches.len() == 2));
    assert_eq!(over.queue.len(), 1);
}

#[test]
fn an_index_whose_creation_was_begun_is_completed() {
    let reserved = LineChange { token: None, creates_index: true, reserved_until: Some(NOW), ..change(None) };
    let facts = LineFacts { index: Presence::Growing, ..facts() };
    let over = saved(line(Some(reserved), &[]).next(&facts, &POLICY));
    let told = saved(over.next(&facts, &POLICY));
    assert!(matches!(told.next(&facts, &POLICY), LineStep::Send(patches) if patches.len() == 2));
}

#[test]
fn a_change_begins_when_its_index_is_there_and_ends_in_its_turn() {
    let waiting = line(None, &["q", "r"]);
    assert_eq!(waiting.next(&facts(), &POLICY), LineStep::Begin);
    let growing = LineFacts { index: Presence::Growing, earlier_open: true, ..facts() };
    assert_eq!(waiting.next(&growing, &POLICY), LineStep::Look);
    // The task that was to create it has come to nothing.
    let alone = LineFacts { earlier_open: false, ..growing };
    assert_eq!(waiting.next(&alone, &POLICY), LineStep::Begin);
    let gone = LineFacts { index: Presence::Gone, ..facts() };
    assert_eq!(waiting.next(&gone, &POLICY), LineStep::Conclude(ChangeEnd::Superseded));
    let later = LineFacts { earlier_open: true, ..gone };
    assert_eq!(waiting.next(&later, &POLICY), LineStep::Look);
    let mut canceled = facts();
    canceled.broadcast.cancel = true;
    assert_eq!(waiting.next(&canceled, &POLICY), LineStep::Conclude(ChangeEnd::Canceled));
    // What has ended is not begun, and not concluded, again.
    let ended = LineFacts { ended: true, ..facts() };
    assert_eq!(saved(waiting.next(&ended, &POLICY)), line(None, &["r"]));
    assert_eq!(saved(line(Some(change(None)), &["r"]).next(&ended, &POLICY)), line(None, &["r"]));
    assert_eq!(Line::default().next(&facts(), &POLICY), LineStep::Finish);
}

#[test]
fn a_change_of_an_index_that_was_deleted_does_not_matter() {
    let gone = LineFacts { index: Presence::Gone, ..facts() };
    let under_way = line(Some(change(Some(json!({})))), &[]);
    assert_eq!(under_way.next(&gone, &POLICY), LineStep::Conclude(ChangeEnd::Superseded));
    let mut back = change(Some(json!({})));
    back.record = back.record.abandoned(NOW);
    let step = line(Some(back), &[]).next(&gone, &POLICY);
    assert!(matches!(step, LineStep::Conclude(ChangeEnd::Fail(_))), "{step:?}");
}

fn long(token: &str, bytes: usize) -> Pending {
    Pending { request: SettingsRequest::Patch(json!({ "dictionary": ["x".repeat(bytes)] })), ..pending(token) }
}

#[test]
fn only_so_many_changes_wait() {
    let full = (0..256).try_fold(Line::default(), |line, n| line.joined(pending(&n.to_string()), NOW));
    let full = full.expect("256 wait");
    let tokens: Vec<String> = full.queue.iter().map(|pending| pending.token.clone()).collect();
    assert_eq!(tokens, (0..256).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(full.clone().joined(pending("256"), NOW), None);
    // There is room again when the first is under way, which counts no more.
    let moved = Line { current: Some(change(None)), ..full.rest() };
    assert_eq!(moved.joined(pending("256"), NOW).expect("room").queue.len(), 256);
}

#[test]
fn changes_that_wait_take_only_so_much_room() {
    const MIB: usize = 1024 * 1024;
    let large = Line::default().joined(long("a", 40 * MIB), NOW).expect("one is always taken");
    assert_eq!(large.joined(pending("b"), NOW), None);
    let half = Line::default().joined(long("a", 20 * MIB), NOW).expect("one is always taken");
    assert_eq!(half.clone().joined(long("b", 20 * MIB), NOW), None);
    assert!(half.joined(long("b", 10 * MIB), NOW).is_some());
}

#[test]
fn who_reserved_the_line_is_not_waited_for_by_who_has_the_turn() {
    let reserved = LineChange { token: None, reserved_until: Some(NOW), ..change(Some(json!({"stopWords": ["old"]}))) };
    let joined = line(Some(reserved.clone()), &["q"]).joined(pending("r"), NOW).expect("room");
    assert_eq!(joined.current, Some(reserved.taken_over(NOW)));
    // A change that has a task goes on.
    let under_way = change(None);
    let joined = line(Some(under_way.clone()), &[]).joined(pending("q"), NOW).expect("room");
    assert_eq!(joined, line(Some(under_way), &["q"]));
}

#[test]
fn what_was_added_meanwhile_is_kept() {
    let before = line(None, &["q"]);
    let next = line(Some(change(None)), &[]);
    let stored = line(None, &["q", "r", "s"]);
    let rebased = Line::rebased(&before, &stored, next.clone()).expect("only added to");
    let tokens: VecDeque<&str> = rebased.queue.iter().map(|pending| pending.token.as_str()).collect();
    assert_eq!((rebased.current.is_some(), tokens), (true, ["r", "s"].into()));
    assert_eq!(Line::rebased(&before, &line(None, &["x", "r"]), next.clone()), None);
    assert_eq!(Line::rebased(&before, &line(Some(change(None)), &["q"]), next), None);
}

#[test]
fn a_new_index_gets_what_all_have_and_the_change_over_it() {
    let one = NonZeroU32::MIN;
    let all =
        creating(initial(one, one), &json!({"stopWords": ["a"], "faceting": {"sortFacetValuesBy": {"*": "count"}}}));
    assert_eq!(all["stopWords"], json!(["a"]));
    assert_eq!(all["displayedAttributes"], json!(["*"]));
    assert_eq!(all["faceting"], json!({"maxValuesPerFacet": 100, "sortFacetValuesBy": {"*": "count"}}));
}
