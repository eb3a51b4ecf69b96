//! The threads that own the connections.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::write::{self, Prepared};
use crate::watch::Announcer;
use crate::{Committed, StoreError};

/// The most batches that share one flush.
const GROUP: usize = 256;

/// What a job ended in that should not have.
#[derive(Debug, thiserror::Error)]
#[error("a job of the store panicked; nothing of it was written")]
struct Panicked;

/// Do something with the connection, and survive it: a transaction that it has begun is rolled back on the way out, and
/// the thread, which may be the only one that writes, is there for the next.
pub(super) fn unharmed<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!("a job of the store panicked; the store goes on without it");
        Err(StoreError::Unavailable(Arc::new(Panicked)))
    })
}

/// Where the outcome of a batch goes.
pub(super) type Reply = oneshot::Sender<Result<Committed, StoreError>>;

/// Something for a thread to do.
pub(super) enum Job {
    /// Commit, together with its neighbours in the queue.
    Commit { batch: Prepared, reply: Reply },
    /// Use the connection for something else.
    Run(Box<dyn FnOnce(&mut Connection) + Send>),
}

/// The ways to the threads. The threads end when these and all clones are gone and the queues are empty.
pub(super) struct Threads {
    writer: mpsc::Sender<Job>,
    readers: mpsc::Sender<Job>,
}

impl Threads {
    /// Start one thread per connection. Without readers, the writer reads.
    pub(super) fn start(
        writer: Connection,
        readers: Vec<Connection>,
        queue: usize,
        announcer: &Announcer,
    ) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (to_writer, to_write) = mpsc::channel(queue);
        let (to_readers, to_read) = mpsc::channel(queue);
        let to_readers = if readers.is_empty() { to_writer.clone() } else { to_readers };
        let to_read = Arc::new(Mutex::new(to_read));
        let mut handles = Vec::new();
        for connection in readers {
            let (jobs, announcer) = (to_read.clone(), announcer.clone());
            let reader = Builder::new().name("store-reader".into());
            handles.push(reader.spawn(move || read(connection, &announcer, &jobs))?);
        }
        let announcer = announcer.clone();
        handles.push(Builder::new().name("store-writer".into()).spawn(move || write(writer, &announcer, to_write))?);
        Ok((Self { writer: to_writer, readers: to_readers }, handles))
    }

    /// The way to the thread that writes.
    pub(super) fn writer(&self) -> &mpsc::Sender<Job> {
        &self.writer
    }

    /// The way to the thread that writes, which is the last of the handles; the others end.
    pub fn into_writer(self) -> mpsc::Sender<Job> {
        self.writer
    }

    /// The way to the threads that read.
    pub(super) fn readers(&self) -> &mpsc::Sender<Job> {
        &self.readers
    }
}

/// Take jobs in turn with the other readers.
fn read(mut connection: Connection, announcer: &Announcer, jobs: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // Whoever holds the lock is the one who waits for a job; it lets go before doing it.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        match job {
            Some(Job::Run(work)) => work(&mut connection),
            Some(Job::Commit { batch, reply }) => write::group(&mut connection, announcer, vec![(batch, reply)]),
            None => return,
        }
    }
}

/// Commit what waits, as one group, in the order in which it came.
fn write(mut connection: Connection, announcer: &Announcer, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Commit { batch, reply } => group.push((batch, reply)),
                Job::Run(work) => {
                    write::group(&mut connection, announcer, std::mem::take(&mut group));
                    work(&mut connection);
                }
            }
            next = if group.len() < GROUP { jobs.try_recv().ok() } else { None };
        }
        write::group(&mut connection, announcer, group);
    }
}
