//! A claim: one job is this claimant's alone, until the claim is given back or lost.
//!
//! Invariant: what a claimant writes is under the fence of its claim and under the version of the job that it knows. A
//! chunk's effects and the cursor after it are one batch, so that each chunk's effects are there exactly once.

use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;

use super::{JOBS, Job, JobError, JobState, Jobs, limited, shortened};
use crate::{Batch, Committed, Lease, StoreError, Table, Write};

/// A job that nobody else works on. Dropped without a word, the job is free again when the lease has ended.
#[derive(Debug)]
pub struct Claim {
    pub(super) jobs: Jobs,
    pub(super) id: String,
    pub(super) lease: Lease,
    pub(super) job: Job,
    pub(super) version: u64,
}

impl Claim {
    /// Which job.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The jobs that it is one of.
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// The job, as last saved.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// What others see of the claim.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Hold on to the claim. False: it was lost.
    ///
    /// # Errors
    /// Why the store cannot write.
    pub async fn heartbeat(&self) -> Result<bool, StoreError> {
        self.jobs.store.renew(&self.lease, self.jobs.options.ttl).await
    }

    /// A chunk is done: its effects and where to go on are written together.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the claim was lost. After any error the claim is of no use any more, except to be
    /// given back.
    pub async fn save(&mut self, cursor: Value, effects: Batch) -> Result<Committed, JobError> {
        limited("cursor", &cursor, self.jobs.options.max_cursor_bytes)?;
        let job = Job {
            cursor,
            chunks: self.job.chunks + 1,
            attempts: 0,
            vanished: 0,
            error: None,
            updated_at: OffsetDateTime::now_utc(),
            ..self.job.clone()
        };
        let write = JOBS.put_if(&self.id, &job, Some(self.version))?;
        let (committed, version) = self.commit(effects, write, Vec::new()).await?;
        self.version = version;
        self.job = job;
        Ok(committed)
    }

    /// Let others have the job; it goes to the end of the line.
    ///
    /// # Errors
    /// Why the store cannot write; the job is free when the lease has ended.
    pub async fn give_back(self) -> Result<(), JobError> {
        let job = Job { state: JobState::Waiting, updated_at: OffsetDateTime::now_utc(), ..self.job.clone() };
        self.part(job).await
    }

    /// It did not work now: let somebody try again after a while.
    ///
    /// # Errors
    /// As [`Claim::give_back`].
    pub async fn put_off(self, error: &str, wait: Duration) -> Result<(), JobError> {
        let now = OffsetDateTime::now_utc();
        let job = Job {
            state: JobState::Waiting,
            error: Some(shortened(error)),
            not_before: Some(now + wait),
            updated_at: now,
            ..self.job.clone()
        };
        self.part(job).await
    }

    async fn part(self, job: Job) -> Result<(), JobError> {
        let write = JOBS.put_if(&self.id, &job, Some(self.version));
        let outcome = match write {
            Ok(write) => self.commit(Batch::default(), write, Vec::new()).await.map(|_| ()),
            Err(error) => Err(error.into()),
        };
        // The lease is given back even when the job was written by somebody else.
        self.release().await;
        outcome
    }

    /// All is done: the last effects are written, and the job is kept for operators for a while.
    ///
    /// # Errors
    /// As [`Claim::save`].
    pub async fn finish(self, effects: Batch) -> Result<Committed, JobError> {
        let job = Job { state: JobState::Finished, error: None, chunks: self.job.chunks + 1, ..self.job.clone() };
        self.end(job, effects).await
    }

    /// It cannot be done: the job is kept for operators for a while.
    ///
    /// # Errors
    /// As [`Claim::save`].
    pub async fn fail(self, error: &str) -> Result<(), JobError> {
        let job = Job { state: JobState::Failed, error: Some(shortened(error)), ..self.job.clone() };
        self.end(job, Batch::default()).await.map(|_| ())
    }

    async fn end(self, job: Job, effects: Batch) -> Result<Committed, JobError> {
        let outcome = self.write_end(job, effects).await;
        self.release().await;
        outcome
    }

    async fn write_end(&self, job: Job, effects: Batch) -> Result<Committed, JobError> {
        let job = Job { updated_at: OffsetDateTime::now_utc(), ..job };
        let write = match JOBS.put_for(&self.id, &job, self.jobs.options.kept_for)? {
            Write::Put { table, key, value, ttl } => {
                Write::PutIf { table, key, value, ttl, expected: Some(self.version) }
            }
            other @ (Write::PutIf { .. } | Write::Delete { .. } | Write::DeleteIf { .. }) => other,
        };
        let surplus = self.jobs.surplus().await?;
        let (committed, _) = self.commit(effects, write, surplus).await?;
        Ok(committed)
    }

    /// Effects, then the job, then what makes room. What is committed is told of the effects alone.
    async fn commit(&self, effects: Batch, job: Write, room: Vec<Write>) -> Result<(Committed, u64), JobError> {
        let mut batch = effects;
        let effects = batch.writes.len();
        batch.fences.push(self.lease.fence());
        batch.writes.push(job);
        batch.writes.extend(room);
        let mut committed = self.jobs.store.commit(batch).await.map_err(|error| self.own(error))?;
        let version = committed.versions.get(effects).copied().flatten().unwrap_or(self.version);
        committed.versions.truncate(effects);
        Ok((committed, version))
    }

    /// A job that somebody else has written was lost, whatever its lease says.
    fn own(&self, error: StoreError) -> StoreError {
        let ours = matches!(&error, StoreError::Conflict { table: Table::Jobs, key } if *key == self.id);
        if ours { StoreError::Fenced { scope: self.lease.scope.clone() } } else { error }
    }

    /// Give up the claim without a word about the job: what is stored of it stands.
    pub async fn release(&self) {
        if let Err(error) = self.jobs.store.release(&self.lease).await {
            tracing::warn!(job = %self.id, %error, "a claim could not be given back; it ends by itself");
        }
    }
}
