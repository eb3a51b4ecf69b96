//! The changes that everybody at this Redis tells.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, Value, cmd};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::clock::Clock;
use super::failure::{Failure, failure};
use super::pool::Pool;
use super::reply::{bytes, list, number};
use crate::watch::Announcer;
use crate::{Change, StoreError, Table};

/// How often the connection is asked whether it is still one; the answer is the time.
const BEAT: Duration = Duration::from_secs(3);
/// Between two attempts to connect again, for ever. Chance makes each up to twice as long: all instances lose Redis at once,
/// and are not to come back at once.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_jitter()
    .with_min_delay(Duration::from_millis(25))
    .with_max_delay(Duration::from_secs(1))
    .without_max_times();
/// Messages that may wait here before the feed is given up as hopelessly behind.
const BACKLOG: usize = 4096;

/// What comes by a subscription, in the order in which it came.
enum FeedMessage {
    Push(PushInfo),
    Mark(u64),
}

/// A subscription that holds.
pub(super) struct Feed {
    connection: MultiplexedConnection,
    /// Ends with the connection.
    messages: mpsc::Receiver<FeedMessage>,
    marks: mpsc::WeakSender<FeedMessage>,
}

/// What is asked by this connection is answered after what was published before; marks are put in line there.
type Way = (MultiplexedConnection, mpsc::WeakSender<FeedMessage>);

/// The subscription that holds now, for marks.
#[derive(Clone, Default)]
pub(super) struct Marks(Arc<Mutex<Option<Way>>>);

impl Marks {
    fn go_by(&self, feed: Option<&Feed>) {
        let way = feed.map(|feed| (feed.connection.clone(), feed.marks.clone()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = way;
    }

    /// As [`crate::Store::mark`]. Redis hands out what was published before it answers what it is asked later on the same
    /// connection, so that whatever had been committed is in line before the mark is.
    pub(super) async fn mark(&self, pool: &Pool, mark: u64) -> Result<(), StoreError> {
        let lost = || {
            let problem = "the changes of others cannot be followed".to_owned();
            Failure::Lost { address: pool.address().to_owned(), problem }
        };
        let slow = || Failure::Slow { address: pool.address().to_owned(), within: pool.call_timeout() };
        let way = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut connection, marks) = way.ok_or_else(lost)?;
        let ping = cmd("PING");
        let answered = timeout(pool.call_timeout(), ping.query_async::<Value>(&mut connection)).await;
        answered.map_err(|_| slow())?.map_err(|error| failure(pool.address(), &error))?;
        let marks = marks.upgrade().ok_or_else(lost)?;
        // No room: the feed is hopelessly behind and about to be given up.
        Ok(marks.try_send(FeedMessage::Mark(mark)).map_err(|_| lost())?)
    }
}

impl Feed {
    /// From when this returns, no change is missed unless the feed ends.
    pub(super) async fn open(pool: &Pool, prefix: &str) -> Result<Self, StoreError> {
        let (sender, messages) = mpsc::channel(BACKLOG);
        let marks = sender.downgrade();
        let sender = Mutex::new(Some(sender));
        let hand_on = move |info: PushInfo| {
            let mut sender = sender.lock().unwrap_or_else(PoisonError::into_inner);
            let lost = info.kind == PushKind::Disconnection;
            if lost || sender.as_ref().is_some_and(|sender| sender.try_send(FeedMessage::Push(info)).is_err()) {
                sender.take();
            }
        };
        let mut connection = pool.connect(hand_on).await?;
        let channel = format!("{prefix}_changes");
        connection.subscribe(channel).await.map_err(|error| failure(pool.address(), &error))?;
        Ok(Self { connection, messages, marks })
    }

    /// Tell what comes, for ever: a feed that ends is replaced, and everything may have changed meanwhile.
    pub(super) async fn follow(
        mut self,
        pool: Arc<Pool>,
        prefix: String,
        clock: Arc<Clock>,
        announcer: Announcer,
        marks: Marks,
    ) {
        loop {
            marks.go_by(Some(&self));
            self.tell(&clock, &announcer).await;
            marks.go_by(None);
            tracing::warn!(redis = pool.address(), "changes of the store cannot be followed; connecting again");
            self = reopened(&pool, &prefix).await;
            announcer.tell([Change::Everything]);
            tracing::info!(redis = pool.address(), "changes of the store are followed again");
        }
    }

    async fn tell(&mut self, clock: &Clock, announcer: &Announcer) {
        let silence = silence(self.connection.clone(), clock);
        tokio::pin!(silence);
        loop {
            let message = tokio::select! {
                message = self.messages.recv() => message,
                () = &mut silence => None,
            };
            let Some(message) = message else { return };
            match message {
                FeedMessage::Push(push) if push.kind == PushKind::Message => announcer.tell(changes(push.data)),
                FeedMessage::Push(_) => {}
                FeedMessage::Mark(mark) => announcer.tell([Change::Marked(mark)]),
            }
        }
    }
}

/// Returns when the connection no longer answers.
async fn silence(mut connection: MultiplexedConnection, clock: &Clock) {
    loop {
        sleep(BEAT).await;
        let Ok(time) = cmd("TIME").query_async::<Value>(&mut connection).await else { return };
        if let Some(millis) = millis(time) {
            clock.set(millis);
        }
    }
}

/// Seconds and microseconds.
fn millis(time: Value) -> Option<u64> {
    let mut parts = list(Some(time))?.into_iter();
    let (seconds, micros) = (number(parts.next())?, number(parts.next())?);
    seconds.checked_mul(1000)?.checked_add(micros / 1000)
}

async fn reopened(pool: &Pool, prefix: &str) -> Feed {
    loop {
        let open = (|| Feed::open(pool, prefix)).retry(PAUSES);
        let open = open.notify(|error, _| tracing::debug!(?error, "changes of the store cannot be followed yet"));
        if let Ok(feed) = open.await {
            return feed;
        }
    }
}

/// What a message says. One that is not understood comes from a later release.
fn changes(message: Vec<Value>) -> Vec<Change> {
    let text = bytes(message.into_iter().nth(1)).unwrap_or_default();
    let Ok(changes) = serde_json::from_slice::<Vec<Vec<String>>>(&text) else { return vec![Change::Everything] };
    changes.into_iter().map(|words| change(&words).unwrap_or(Change::Everything)).collect()
}

fn change(words: &[String]) -> Option<Change> {
    let record = |table: &str, key: &str, version: Option<u64>| {
        let table = Table::ALL.iter().copied().find(|one| one.name() == table)?;
        Some(Change::Record { table, key: key.to_owned(), version })
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["record", table, key] => record(table, key, None),
        ["record", table, key, version] => record(table, key, Some(version.parse().ok()?)),
        ["tasks"] => Some(Change::Tasks),
        ["log", name] => Some(Change::Log(name.to_owned())),
        ["wanted", scope] => Some(Change::LeaseWanted(scope.to_owned())),
        ["released", scope] => Some(Change::LeaseReleased(scope.to_owned())),
        _ => None,
    }
}
