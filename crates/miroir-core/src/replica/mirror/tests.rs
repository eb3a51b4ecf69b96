use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::base::id::{NodeId, ShardId};
use crate::replica::digest::{Content, Copied, Depth, Version};

/// Two nodes that do at once what they are told.
struct Pair {
    nodes: BTreeMap<NodeId, BTreeMap<String, Version>>,
    facts: MirrorFacts,
    /// Documents read whole, by any step.
    read: usize,
    /// Documents asked for by id.
    fetched: usize,
    put: usize,
}

fn source() -> NodeId {
    NodeId::new("source")
}

fn target() -> NodeId {
    NodeId::new("target")
}

fn version(n: u64) -> Version {
    Version { stamp: Some(n), expires_at: None, content: Some(Content(n)) }
}

fn documents(count: u64) -> BTreeMap<String, Version> {
    (0..count).map(|n| (format!("d{n:05}"), version(n))).collect()
}

fn record(scope: Scope) -> MirrorRecord {
    let subject = Subject { index: "movies".parse().expect("a uid"), shard: ShardId(0), target: target() };
    MirrorRecord::new(subject, scope, 0)
}

impl Pair {
    fn new(of_source: BTreeMap<String, Version>, of_target: BTreeMap<String, Version>) -> Self {
        let facts = MirrorFacts { sources: vec![source()], target_live: true, ..MirrorFacts::default() };
        Self {
            nodes: BTreeMap::from([(source(), of_source), (target(), of_target)]),
            facts,
            read: 0,
            fetched: 0,
            put: 0,
        }
    }

    fn start(&self, scope: Scope, policy: Policy) -> Mirror {
        Mirror::begin_with(record(scope), policy, Duration::from_secs(1), self.facts.now)
    }

    fn answer(&mut self, step: &MirrorStep) -> MirrorEvent {
        let copied = |(id, version): (&String, &Version), depth: Depth| Copied {
            id: id.clone(),
            version: Version { content: version.content.filter(|_| depth == Depth::Content), ..*version },
        };
        match step {
            MirrorStep::Barrier => MirrorEvent::Passed,
            MirrorStep::Drain(_) => MirrorEvent::Drained,
            MirrorStep::Count(node) => MirrorEvent::Counted(self.nodes[node].len() as u64),
            MirrorStep::Read { node, window, depth } => {
                let page = self.nodes[node].iter().skip(window.offset as usize).take(window.limit as usize);
                let page: Vec<Copied> = page.map(|document| copied(document, *depth)).collect();
                self.read += if *depth == Depth::Content { page.len() } else { 0 };
                let bytes = page.len() as u64 * 100;
                MirrorEvent::Page(page, bytes)
            }
            MirrorStep::Fetch { node, ids } => {
                self.fetched += ids.len();
                let found = ids.iter().filter_map(|id| self.nodes[node].get_key_value(id));
                MirrorEvent::Fetched(found.map(|document| copied(document, Depth::Content)).collect(), 100)
            }
            MirrorStep::Put(ids) => {
                let of_source = self.nodes[&source()].clone();
                let of_target = self.nodes.get_mut(&target()).expect("there");
                ids.iter().for_each(|id| _ = of_target.insert(id.clone(), of_source[id]));
                self.put += ids.len();
                MirrorEvent::Accepted(1)
            }
            MirrorStep::Delete(ids) => {
                let of_target = self.nodes.get_mut(&target()).expect("there");
                ids.iter().for_each(|id| _ = of_target.remove(id));
                MirrorEvent::Accepted(1)
            }
            MirrorStep::Await(_) => MirrorEvent::Finished,
            MirrorStep::PauseWrites => MirrorEvent::WritesPaused,
            MirrorStep::Wait(_) | MirrorStep::Done(_) | MirrorStep::GiveUp(_) => {
                unreachable!("nothing is answered to {step:?}")
            }
        }
    }

    /// Do as told, unless `answer` has something else to say, until it is over.
    fn run_with(
        &mut self,
        mirror: &mut Mirror,
        mut answer: impl FnMut(&mut Self, &MirrorStep) -> MirrorEvent,
    ) -> MirrorStep {
        for _ in 0..100_000 {
            let step = mirror.next(&self.facts);
            if let MirrorStep::Wait(pause) = step {
                self.facts.now += u64::try_from(pause.as_millis()).expect("short");
            } else if matches!(step, MirrorStep::Done(_) | MirrorStep::GiveUp(_)) {
                return step;
            } else {
                let event = answer(self, &step);
                mirror.advance(event, &self.facts);
            }
        }
        panic!("does not end: {:?}", mirror.record());
    }

    fn run(&mut self, mirror: &mut Mirror) -> MirrorStep {
        self.run_with(mirror, Self::answer)
    }
}

