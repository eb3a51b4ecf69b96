//! Queued work: jobs that any instance may claim, over the operations that every backend has.
//!
//! A job is a record; a claim is a lease of the scope `job:<id>`. A claimant does the job in chunks, saves a cursor with the
//! effects of each, and gives the job back now and then so that others get their turn. When it vanishes, its lease ends
//! and the next claimant goes on from the cursor.

mod claim;
mod record;
mod turn;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Batch, HeldLease, Lease, Store, StoreError, Table, Typed, TypedTable, Write};
use turn::Candidate;

pub use claim::Claim;
pub use record::{Job, JobState};

const JOBS: TypedTable<Job> = TypedTable::new(Table::Jobs);
/// In front of a job's id: the scope of its claims.
const SCOPE: &str = "job:";
/// Bytes of an error that are kept.
const MAX_ERROR_BYTES: usize = 4096;
/// Ended jobs deleted in one step, so that one batch stays small.
const SWEEP: usize = 100;

/// How jobs are kept. All instances of a store should agree.
#[derive(Clone, Copy, Debug)]
pub struct JobOptions {
    /// A claim without a heartbeat ends after this.
    pub ttl: Duration,
    /// Open jobs, beyond which none is enqueued. Those who enqueue at one moment may exceed it by their number.
    pub max_open: usize,
    /// Ended jobs that are kept for operators.
    pub max_ended: usize,
    /// For how long they are kept.
    pub kept_for: Duration,
    /// The largest payload, as JSON.
    pub max_payload_bytes: usize,
    /// The largest cursor, as JSON.
    pub max_cursor_bytes: usize,
    /// Claimants in a row that vanished without saving anything, after which a job fails: it may be what ends them.
    pub max_vanished: u32,
}

impl Default for JobOptions {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(30),
            max_open: 1000,
            max_ended: 200,
            kept_for: Duration::from_hours(7 * 24),
            max_payload_bytes: 64 * 1024,
            max_cursor_bytes: 16 * 1024,
            max_vanished: 10,
        }
    }
}

