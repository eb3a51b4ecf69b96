//! One turn of a job: some chunks, then others may have it.

use std::sync::Arc;

use miroir_store::{Batch, Claim, JobError, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;

use super::WorkerOptions;
use super::handler::{Chunk, JobHandler, NotDone};
use crate::hold::hold;
use crate::stop;

/// How a turn ended.
enum End {
    /// Others may have it.
    Turn,
    /// The claim is gone.
    Lost,
    /// There is nothing left to do but to write this.
    Done(Batch),
    /// It did not work.
    Not(NotDone),
}

/// Do chunks of the job until its turn is over, then part with it. `since` is a moment before it was claimed.
pub(super) async fn serve(
    mut claim: Claim,
    since: Instant,
    handler: Arc<dyn JobHandler>,
    options: WorkerOptions,
    stopped: watch::Receiver<bool>,
) {
    let (store, ttl) = (claim.jobs().store().clone(), claim.jobs().options().ttl);
    let lease = claim.lease().clone();
    let end = tokio::select! {
        biased;
        () = hold(&*store, &lease, ttl, options.heartbeat, since) => End::Lost,
        end = turn(&mut claim, &*handler, &options, stopped) => end,
    };
    let (id, kind) = (claim.id().to_owned(), claim.job().kind.clone());
    let parted = match end {
        End::Turn => claim.give_back().await,
        End::Lost => {
            tracing::warn!(job = %id, kind, "the claim was lost; the chunk is left to whoever claims the job next");
            // Nobody may have claimed it yet: then it need not wait for the lease to end.
            let _ = claim.give_back().await;
            Ok(())
        }
        End::Done(effects) => {
            let ended = claim.finish(effects).await;
            ended.map(|_| tracing::info!(job = %id, kind, "a job was finished"))
        }
        End::Not(NotDone::Yet(error)) => {
            let wait = options.backoff.after(claim.job().attempts.max(1));
            tracing::warn!(job = %id, kind, error, again_in = ?wait, "a job does not go on yet");
            claim.put_off(&error, wait).await
        }
        End::Not(NotDone::Ever(error)) => {
            tracing::error!(job = %id, kind, error, "a job has failed");
            claim.fail(&error).await
        }
    };
    if let Err(error) = parted {
        tracing::warn!(job = %id, kind, %error, "how a job stands could not be written; it goes on from its cursor");
    }
}

async fn turn(
    claim: &mut Claim,
    handler: &dyn JobHandler,
    options: &WorkerOptions,
    stopped: watch::Receiver<bool>,
) -> End {
    let over = Instant::now() + options.slice;
    while Instant::now() < over && !*stopped.borrow() {
        let chunk = tokio::select! {
            biased;
            () = stop::asked(stopped.clone()) => return End::Turn,
            chunk = handler.chunk(claim.id(), claim.job()) => chunk,
        };
        let (cursor, effects) = match chunk {
            Ok(Chunk::Next { cursor, effects }) => (cursor, effects),
            Ok(Chunk::Done { effects }) => return End::Done(effects),
            Err(error) => return End::Not(error),
        };
        match claim.save(cursor, effects).await {
            Ok(_) => {}
            Err(JobError::Store(StoreError::Fenced { .. })) => return End::Lost,
            Err(JobError::Store(error)) => return End::Not(NotDone::Yet(error.to_string())),
            Err(error @ (JobError::TooLarge { .. } | JobError::TooMany { .. })) => {
                return End::Not(NotDone::Ever(error.to_string()));
            }
        }
    }
    End::Turn
}