const DONE: MirrorStep = MirrorStep::Done(Done { misses: 0, conditional: 0, paused: false });

#[test]
fn an_empty_target_is_copied_and_everything_is_read_once_more_to_be_sure() {
    let mut pair = Pair::new(documents(10_000), BTreeMap::new());
    let mut mirror = pair.start(Scope::Whole, Policy { listed_ids: 3000, ..Policy::default() });
    assert_eq!(pair.run(&mut mirror), DONE);
    assert_eq!(pair.nodes[&source()], pair.nodes[&target()]);
    assert_eq!(pair.put, 10_000);
    assert!(pair.read < 31_000, "{}: copied once, compared once on both sides, pages overlap", pair.read);
    assert_eq!(mirror.record().done(), (20_000, 20_000));
}

/// Long after all documents were written.
const LATER: u64 = 100_000_000;

#[test]
fn what_was_copied_long_after_it_was_written_is_compared_by_stamps() {
    for (listed_ids, surveyed) in [(50_000, 0), (3000, 0), (3000, 400)] {
        let (mut of_source, of_target) = (documents(10_000), documents(surveyed));
        of_source.insert("new".into(), version(LATER));
        let mut pair = Pair::new(of_source, of_target);
        pair.facts.now = LATER;
        let mut mirror = pair.start(Scope::Whole, Policy { listed_ids, ..Policy::default() });
        assert_eq!(pair.run(&mut mirror), DONE);
        assert_eq!(pair.nodes[&source()], pair.nodes[&target()]);
        let (most, fetched) = (10_400 + surveyed as usize, surveyed as usize + 1);
        assert!(pair.read < most, "{} read of {most} with {listed_ids}", pair.read);
        assert_eq!(pair.fetched, 2 * fetched, "what was there before, and what is new, on both sides");
        assert_eq!(mirror.record().progress.rounds, 1);
    }
}

#[test]
fn edits_leave_stamps_that_prove_nothing() {
    let mut pair = Pair::new(documents(1000), BTreeMap::new());
    pair.facts.now = LATER;
    let mut mirror = pair.start(Scope::Whole, Policy::default());
    let mut edited = false;
    let end = pair.run_with(&mut mirror, |pair, step| {
        if matches!(step, MirrorStep::Await(_)) && !std::mem::replace(&mut edited, true) {
            // Done by the source after it was read, and by the target before it was put.
            let of_source = pair.nodes.get_mut(&source()).expect("there");
            of_source.insert("d00007".into(), Version { content: Some(Content(1)), ..version(7) });
            (pair.facts.conditional, pair.facts.edits) = (1, 1);
        }
        pair.answer(step)
    });
    assert_eq!(end, MirrorStep::Done(Done { misses: 0, conditional: 1, paused: false }));
    assert_eq!(pair.nodes[&source()], pair.nodes[&target()]);
    assert!(pair.read > 3000, "{}: copied, and compared on both sides", pair.read);
}

#[test]
fn what_was_written_is_looked_at_again_when_the_writes_of_before_are_done() {
    let mut pair = Pair::new(documents(100), documents(99));
    let mut mirror = pair.start(Scope::Whole, Policy::default());
    let mut steps = Vec::new();
    let end = pair.run_with(&mut mirror, |pair, step| {
        steps.push(step.clone());
        pair.answer(step)
    });
    assert_eq!(end, DONE);
    let last = |wanted: fn(&MirrorStep) -> bool| steps.iter().rposition(wanted).expect("it was done");
    let put = last(|step| matches!(step, MirrorStep::Put(_)));
    let (barrier, drain) =
        (last(|step| *step == MirrorStep::Barrier), last(|step| *step == MirrorStep::Drain(source())));
    let look = last(
        |step| matches!(step, MirrorStep::Fetch { node, .. } | MirrorStep::Read { node, .. } if *node == source()),
    );
    assert!(put < barrier && barrier < drain && drain < look, "{steps:?}");
}

#[test]
fn what_no_longer_holds_is_looked_at_again() {
    let mut pair = Pair::new(documents(50), documents(50));
    let mut mirror = pair.start(Scope::Whole, Policy::default());
    assert_eq!(pair.run(&mut mirror), DONE);
    let rounds = mirror.record().progress.rounds;
    pair.facts.misses = 1;
    pair.nodes.insert(target(), documents(49));
    mirror.go_on();
    assert_eq!(pair.run(&mut mirror), MirrorStep::Done(Done { misses: 1, conditional: 0, paused: false }));
    assert!(mirror.record().progress.rounds > rounds);
    assert_eq!(pair.nodes[&source()], pair.nodes[&target()]);
}

