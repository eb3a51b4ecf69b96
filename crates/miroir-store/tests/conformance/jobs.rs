//! Queued work: claims, chunks, turns.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use miroir_store::{
    Append, Batch, Claim, Job, JobError, JobOptions, JobState, Jobs, Store, StoreError, Table, TypedTable,
};
use serde_json::{Value, json};
use tokio::time::sleep;

const NAMES: TypedTable<String> = TypedTable::new(Table::Catalog);
const LOG: &str = "effects";
const CHUNKS: u64 = 40;
/// Of claims that nobody means to lose.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(400);
const BOUND: Duration = Duration::from_secs(30);

fn jobs(store: &Arc<dyn Store>, ttl: Duration) -> Jobs {
    Jobs::new(store.clone(), JobOptions { ttl, ..JobOptions::default() })
}

async fn enqueued(store: &Arc<dyn Store>, kind: &str) -> String {
    let new = jobs(store, LONG).enqueue(kind, json!({ "of": kind })).await.expect("room");
    store.commit(Batch { writes: vec![new.write], ..Batch::default() }).await.expect("written");
    new.id
}

fn effect(text: String) -> Batch {
    Batch { appends: vec![Append { log: LOG.into(), value: Bytes::from(text) }], ..Batch::default() }
}

async fn effects(store: &dyn Store) -> Vec<String> {
    let entries = store.log(LOG, 0, 1000).await.expect("read");
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.value).into_owned()).collect()
}

async fn free(jobs: &Jobs, holder: &str) -> Claim {
    jobs.claim(&["copy"], holder).await.expect("asked").claim.expect("a job that is free")
}

/// Ask until the claim before has ended.
async fn taken_over(jobs: &Jobs, holder: &str) -> Claim {
    let begun = Instant::now();
    loop {
        let look = jobs.claim(&["copy"], holder).await.expect("asked");
        if let Some(claim) = look.claim {
            return claim;
        }
        assert!(begun.elapsed() < BOUND, "the claim never ended");
        let wait = look.look_again.expect("a claim that ends");
        sleep(wait.min(Duration::from_millis(50))).await;
    }
}

async fn stored(store: &Arc<dyn Store>, id: &str) -> Job {
    jobs(store, LONG).get(id).await.expect("read").expect("kept")
}

fn is_lost(outcome: &Result<impl std::fmt::Debug, JobError>) -> bool {
    matches!(outcome, Err(JobError::Store(StoreError::Fenced { scope })) if scope.starts_with("job:"))
}

pub async fn a_job_is_there_with_what_it_was_committed_with(store: Arc<dyn Store>) {
    let jobs = jobs(&store, LONG);
    let new = jobs.enqueue("copy", json!({ "from": "a" })).await.expect("room");
    assert!(jobs.claim(&["copy"], "me").await.expect("asked").claim.is_none(), "it is not committed");
    let impossible = NAMES.put_if("absent", &String::new(), Some(9)).expect("JSON");
    let writes = vec![new.write.clone(), impossible];
    store.commit(Batch { writes, ..Batch::default() }).await.expect_err("a conflict");
    assert_eq!(jobs.get(&new.id).await.expect("read"), None);
    let writes = vec![NAMES.put("beside", &"x".to_owned()).expect("JSON"), new.write.clone()];
    store.commit(Batch { writes, ..Batch::default() }).await.expect("written");
    store.commit(Batch { writes: vec![new.write], ..Batch::default() }).await.expect_err("it is there already");

    assert!(jobs.claim(&["other"], "me").await.expect("asked").claim.is_none(), "not of this kind");
    let look = jobs.claim(&["other", "copy"], "me").await.expect("asked");
    assert_eq!(look.open, [("copy".to_owned(), 1)].into());
    let claim = look.claim.expect("free");
    assert_eq!((claim.id(), claim.job().kind.as_str()), (new.id.as_str(), "copy"));
    assert_eq!((&claim.job().payload, &claim.job().cursor), (&json!({ "from": "a" }), &Value::Null));
    let listed = jobs.list().await.expect("read");
    assert_eq!((listed.len(), listed[0].job.state), (1, JobState::Running));
    assert_eq!(listed[0].claim.as_ref().map(|held| &held.lease), Some(claim.lease()));
}

/// A claimant that does `CHUNKS` chunks of whatever it gets, and gives the job back after a few.
async fn work(store: Arc<dyn Store>, name: &str, vanish_in: Option<u64>) {
    let jobs = jobs(&store, SHORT);
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < BOUND, "{name} waits for ever");
        let look = jobs.claim(&["copy"], name).await.expect("asked");
        let Some(mut claim) = look.claim else {
            if look.open.is_empty() {
                return;
            }
            sleep(look.look_again.unwrap_or_default().clamp(Duration::from_millis(1), Duration::from_millis(20))).await;
            continue;
        };
        for _ in 0..3 {
            let n = claim.job().cursor.as_u64().unwrap_or(0);
            if vanish_in.is_some_and(|chunk| n >= chunk) {
                // In mid-chunk: nothing is said, and nothing is given back.
                return;
            }
            sleep(Duration::from_millis(2)).await;
            assert!(claim.heartbeat().await.expect("asked"));
            if n + 1 == CHUNKS {
                claim.finish(effect(n.to_string())).await.expect("the claim holds");
                return;
            }
            claim.save(json!(n + 1), effect(n.to_string())).await.expect("the claim holds");
        }
        claim.give_back().await.expect("the claim holds");
    }
}

