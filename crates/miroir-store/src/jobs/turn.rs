//! Whose turn it is.
//!
//! A job's turn is the version of its record: versions rise with every write anywhere in the store, and a job is written
//! when it is enqueued, when it is claimed, and when it is given back. So a job that was served goes to the end of the line,
//! without a counter of its own.
//!
//! Invariant: from when a job begins to wait until it is claimed, every other job is claimed at most once. With `n` open
//! jobs a job is therefore claimed after at most `n - 1` others, however many claimants there are and whether they vanish.

use time::OffsetDateTime;

/// An open job, as far as its turn matters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub id: &'a str,
    pub kind: &'a str,
    /// The version of its record.
    pub turn: u64,
    /// Somebody claims it.
    pub claimed: bool,
    /// It is not to be tried before.
    pub not_before: Option<OffsetDateTime>,
}

/// The job that has waited longest for its turn, among those of these kinds that nobody claims.
pub(super) fn next<'a>(
    candidates: impl IntoIterator<Item = Candidate<'a>>,
    kinds: &[&str],
    now: OffsetDateTime,
) -> Option<Candidate<'a>> {
    let due = |job: &Candidate<'_>| job.not_before.is_none_or(|instant| instant <= now);
    let waiting = candidates.into_iter().filter(|job| !job.claimed && kinds.contains(&job.kind) && due(job));
    waiting.min_by_key(|job| (job.turn, job.id))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn job(id: &'static str, turn: u64) -> Candidate<'static> {
        Candidate { id, kind: "copy", turn, claimed: false, not_before: None }
    }

    fn next_id<'a>(
        candidates: impl IntoIterator<Item = Candidate<'a>>,
        kinds: &[&str],
        now: OffsetDateTime,
    ) -> Option<&'a str> {
        next(candidates, kinds, now).map(|job| job.id)
    }

    #[test]
    fn only_what_may_be_claimed_is_offered() {
        let later = Some(NOW + time::Duration::SECOND);
        let jobs = [
            Candidate { claimed: true, ..job("claimed", 1) },
            Candidate { kind: "other", ..job("of another kind", 2) },
            Candidate { not_before: later, ..job("put off", 3) },
            job("second", 5),
            Candidate { not_before: Some(NOW), ..job("first", 4) },
        ];
        assert_eq!(next_id(jobs, &["copy"], NOW), Some("first"));
        assert_eq!(next_id(jobs, &["copy", "other"], NOW), Some("of another kind"));
        assert_eq!(next_id(jobs, &["copy"], NOW + time::Duration::SECOND), Some("put off"));
        assert_eq!(next_id(jobs, &[], NOW), None);
        assert_eq!(next_id([], &["copy"], NOW), None);
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Enqueue,
        Claim,
        /// A claimant saves a chunk: its job is written.
        Save(usize),
        GiveBack(usize),
        /// A claimant's lease ends, and nothing is written.
        Vanish(usize),
        Finish(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            1 => Just(Event::Enqueue),
            6 => Just(Event::Claim),
            2 => any::<usize>().prop_map(Event::Save),
            4 => any::<usize>().prop_map(Event::GiveBack),
            2 => any::<usize>().prop_map(Event::Vanish),
            1 => any::<usize>().prop_map(Event::Finish),
        ]
    }

    #[derive(Default)]
    struct Modelled {
        turn: u64,
        claimed: bool,
        /// How often each other job was claimed since this one began to wait.
        passed: BTreeMap<String, u32>,
    }

    /// The claimed job that a number stands for.
    fn claimed(jobs: &BTreeMap<String, Modelled>, pick: usize) -> Option<String> {
        let claimed: Vec<&String> = jobs.iter().filter(|(_, job)| job.claimed).map(|(id, _)| id).collect();
        (!claimed.is_empty()).then(|| claimed[pick % claimed.len()].clone())
    }

    proptest! {
        #[test]
        fn nobody_is_passed_twice_by_the_same(events in prop::collection::vec(event(), 1..200)) {
            let mut version = 0;
            let mut jobs: BTreeMap<String, Modelled> = BTreeMap::new();
            for event in events {
                version += 1;
                match event {
                    Event::Enqueue => {
                        jobs.insert(format!("job {version}"), Modelled { turn: version, ..Modelled::default() });
                    }
                    Event::Claim => {
                        let candidates = jobs.iter().map(|(id, job)| Candidate {
                            id, kind: "copy", turn: job.turn, claimed: job.claimed, not_before: None,
                        });
                        let Some(id) = next_id(candidates, &["copy"], NOW).map(str::to_owned) else {
                            prop_assert!(jobs.values().all(|job| job.claimed), "one was free");
                            continue;
                        };
                        for (_, waiting) in jobs.iter_mut().filter(|(other, job)| **other != id && !job.claimed) {
                            let passed = waiting.passed.entry(id.clone()).or_default();
                            *passed += 1;
                            prop_assert!(*passed <= 1, "{id} passed another twice");
                        }
                        let job = jobs.entry(id).or_default();
                        *job = Modelled { turn: version, claimed: true, passed: BTreeMap::new() };
                    }
                    Event::Save(pick) => {
                        if let Some(job) = claimed(&jobs, pick).and_then(|id| jobs.get_mut(&id)) {
                            job.turn = version;
                        }
                    }
                    Event::GiveBack(pick) => {
                        if let Some(job) = claimed(&jobs, pick).and_then(|id| jobs.get_mut(&id)) {
                            (job.turn, job.claimed) = (version, false);
                        }
                    }
                    Event::Vanish(pick) => {
                        if let Some(job) = claimed(&jobs, pick).and_then(|id| jobs.get_mut(&id)) {
                            job.claimed = false;
                        }
                    }
                    Event::Finish(pick) => {
                        if let Some(id) = claimed(&jobs, pick) {
                            jobs.remove(&id);
                        }
                    }
                }
            }
        }
    }
}