#[test]
fn only_what_differs_is_written() {
    let mut of_target = documents(5000);
    of_target.remove("d00007");
    of_target.insert("d00100".into(), version(1));
    of_target.insert("d00200".into(), Version { content: Some(Content(9)), ..version(200) });
    of_target.insert("surplus".into(), version(1));
    for listed_ids in [50_000, 300] {
        let mut pair = Pair::new(documents(5000), of_target.clone());
        let mut mirror = pair.start(Scope::Whole, Policy { listed_ids, ..Policy::default() });
        assert_eq!(pair.run(&mut mirror), DONE);
        assert_eq!(pair.nodes[&source()], pair.nodes[&target()]);
        assert_eq!((pair.put, mirror.record().progress.deleted), (3, 1));
    }
}

#[test]
fn what_is_known_to_be_missing_is_all_that_is_looked_at() {
    let mut of_target = documents(5000);
    of_target.remove("d00007");
    let mut pair = Pair::new(documents(5000), of_target);
    let mut mirror = pair.start(Scope::Ids(BTreeSet::from(["d00007".into(), "d00008".into()])), Policy::default());
    assert_eq!(pair.run(&mut mirror), DONE);
    assert_eq!((pair.read, pair.put), (0, 1));
    assert_eq!(pair.nodes[&source()], pair.nodes[&target()]);
}

#[test]
fn a_copy_goes_on_where_it_was() {
    let mut pair = Pair::new(documents(5000), BTreeMap::new());
    let mut mirror = pair.start(Scope::Whole, Policy::default());
    while mirror.record().progress.copied < 2000 {
        let step = mirror.next(&pair.facts);
        let event = pair.answer(&step);
        mirror.advance(event, &pair.facts);
    }
    assert!(mirror.record().estimate(1000).is_some());
    let text = serde_json::to_string(mirror.record()).expect("it can be written");
    let saved: MirrorRecord = serde_json::from_str(&text).expect("it can be read");
    let mut next = Mirror::resume(saved, Policy::default(), Duration::from_secs(1), pair.facts.now);
    assert!(matches!(pair.run(&mut next), MirrorStep::Done(_)));
    assert!(pair.put < 5200, "{}", pair.put);
    assert_eq!(pair.nodes[&source()], pair.nodes[&target()]);
    assert!(pair.facts.now >= 1000, "what the one before it sent may arrive until then");
}

#[test]
fn documents_that_cannot_be_copied_end_it() {
    let mut pair = Pair::new(documents(10), documents(9));
    let mut mirror = pair.start(Scope::Whole, Policy::default());
    let mut told = 0;
    let end = pair.run_with(&mut mirror, |pair, step| {
        let event = pair.answer(step);
        pair.nodes.insert(target(), documents(9));
        let rejects = matches!(step, MirrorStep::Await(_));
        told += u32::from(rejects);
        if rejects { MirrorEvent::Rejected("no".into()) } else { event }
    });
    assert_eq!(end, MirrorStep::GiveUp(Failure::Rejected("no".into())));
    assert!(told > 1);
}

#[test]
fn a_document_that_stays_different_ends_in_a_failure_that_names_it() {
    let mut pair = Pair::new(documents(10), documents(9));
    let mut mirror = pair.start(Scope::Whole, Policy::default());
    let end = pair.run_with(&mut mirror, |pair, step| {
        let event = pair.answer(step);
        pair.nodes.insert(target(), documents(9));
        event
    });
    assert_eq!(end, MirrorStep::GiveUp(Failure::Unequal { count: 1, example: "d00009".into() }));
    assert!(!mirror.is_paused());
}

#[test]
fn pages_shrink_until_they_fit() {
    let mut pair = Pair::new(documents(300), BTreeMap::new());
    let mut mirror = pair.start(Scope::Whole, Policy { page_bytes: 1000, ..Policy::default() });
    let mut largest = 0;
    let end = pair.run_with(&mut mirror, |pair, step| match step {
        MirrorStep::Read { window, .. } if window.limit > 60 => MirrorEvent::TooLarge,
        MirrorStep::Read { window, .. } => {
            largest = window.limit.max(largest);
            pair.answer(step)
        }
        MirrorStep::Wait(_)
        | MirrorStep::Barrier
        | MirrorStep::Drain(_)
        | MirrorStep::Count(_)
        | MirrorStep::Fetch { .. }
        | MirrorStep::Put(_)
        | MirrorStep::Delete(_)
        | MirrorStep::Await(_)
        | MirrorStep::PauseWrites
        | MirrorStep::Done(_)
        | MirrorStep::GiveUp(_) => pair.answer(step),
    });
    assert!(matches!(end, MirrorStep::Done(_)));
    assert!(largest <= 60 && pair.put == 300);
}