pub async fn every_chunk_is_there_once_though_a_claimant_vanishes(store: Arc<dyn Store>) {
    let id = enqueued(&store, "copy").await;
    let claimants = [("a", Some(5)), ("b", None), ("c", None)]
        .map(|(name, vanish)| tokio::spawn(work(store.clone(), name, vanish)));
    for claimant in claimants {
        claimant.await.expect("no panic");
    }
    let wanted: Vec<String> = (0..CHUNKS).map(|n| n.to_string()).collect();
    assert_eq!(effects(&*store).await, wanted);
    let job = stored(&store, &id).await;
    assert_eq!((job.state, job.chunks, job.error), (JobState::Finished, CHUNKS, None));
    assert_eq!(store.leases().await.expect("read").len(), 0, "nothing is claimed any more");
}

pub async fn two_jobs_take_turns(store: Arc<dyn Store>) {
    let jobs = jobs(&store, LONG);
    let first = enqueued(&store, "copy").await;
    let second = enqueued(&store, "copy").await;
    let mut served = Vec::new();
    for n in 0..6 {
        let mut claim = free(&jobs, "me").await;
        claim.save(json!(n), effect(n.to_string())).await.expect("held");
        claim.save(json!(n), effect(n.to_string())).await.expect("held");
        served.push(claim.id().to_owned());
        claim.give_back().await.expect("held");
    }
    let wanted: Vec<String> = (0..3).flat_map(|_| [first.clone(), second.clone()]).collect();
    assert_eq!(served, wanted);

    // One that comes later waits for those that waited before it, and then has its turn.
    let third = enqueued(&store, "copy").await;
    let held = [free(&jobs, "a").await, free(&jobs, "b").await, free(&jobs, "c").await];
    assert_eq!(held.each_ref().map(|claim| claim.id().to_owned()), [first.clone(), second, third]);
    let none = jobs.claim(&["copy"], "d").await.expect("asked");
    assert!(none.claim.is_none() && none.look_again.is_some_and(|wait| wait > LONG / 2), "{none:?}");
    let [a, ..] = held;
    a.give_back().await.expect("held");
    assert_eq!(free(&jobs, "d").await.id(), first);
}

pub async fn one_of_many_claims_a_job(store: Arc<dyn Store>) {
    for _ in 0..5 {
        enqueued(&store, "copy").await;
    }
    let rivals: Vec<_> = (0..16)
        .map(|_| {
            let jobs = jobs(&store, LONG);
            // All of one name, as the claimants of one instance are.
            tokio::spawn(async move { jobs.claim(&["copy"], "rival").await.expect("asked").claim })
        })
        .collect();
    let mut claimed = Vec::new();
    for rival in rivals {
        claimed.extend(rival.await.expect("no panic").map(|claim| claim.id().to_owned()));
    }
    let different: BTreeSet<&String> = claimed.iter().collect();
    assert_eq!((claimed.len(), different.len()), (5, 5), "{claimed:?}");
}

pub async fn a_lost_claim_writes_nothing(store: Arc<dyn Store>) {
    enqueued(&store, "copy").await;
    let jobs = jobs(&store, SHORT);
    let mut lost = free(&jobs, "late").await;
    lost.save(json!(1), effect("0".into())).await.expect("held");
    let mut held = taken_over(&jobs, "next").await;
    assert_eq!(held.job().cursor, json!(1), "it goes on where the last chunk ended");
    held.save(json!(2), effect("1".into())).await.expect("held");

    assert!(!lost.heartbeat().await.expect("asked"));
    let late = lost.save(json!(2), effect("late".into())).await;
    assert!(is_lost(&late), "{late:?}");
    let late = lost.give_back().await;
    assert!(is_lost(&late), "{late:?}");
    held.finish(effect("2".into())).await.expect("what the late one did has no effect");
    assert_eq!(effects(&*store).await, ["0", "1", "2"]);

    let id = enqueued(&store, "copy").await;
    let lost = [free(&jobs, "late").await, taken_over(&jobs, "later").await];
    let held = taken_over(&jobs, "next").await;
    let [first, second] = lost;
    let late = first.finish(effect("late".into())).await;
    assert!(is_lost(&late), "{late:?}");
    let late = second.fail("late").await;
    assert!(is_lost(&late), "{late:?}");
    assert_eq!(stored(&store, &id).await.state, JobState::Running);
    held.give_back().await.expect("held");
    assert_eq!(effects(&*store).await.len(), 3);
}