/// Why something was not done with a job.
#[derive(Clone, Debug, Error)]
pub enum JobError {
    /// A part of the job is over its limit.
    #[error("the job's {what} has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// `payload` or `cursor`.
        what: &'static str,
        /// Its size as JSON.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// There are too many jobs.
    #[error("{open} jobs are open, the limit is {limit}")]
    TooMany {
        /// How many.
        open: usize,
        /// The limit.
        limit: usize,
    },
    /// As of the store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A new job: commit the write, perhaps together with other things.
#[derive(Clone, Debug)]
pub struct Enqueued {
    /// Its name.
    pub id: String,
    /// What makes it be there.
    pub write: Write,
}

/// What somebody who looked for a job has found.
#[derive(Debug)]
pub struct Look {
    /// The job to do, if any.
    pub claim: Option<Claim>,
    /// When a job may become free that nobody will tell of.
    pub look_again: Option<Duration>,
    /// Open jobs by kind, claimed or not.
    pub open: BTreeMap<String, usize>,
}

/// A job as operators see it.
#[derive(Clone, Debug)]
pub struct ListedJob {
    /// Its name.
    pub id: String,
    /// How it stands.
    pub job: Job,
    /// Who claims it, and until when.
    pub claim: Option<HeldLease>,
}

/// The jobs of a store.
#[derive(Clone)]
pub struct Jobs {
    store: Arc<dyn Store>,
    options: JobOptions,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Jobs {
    /// The jobs of this store.
    pub fn new(store: Arc<dyn Store>, options: JobOptions) -> Self {
        Self { store, options }
    }

    /// Where they are.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Whether a lease of this scope is the claim of a job.
    pub fn is_claim(scope: &str) -> bool {
        scope.starts_with(SCOPE)
    }

    /// How they are kept.
    pub fn options(&self) -> JobOptions {
        self.options
    }

    /// A new job, of a kind and with what its handler has to know. Nothing is there before the write is committed.
    ///
    /// # Errors
    /// [`JobError::TooLarge`], [`JobError::TooMany`], and why the store cannot be read.
    pub async fn enqueue(&self, kind: &str, payload: serde_json::Value) -> Result<Enqueued, JobError> {
        limited("payload", &payload, self.options.max_payload_bytes)?;
        let open = self.records().await?.iter().filter(|(_, job)| job.value.state.is_open()).count();
        if open >= self.options.max_open {
            return Err(JobError::TooMany { open, limit: self.options.max_open });
        }
        let id = Uuid::now_v7().to_string();
        let write = JOBS.put_if(&id, &Job::new(kind, payload, OffsetDateTime::now_utc()), None)?;
        Ok(Enqueued { id, write })
    }

    /// The job of this name, unless it was never there or is forgotten.
    ///
    /// # Errors
    /// Why the store cannot be read.
    pub async fn get(&self, id: &str) -> Result<Option<Job>, StoreError> {
        Ok(JOBS.get(&*self.store, id).await?.map(|job| job.value))
    }

    /// All jobs, those enqueued first at the front.
    ///
    /// # Errors
    /// Why the store cannot be read.
    pub async fn list(&self) -> Result<Vec<ListedJob>, StoreError> {
        let mut claims = self.claims().await?;
        let records = self.records().await?.into_iter();
        let mut jobs: Vec<ListedJob> =
            records.map(|(id, record)| ListedJob { claim: claims.remove(&id), id, job: record.value }).collect();
        jobs.sort_by(|a, b| (a.job.enqueued_at, &a.id).cmp(&(b.job.enqueued_at, &b.id)));
        Ok(jobs)
    }

    /// Claim the job of these kinds that has waited longest for its turn, if there is one that nobody claims.
    ///
    /// The holder is who claims, for operators: each claim is told apart from every other.
    ///
    /// # Errors
    /// Why the store cannot be used; somebody who is not answered may hold a claim, which ends by itself.
    pub async fn claim(&self, kinds: &[&str], holder: &str) -> Result<Look, StoreError> {
        let (records, mut claims) = (self.records().await?, self.claims().await?);
        let mut open = BTreeMap::new();
        for (_, record) in records.iter().filter(|(_, record)| record.value.state.is_open()) {
            *open.entry(record.value.kind.clone()).or_default() += 1;
        }
        let mut gone: Vec<String> = Vec::new();
        loop {
            let now = OffsetDateTime::now_utc();
            let open_jobs = records.iter().filter(|(_, record)| record.value.state.is_open());
            let candidates = open_jobs.clone().map(|(id, record)| Candidate {
                id,
                kind: &record.value.kind,
                turn: record.version,
                claimed: claims.contains_key(id) || gone.contains(id),
                not_before: record.value.not_before,
            });
            let Some((id, turn)) = turn::next(candidates, kinds, now).map(|next| (next.id.to_owned(), next.turn))
            else {
                let of_ours = open_jobs.filter(|(_, record)| kinds.contains(&record.value.kind.as_str()));
                let free_in = of_ours.filter_map(|(id, record)| match (claims.remove(id), record.value.not_before) {
                    (Some(held), _) => Some(held.ends_in),
                    (None, Some(instant)) => Duration::try_from(instant - now).ok(),
                    (None, None) => None,
                });
                return Ok(Look { claim: None, look_again: free_in.min(), open });
            };
            if let Some(claim) = self.take(&id, turn, holder).await? {
                return Ok(Look { claim: Some(claim), look_again: None, open });
            }
            gone.push(id);
        }
    }

    /// Claim this job at this turn, unless somebody was faster.
    async fn take(&self, id: &str, turn: u64, holder: &str) -> Result<Option<Claim>, StoreError> {
        static CLAIMS: AtomicU64 = AtomicU64::new(0);
        // Whoever acquires its own lease again gets the same one: no two claims may be of one holder.
        let holder = format!("{holder}#{}", CLAIMS.fetch_add(1, Ordering::Relaxed));
        let scope = format!("{SCOPE}{id}");
        let Some(lease) = self.store.acquire(&scope, &holder, self.options.ttl).await? else { return Ok(None) };
        let outcome = self.begin(id, turn, &lease).await;
        match outcome {
            Ok(Some((job, version))) => {
                let claim = Claim { jobs: self.clone(), id: id.to_owned(), lease, job, version };
                if claim.job.vanished < self.options.max_vanished {
                    return Ok(Some(claim));
                }
                let error = format!("{} claimants in a row vanished while they worked on it", claim.job.vanished);
                tracing::error!(job = %id, kind = %claim.job.kind, error, "a job was given up");
                match claim.fail(&error).await {
                    Ok(()) | Err(JobError::TooLarge { .. } | JobError::TooMany { .. }) => Ok(None),
                    Err(JobError::Store(error)) => Err(error),
                }
            }
            Ok(None) => {
                self.store.release(&lease).await?;
                Ok(None)
            }
            Err(error) => {
                // It ends by itself if this does not work either.
                let _ = self.store.release(&lease).await;
                Err(error)
            }
        }
    }

    /// Note on the job that it was claimed. Returns `None` if it has ended, or another claimant had a turn in between.
    async fn begin(&self, id: &str, turn: u64, lease: &Lease) -> Result<Option<(Job, u64)>, StoreError> {
        let Some(known) = JOBS.get(&*self.store, id).await? else { return Ok(None) };
        if known.version != turn || !known.value.state.is_open() {
            return Ok(None);
        }
        let job = known.value.claimed(OffsetDateTime::now_utc());
        let writes = vec![JOBS.put_if(id, &job, Some(turn))?];
        let batch = Batch { fences: vec![lease.fence()], writes, ..Batch::default() };
        match self.store.commit(batch).await {
            Ok(committed) => Ok(committed.versions.first().copied().flatten().map(|version| (job, version))),
            Err(StoreError::Conflict { .. } | StoreError::Fenced { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What has to go so that one more ended job may be kept: those that changed first.
    async fn surplus(&self) -> Result<Vec<Write>, StoreError> {
        let mut ended: Vec<(String, Typed<Job>)> =
            self.records().await?.into_iter().filter(|(_, record)| !record.value.state.is_open()).collect();
        let surplus = (ended.len() + 1).saturating_sub(self.options.max_ended);
        // An ended job never changes again.
        ended.sort_by_key(|(_, record)| record.version);
        Ok(ended.iter().take(surplus.min(SWEEP)).map(|(id, _)| JOBS.delete(id)).collect())
    }

    /// The jobs that can be read. One that a later release wrote must not keep this one from all others.
    async fn records(&self) -> Result<Vec<(String, Typed<Job>)>, StoreError> {
        let records = self.store.list(Table::Jobs).await?;
        let read = records.into_iter().filter_map(|(id, record)| match serde_json::from_slice(&record.value) {
            Ok(value) => Some((id, Typed { version: record.version, value, expires_at: record.expires_at })),
            Err(error) => {
                tracing::warn!(job = %id, %error, "a job cannot be read");
                None
            }
        });
        Ok(read.collect())
    }

    /// The leases of claims, by the job.
    async fn claims(&self) -> Result<HashMap<String, HeldLease>, StoreError> {
        let leases = self.store.leases().await?.into_iter();
        Ok(leases.filter_map(|held| Some((held.lease.scope.strip_prefix(SCOPE)?.to_owned(), held))).collect())
    }
}

fn limited(what: &'static str, value: &impl Serialize, limit: usize) -> Result<(), JobError> {
    let bytes = serde_json::to_vec(value).map_or(usize::MAX, |text| text.len());
    if bytes <= limit { Ok(()) } else { Err(JobError::TooLarge { what, bytes, limit }) }
}

fn shortened(error: &str) -> String {
    error[..error.floor_char_boundary(MAX_ERROR_BYTES)].to_owned()
}