pub async fn a_claim_with_a_heartbeat_stays(store: Arc<dyn Store>) {
    enqueued(&store, "copy").await;
    let jobs = jobs(&store, SHORT);
    let claim = free(&jobs, "me").await;
    let begun = Instant::now();
    while begun.elapsed() < SHORT * 3 {
        assert!(claim.heartbeat().await.expect("asked"));
        let look = jobs.claim(&["copy"], "you").await.expect("asked");
        assert!(look.claim.is_none(), "it was taken after {:?}", begun.elapsed());
        sleep(SHORT / 10).await;
    }
    claim.finish(Batch::default()).await.expect("held");
}

pub async fn a_job_that_is_put_off_waits(store: Arc<dyn Store>) {
    let id = enqueued(&store, "copy").await;
    let jobs = jobs(&store, LONG);
    let claim = free(&jobs, "me").await;
    claim.put_off("the node is away", SHORT).await.expect("held");
    let look = jobs.claim(&["copy"], "me").await.expect("asked");
    assert!(look.claim.is_none() && look.look_again.is_some_and(|wait| wait <= SHORT), "{look:?}");
    let waiting = stored(&store, &id).await;
    assert_eq!((waiting.state, waiting.attempts), (JobState::Waiting, 1));
    assert_eq!(waiting.error.as_deref(), Some("the node is away"));
    let mut claim = taken_over(&jobs, "me").await;
    assert_eq!((claim.job().attempts, claim.job().vanished), (2, 0));
    claim.save(json!(1), Batch::default()).await.expect("held");
    assert_eq!((claim.job().attempts, claim.job().error.as_deref()), (0, None), "it works again");
}

pub async fn ended_jobs_are_kept_but_not_for_ever(store: Arc<dyn Store>) {
    let options = JobOptions { max_ended: 3, ..JobOptions::default() };
    let jobs = Jobs::new(store.clone(), options);
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(enqueued(&store, "copy").await);
        let claim = free(&jobs, "me").await;
        if n % 2 == 0 {
            claim.finish(effect(n.to_string())).await.map(|_| ()).expect("held");
        } else {
            claim.fail(&"\u{1F600}".repeat(4096)).await.expect("held");
        }
    }
    let kept = jobs.list().await.expect("read");
    let names: Vec<&String> = kept.iter().map(|kept| &kept.id).collect();
    assert_eq!(names, [&ids[2], &ids[3], &ids[4]]);
    assert_eq!(kept.iter().map(|kept| kept.job.state.name()).collect::<Vec<_>>(), ["finished", "failed", "finished"]);
    assert_eq!(kept[1].job.error.as_ref().map(String::len), Some(4096), "an error is cut");
    assert!(jobs.claim(&["copy"], "me").await.expect("asked").claim.is_none());

    let brief = Jobs::new(store.clone(), JobOptions { kept_for: Duration::ZERO, ..options });
    let id = enqueued(&store, "copy").await;
    free(&brief, "me").await.finish(Batch::default()).await.expect("held");
    assert_eq!(jobs.get(&id).await.expect("read"), None);
}

pub async fn a_job_that_ends_its_claimants_fails(store: Arc<dyn Store>) {
    let id = enqueued(&store, "copy").await;
    let options = JobOptions { ttl: Duration::from_millis(20), max_vanished: 2, ..JobOptions::default() };
    let jobs = Jobs::new(store.clone(), options);
    drop(free(&jobs, "a").await);
    assert_eq!(taken_over(&jobs, "b").await.job().vanished, 1);
    let begun = Instant::now();
    while stored(&store, &id).await.state.is_open() {
        assert!(begun.elapsed() < BOUND, "it is tried for ever");
        assert!(jobs.claim(&["copy"], "c").await.expect("asked").claim.is_none());
    }
    let job = stored(&store, &id).await;
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(job.error.as_deref(), Some("2 claimants in a row vanished while they worked on it"));
}

pub async fn what_is_too_much_is_refused(store: Arc<dyn Store>) {
    let options = JobOptions { max_open: 2, max_payload_bytes: 8, max_cursor_bytes: 8, ..JobOptions::default() };
    let jobs = Jobs::new(store.clone(), options);
    let refused = jobs.enqueue("copy", json!("1234567")).await;
    assert!(matches!(refused, Err(JobError::TooLarge { what: "payload", bytes: 9, limit: 8 })), "{refused:?}");
    for _ in 0..2 {
        enqueued(&store, "copy").await;
    }
    let refused = jobs.enqueue("copy", json!(1)).await;
    assert!(matches!(refused, Err(JobError::TooMany { open: 2, limit: 2 })), "{refused:?}");
    let mut claim = free(&jobs, "me").await;
    let refused = claim.save(json!("1234567"), effect("lost".into())).await;
    assert!(matches!(refused, Err(JobError::TooLarge { what: "cursor", .. })), "{refused:?}");
    assert_eq!(effects(&*store).await.len(), 0);
    claim.save(json!("123456"), Batch::default()).await.expect("it fits");
    claim.finish(Batch::default()).await.expect("held");
    jobs.enqueue("copy", json!(1)).await.expect("room again");
}
